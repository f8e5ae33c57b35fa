"""What providers say of their batches, field by field: an odd one is null, or the reply is bad."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, cast

import msgspec

from mixtura.core.errors import MalformedError
from mixtura.core.json_text import decode_json
from mixtura.core.quantities import parse_http_status, parse_token_count, redacted_excerpt

MAX_SAID_CHARS = 300
"""Characters of a provider's words that an error repeats."""
GONE = (404, 410)
"""Statuses that say that the provider has no such batch, or no results of it any more."""
MAX_FILES = 8
"""Files that the results of one batch are in."""
# It becomes part of a path: nothing that would end it, lead out of it or break the line.
_ID = re.compile(r"(?!.*\.\.)[A-Za-z0-9_.:@=+/-]{1,512}", re.ASCII)


def decode_reply(data: bytes) -> dict[str, Any]:
    """A reply as an object. Raises MalformedError."""
    try:
        found = decode_json(data)
    except msgspec.DecodeError:
        raise MalformedError("the provider's reply about a batch is not JSON") from None
    if not isinstance(found, dict):
        raise MalformedError("the provider's reply about a batch is not an object")
    return cast(dict[str, Any], found)


def read_object(data: Any, key: str) -> dict[str, Any]:
    """An object within *data*, or an empty one."""
    found = cast(dict[str, Any], data).get(key) if isinstance(data, dict) else None
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def read_rows(data: Any, key: str) -> list[dict[str, Any]]:
    """The objects of a list within *data*."""
    found = cast(dict[str, Any], data).get(key) if isinstance(data, dict) else None
    rows = cast(list[Any], found) if isinstance(found, list) else []
    return [one for one in rows if isinstance(one, dict)]


def read_id(data: dict[str, Any], key: str) -> str:
    """A name that may stand in an address. Raises MalformedError where it is none."""
    found = data.get(key)
    if isinstance(found, str) and _ID.fullmatch(found):
        return found
    raise MalformedError(f"the provider's reply about a batch has no valid {key}")


def read_files(data: dict[str, Any], *keys: str) -> tuple[str, ...]:
    """Where results are. Raises MalformedError for what is there and no name."""
    return tuple(read_id(data, key) for key in keys if data.get(key))


def read_custom_id(data: dict[str, Any]) -> str:
    """The name that a row has here. Raises MalformedError where it is none."""
    found = data.get("custom_id")
    if isinstance(found, str) and len(found) <= 200:
        return found
    raise MalformedError("a result of a batch has no valid custom_id")


def error_excerpt(value: Any, default: str) -> bytes:
    """The first words of a provider's error, without secrets; *default* where it says none."""
    return (redacted_excerpt(value, MAX_SAID_CHARS) if value else default).encode()


def read_status(value: Any) -> int:
    """The status of a row's answer; 200 where none is said. Raises MalformedError."""
    status = 200 if value is None else parse_http_status(value)
    if status is None:
        raise MalformedError("a result of a batch has an invalid HTTP status")
    return status


def sum_counts(counts: dict[str, Any]) -> int:
    """How many rows a batch has, by its counts of them."""
    return sum(parse_token_count(one) or 0 for one in counts.values())


def read_time(value: Any) -> float | None:
    """Seconds since the epoch, from a date as ISO writes it."""
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, ArithmeticError, OSError):
        return None
