"""The line of every table, key and element of a TOML file that tomllib has read."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from dataclasses import dataclass

Key = str | int
Path = tuple[Key, ...]
MAX_DEPTH = 100
"""Tables and lists inside each other at most: no configuration has a tenth of it."""

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACES = re.compile(r"[ \t]*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\\n])*"|'[^'\n]*'""")
_SCALAR = re.compile(
    # a text over several lines may end in up to two quotation marks of its own
    r'"""(?:"{0,2}(?:\\[\s\S]|[^"\\]))*"{3,5}' + r"|'''(?:'{0,2}[^'])*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"' + r"|'[^'\n]*'"
    r"|\d{4}-\d\d-\d\d[ ]\d\d:[^\s,\]}#]*"  # a date and its time, with a space between
    r"|[^\s,\]}#]+"
)


def find_line_numbers(text: str) -> dict[Path, int]:
    """The line, from 1, of all that stands in *text* by its path; *text* is valid TOML."""
    scanner = _LineScanner(text)
    scanner.scan_file()
    return scanner.lines


@dataclass(slots=True)
class _OpenValue:
    """A list or an inline table whose end has not come yet."""

    path: Path
    closing_bracket: str
    index: int = 0


class _LineScanner:
    """Walks over a file without recursion, so that any depth that tomllib reads can be read."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line_ends = [match.start() for match in re.finditer("\n", text)]
        self._table: Path = ()
        self._table_counts: dict[Path, int] = {}
        self._open: list[_OpenValue] = []

    def scan_file(self) -> None:
        while self._skip_match(_BLANK) < len(self._text):
            if self._open:
                self._scan_inside(self._open[-1])
            elif self._text[self._at] == "[":
                self._scan_header()
            else:
                self._scan_assignment(self._table)

    def _scan_header(self) -> None:
        """``[x]`` or ``[[x]]``: the table that the following keys are in."""
        line = self._line_number()
        is_element = self._text.startswith("[[", self._at)
        self._at += 2 if is_element else 1
        path: Path = ()
        for name in self._read_key()[:MAX_DEPTH]:
            if count := self._table_counts.get(path):
                path = (*path, count - 1)  # inside a list of tables: in its last one by now
            path = (*path, name)
            self.lines.setdefault(path, line)
        if is_element:
            count = self._table_counts.get(path, 0)
            self._table_counts[path] = count + 1
            path = (*path, count)
        self._at += 2 if is_element else 1
        self.lines[path] = line  # its own header says more than that of a table inside it
        self._table = path

    def _scan_inside(self, container: _OpenValue) -> None:
        """The next thing in a list or an inline table, or its end."""
        sign = self._text[self._at]
        if sign == container.closing_bracket:
            self._open.pop()
            self._at += 1
        elif sign == ",":
            container.index += 1
            self._at += 1
        elif container.closing_bracket == "]":
            path = (*container.path, container.index)
            self.lines[path] = self._line_number()
            self._scan_value(path)
        else:
            self._scan_assignment(container.path)

    def _scan_assignment(self, inside: Path) -> None:
        line = self._line_number()
        path = inside
        for name in self._read_key()[:MAX_DEPTH]:
            path = (*path, name)
            self.lines.setdefault(path, line)
        self._at += 1  # the equals sign
        self._skip_match(_SPACES)
        self._scan_value(path)

    def _scan_value(self, path: Path) -> None:
        sign = self._text[self._at]
        if sign in "[{":
            self._open.append(_OpenValue(path, "]" if sign == "[" else "}"))
            self._at += 1
        else:
            self._skip_match(_SCALAR)

    def _read_key(self) -> list[str]:
        """The names of a key with dots; ends at what follows it."""
        names: list[str] = []
        while not names or self._text[self._at] == ".":
            self._at += 1 if names else 0
            start = self._skip_match(_SPACES)
            names.append(_unquote_key(self._text[start : self._skip_match(_KEY)]))
            self._skip_match(_SPACES)
        return names

    def _skip_match(self, pattern: re.Pattern[str]) -> int:
        """Goes behind what *pattern* matches here; returns that place."""
        if match := pattern.match(self._text, self._at):
            self._at = match.end()
        return self._at

    def _line_number(self) -> int:
        return bisect_left(self._line_ends, self._at) + 1


def _unquote_key(word: str) -> str:
    if word.startswith('"'):
        return tomllib.loads(f"key = {word}")["key"]
    return word.strip("'")
