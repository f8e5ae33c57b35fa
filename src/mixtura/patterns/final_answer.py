"""Final answers taken out of texts and written alike, so that they can be counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, Literal, cast

from mixtura.patterns import numbers, plain_characters, plain_formulas
from mixtura.patterns.arithmetic import MAX_NUMBER_CHARS
from mixtura.protocols.thoughts.parser import without_thoughts

Extract = Literal["number", "choice", "boxed", "last-line", "text"]

MAX_ANSWER_MARKS = 8
"""Marks of an answer that are examined, from the end."""

_WORDS = (
    "answer|antwort|respuesta|réponse|resposta|risposta|antwoord|svar|cevap|odpowiedź|ответ|відповідь|jawaban"
    "|đáp án|trả lời|답|정답|उत्तर|উত্তর|الجواب|الإجابة|คำตอบ"
)
_TAG = "(?:(?:final[_ -]?)?answer|final|result)"
_HAN = "答案|答え|答"
_ANSWER_LINE = re.compile(
    rf"(?i)(?:\b(?:{_WORDS})[*_ ]{{0,3}}[:=：][*_}}]{{0,3}}|(?:{_HAN})\s?(?:是|为|為|は|:)"
    rf"|<{_TAG}>|\[{_TAG}\])"
)
_CLOSING_TAG = re.compile(rf"<\s?/{_TAG}>|\[/{_TAG}\]", re.IGNORECASE)
_ANSWER_IS = re.compile(
    r"\banswer\b(?:\s+to\b[^.\n:=]{0,80}?)?[*_]*\s*(?:\bis\b|:|=)(?=([^\n]{0,200}))",
    re.IGNORECASE,
)
_IS = "is|was|(?:would|must|should|will|has to) be|es|est|ist|é|è|är|jest|là|adalah"
_CHOICE_MARK = re.compile(
    rf"(?i)\b(?:{_WORDS}|(?:correct|right|best) (?:option|choice|letter|one)|correct(?=:))\b"
    rf"(?=([^.\n:=]{{0,60}}?[*_]*\s*(?:\b(?:{_IS})\b|[:=]))?)|(?:故|应|所以|因此)选:?|(?:정답|답)은"
)
_OPTION = (
    r"(?:(?:the|la|die|el|o)\s+)?(?:option|choice|letter|opci[oó]n|opção|opzione|letra|lettre|lettera"
    r"|buchstabe|вариант|选项|選項)"
)
# "A" may be an article, "I" a person, a small letter anything: they need an end behind them.
_LETTER = re.compile(
    r"""[\s*_`"'($\[]*(?:\\(?:text|mathrm|textbf|mathbf)\{\s*)?(?i:(?:clearly|likely|probably|therefore|indeed)\s+)?"""
    r"""(?:(?i:not)\s+\(?[A-J]\)?,?\s+but\s+)?"""
    rf"""(?:(?i:{_OPTION})\s*[*_`"'(\[]*([A-Ja-j])(?![^\W\u3000-\u9fff])"""
    r"""|\(?(?:([B-HJ])(?![^\W\u3000-\u9fff]|['’])|(A)(?=[,;!?。、]|\s+[-(])"""
    r"""|([A-Ja-j])(?=[)\]}*.:<"。]|[ \t]*(?:\n|$)|\s+(?:because|since|as)\b)))"""
)
_SECOND_LETTER = re.compile(
    r"""[)\]*"']*\s*(?:[,/&]|\b(?:or|and|oder|und|ou|et|o|y)\b|或|和)\s*[(\["'*]*[A-J](?![^\W\u3000-\u9fff]|['’])"""
    r"""(?=\W*(?:\n|$)|[)\]*]*[.,;:])"""
)
"""What follows the first letter of an answer that names two."""
_ENCLOSED = re.compile(
    r"(?:\(([A-J])\)|\*\*\(?([A-J])[).:]?\*\*)(?!\s+(?:is|are|was)(?:n't|\s+(?:not|wrong|incorrect|false)))"
)
_LEADING_LETTER = re.compile(r"\s*\(?([A-J])[).:](?=\s|$)")
_LISTED_LETTER = re.compile(r"^[\s*-]*\(?([A-J])[).:]", re.MULTILINE)
_LONE_LETTER = re.compile(r"[\s*_`#>(\[{]*([A-J])[\s*_`)\]}.:]*", re.IGNORECASE)
_WRAPPING = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}")
_DEGREES = re.compile(r"\^\s*(?:\{\s*)?\\circ(?:\s*\})?")
_NAME_BEFORE = re.compile(r"\s*[a-zA-Z](?:_[a-zA-Z0-9])?\s*=(?=[^=]*\Z)")
"""``x =``, before the one thing that it is."""
# Without a font of words a letter is a variable; "18 m" is what people write for a unit.
_UNIT = re.compile(r"(?<=[0-9}])\s+[mgshlLtVWANJCFK]\s*\Z|(?<=[0-9])[eE][-+]?[0-9]+")
_VARIABLE = re.compile(r"(?<![a-zA-Z\\])[a-zA-Z](?![a-zA-Z])|[0-9)]\s*!|_")
_SPACING = re.compile(r"\\[!,;: ]|\\left|\\right|\\displaystyle|~|\$|\s+")


