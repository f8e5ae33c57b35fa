"""The number that a text comes to, however people write numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

from mixtura.patterns.arithmetic import (
    LARGE_SIZE_PATTERN,
    NUMBER_PATTERN,
    ArithmeticParser,
    parse_match,
)
from mixtura.patterns.plain_characters import normalize_characters
from mixtura.patterns.plain_formulas import simplify_formula
from mixtura.patterns.words import parse_spelled_number

MAX_PART_CHARS = 400
"""Characters behind a mark, or of a sentence, that are read as the answer."""


class UnclearError(ValueError):
    """An answer that names several numbers and settles on none."""


# ---- an answer

_PARENTHESIS = re.compile(r"(?<=[\w%.\])])\s*\((?![^()]*\)\s*[-+*/^=])[^()]*\)|\[\^?[0-9]{1,3}\]")
_ADJACENT_PARENTHESIS = re.compile(r"(?<=[0-9])\([0-9+*/. -]+\)")
_NEGATED_NUMBER = re.compile(
    r"(?i)\b(?:not|isn't|rather than|instead of|no longer)\s+(?:only\s+|just\s+)?"
    r"(?:[a-z]+\s+){0,3}?-?[0-9][^,.;]{0,60}?(?=\bbut\b|[,;]|\.(?![0-9])|$)"
)
_RETRACTED_NUMBER = re.compile(
    r"-?[0-9][^?\n]{0,40}\?\s*(?:no|nope|wait)\b[\s,.:;!-]*(?=[^\n]*[0-9])", re.IGNORECASE
)
_ROUNDED_NUMBER = re.compile(
    r"-?[0-9][0-9.,]*[^0-9\n]{0,24}\bround(?:s|ed)(?: (?:up|down|off))? to (?:about |exactly )?"
    r"(?=\$?-?[0-9])(?![0-9]+ (?:decimal|significant|places?|digits?))",
    re.IGNORECASE,
)
"""What is rounded, in "17.6, which rounds to 18"."""
_SHARE = re.compile(
    r"-?[0-9][0-9./]*%? of \$?[0-9][0-9.,]*(?: [a-z]{1,20}){0,2} is +(?=\$?-?[0-9])", re.IGNORECASE
)
"""What is computed, in "75% of 24 is 18"."""
_NEGATIVE = re.compile(
    r"(?:(?<![-0-9)])(?<![0-9)] )\bnegative|(?<![\s\S])\s*minus)\s+(?=\.?[0-9])", re.IGNORECASE
)
_REASON = re.compile(
    r"[,;]?\s*\b(?:since|because|given that|as (?:she|he|it|they|there|we|you))\b.*$", re.IGNORECASE
)
_RANGE = re.compile(
    r"(?i)([0-9][0-9.,]*)\s*(?:-|to|or|and|oder|bis|ou|o)\s*([0-9][0-9.,]*)(?![0-9.,]*\s*[-+*/=^])"
)
_LIST = re.compile(r"[^\w.]*[0-9][0-9.]*(?:[,;]\s+(?:and\s+)?\$?-?[0-9][0-9.]*)+[^\w.]*\.?\s*")
_NUMBER_CONTINUATION = re.compile(r",[0-9]|:[0-9]")
_CLOCK = re.compile(r"(?<=[0-9]):00\b")
_NAMED = re.compile(r"(?<![\w.])([a-zA-Z](?:_?[0-9])?)\s*=\s*-?[0-9.]+")
_MONEY = re.compile(
    r"([0-9][0-9,]*)\s*dollars?\s+(?:and\s+)?([0-9]{1,2})\s*cents?\b", re.IGNORECASE
)
_SYMBOLIC = re.compile(
    r"(?:(?<![\s\S])|[-+*/^(=])\s*[a-z]\s*[-+*/^]\s*[0-9.]+"  # x + 1, n/2
    r"|[0-9][0-9.]*(?:[zni]|[xy](?=\s*[-+^]))(?!\w)"  # 4i, 2x + 1
    r"|[-+*/]\s*[0-9][0-9.]*[xyzni](?!\w|\s*[0-9(])"  # 1 + 2x
    r"|[0-9)]\s?\*?\s?(?:\\pi(?![a-z])|π|pi\b)|(?:\\pi(?![a-z])|π|\bpi)\s*[*/^]\s*[0-9]+"
    r"|(?<![\s\S])\W*[(\[]\s*-?[0-9.]+\s*,\s*-?[0-9./]+\s*[)\]]\W*(?![\s\S])"  # (3,4)
)
"""A number that is only a part of a formula, or of a point."""
_MONTHS = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\b\.?"
_DAY = r"[0-9]{1,2}(?:st|nd|rd|th)?\b"
_DATE = re.compile(
    r"(?<![0-9./-])(?:[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}|[0-9]{1,2}([/.])[0-9]{1,2}\1[0-9]{4})(?![0-9/-])"
    rf"|\b{_MONTHS} {_DAY},? [0-9]{{4}}\b|\b{_DAY} (?:of )?{_MONTHS},? [0-9]{{4}}\b"
)
_MOMENT = re.compile(
    rf"{_DATE.pattern}|\b{_MONTHS} {_DAY}|\b{_DAY} (?:of )?{_MONTHS}"
    r"|(?<![0-9:])[0-2]?[0-9]:[0-5][0-9](?![0-9])"
)
"""A date, a day of a year, or a time of day."""
_WORDS_BEFORE = re.compile(
    r"^(?:[^\W\d_][\w.']{0,20}\s+){0,6}?"
    r"(?:(?<=\w\s)(?<!\bis\s)(?<!\bof\s)(?<!\bwas\s)(?<!\babout\s)-\s+)?(?=[-+(.]?\s?[0-9(])"
)
# "Answer - 18": with spaces on both sides it parts a word from its number.
_SIGN = re.compile(r"(?:^|[=:(,;$]|\b(?:is|was|of|about|minus))\s*-\s*$|(?<=[\s$=:(])-$")
_MIXED = re.compile(
    r"(?<![\w.,/*+^()=-])([0-9]{1,4})-([0-9]{1,2})/([0-9]{1,3})(?![0-9./])(?!\s*[-+*/^(])"
)
"""A whole number and a fraction: ``1-1/2``."""
_SPELLED_PART = re.compile(
    r"(?i)(?<![\w.,/])([0-9]{1,6}) and (an?|one|two|three)[ -](half|halves|thirds?|quarters?)\b"
)
_FAREWELL = re.compile(
    r"(?im)(?:^|(?<=[.!?] ))[ \t]*(?:(?:please )?let me know|feel free|(?:i )?hope (?:this|that|it)"
    r"|if you (?:have|need|would|want))\b[^\n]*$"
)
"""What a model says to its reader at the end: a number in it is no answer."""
_CONFIDENCE = re.compile(
    r"(?im)(?:^[^\w\n]*|[;,.|(]\s*)(?:my )?confidence(?: level| score)?"
    r"[^\w\n]{0,6}(?:is )?[0-9.]+ ?%?[^\n]*$"
)
"""How sure a model says that it is: no answer either."""


def parse_answer_value(part: str, *, last: bool = False) -> Fraction | None:
    """
    What a short text of an answer comes to: of several numbers the first, or the *last*.

    None where there is no number. Raises UnclearError where it names several as alternatives, or
    where the number is but a part of a formula, a point or a date.
    """
    part = _strip_asides(part[:MAX_PART_CHARS])
    if match := _MONEY.search(part):
        return Fraction(match[1].replace(",", "")) + Fraction(int(match[2]), 100)
    names = _NAMED.findall(part)
    if len(set(names)) > 1 and not last:
        raise UnclearError(part)
    # Of "16 - 3 = 13" the number behind the last sign is the answer.
    behind = part.rpartition("=")[2]
    answer = behind if "=" in part and _all_numbers(behind) else part
    if (whole := _evaluate_text(answer)) is not None:
        return whole
    if _is_part_of_more(answer, last=last):
        raise UnclearError(part)
    if (
        ":" in answer
        and _all_numbers(answer.rpartition(":")[2])
        and not re.search(r"[0-9]:[0-9]", answer)
    ):
        return parse_answer_value(answer.rpartition(":")[2], last=last)
    every = _all_numbers(answer)
    if not last and (
        _has_number_continuation(answer)
        or "√" in answer
        or (_RANGE.search(answer) and len({*every}) != 1)
    ):
        raise UnclearError(part)
    if not every:
        return None
    return every[-1] if last else every[0]


def _is_part_of_more(text: str, *, last: bool) -> bool:
    """Whether the first number of *text*, or the *last*, is a part of a formula, point or date."""
    found = [one for one in NUMBER_PATTERN.finditer(text) if one["digits"] or one["rest"]]
    if not found:
        return False
    number = found[-1 if last else 0]
    return any(
        one.start() < number.end() and number.start() < one.end()
        for pattern in (_SYMBOLIC, _DATE)
        for one in pattern.finditer(text)
    )


def names_moment(part: str) -> bool:
    """Whether a part of an answer names a date or a time of day, whose numbers are no answer."""
    return bool(_MOMENT.search(part[:MAX_PART_CHARS]))


def _strip_asides(part: str) -> str:
    """A part without parentheses, negated numbers and reasons beside the answer."""
    part = _CONFIDENCE.sub("", part) or part
    part = _SPELLED_PART.sub(_rewrite_spelled_part, simplify_formula(part))
    part = _MIXED.sub(_rewrite_mixed_number, _CLOCK.sub("", part))
    part = _NEGATIVE.sub("-", _NEGATED_NUMBER.sub(" ", part))
    part = _RETRACTED_NUMBER.sub(" ", part)
    part = _SHARE.sub(" ", _ROUNDED_NUMBER.sub(" ", part))
    # "4(3)" multiplies, "13 (16 - 3)" explains: only the latter is left out.
    if not _ADJACENT_PARENTHESIS.search(part):
        # Parentheses within others go from the inside out.
        for _ in range(3):
            bare = _PARENTHESIS.sub(" ", part)
            if not _all_numbers(bare):
                break
            part = bare
    bare = _REASON.sub("", part)
    return bare if _all_numbers(bare) else part


def _rewrite_spelled_part(match: re.Match[str]) -> str:
    top = {"two": 2, "three": 3}.get(match[2].lower(), 1)
    bottom = {"h": 2, "t": 3, "q": 4}[match[3][0].lower()]
    return f"{match[1]} {top}/{bottom}" if top < bottom else match[0]


def _rewrite_mixed_number(match: re.Match[str]) -> str:
    whole, top, bottom = match.groups()
    return f"{whole} {top}/{bottom}" if int(top) < int(bottom) else match[0]


def _evaluate_text(text: str) -> Fraction | None:
    """The value of a text that is one number or one sum, units left out."""
    bare = re.sub(
        rf"(?<=[0-9%)kKMB万亿億])\s*(?!x\s*[0-9(]|[eE][-+]?[0-9]|{LARGE_SIZE_PATTERN})[^\W\d_]{{1,30}}(?:/[a-z]{{1,12}})?(?:\^-?[0-9])?(?!\w)",
        " ",
        text,
    )
    bare = bare.strip(" \t,;:!?*#~°<>\"'{}|\\").rstrip(". ")
    bare = _WORDS_BEFORE.sub("", bare)
    reading = ArithmeticParser(bare)
    try:
        value = reading.parse_value()
    except ValueError:
        return None
    two = re.fullmatch(r"\s*[0-9.,]+\s*-\s*[0-9.,]+\s*%?\s*", bare)
    # "18-20" is a range of answers, not a difference.
    if (two and value < 0) or _SYMBOLIC.search(text) or _DATE.search(text):
        raise UnclearError(text)
    return value


def _has_number_continuation(text: str) -> bool:
    """Whether a text has a list of numbers, or one that goes on as in 1,2,3 or 4:30."""
    if _LIST.fullmatch(text) and len({*_all_numbers(text)}) > 1:
        return True
    return any(
        _NUMBER_CONTINUATION.match(text, match.end()) for match in NUMBER_PATTERN.finditer(text)
    )


def _all_numbers(text: str) -> list[Fraction]:
    """Every number of a text, with its sign, fraction and power."""
    return list(_iter_numbers(text))


def _iter_numbers(text: str) -> Iterator[Fraction]:
    end = 0
    for match in NUMBER_PATTERN.finditer(text):
        if match.start() < end or not (match["digits"] or match["rest"]):
            continue
        end = match.end()
        try:
            number = parse_match(match)
            if over := re.compile(r"\s*/\s*([0-9]+)(?![\w.]*[0-9])").match(text, end):
                end = over.end()
                number /= int(over[1])
            elif raised := re.compile(r"\s*\^\s*(-?[0-9]{1,2})(?![0-9])").match(text, end):
                number, end = number ** int(raised[1]), raised.end()
                if times := re.search(r"([0-9.]+)\s*\*\s*$", text[: match.start()]):
                    number *= Fraction(times[1].strip(".") or "1")
        except (ValueError, ZeroDivisionError):
            continue
        yield -number if _SIGN.search(text[max(0, match.start() - 12) : match.start()]) else number


def find_last_number(text: str) -> Fraction | None:
    """
    The number that a text without a mark ends in: the last of its last sentence with one; None
    where there is none.
    """
    bare = _CONFIDENCE.sub("", _FAREWELL.sub("", text))
    text = bare if re.search(r"[0-9]", bare) else text
    for line in reversed(text.splitlines()):
        if not re.search(r"[0-9]", line):
            continue
        # A line may be the whole text: only its end can hold the answer.
        for sentence in reversed(re.split(r"(?<=[.!?])\s+(?=\S)", line[-2000:])):
            if not re.search(r"[0-9]", sentence):
                continue
            if (value := parse_answer_value(sentence[-MAX_PART_CHARS:], last=True)) is not None:
                return value
    return None


def find_spelled_number(part: str) -> Fraction | None:
    """The number that a part spells: twelve, two and a half."""
    return parse_spelled_number(_strip_asides(part[:MAX_PART_CHARS]))


def is_single_number(text: str) -> bool:
    """Whether a text is one number, perhaps with a unit, and nothing else."""
    try:
        return _evaluate_text(simplify_formula(normalize_characters(text))) is not None
    except UnclearError:
        return False
