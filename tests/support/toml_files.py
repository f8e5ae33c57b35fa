"""TOML files in every spelling that the language has, each with the line of all that is in it."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import strategies as st

SCALARS = [
    "1", "-1_000", "0xdead_BEEF", "0o17", "0b1", "1.5", "-6.02e+23", "true", "false", "''", '""',
    "1979-05-27", "07:32:00", "07:32:00.999", "1979-05-27T07:32:00Z", "1979-05-27t07:32:00",
    "1979-05-27 07:32:00", "1979-05-27 07:32:00.5-07:00", "1979-05-27 07:32:00z",
    '"a # b"', '"]}\\"="', '"\\\\"', '"\\u00e9\\U0001F600"', "'C:\\'", "'a \"\"\" # ] b'",
    '"""\n[x]\ny = 1\n"""', '"""a\\\n   b"""', '"""""two before, two after"""""', '"""\\""" # """',
    "'''\n[x]\n'''", "'''''two and two'''''", "'''\\'''",
]  # fmt: skip
MULTI_LINE = st.lists(
    st.sampled_from(
        ["a", '"', '""', "'", "''", "\n", "\\\n \n ", '\\"', "\\\\", "#", "]", "{", "é"]
    ),
    max_size=8,
).map("".join)
SCALAR = st.one_of(
    st.sampled_from(SCALARS),
    MULTI_LINE.filter(lambda text: '"""' not in text).map('"""{}"""'.format),
    MULTI_LINE.filter(lambda text: "'''" not in text).map("'''{}'''".format),
)
NAME = st.one_of(
    st.sampled_from(["a", "b", "a-b", "a.b", "1", "07", "1979-05-27 07", "", "[x]", "=", "#", '"']),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
VALUE: st.SearchStrategy[Any] = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAME, inner, max_size=3),
        st.lists(st.dictionaries(NAME, inner, max_size=2), min_size=1, max_size=3),
    ),
    max_leaves=10,
)
COMMENT = st.sampled_from(["", "", "", "# [c] = {\"'", '# """', "\t# '''"])
SPACE = st.sampled_from(["", " ", "\t "])


class TomlFile:
    """A file as it is written, piece by piece, and the line of everything in it by its path."""

    def __init__(self, draw: Any) -> None:
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}
        self._draw = draw

    def write_table(self, table: dict[str, Any], path: tuple = (), names: tuple = ()) -> None:
        """What stands under a header, and the tables below it; *names*: how a header names it."""
        own, below = {}, {}
        for key, value in table.items():
            can_have_header = isinstance(value, dict) or (
                isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
            )
            (below if can_have_header and self._draw(st.booleans()) else own)[key] = value
        is_element = bool(path) and isinstance(path[-1], int)
        is_last = bool(path) and not is_element and self._draw(st.booleans())
        if not is_last:
            self._write_own(own, path, names, is_element, needed=not below)
        for key, value in below.items():
            if isinstance(value, dict):
                self.write_table(value, (*path, key), (*names, key))
            else:
                for index, element in enumerate(value):
                    self.write_table(element, (*path, key, index), (*names, key))
        if is_last:
            self._write_own(own, path, names, is_element, needed=not below)

    def _write_own(self, own, path, names, is_element: bool, needed: bool) -> None:
        if path and (own or needed or is_element or self._draw(st.booleans())):
            self._write_header(path, names, is_element)
        for key, value in own.items():
            self._write_assignment(path, (key,), value)

    def _write_header(self, path, names, is_element: bool) -> None:
        self._mention(path)
        self.lines[path] = self._line()
        brackets = ("[[", "]]") if is_element else ("[", "]")
        self._write(self._draw(SPACE), brackets[0], self._spell_key(names), brackets[1])
        self._end_line()

    def _write_assignment(self, inside, names, value: Any) -> None:
        if isinstance(value, dict) and value and self._draw(st.booleans()):
            for key, inner in value.items():
                self._write_assignment(inside, (*names, key), inner)
            return
        self._mention((*inside, *names), len(inside))
        self._write(self._draw(SPACE), self._spell_key(names), "=", self._draw(SPACE))
        self._write_value(value, (*inside, *names))
        self._end_line()

    def _write_value(self, value: Any, path: tuple) -> None:
        if isinstance(value, list):
            self._write("[")
            for index, inner in enumerate(value):
                self._break_line()
                self._mention((*path, index), len(path))
                self._write_value(inner, (*path, index))
                self._break_line()
                self._write("," if index + 1 < len(value) or self._draw(st.booleans()) else "")
            self._break_line()
            self._write("]")
        elif isinstance(value, dict):
            self._write("{")
            for number, (key, inner) in enumerate(value.items()):
                self._mention((*path, key), len(path))
                self._write(", " if number else "", self._spell_key((key,)), " = ")
                self._write_value(inner, (*path, key))
            self._write("}")
        else:
            self._write(value)

    def _spell_key(self, names) -> str:
        spelled = [self._draw(SPACE) + self._spell_name(name) + self._draw(SPACE) for name in names]
        return ".".join(spelled)

    def _spell_name(self, name: str) -> str:
        ways = ["basic", "escaped"]
        ways += ["bare"] * bool(re.fullmatch(r"[A-Za-z0-9_-]+", name))
        ways += ["literal"] * bool(re.fullmatch(r"[^'\x00-\x08\x0a-\x1f\x7f]*", name))
        way = self._draw(st.sampled_from(ways))
        if way == "bare":
            return name
        if way == "literal":
            return f"'{name}'"
        if way == "escaped":
            return '"' + "".join(f"\\U{ord(sign):08x}" for sign in name) + '"'
        return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007F")

    def _mention(self, path: tuple, known: int = 0) -> None:
        for length in range(known + 1, len(path) + 1):
            self.lines.setdefault(path[:length], self._line())

    def _break_line(self) -> None:
        if self._draw(st.booleans()):
            self._end_line()

    def _end_line(self) -> None:
        self._write(
            self._draw(SPACE), self._draw(COMMENT), self._draw(st.sampled_from(["\n", "\n\n"]))
        )

    def _write(self, *pieces: str) -> None:
        self.text += "".join(pieces)

    def _line(self) -> int:
        return self.text.count("\n") + 1


@st.composite
def toml_files(draw) -> TomlFile:
    """Valid files, also with Windows' line ends and its mark at the beginning."""
    file = TomlFile(draw)
    file.write_table(draw(st.dictionaries(NAME, VALUE, max_size=4)))
    if draw(st.booleans()):
        file.text = file.text.replace("\n", "\r\n")
    file.text = draw(st.sampled_from(["", "\ufeff"])) + file.text
    return file


@st.composite
def broken_files(draw) -> str:
    """Files in which something was taken out, put in or cut off; some are valid still."""
    text = draw(toml_files()).text
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.sampled_from([start, start + 1, start + 3, len(text)]))
        piece = draw(st.sampled_from(["", *"[]{}\"'=.,#\\\n\r \0é", '"""', "'''", "1979-05-27 "]))
        text = text[:start] + piece + text[end:]
    return text
