"""The rows of an uploaded batch, checked before any is paid for: mistakes with line and code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mixtura.batch.records import Record
from mixtura.config.requested_team import MAX_NAME_CHARS
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.validation import decode_body
from mixtura.server.batch_rows import read_call

MAX_MISTAKES = 100
"""Mistakes that are listed."""
MAX_MISTAKE_CHARS = 500
"""Characters of one: it may repeat what a client wrote."""


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
            message = to_one_line(message[:MAX_MISTAKE_CHARS])
            said = {"code": code, "line": line, "message": message, "param": param}
            self.mistakes.append(said)


def check_rows(path: Path, endpoint: str, *, most: int, most_bytes: int) -> CheckedRows:
    """
    Read an input of at most *most* rows of at most *most_bytes* each, as many as a live request
    may have. Raises OSError.
    """
    found = CheckedRows()
    names: set[str] = set()
    with path.open("rb") as file:
        number = 0
        while line := file.readline(most_bytes + 1):
            number += 1
            if len(line) > most_bytes:
                message = f"a request has at most {most_bytes / 1024**2:g} MB"
                found.add_mistake("request_too_large", message, number)
                found.rows += 1
                break
            if not (data := line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip():
                continue
            found.rows += 1
            if found.rows > most:
                found.add_mistake("too_many_tasks", f"a batch has at most {most:,} requests")
                break
            _check_row(data, number, found, names, endpoint)
    if not found.rows:
        found.add_mistake("empty_file", "the file has no requests")
    return found


def _check_row(data: bytes, line: int, found: CheckedRows, names: set[str], endpoint: str) -> None:
    message = "this line is not parseable as a JSON object"
    try:
        decode_body(data)
        # As it is read when it is asked: what is refused there must not pass here.
        row = Record(f"line {line}", data).fields()
    except ConfigError as error:
        message = str(error)
        row = None
    except ApiError:
        row = None
    if row is None:
        found.add_mistake("invalid_json_line", message, line)
        return
    for name in ("custom_id", "method", "url", "body"):
        if row.get(name) is None:
            message = f"missing required parameter: '{name}'"
            found.add_mistake("missing_required_parameter", message, line, name)
            return
    _check_fields(row, line, found, names, endpoint)
    if isinstance(row["custom_id"], str):
        names.add(row["custom_id"])


def _check_fields(
    row: Mapping[str, Any], line: int, found: CheckedRows, names: set[str], endpoint: str
) -> None:
    body: Any = row["body"]
    model = cast(dict[str, Any], body).get("model") if isinstance(body, dict) else None
    if row["custom_id"] in names if isinstance(row["custom_id"], str) else False:
        message = "an earlier line has the same custom_id"
        found.add_mistake("duplicate_custom_id", message, line, "custom_id")
    elif row["method"] != "POST":
        found.add_mistake("invalid_method", 'the method must be "POST"', line, "method")
    elif row["url"] != endpoint:
        message = f"the url must be {endpoint}, the batch's endpoint"
        found.add_mistake("invalid_url", message, line, "url")
    elif not isinstance(row["custom_id"], str):
        found.add_mistake("invalid_type", "the custom_id must be a text", line, "custom_id")
    elif isinstance(model, str) and len(model) > MAX_NAME_CHARS:
        message = f"the model's name is longer than {MAX_NAME_CHARS} letters"
        found.add_mistake("model_not_found", message, line, "body.model")
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
            read_call(endpoint, row)
        except ApiError as refused:
            param = f"body.{refused.param}" if refused.param else "body"
            found.add_mistake("invalid_request", refused.message, line, param)
