"""The JSON object that a judge's reply ends with, as long as it is the judge's own."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from mixtura.core.json_text import read_json_text
from mixtura.core.types import Completion
from mixtura.patterns.verdict_parsing import CLOSING_TOKENS, ends_by_telling
from mixtura.protocols.thoughts.parser import without_thoughts

T = TypeVar("T")

MAX_OBJECTS_TRIED = 8
"""Places at which the object may begin that are tried, from the first one and from the last one."""
_BEGIN_OF_OBJECT = re.compile(r"(?:^|(?<=[>\]]))[ \t]*\{", re.MULTILINE)
"""At the begin of a line, or behind what may be the end of a thought."""


def read_closing_object(reply: Completion, kind: type[T]) -> T | None:
    """
    The object that a *reply* ends with, as a *kind*; None where there is none of that form.

    It stands at the end, in lines of its own; it may be in a fence. One that the reply only quotes
    counts for nothing: a draft may contain one.
    """
    text = CLOSING_TOKENS.sub("", reply.text)
    end = text.rfind("}") + 1
    if not end or reply.finish_reason != "stop" or text[end:].strip("`~ \n"):
        return None
    begins = [match.start() for match in _BEGIN_OF_OBJECT.finditer(text, 0, end)]
    tried = [*begins[:MAX_OBJECTS_TRIED], *begins[MAX_OBJECTS_TRIED:][-MAX_OBJECTS_TRIED:]]
    for begin in tried:
        written = text[begin:end]
        try:
            read_json_text(written)
        except ValueError:
            continue
        # Not of the whole: a draft that the object quotes may hold the end of a thought.
        before, _, same_line = without_thoughts(text[:begin] + "{").rpartition("\n")
        is_own = same_line.strip() == "{" and not ends_by_telling(before)
        return _decode_or_none(written, kind) if is_own else None
    return None


def _decode_or_none(text: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
