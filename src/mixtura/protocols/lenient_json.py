"""JSON of other people's servers as structs: an optional field of a wrong type is ignored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

from mixtura.core.errors import MalformedError
from mixtura.core.json_text import decode_json
from mixtura.core.quantities import redacted_excerpt
from mixtura.core.redaction import redact_secrets
from mixtura.core.types import JsonObject

T = TypeVar("T")

MAX_INVALID_FIELDS = 64
"""Fields of one piece that are ignored at most."""
MAX_JOINED_OBJECTS = 64
"""Objects in one event that are read at most."""
_JSON = json.JSONDecoder()
_PATH_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")


def decode_lenient(data: Any, decoder: msgspec.json.Decoder[T]) -> T:
    """
    *data* as what *decoder* makes, without the fields that do not fit. Changes *data*.

    For structs whose fields all have defaults. Raises msgspec.ValidationError when *data*
    itself is not an object, or hardly anything in it fits.
    """
    for _ in range(MAX_INVALID_FIELDS):
        try:
            return decoder.decode(msgspec.json.encode(data))
        except msgspec.ValidationError as error:
            if not _remove_invalid_field(data, str(error)):
                raise
    return decoder.decode(msgspec.json.encode(data))


def _remove_invalid_field(data: Any, message: str) -> bool:
    """
    Remove the field that an error's *message* is about from *data*; false when that is all of it.
    """
    # msgspec says where it failed only in the words of its error.
    _, _, where = message.partition(" - at `$")
    steps = [name or index for name, index in _PATH_STEP.findall(where.rstrip("`"))]
    if not steps or "" in steps:
        return False
    inner = data
    for step in steps[:-1]:
        inner = _as_list(inner)[int(step)] if isinstance(inner, list) else inner[step]
    if isinstance(inner, list):
        del _as_list(inner)[int(steps[-1])]
    else:
        del inner[steps[-1]]
    return True


def _as_list(data: Any) -> list[Any]:
    return cast("list[Any]", data)


def decode_odd_event(
    data: bytes,
    error: Exception,
    decoder: msgspec.json.Decoder[T],
    what: str,
    *,
    straighten: Callable[[JsonObject], None],
    first_of_list: bool = False,
) -> T | None:
    """
    An event that *decoder* refused with *error*; None for one that says nothing.

    *straighten* changes what an object has in a form of its own; *first_of_list*: in a list, the
    first item counts. Raises MalformedError, which says that it is not *what* it should be.
    """
    if not data.lstrip().startswith((b"{", b"[")):  # a comment that stands in data
        return None
    if not isinstance(error, msgspec.ValidationError):
        raise _unreadable_event_error(what, data, error) from None
    try:
        found = decode_json(data)
        if isinstance(found, list) and found:
            found = _as_list(found)[0] if first_of_list else None
            if not isinstance(found, dict):
                raise error
        if not isinstance(found, dict):
            return None
        row = cast("JsonObject", found)
        straighten(row)
        return decode_lenient(row, decoder)
    except msgspec.DecodeError as odd:
        raise _unreadable_event_error(what, data, odd) from None


def split_joined_objects(data: bytes) -> list[bytes]:
    """
    The JSON objects that stand one behind the other in *data*, without a line end between them;
    empty where it is anything else.
    """
    found: list[bytes] = []
    try:
        text = data.decode()
        at = 0
        while at < len(text) and len(found) < MAX_JOINED_OBJECTS:
            if text[at] != "{":
                return []
            _, end = _JSON.raw_decode(text, at)
            found.append(text[at:end].encode())
            at = len(text) - len(text[end:].lstrip())
    except (ValueError, RecursionError):
        return []
    return found if at == len(text) and len(found) > 1 else []


def list_objects(data: bytes) -> list[bytes]:
    """The objects of a list of two or more, as JSON; empty where *data* is anything else."""
    if not data.lstrip().startswith(b"["):
        return []
    try:
        rows = msgspec.json.decode(data, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    objects = [row for row in map(bytes, rows) if row.startswith(b"{")]
    return objects if len(objects) == len(rows) > 1 else []


def find_wrapped_object(data: bytes, key: str) -> bytes | None:
    """The object with *key* that is the field of another object's; None where there is none."""
    mark = f'"{key}"'.encode()
    if mark not in data:  # nearly always
        return None
    try:
        row = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    for name in ("result", "data", "response", "body"):
        inner = bytes(row.get(name, b""))
        if inner.startswith(b"{") and mark in inner:
            return inner
    return None


def _unreadable_event_error(what: str, data: bytes, error: Exception) -> MalformedError:
    """The MalformedError for *data* that is not *what* it should be, because of *error*."""
    deep = isinstance(error, RecursionError)
    why = "it is nested too deeply" if deep else redacted_excerpt(str(error), 200)
    start = redact_secrets(data[:4096].decode("utf-8", "replace"))[:80]
    return MalformedError(f"not {what}: {why} (it begins {start!r})")
