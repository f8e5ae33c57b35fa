"""JSON of other people's servers as structs: an optional field that is odd is passed over."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

MAX_INVALID_FIELDS = 64
"""Fields of one piece that are passed over at most."""
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


def _remove_invalid_field(data: Any, said: str) -> bool:
    """Take what an error is about out of *data*; false when that is all of it."""
    _, _, where = said.partition(" - at `$")
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