def extract_number(text: str) -> str | None:
    """
    The number that a text comes to: behind the last of its marks (``\\boxed{}``, ``####``,
    ``<answer>``, a line "Answer:"), else behind its last "answer is", else its last one.

    1,234.50 is 1234.5, 2½ is 5/2, 3/4 is 0.75, 16 - 3 is 13. None for "18 or 20".
    """
    text = _normalize_text(text)
    try:
        # Marks first: what a text computes on the way is no answer of it.
        for part in _answer_parts(text):
            if (value := _read_number(part)) is not None:
                return _format_number(value)
        return _format_number(numbers.find_last_number(text))
    except numbers.UnclearError:
        return None


def _read_number(part: str) -> Fraction | None:
    """The number of a part, in digits or spelled. Raises UnclearError."""
    value = numbers.parse_answer_value(part)
    return numbers.find_spelled_number(part) if value is None else value


def _format_number(value: Fraction | None) -> str | None:
    """A number as it is counted: the shortest exact way to write it."""
    return None if value is None or len(text := str(value)) > MAX_NUMBER_CHARS else text


def _answer_parts(text: str) -> Iterator[str]:
    """What stands behind the marks of an answer: the last one first, plain talk of it after."""
    marks = [(m.end(), m.end()) for m in re.finditer("####", text)]
    marks += [(m.end(), m.end()) for m in _ANSWER_LINE.finditer(text)]
    parts = {start: _text_after(text, end) for start, end in marks[-MAX_ANSWER_MARKS:]}
    parts |= dict(_find_boxes(text))
    parts |= dict(_json_answer_fields(text))
    for start in sorted(parts, reverse=True):
        yield parts[start]
    for mark in list(_ANSWER_IS.finditer(text))[: -MAX_ANSWER_MARKS - 1 : -1]:
        yield re.split(r"(?<!\bNo)\.(?:\s|$)", mark[1], maxsplit=1)[0]


_OBJECT = re.compile(r"\{\s*\"")
_FIELD = re.compile(r"(?:final[ _]?)?answer", re.IGNORECASE)


def _json_answer_fields(text: str) -> Iterator[tuple[int, str]]:
    """Where an object of JSON ends, and the answer among its own fields."""
    at = 0
    for _ in range(MAX_ANSWER_MARKS):
        if not (opened := _OBJECT.search(text, at)):
            return
        at = opened.end()
        try:
            read: Any
            read, at = json.JSONDecoder().raw_decode(text, opened.start())
        except (ValueError, RecursionError):
            continue
        for name, value in cast(dict[str, Any], read).items():
            if _FIELD.fullmatch(name) and type(value) in (str, int, float):
                yield at, str(value)


def _text_after(text: str, start: int) -> str:
    """The rest of the line, else the next lines that say something."""
    # Some models write the mark on a line of its own, the answer below it.
    rest = text[start : start + numbers.MAX_PART_CHARS]
    lines = [line for line in rest.split("\n") if line.strip(" \t\r*_`#>$\\[](){}")]
    first = rest.partition("\n")[0]
    answer = first if first.strip(" \t\r*_`#>$\\[](){}") else (lines or [""])[0]
    return _CLOSING_TAG.split(answer, maxsplit=1)[0]


def extract_choice(text: str) -> str | None:
    """
    The letter, A to J, that a text settles on: boxed, behind a mark ("answer", "the correct option
    is", ``<answer>``, a field of JSON), alone in the last line, in brackets or bold, or at the
    very beginning as in "B) …". None where none is plain, or where a mark names two.
    """
    text = _normalize_text(text)
    for part in (_last_box(text) or "", *_choice_parts(text)):
        if match := _LETTER.match(part):
            if _SECOND_LETTER.match(part, match.end()):
                return None
            return next(filter(None, match.groups())).upper()
    lines = _nonempty_lines(text)
    if lines and (match := _LONE_LETTER.fullmatch(lines[-1])):
        return match[1].upper()
    if every := list(_ENCLOSED.finditer(text)):
        return (every[-1][1] or every[-1][2]).upper()
    # Several such lines are the options, written down again.
    if len(set(_LISTED_LETTER.findall(text))) > 1:
        return None
    return match[1].upper() if (match := _LEADING_LETTER.match(text)) else None


