"""Final answers taken out of texts and written alike, so that they can be counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Literal

Extract = Literal["number", "choice", "boxed", "last-line", "text"]

LONGEST = 200
"""Characters of a number: what is longer is none."""
THE_END = 20_000
"""Characters at the end of a text in which its final answer is looked for."""

_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_ONE = rf"[-+]?(?:{_DIGITS}(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{{1,2}}(?![0-9]))?"
_NUMBER = re.compile(rf"(?<![\w.])({_ONE})(?:\s*/\s*({_DIGITS})(?![\w.]*[0-9]))?")
_ANSWER = re.compile(r"\banswer\b(?:\s+to\b[^.\n:=]{0,80}?)?[*_]*\s*(?:\bis\b|:|=)?", re.IGNORECASE)
_ANSWER_IS = re.compile(
    r"\banswer\b(?:\s+to\b[^.\n:=]{0,80}?)?[*_]*\s*(?:\bis\b|:|=)([^\n]{0,200})", re.IGNORECASE
)
# "A" may be an article, "I" a person, a small letter anything: they need an end behind them.
_LETTER = re.compile(
    r"""[\s*_`"'($\[]*(?:\\(?:text|mathrm|textbf|mathbf)\{\s*)?\(?"""
    r"""(?:([B-HJ])(?![\w'’])|([A-Ja-j])(?=[)\]}*.:]|[ \t]*(?:\n|$)|\s+(?:because|since|as)\b))"""
)
_ENCLOSED = re.compile(r"\(([A-J])\)|\*\*\(?([A-J])[).:]?\*\*")
_FIRST = re.compile(r"\s*\(?([A-J])[).:](?=\s|$)")
_ALONE = re.compile(r"[\s*_`#>(\[{]*([A-J])[\s*_`)\]}.:]*", re.IGNORECASE)
_WRAPPING = re.compile(r"\\(?:text|mathrm|textbf|mathbf|mathit|operatorname|mbox)\s*\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{?\s*(-?[0-9]+)\s*\}?\s*\{?\s*([0-9]+)\s*\}?")
_SPACING = re.compile(r"\\[!,;: ]|\\left|\\right|\\displaystyle|~|\$|\s+")


def number(text: str) -> str | None:
    """
    The number that a text comes to: in its last ``\\boxed{}``, behind its last ``####``, behind
    its last "answer" (of 2 + 2 = 4 the result), or else its last one. 1,234.50 is 1234.5, and
    3/4 is 0.75.
    """
    text = _plain(text)
    marks = [_boxed(text), _behind(text, "####"), _after_answer(text)]
    for part in marks:
        said = _unwrapped(part or "")
        if found := _NUMBER.search(said.rpartition("=")[2]) or _NUMBER.search(said):
            return _value(found)
    every = list(_NUMBER.finditer(_unwrapped(text)))
    return _value(every[-1]) if every else None


def choice(text: str) -> str | None:
    """
    The letter, A to J, that a text settles on: boxed, behind "answer", alone in the last line,
    in brackets or bold, or at the very beginning as in "B) …". None where none is plain.
    """
    text = _plain(text)
    boxed = _boxed(text)
    if boxed and (found := _LETTER.match(boxed)):
        return (found[1] or found[2]).upper()
    for mark in reversed(list(_ANSWER.finditer(text))):
        if found := _LETTER.match(text, mark.end()):
            return (found[1] or found[2]).upper()
    lines = _lines(text)
    if lines and (found := _ALONE.fullmatch(lines[-1])):
        return found[1].upper()
    if every := list(_ENCLOSED.finditer(text)):
        return (every[-1][1] or every[-1][2]).upper()
    return found[1].upper() if (found := _FIRST.match(text)) else None


def boxed(text: str) -> str | None:
    """What stands in the last ``\\boxed{}``, spacing and fonts left out; a number as a number."""
    inside = _boxed(_plain(text))
    if inside is None:
        return None
    said = _unwrapped(inside)
    if found := _NUMBER.fullmatch(said.strip(" %°")):
        return _value(found)
    return _SPACING.sub("", said).rstrip(".") or None


def last_line(text: str) -> str | None:
    """The last line that says something, in small letters, without marks around it."""
    lines = _lines(_plain(text))
    return " ".join(lines[-1].casefold().split()).strip(" *_`#>\"'.!:$") or None if lines else None


BY_NAME: Mapping[str, Callable[[str], str | None]] = {
    "number": number,
    "choice": choice,
    "boxed": boxed,
    "last-line": last_line,
}
"""What a configuration can name, besides ``text``."""


def _plain(text: str) -> str:
    """The end of a text, with wide digits, signs for minus and the like as on a keyboard."""
    end = unicodedata.normalize("NFKC", text[-THE_END:])
    return end.replace("−", "-").replace("–", "-")


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip(" \t*_`#>-=")]


def _boxed(text: str) -> str | None:
    r"""The inside of the last ``\boxed{…}`` that is closed."""
    for start in [m.end() for m in re.finditer(r"\\f?boxed\s*\{", text)][:-9:-1]:
        depth = 1
        for at in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[start:at]
    return None


def _behind(text: str, mark: str) -> str | None:
    """The rest of the line behind the last *mark* that a number follows."""
    for part in reversed(text.split(mark)[1:]):
        line = part.split("\n", 1)[0]
        if _NUMBER.search(line):
            return line
    return None


def _after_answer(text: str) -> str | None:
    for mark in reversed(list(_ANSWER_IS.finditer(text))):
        sentence = mark[1].split(". ", 1)[0]
        if _NUMBER.search(_unwrapped(sentence)):
            return sentence
    return None


def _unwrapped(text: str) -> str:
    """Formulas as a person types them: 3/4 for a fraction, words without their fonts."""
    text = _WRAPPING.sub(r"\1", text)
    text = _FRACTION.sub(r" \1/\2 ", text)
    return (
        text.replace(r"\!", "")
        .replace(r"\%", "%")
        .replace(r"\$", " ")
        .replace("$", " ")
        .replace("{,}", ",")
    )


def _value(found: re.Match[str]) -> str | None:
    """A number as it is counted: the shortest exact way to write it."""
    top, bottom = found[1].replace(",", ""), (found[2] or "1").replace(",", "")
    if len(top) + len(bottom) > LONGEST:
        return None
    try:
        return str(Fraction(top) / Fraction(bottom))
    except ZeroDivisionError:
        return None
