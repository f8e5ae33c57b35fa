"""How browsers and renderers of Markdown read a word: what entities, escapes and such hide."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable
from typing import NamedTuple

_MAY_HAVE_ADDRESS = re.compile(r"[.:&\\%/\u2024．。｡]")
_ENTITY = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")
_DOT = re.compile(r"%2e", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([!-/:-@\[-`{-~]))")
# Default-ignorable in Unicode, beside the category Cf.
_IGNORED = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u180f\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
)


class WordReading(NamedTuple):
    """A word as a program reads it; *starts* and *ends*: where each letter stands in the word."""

    text: str
    starts: list[int] | None = None
    ends: list[int] | None = None

    def place_in_word(self, start: int, end: int) -> tuple[int, int]:
        """Where in the word the letters from *start* to *end* stand."""
        if self.starts is None or self.ends is None or start >= end:
            return start, end
        return self.starts[start], self.ends[end - 1]


def read_word(word: str) -> tuple[WordReading, ...]:
    """
    *word* as a browser reads it, in which a backslash is a slash, and as Markdown and JSON do, in
    which it is an escape; one where these are the same, an empty one where no address can be.
    """
    if not _MAY_HAVE_ADDRESS.search(word):
        return (WordReading(""),)
    plain = WordReading(word)
    if "&" in word:
        plain = _replace(plain, _ENTITY, lambda match: html.unescape(match[0]))
    if not plain.text.isascii() or "\n" in plain.text or "\t" in plain.text or "\r" in plain.text:
        plain = _without_ignored(plain)
    raw = _replace(plain, _DOT, _write_dot) if "%" in plain.text else plain
    if "\\" not in plain.text:
        return (raw,)
    decoded = _replace(plain, _ESCAPE, _read_escape)
    decoded = _replace(_without_ignored(decoded), _DOT, _write_dot)
    return (raw, decoded)


def _write_dot(match: re.Match[str]) -> str:  # noqa: ARG001
    return "."


def _read_escape(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else match[2]


def _replace(
    reading: WordReading, pattern: re.Pattern[str], write: Callable[[re.Match[str]], str]
) -> WordReading:
    """The reading with what *pattern* finds in it as *write* writes it."""
    text, parts = reading.text, list[str]()
    starts, ends = list[int](), list[int]()
    at = 0
    for match in pattern.finditer(text):
        if (written := write(match)) == match[0]:
            continue
        parts.append(text[at : match.start()])
        _copy_places(reading, at, match.start(), starts, ends)
        parts.append(written)
        start, end = reading.place_in_word(match.start(), match.end())
        starts += [start] * len(written)
        ends += [end] * len(written)
        at = match.end()
    if not at:
        return reading
    parts.append(text[at:])
    _copy_places(reading, at, len(text), starts, ends)
    return WordReading("".join(parts), starts, ends)


def _copy_places(
    reading: WordReading, at: int, to: int, starts: list[int], ends: list[int]
) -> None:
    if reading.starts is None or reading.ends is None:
        starts += range(at, to)
        ends += range(at + 1, to + 1)
    else:
        starts += reading.starts[at:to]
        ends += reading.ends[at:to]


def _without_ignored(reading: WordReading) -> WordReading:
    """Without what browsers skip within a host: signs without width, tabs and ends of lines."""
    kept = [i for i, letter in enumerate(reading.text) if not _is_ignored(letter)]
    if len(kept) == len(reading.text):
        return reading
    places = [reading.place_in_word(i, i + 1) for i in kept]
    return WordReading(
        "".join(reading.text[i] for i in kept),
        [start for start, _ in places],
        [end for _, end in places],
    )


def _is_ignored(letter: str) -> bool:
    if letter.isascii():
        return letter in "\t\n\r"
    return (
        letter in _IGNORED
        or unicodedata.category(letter) == "Cf"
        or "\U000e0000" <= letter <= "\U000e0fff"
    )
