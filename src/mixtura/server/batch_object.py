"""A batch as OpenAI's API shows it, and the files that it makes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from mixtura.batch.openai_form import error_line
from mixtura.core import large_json
from mixtura.storage.interfaces import DAY_SECONDS
from mixtura.storage.kept_files import PART_BYTES, KeptFile

WINDOW_SECONDS = 86400
"""The only completion window that there is, "24h"."""


def new_batch(id: str, fields: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    """A batch that was just asked for; *fields*: of its request."""
    now = int(time.time())
    empty = dict.fromkeys(
        (
            "errors", "output_file_id", "error_file_id", "in_progress_at", "finalizing_at",
            "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at", "model",
            "usage",
        )
    )  # fmt: skip
    return {
        "id": id,
        "object": "batch",
        "endpoint": fields["endpoint"],
        "input_file_id": fields["input_file_id"],
        "completion_window": fields["completion_window"],
        "status": "validating",
        "created_at": now,
        "expires_at": now + WINDOW_SECONDS,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": fields.get("metadata"),
        **{k: v for k, v in fields.items() if k == "output_expires_after" and v is not None},
        **empty,
    }


def with_status(body: dict[str, Any], status: str, **more: Any) -> dict[str, Any]:
    """The batch in another state, since now."""
    return {**body, "status": status, f"{status}_at": int(time.time()), **more}


def with_mistakes(body: dict[str, Any], mistakes: list[dict[str, Any]]) -> dict[str, Any]:
    """The batch as one that failed."""
    return with_status(body, "failed", errors={"object": "list", "data": mistakes})


def usage_object(prompt: int, completion: int) -> dict[str, Any]:
    """The tokens of all calls; how many of them were cached or thoughts is not kept."""
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": None},
        "output_tokens": completion,
        "output_tokens_details": {"reasoning_tokens": None},
        "total_tokens": prompt + completion,
    }


def file_seconds(batch: dict[str, Any], days: float) -> float:
    """How long the files that a batch makes are kept: *days*, or as short as it asks for."""
    asked = batch.get("output_expires_after")
    seconds = days * DAY_SECONDS
    return min(float(asked["seconds"]), seconds) if asked else seconds


def output_file(
    batch: dict[str, Any], who: str, kind: str, path: Path, expires: float | None
) -> KeptFile:
    """What a batch has made, as a file with the same id whenever it is made again."""
    number = sha256(f"{batch['id']} {kind}".encode()).hexdigest()[:24]
    name = f"{batch['id']}_{kind}.jsonl"
    size = path.stat().st_size
    return KeptFile(f"file-{number}", who, "batch_output", name, time.time(), expires, size)


def read_in_parts(path: Path) -> Iterator[bytes]:
    """What a file holds, part by part."""
    with path.open("rb") as file:
        while part := file.read(PART_BYTES):
            yield part


def add_unanswered(input_file: Path, output: Path, errors: Path, code: str, message: str) -> int:
    """
    Add an error for every row of *input_file* that stands neither in *output* nor in *errors*; how
    many there were. Raises OSError.
    """
    over = {
        large_json.decode(line)["custom_id"] for p in (output, errors) for line in _read_lines(p)
    }
    count = 0
    with errors.open("ab") as file:
        for line in _read_lines(input_file):
            name = large_json.decode(line)["custom_id"]
            if name not in over:
                number = sha256(f"{output} {name}".encode()).hexdigest()[:40]
                file.write(msgspec.json.encode(error_line(name, number, code, message)) + b"\n")
                count += 1
    return count


def _read_lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file):
            data = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            # The last line of a file that a killed process wrote may be half of one.
            if data.strip() and (path.suffix != ".part" or line.endswith(b"\n")):
                yield data
