"""
The rows of a file, each with its line: JSON lines, one JSON list, or objects one after another.

Every command reads its rows here. What JSON does not allow is refused with the file and the line.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import json
import lzma
import math
import re
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast

import msgspec

from mixtura.errors import ConfigError

T = TypeVar("T")
Row = dict[str, Any]
ADDRESSES = ("http://", "https://")
SPACE = " \t\r\n"
"""What JSON counts as space. A row ends at a line feed and at nothing else."""

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_PACKED = (
    (b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ\0", lzma.decompress),
)  # fmt: skip
_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\0-\x1f]")


class Placed(NamedTuple):
    """A row and its line in the file, from 1."""

    line: int
    row: Row


def read(data: str) -> list[Placed]:
    """The rows of a file or an address, compressed or not. Raises ConfigError, with the line."""
    reading = _Reading(data, text(data))
    found = list(reading.rows())
    if not found:
        raise ConfigError(f"{data}: there are no rows in it")
    return found


def where(data: str, line: int) -> str:
    """How an error names a place."""
    return f"{data}, line {line}"


def converted(data: str, placed: Placed, kind: type[T]) -> T:
    """A row as a *kind*. Raises ConfigError with the line and the field."""
    try:
        return msgspec.convert(placed.row, kind)
    except msgspec.ValidationError as error:
        problem, _, inside = str(error).partition(" - at `$.")
        field = f"{inside.rstrip('`')}: " if inside else ""
        raise ConfigError(f"{where(data, placed.line)}: {field}{problem}") from None


# ---- from a file to its text


def text(data: str) -> str:
    """
    The file's text, without a byte order mark; UTF-8, or what its mark says.

    What comes from an address is kept, and not fetched again. Raises ConfigError.
    """
    raw = _fetched(data) if data.startswith(ADDRESSES) else _loaded(data)
    try:
        for mark, unpack in _PACKED:
            if raw.startswith(mark):
                raw = unpack(raw)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise ConfigError(f"{data} cannot be read: {error}") from None
    coding = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(coding)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        if b"\0" in raw[:4096]:
            raise ConfigError(f"{data} cannot be read: it is no text in UTF-8") from None
        wrong = raw[error.start : error.start + 1].hex()
        raise ConfigError(f"{where(data, line)}: not UTF-8: there is a byte 0x{wrong}") from None


def _loaded(data: str) -> bytes:
    try:
        return Path(data).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"{data} cannot be read: {error.strerror}") from None


def _fetched(data: str) -> bytes:
    import fsspec  # pyright: ignore[reportMissingTypeStubs]
    import platformdirs

    folder = platformdirs.user_cache_path("mixtura") / "datasets"
    kept = {"cache_storage": str(folder)}
    try:
        opened = cast(
            AbstractContextManager[BinaryIO],
            fsspec.open(f"filecache::{data}", "rb", filecache=kept),  # pyright: ignore
        )
        with opened as file:
            return file.read()
    except Exception as error:  # noqa: BLE001  (aiohttp has errors of its own)
        said = f"{data} cannot be fetched: {type(error).__name__}: {error}"
        raise ConfigError(f"{said}. Give a file: --data FILE") from None


# ---- from a text to its rows


class _NotJsonError(ValueError):
    """A value that Python's reader takes and JSON does not have."""


def _object(pairs: list[tuple[str, Any]]) -> Row:
    found: Row = {}
    for name, value in pairs:
        if name in found:
            raise _NotJsonError(f"the key '{name}' stands twice in one object")
        found[name] = value
    return found


def _constant(name: str) -> Any:
    raise _NotJsonError(f"{name} is no value in JSON: write null, a number or a text")


def _float(written: str) -> float:
    if not math.isfinite(found := float(written)):
        raise _NotJsonError(f"the number {written} is too large")
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_float=_float)