def _choice_parts(text: str) -> Iterator[str]:
    """What stands behind the marks of a chosen letter, the last one first."""
    starts = {match.end() for match in _ANSWER_LINE.finditer(text)}
    for match in _CHOICE_MARK.finditer(text):
        starts |= {match.end(), match.end() + len(match[1] or "")}
    parts = {start: text[start : start + numbers.MAX_PART_CHARS] for start in starts}
    parts |= dict(_json_answer_fields(text))
    for start in sorted(parts, reverse=True):
        yield parts[start]


def extract_boxed(text: str) -> str | None:
    """
    What stands in the last ``\\boxed{}``, spacing, fonts and an ``x =`` left out; a number as a
    number. One in a formula with variables is none.
    """
    inside = _last_box(_normalize_text(text))
    if inside is None:
        return None
    inside = _NAME_BEFORE.sub("", _DEGREES.sub("", inside))
    formula = plain_formulas.simplify_formula(inside, as_text=True)
    if not _has_variable(inside) and numbers.is_single_number(inside):
        return extract_number(rf"\boxed{{{inside}}}")
    return _SPACING.sub("", formula).rstrip(".") or None


def _has_variable(inside: str) -> bool:
    bare = re.sub(r"\\[a-zA-Z]+", " ", _WRAPPING.sub(" ", inside))
    return bool(_VARIABLE.search(_UNIT.sub(" ", bare)))


_AROUND = " *_`#>\"'.!:$“”„‚«»‘’。！"
"""What is left out around a text that is counted."""
_LIST_NUMBER = re.compile(r"\A\s*(?:[0-9]{1,2}[.)]|[-*•])\s+(?=\W{0,3}[^\W\d])")


def extract_last_line(text: str) -> str | None:
    """
    The last line that says something, casefolded, without punctuation around it; None where there
    is none.
    """
    lines = _nonempty_lines(_normalize_text(text))
    return " ".join(lines[-1].casefold().split()).strip(_AROUND) or None if lines else None


MAX_MARKED_CHARS = 40
"""Letters of the longest answer behind a mark that is no number: a sentence is none."""


def extract_marked(text: str) -> str | None:
    """
    The answer that a text plainly marks as its own: in a ``\\boxed{}``, behind ``####``,
    "Answer:" or "the answer is", or the whole text where that is a few words. A number as
    `extract_number` writes it, a letter as a capital, else small letters; None without one.
    """
    text = _normalize_text(text)
    lines = _nonempty_lines(text)
    short = len(lines) == 1 and len(lines[0]) <= MAX_MARKED_CHARS and len(lines[0].split()) <= 5
    whole = lines if short else []
    for part in (_LIST_NUMBER.sub("", one) for one in (*_answer_parts(text), *whole)):
        if match := _LONE_LETTER.fullmatch(part):
            return match[1].upper()
        with suppress(numbers.UnclearError):
            value = None if numbers.names_moment(part) else _read_number(part)
            if value is not None:
                return _format_number(value)
        plain = " ".join(plain_formulas.simplify_formula(part, as_text=True).casefold().split())
        plain = plain.strip(_AROUND)
        if 0 < len(plain) <= MAX_MARKED_CHARS:
            return plain
    return None


EXTRACTORS: Mapping[str, Callable[[str], str | None]] = {
    "number": extract_number,
    "choice": extract_choice,
    "boxed": extract_boxed,
    "last-line": extract_last_line,
}
"""What a configuration can name, besides ``text``."""


def _normalize_text(text: str) -> str:
    """The end of a text without its thoughts, wide letters and the like as on a keyboard."""
    # A thought may settle on another answer first.
    return plain_characters.normalize_characters(without_thoughts(text))


def _nonempty_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip(" \t*_`#>-=")]


def _last_box(text: str) -> str | None:
    r"""The inside of the last ``\boxed{…}`` that is closed."""
    return next((inside for _, inside in _find_boxes(text)), None)


def _find_boxes(text: str) -> Iterator[tuple[int, str]]:
    r"""Where the last closed ``\boxed{…}`` stands, and its inside."""
    for start in [m.end() for m in re.finditer(r"\\f?boxed\s*\{", text)][
        : -MAX_ANSWER_MARKS - 1 : -1
    ]:
        depth = 1
        for at in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                yield start, text[start:at]
                break
