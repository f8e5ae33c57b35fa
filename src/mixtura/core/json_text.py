"""JSON from outside, whatever its depth and numbers: read, or mended so that it can be read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast, overload

import msgspec

T = TypeVar("T")

MAX_DEPTH = 100
"""Levels of objects and lists that are read; what lies deeper is taken for null."""
MAX_REPAIRED_BYTES = 128 * 1024
"""Bytes: to mend more would hold up everyone else."""
MAX_NUMBER_CHARS = 40
"""Characters: a longer number is taken for one out of range."""
MAX_REQUEST_DEPTH = 200
"""Levels of a request: functions that walk it recursively have a stack for so many."""
OUT_OF_RANGE = b"-1e999"
"""JSON for a number that no type can hold: decoding it as a number fails."""

# A text without an end is one piece: else every later quote of it would be tried anew.
_JSON_TOKEN = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]|-?(?:NaN|Infinity)|-?[0-9][0-9.eE+-]*+', re.DOTALL
)


def repair_json(data: bytes, number: bytes = OUT_OF_RANGE) -> bytes:
    """
    The same JSON without what lies too deep, and *number* in place of NaN, the infinite and
    numbers without end, which some libraries write though JSON has none of them.
    """
    # A regular expression holds Python's lock: a large body is left to fail as it is.
    if len(data) > MAX_REPAIRED_BYTES:
        return data
    kept: list[bytes] = []
    depth, start = 0, 0
    for piece in _JSON_TOKEN.finditer(data):
        text, begin = piece[0], piece.start()
        first = text[:1]
        if first in b"[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept.append(data[start:begin])
        elif first in b"]}":
            if depth == MAX_DEPTH + 1:
                kept.append(b"null")
                start = piece.end()
            depth -= 1
        elif depth <= MAX_DEPTH and first != b'"' and not _is_plain_number(text):
            kept += (data[start:begin], number)
            start = piece.end()
    if depth > MAX_DEPTH or not kept:  # no JSON at all, or nothing to mend
        return data
    return b"".join((*kept, data[start:]))


def repair_texts(data: bytes) -> bytes:
    """
    The same JSON with texts that a decoder takes: U+FFFD for half a character (in UTF-8 or as half
    of a surrogate pair), escapes for control characters that stand in a text as they are.
    """
    data = _LONE_SURROGATE.sub(rb"\\ufffd", data)
    data = data.decode("utf-8", "replace").encode()
    if len(data) > MAX_REPAIRED_BYTES or not _CONTROL.search(data):
        return data
    return _JSON_TOKEN.sub(_escape_controls, data)


_LONE_SURROGATE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Half of a pair that stands for one character: some servers cut an emoji in two."""


def find_lone_surrogate(data: bytes) -> str | None:
    """The first half of a surrogate pair in *data*, as it is written; None for none."""
    found = _LONE_SURROGATE.search(data)
    return found[0].decode() if found else None


_CONTROL = re.compile(rb"[\x00-\x1f]")


def _escape_controls(token: re.Match[bytes]) -> bytes:
    text = token[0]
    if not text.startswith(b'"'):
        return text
    return _CONTROL.sub(lambda found: b"\\u%04x" % found[0][0], text)


def _is_plain_number(text: bytes) -> bool:
    return len(text) <= MAX_NUMBER_CHARS and text[-1:] not in b"Ny"


@overload
def decode_json(data: bytes) -> Any: ...
@overload
def decode_json(data: bytes, kind: type[T]) -> T: ...
def decode_json(data: bytes, kind: Any = Any) -> Any:
    """
    JSON as a *kind*; too deep a part and impossible numbers of it are null.

    Raises msgspec.DecodeError for what is no JSON even so.
    """
    # Counting brackets is cheaper than a decoder that runs into the limit of recursion; brackets
    # in texts only make it cautious.
    shallow = data.count(b"[") + data.count(b"{") <= MAX_DEPTH
    try:
        return msgspec.json.decode(data if shallow else repair_json(data, b"null"), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # Only what failed is mended: nearly no body has NaN or a number without an end.
        return msgspec.json.decode(repair_json(repair_texts(data), b"null"), type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"it cannot be read: {error}") from None


def read_json_text(text: str, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """
    The data of a text from outside: an answer, a call's arguments. *parse_constant* as in
    ``json.loads``. Raises ValueError for what is no JSON or has more than MAX_REQUEST_DEPTH
    levels, so that it can be walked recursively.
    """
    try:
        data = json.loads(text, parse_constant=parse_constant)
    except RecursionError:  # how deep Python itself reads is not the same in all its versions
        raise ValueError(_TOO_DEEP) from None
    if is_deeper_than(data, MAX_REQUEST_DEPTH):
        raise ValueError(_TOO_DEEP)
    return data


_TOO_DEEP = f"it is nested more than {MAX_REQUEST_DEPTH} levels deep"


def map_texts(data: Any, change: Callable[[str], str]) -> Any:
    """The data with *change* called on each text in it, and on the names of fields."""
    if isinstance(data, str):
        return change(data)
    if isinstance(data, list):
        return [map_texts(one, change) for one in cast("list[Any]", data)]
    if isinstance(data, dict):
        rows = cast("dict[str, Any]", data).items()
        return {change(name): map_texts(value, change) for name, value in rows}
    return data


def is_deeper_than(data: Any, most: int) -> bool:
    """Whether objects and lists stand more than *most* levels in each other."""
    # Level by level, since a recursion over such data could itself exhaust the stack.
    level: list[Any] = [data] if type(data) in _CONTAINER_TYPES else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)  # pyright: ignore
            if type(inner) in _CONTAINER_TYPES  # pyright: ignore
        ]
        if not level:
            break
    return bool(level)


_CONTAINER_TYPES = frozenset((dict, list))


def describe_decode_error(error: Exception) -> str:
    """What a decoder's error says, for a sentence that already says that this is not JSON."""
    return str(error).removeprefix("JSON is malformed: ")
