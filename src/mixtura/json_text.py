"""JSON from outside, whatever its depth and numbers: read, or mended so that it can be read."""

from __future__ import annotations

import re
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

DEEPEST = 100
"""Levels of objects and lists that are read; what lies deeper is taken for null."""
LONGEST_MENDED = 128 * 1024
"""Bytes: to mend more would hold up everyone else."""
LONGEST_NUMBER = 40
"""Characters: a longer number is taken for one out of range."""
DEEPEST_ASKED = 200
"""Levels of a request: whoever looks through it has room on the stack for so many."""
OUT_OF_RANGE = b"-1e999"
"""JSON for a number that nothing can hold: whoever reads it as a number refuses it."""

# A text without an end is one piece: else every later quote of it would be tried anew.
_PIECE = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]|-?(?:NaN|Infinity)|-?[0-9][0-9.eE+-]*+', re.DOTALL
)


def mended(data: bytes, number: bytes = OUT_OF_RANGE) -> bytes:
    """
    The same JSON without what lies too deep, and *number* in place of NaN, the infinite and
    numbers without end, which some libraries write though JSON has none of them.
    """
    if len(data) > LONGEST_MENDED:
        return data
    kept: list[bytes] = []
    depth, start = 0, 0
    for piece in _PIECE.finditer(data):
        text, begin = piece[0], piece.start()
        first = text[:1]
        if first in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept.append(data[start:begin])
        elif first in b"]}":
            if depth == DEEPEST + 1:
                kept.append(b"null")
                start = piece.end()
            depth -= 1
        elif depth <= DEEPEST and first != b'"' and not _plain_number(text):
            kept += (data[start:begin], number)
            start = piece.end()
    if depth > DEEPEST or not kept:  # no JSON at all, or nothing to mend
        return data
    return b"".join((*kept, data[start:]))


def _plain_number(text: bytes) -> bool:
    return len(text) <= LONGEST_NUMBER and text[-1:] not in b"Ny"


@overload
def decoded(data: bytes) -> Any: ...
@overload
def decoded(data: bytes, kind: type[T]) -> T: ...
def decoded(data: bytes, kind: Any = Any) -> Any:
    """
    JSON as a *kind*; too deep a part and impossible numbers of it are null.

    Raises msgspec.DecodeError for what is no JSON even so.
    """
    shallow = data.count(b"[") + data.count(b"{") <= DEEPEST
    try:
        return msgspec.json.decode(data if shallow else mended(data, b"null"), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return msgspec.json.decode(mended(data, b"null"), type=kind)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"it cannot be read: {error}") from None


def is_deeper(data: Any, most: int) -> bool:
    """Whether objects and lists stand more than *most* levels in each other."""
    level: list[Any] = [data] if type(data) in _NESTING else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)  # pyright: ignore
            if type(inner) in _NESTING  # pyright: ignore
        ]
        if not level:
            break
    return bool(level)


_NESTING = frozenset((dict, list))
