"""What a ranker or a judge wrote, read strictly: a number, or nothing."""

from __future__ import annotations

import re

from mixtura.types import Completion

_NUMBER = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
_AROUND = " \t*_`#>\"'()[]{}.:"
"""What may stand around a number that is a line of its own."""


def named_number(said: Completion, key: str) -> float | None:
    """
    The number in the last line with ``"key": number``, or alone in the last line of all.

    None where there is none, or two that differ in one line; an answer that was cut off
    counts only where the number is all of it.
    """
    lines = [line for line in said.text.splitlines() if line.strip(_AROUND)]
    if not lines:
        return None
    if said.finish_reason != "stop" and len(lines) > 1:
        return None
    named = re.compile(rf"\b{key}\b[\"'`* ]*[:=][\"'`* ]*{_NUMBER}(?![\w.]*\d)", re.IGNORECASE)
    for line in reversed(lines):
        if found := {float(number) for number in named.findall(line)}:
            return found.pop() if len(found) == 1 else None
    alone = re.fullmatch(_NUMBER, lines[-1].strip(_AROUND))
    return float(alone[1]) if alone else None
