"""Numbers that are spelled: twelve, one hundred and five, two and a half, two thirds, 十八."""

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
_GROUPS = {"hundred": 100, "dozen": 12}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
_ORDER = ("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
# Not "quarters": three of those may be coins.
_SHARES = {"half": 2, "quarter": 4} | {
    f"{word}{end}": bottom for bottom, word in enumerate(_ORDER, 3) for end in ("", "s")
}
_WORD = re.compile(r"[a-z]+")
_PART_ALONE = re.compile(
    rf"(?:an? |(?=half|quarter))({'|'.join(one for one in _SHARES if one[-1] != 's')})(?: of\b|$)"
)
"""``half``, ``a third of it``; "the third" is none."""
_HAN_DIGITS = {one: value for value, one in enumerate("零一二三四五六七八九")} | {
    "〇": 0,
    "两": 2,
    "兩": 2,
}
_HAN_SIZES = {"十": 10, "百": 100, "千": 1000}
_HAN_LARGE = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN = re.compile(
    r"[\s*_`$：:是为為]*([零〇一二两兩三四五六七八九十百千万萬亿億]+)(?![共起些样樣定般下直边邊])"
)


def parse_spelled_number(text: str) -> Fraction | None:
    """The first number that *text* spells; None where it spells none."""
    words = _WORD.findall(text.lower())
    start = next((at for at in range(len(words)) if _is_number_word(words, at)), None)
    if start is None:
        share = _PART_ALONE.match(" ".join(words))
        return Fraction(1, _SHARES[share[1]]) if share else _in_han(text)
    if (share := _share_at(words, start)) is not None:
        return -share if start and words[start - 1] in ("minus", "negative") else share
    if words[start] == "dozen" and words[max(start - 2, 0) : start] == ["half", "a"]:
        return Fraction(6)
    whole, group, at = 0, 0, start
    while at < len(words):
        word = words[at]
        if word in _SMALL or word in _TENS:
            group += _SMALL.get(word, 0) or _TENS.get(word, 0)
        elif word in _GROUPS:
            group = (group or 1) * _GROUPS[word]
        elif word in _LARGE:
            whole, group = whole + (group or 1) * _LARGE[word], 0
        elif word == "and" and words[at + 1 : at + 2] == ["a"] and words[at + 2 : at + 3]:
            part = _PARTS.get(words[at + 2])
            return None if part is None else whole + group + part
        elif word != "and" or not _is_number_word(words, at + 1):
            break
        elif (share := _share_at(words, at + 1)) is not None:
            return whole + group + share
        at += 1
    value = Fraction(whole + group)
    return -value if start and words[start - 1] in ("minus", "negative") else value


def _share_at(words: list[str], at: int) -> Fraction | None:
    """``one half``, ``two thirds``: less than one; None where no such words stand at *at*."""
    top = _SMALL.get(words[at], 0)
    bottom = _SHARES.get(words[at + 1], 0) if at + 1 < len(words) else 0
    return Fraction(top, bottom) if 0 < top < bottom else None


def _in_han(text: str) -> Fraction | None:
    """The number that *text* begins with in Chinese or Japanese: 十八, 两百零五, 三万."""
    match = _HAN.match(text)
    if not match:
        return None
    whole, group, digit = 0, 0, 0
    for one in match[1]:
        if one in _HAN_DIGITS:
            digit = digit * 10 + _HAN_DIGITS[one]  # 二〇二六 is written digit by digit
        elif size := _HAN_SIZES.get(one):
            group, digit = group + (digit or 1) * size, 0
        else:
            before = whole if _HAN_LARGE[one] > whole else 0  # 三万亿, and 一亿二千万
            whole += ((before + group + digit) or 1) * _HAN_LARGE[one] - before
            group = digit = 0
    return Fraction(whole + group + digit)


def _is_number_word(words: list[str], at: int) -> bool:
    word = words[at] if at < len(words) else ""
    return word in _SMALL or word in _TENS or word in _LARGE or word in _GROUPS
