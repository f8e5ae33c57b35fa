"""Arguments of a tool call as JSON text: when they are empty, complete, or the same data."""

from __future__ import annotations

import re
from typing import Any

import msgspec

EMPTY_ARGUMENTS = "{}"
"""Arguments of a call that brought none, or an empty text: clients read them as JSON."""

_EMPTY_OBJECT = re.compile(r"\s*\{\s*\}\s*\Z")


def is_empty_arguments(text: str) -> bool:
    """Whether *text* is empty, null or an empty object."""
    return text.strip() in ("", "null") or _EMPTY_OBJECT.match(text) is not None


def normalize_arguments(text: str) -> str:
    """
    Arguments as the JSON of an object: of an empty one for nothing and null, of the inner one
    for a JSON string that contains an object. Other text stays as it is.
    """
    if text.strip() in ("", "null"):
        return EMPTY_ARGUMENTS
    # Some servers encode the object twice.
    if not text.lstrip().startswith('"'):
        return text
    try:
        inner = msgspec.json.decode(text, type=str)
        if inner.strip() in ("", "null"):
            return EMPTY_ARGUMENTS
        msgspec.json.decode(inner, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return text
    return inner


def is_complete_json(text: str) -> bool:
    """Whether *text* is null or a JSON object, also one inside a JSON string."""
    if text.strip() == "null":
        return True
    try:
        msgspec.json.decode(normalize_arguments(text), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def same_data(one: str, other: str) -> bool:
    """Whether two texts are the same, or JSON of the same objects."""
    if one == other:
        return True
    try:
        return msgspec.json.decode(one) == msgspec.json.decode(other)
    except (msgspec.DecodeError, RecursionError):
        return False


def to_json(data: Any) -> str:
    """*data* as compact JSON."""
    return msgspec.json.encode(data).decode()
