"""JSON of other people's servers as structs: an optional field that is odd is passed over."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

MOST_ODD = 64
"""Fields of one piece that are passed over at most."""
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[\.\.\.\]")


def convert_lenient(data: Any, to: type[T]) -> T:
    """
    *data* as *to*, without the fields that do not fit. Changes *data*.

    For structs whose fields all have defaults. Raises msgspec.ValidationError when *data*
    itself is not an object, or hardly anything in it fits.
    """
    for _ in range(MOST_ODD):
        try:
            return msgspec.convert(data, to)
        except msgspec.ValidationError as error:
            if not _leave_out(data, str(error)):
                raise
    return msgspec.convert(data, to)


def _leave_out(data: Any, said: str) -> bool:
    """Take what an error is about out of *data*; false when that is all of it."""
    _, _, where = said.partition(" - at `$")
    steps = [name or index for name, index in _STEP.findall(where.rstrip("`"))]
    if not steps or "" in steps:
        return False
    inner = data
    for step in steps[:-1]:
        inner = _rows(inner)[int(step)] if isinstance(inner, list) else inner[step]
    if isinstance(inner, list):
        del _rows(inner)[int(steps[-1])]
    else:
        del inner[steps[-1]]
    return True


def _rows(data: Any) -> list[Any]:
    return cast("list[Any]", data)