class _Reading:
    """One text being read."""

    def __init__(self, data: str, whole: str) -> None:
        self._data = data
        self._text = whole
        self._counted = (0, 1)
        """A place in the text and its line."""

    def rows(self) -> Iterator[Placed]:
        start = self._after_space(0)
        if self._text.startswith("[", start) and self._is_one_list(start):
            yield from self._listed(start + 1)
        else:
            yield from self._in_lines()

    def _in_lines(self) -> Iterator[Placed]:
        """A row a line, or one over several lines, as it stands in indented JSON."""
        begin = 0
        while begin < len(self._text):
            end = self._end_of_line(begin)
            if self._text[begin:end].strip(SPACE):
                row, after = self._decoded(self._after_space(begin), end)
                yield self._placed(begin, row)
                end = self._end_of_line(after)
                if rest := self._text[after:end].strip(SPACE):
                    said = "a second value" if rest[0] in '{["' else f"'{rest[:20]}'"
                    raise self._error(begin, f"{said} stands behind the row: each has its own line")
            begin = end + 1

    def _decoded(self, start: int, end: int) -> tuple[Any, int]:
        """The value at *start*, and where it ends, be it behind the line's *end*."""
        try:
            return _DECODER.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            following = self._text[end : end + 200].strip(SPACE)
            continued = error.pos >= end and following[:1] not in ("{", "[", "")
            place = error.pos if continued else start
            if error.pos >= end and not continued:
                raise self._error(place, "not JSON: the row breaks off") from None
            raise self._error(place, f"not JSON: {self._complaint(error)}") from None
        except RecursionError:
            raise self._error(start, "not to be read: it is nested too deeply") from None
        except _NotJsonError as error:
            raise self._error(start, str(error)) from None
        except ValueError:  # Python reads no whole number of so many digits
            raise self._error(start, "a number has too many digits") from None

    def _complaint(self, error: json.JSONDecodeError) -> str:
        column = error.pos - self._text.rfind("\n", 0, error.pos)
        if found := _CONTROL.match(self._text, error.pos):
            return f"a text may not have the bare character U+{ord(found[0]):04X} (column {column})"
        return f"{error.msg} (column {column})"

    # ---- one list

    def _is_one_list(self, start: int) -> bool:
        """Whether the bracket at *start* opens a list of all rows, and not a row."""
        first = self._text[start : self._end_of_line(start)]
        try:
            value, end = _DECODER.raw_decode(first)
        except (ValueError, RecursionError):
            return True
        alone = not self._text[start + end :].strip(SPACE)
        return alone and (not value or any(isinstance(row, dict) for row in value))

    def _listed(self, at: int) -> Iterator[Placed]:
        at = self._after_space(at)
        while not self._text.startswith("]", at):
            row, after = self._decoded(at, len(self._text))
            yield self._placed(at, row)
            at = self._after_space(after)
            if self._text.startswith(",", at):
                at = self._after_space(at + 1)
                if self._text.startswith("]", at):
                    raise self._error(at, "not JSON: a comma stands behind the last row")
            elif not self._text.startswith("]", at):
                raise self._error(min(at, len(self._text) - 1), "not JSON: the list does not go on")
        if self._text[at + 1 :].strip(SPACE):
            raise self._error(at, "something stands behind the list of rows")

    # ---- places

    def _placed(self, at: int, row: Any) -> Placed:
        if not isinstance(row, dict):
            kinds: dict[type[object], str] = {
                list: "a list",
                str: "a text",
                bool: "true or false",
                type(None): "null",
            }
            kind = kinds.get(cast(type[object], type(row)), "a number")
            raise self._error(at, f'a row is a JSON object, as in {{"input": "…"}}, and not {kind}')
        found = cast(Row, row)
        if (half := _halved(found)) is not None:
            said = f"a text has the half of a character (\\u{ord(half):04x} without its other half)"
            raise self._error(at, said)
        return Placed(self._line(at), found)

    def _line(self, at: int) -> int:
        since, line = self._counted if self._counted[0] <= at else (0, 1)
        self._counted = (at, line + self._text.count("\n", since, at))
        return self._counted[1]

    def _error(self, place: int, problem: str) -> ConfigError:
        return ConfigError(f"{where(self._data, self._line(place))}: {problem}")

    def _end_of_line(self, start: int) -> int:
        found = self._text.find("\n", start)
        return len(self._text) if found < 0 else found

    def _after_space(self, start: int) -> int:
        while start < len(self._text) and self._text[start] in SPACE:
            start += 1
        return start


def _halved(value: object) -> str | None:
    """A surrogate without its other half in any text; no protocol can send it."""
    if isinstance(value, str):
        found = _HALF.search(value)
        return found[0] if found else None
    if isinstance(value, dict):
        parts = [part for item in cast(Row, value).items() for part in item]
    else:
        parts = cast(list[Any], value) if isinstance(value, list) else []
    return next((half for part in parts if (half := _halved(part)) is not None), None)
