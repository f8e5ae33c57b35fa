"""The page's scripts as tests see them: their strings, their markup, their files of words."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mixtura.web import assets

WEB = Path(assets.__file__).parent
SCRIPTS = sorted(WEB.glob("*.mjs"))
LANGUAGES = sorted(path.stem for path in (WEB / "words").glob("*.mjs"))
Entry = str | dict[str, str]

_BEFORE_REGEX = re.compile(r"(?:^|[(,=:\[!&|?{};~+\-*%<>]|\breturn|\btypeof)\s*$")
_REGEX = re.compile(r"/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/[a-z]*")
_STRING = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'')
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
HOLE = "\0"
"""Stands in a template's text for every expression in it."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, or a template with a hole for each expression."""

    text: str
    tag: str = ""
    """What stands before a template: `html` where it is markup."""


def find_literals(source: str) -> list[Literal]:
    """Every string and template of a script, those inside templates too."""
    found: list[Literal] = []
    _scan(source, 0, found)
    return found


def _scan(source: str, at: int, found: list[Literal]) -> int:
    """Read code from *at* to the brace that closes it; where that is."""
    depth, start = 0, at
    while at < len(source):
        sign = source[at]
        if skipped := _COMMENT.match(source, at):
            at = skipped.end()
        elif string := _STRING.match(source, at):
            found.append(Literal(string[0][1:-1]))
            at = string.end()
        elif sign == "`":
            at = _scan_template(source, at, found)
        elif sign == "/" and _BEFORE_REGEX.search(source[max(start, at - 40) : at]):
            regex = _REGEX.match(source, at)
            at = regex.end() if regex else at + 1
        else:
            depth += (sign == "{") - (sign == "}")
            if depth < 0:
                return at
            at += 1
    return at


def _scan_template(source: str, at: int, found: list[Literal]) -> int:
    before = re.search(r"(\w*)$", source[max(0, at - 20) : at])
    text, at = "", at + 1
    while source[at] != "`":
        if source.startswith("${", at):
            at = _scan(source, at + 2, found)
            text += HOLE
        elif source[at] == "\\":
            text += {"n": "\n"}.get(source[at + 1], source[at + 1])
            at += 1
        else:
            text += source[at]
        at += 1
    found.append(Literal(text, before[1] if before else ""))
    return at + 1


_SAID_ATTRIBUTES = re.compile(
    r'\b(?:aria-label|aria-description|title|placeholder|alt|label|hint)="([^"]*)"'
)


def find_said_words(markup: str) -> Iterator[str]:
    """What of a template of markup is read by people: its texts and the names of its elements."""
    plain = re.sub(r"<(code|kbd)\b[^>]*>.*?</\1>", " ", markup, flags=re.DOTALL)
    yield from (found[1] for found in _SAID_ATTRIBUTES.finditer(plain))
    yield from re.split(r"<[^>]*>", plain)


@cache
def read_words(language: str) -> dict[str, Entry]:
    """A file of words as data."""
    source = _COMMENT_LINE.sub("", (WEB / "words" / f"{language}.mjs").read_text())
    strings: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        strings.append(match[0])
        return f"@{len(strings) - 1}@"

    bare = _STRING.sub(put_aside, source.removeprefix("export default ").rstrip("; \n"))
    bare = re.sub(r"\b([a-z_]\w*)\s*:", r'"\1":', bare)
    bare = re.sub(r",(\s*\})", r"\1", bare)
    return json.loads(re.sub(r"@(\d+)@", lambda match: strings[int(match[1])], bare))


_COMMENT_LINE = re.compile(r"(?m)^\s*//.*\n")


def forms(entry: Entry) -> list[str]:
    return [entry] if isinstance(entry, str) else list(entry.values())


def vocabulary(language: str) -> set[str]:
    """Every word of a language's file, in small letters."""
    texts = (text for entry in read_words(language).values() for text in forms(entry))
    return {word for text in texts for word in split_words(re.sub(r"\{\w+\}", " ", text))}


def split_words(text: str) -> list[str]:
    """Words of two letters and more, in small letters."""
    return [word.lower() for word in re.findall(r"[^\W\d_]{2,}", text)]
