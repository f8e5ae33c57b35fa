"""Numbers that are spelled: twelve, one hundred and five, two and a half."""

from __future__ import annotations

import re
from fractions import Fraction

_SMALL = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
        " fifteen sixteen seventeen eighteen nineteen".split()
    )
}
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        "twenty thirty forty fifty sixty seventy eighty ninety".split(), 2
    )
}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
_WORD = re.compile(r"[a-z]+")


def spelled(text: str) -> Fraction | None:
    """The first number that *text* spells; None where it spells none."""
    words = _WORD.findall(text.lower())
    start = next((at for at, word in enumerate(words) if _is_number(words, at)), None)
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
