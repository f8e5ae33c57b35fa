"""The rows of an uploaded batch, checked before any is paid for: mistakes with line and code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.batch.input_rows import RequestReader
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.server.batch_rows import find_row_reader

MAX_MISTAKES = 100
"""Mistakes that are listed."""


@dataclass(slots=True)
class CheckedRows:
    """What a batch's input holds."""

    rows: int = 0
    model: str | None = None
    """The model of all rows."""
    mistakes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def add_mistake(
        self, code: str, message: str, line: int | None = None, param: str | None = None
    ) -> None:
        """Note what is wrong in a *line*, counted from 1."""
        if len(self.mistakes) < MAX_MISTAKES:
            said = {"code": code, "line": line, "message": message, "param": param}
            self.mistakes.append(said)


def check_rows(path: Path, endpoint: str, *, most: int) -> CheckedRows:
    """Read an input of at most *most* rows for *endpoint*. Raises OSError."""
    found = CheckedRows()
    check = _RowCheck(endpoint, find_row_reader(endpoint))
    names: set[str] = set()
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not (data := line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip():
                continue
            found.rows += 1
            if found.rows > most:
                found.add_mistake("too_many_tasks", f"a batch has at most {most:,} requests")
                break
            _check_row(data, number, found, names, check)
    if not found.rows:
        found.add_mistake("empty_file", "the file has no requests")
    return found


class _RowCheck(NamedTuple):
    """What every row must be."""

    endpoint: str
    reads: RequestReader


def _check_row(
    data: bytes, line: int, found: CheckedRows, names: set[str], check: _RowCheck
) -> None:
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found.add_mistake("invalid_json_line", "this line is not parseable as valid JSON", line)
        return
    if not isinstance(fields, dict):
        found.add_mistake("invalid_json_line", "this line is no JSON object", line)
        return
    row = cast(dict[str, Any], fields)
    for name in ("custom_id", "method", "url", "body"):
        if row.get(name) is None:
            message = f"missing required parameter: '{name}'"
            found.add_mistake("missing_required_parameter", message, line, name)
            return
    _check_fields(row, line, found, names, check)
    if isinstance(row["custom_id"], str):
        names.add(row["custom_id"])


def _check_fields(
    row: dict[str, Any], line: int, found: CheckedRows, names: set[str], check: _RowCheck
) -> None:
    body: Any = row["body"]
    model = cast(dict[str, Any], body).get("model") if isinstance(body, dict) else None
    if row["custom_id"] in names if isinstance(row["custom_id"], str) else False:
        message = "the custom_id stands in an earlier line, too"
        found.add_mistake("duplicate_custom_id", message, line, "custom_id")
    elif row["method"] != "POST":
        found.add_mistake("invalid_method", 'the method must be "POST"', line, "method")
    elif row["url"] != check.endpoint:
        message = f"the url must be {check.endpoint}, the batch's endpoint"
        found.add_mistake("invalid_url", message, line, "url")
    elif not isinstance(model, str) or not model:
        message = "the body names no model"
        found.add_mistake("missing_required_parameter", message, line, "body.model")
    elif found.model is not None and model != found.model:
        message = f"the model is not that of the first request, {to_one_line(found.model)}"
        found.add_mistake("mismatched_model", message, line, "body.model")
    elif "mixtura" in body:
        message = "a batch takes no `mixtura` options: name a configured mixture as the model"
        found.add_mistake("unsupported_parameter", message, line, "body.mixtura")
    else:
        found.model = model
        try:
            check.reads(row)
        except ConfigError as error:
            found.add_mistake("invalid_request", str(error), line)
