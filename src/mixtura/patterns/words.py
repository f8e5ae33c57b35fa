"""Numbers that are spelled: twelve, one hundred and five, two and a half."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14,
    "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80,
    "ninety": 90,
}  # fmt: skip
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
_WORD = re.compile(r"[a-z]+")


def spelled(text: str) -> Fraction | None:
    """The first number that *text* spells; None where it spells none."""
    words = _WORD.findall(text.lower())
    start = next((at for at in range(len(words)) if _is_number(words, at)), None)
    if start is None:
        return None
    whole, group, at = 0, 0, start
    while at < len(words):
        word = words[at]
        if word in _SMALL or word in _TENS:
            group += _SMALL.get(word, 0) or _TENS.get(word, 0)
        elif word == "hundred":
            group = (group or 1) * 100
        elif word in _LARGE:
            whole, group = whole + (group or 1) * _LARGE[word], 0
        elif word == "and" and words[at + 1 : at + 2] == ["a"] and words[at + 2 : at + 3]:
            part = _PARTS.get(words[at + 2])
            return None if part is None else whole + group + part
        elif word != "and" or not _is_number(words, at + 1):
            break
        at += 1
    value = Fraction(whole + group)
    return -value if start and words[start - 1] in ("minus", "negative") else value


def _is_number(words: list[str], at: int) -> bool:
    word = words[at] if at < len(words) else ""
    return word in _SMALL or word in _TENS or word in _LARGE or word == "hundred"
