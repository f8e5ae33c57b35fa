"""The rows of a file, each with its line: JSON lines, one JSON list, or objects one after another.

Every command reads its rows here. What JSON does not allow is refused with the file and the line.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import math
import re
import socket
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import msgspec

from mixtura.catalog.user_files import expand_home
from mixtura.core.errors import ConfigError
from mixtura.core.file_forms import describe_other_form
from mixtura.core.text_encoding import decode_text
from mixtura.transport.connection_errors import describe_network_error

T = TypeVar("T")
Row = dict[str, Any]
URL_PREFIXES = ("http://", "https://")
SPACE = " \t\r\n"
"""What JSON counts as space. A row ends at a line feed and at nothing else."""

# UTF-32 before UTF-16: the mark of the one begins with that of the other.
_PACKED = (
    (b"\x1f\x8b", gzip.decompress), (b"BZh", bz2.decompress), (b"\xfd7zXZ\0", lzma.decompress),
)  # fmt: skip
_HALF = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\0-\x1f]")


class NumberedRow(NamedTuple):
    """A row and its line in the file, from 1."""

    line: int
    row: Row


def read_rows(data: str) -> list[NumberedRow]:
    """The rows of a file or an address, compressed or not. Raises ConfigError, with the line."""
    reading = _RowParser(data, read_text(data))
    rows = list(reading.parse_rows())
    if not rows:
        raise ConfigError(f"{data} has no rows")
    return rows


def source_location(data: str, line: int) -> str:
    """How an error names a place."""
    return f"{data}, line {line}"


def convert_row(data: str, placed: NumberedRow, kind: type[T]) -> T:
    """A row as a *kind*. Raises ConfigError with the line and the field."""
    try:
        return msgspec.convert(placed.row, kind)
    except msgspec.ValidationError as error:
        problem, _, inside = str(error).partition(" - at `$.")
        field = f"{inside.rstrip('`')}: " if inside else ""
        raise ConfigError(f"{source_location(data, placed.line)}: {field}{problem}") from None


# ---- from a file to its text


def read_text(data: str) -> str:
    """
    The file's text, without a byte order mark; UTF-8, or what its mark says.

    What comes from an address is kept, and not fetched again. Raises ConfigError for what cannot be
    read or fetched, is damaged, or is no text.
    """
    raw = _fetch_cached(data) if data.startswith(URL_PREFIXES) else _read_file(data)
    try:
        for mark, unpack in _PACKED:
            if raw.startswith(mark):
                raw = unpack(raw)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise ConfigError(f"{data} cannot be read: {error}") from None
    try:
        return decode_text(raw)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        # Text has no zero bytes: a line number would only lead astray.
        if b"\0" in raw[:4096]:
            said = describe_other_form(raw) or "it is not UTF-8 text"
            raise ConfigError(f"{data} cannot be read: {said}") from None
        wrong = raw[error.start : error.start + 1].hex()
        raise ConfigError(
            f"{source_location(data, line)}: not UTF-8: it contains the byte 0x{wrong}"
        ) from None


def _read_file(data: str) -> bytes:
    try:
        return expand_home(data).read_bytes()
    except OSError as error:
        raise ConfigError(f"{data} cannot be read: {error.strerror}") from None


def _fetch_cached(data: str) -> bytes:
    import fsspec  # pyright: ignore[reportMissingTypeStubs]
    import platformdirs

    folder = platformdirs.user_cache_path("mixtura") / "datasets"
    kept = {"cache_storage": str(folder)}
    try:
        opened = cast(
            # Two runs on one address must see the same rows, whatever happens to it between them.
            AbstractContextManager[BinaryIO],
            fsspec.open(f"filecache::{data}", "rb", filecache=kept),  # pyright: ignore
        )
        with opened as file:
            return file.read()
    except Exception as error:  # noqa: BLE001  (aiohttp has errors of its own)
        problem = f"{data} cannot be downloaded: {_describe_fetch_error(data, error)}"
        raise ConfigError(f"{problem}. Give a file: --data FILE") from None


def _describe_fetch_error(data: str, error: Exception) -> str:
    """Why an address gave nothing: fsspec calls every failure a file that was not found."""
    parts = urlsplit(data)
    if not {"http", "https", "all"} & set(getproxies()) and parts.hostname:
        usual = 443 if parts.scheme == "https" else 80
        try:
            socket.create_connection((parts.hostname, parts.port or usual), timeout=5).close()
        except (OSError, ValueError) as network:
            return describe_network_error(network)
    if isinstance(error, FileNotFoundError):
        return "the server does not have this file, or does not respond"
    return str(error) or "the download failed"


# ---- from a text to its rows


class _NotJsonError(ValueError):
    """A value that Python's reader takes and JSON does not have."""


def _object_from_pairs(pairs: list[tuple[str, Any]]) -> Row:
    row: Row = {}
    for name, value in pairs:
        # Python would keep the last one, and no one would know that the first is gone.
        if name in row:
            raise _NotJsonError(f"the key '{name}' appears twice in one object")
        row[name] = value
    return row


def _reject_constant(name: str) -> Any:
    raise _NotJsonError(f"{name} is not a value in JSON: write null, a number or a string")


def _parse_finite_float(written: str) -> float:
    if not math.isfinite(number := float(written)):
        raise _NotJsonError(f"the number {written} is too large")
    return number


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_from_pairs,
    parse_constant=_reject_constant,
    parse_float=_parse_finite_float,
)


class _RowParser:
    """One text being read."""

    def __init__(self, data: str, whole: str) -> None:
        self._data = data
        self._text = whole
        self._counted = (0, 1)
        """A place in the text and its line."""

    def parse_rows(self) -> Iterator[NumberedRow]:
        start = self._skip_space(0)
        if self._text.startswith("[", start) and self._is_row_list(start):
            yield from self._parse_list(start + 1)
        else:
            yield from self._parse_lines()

    def _parse_lines(self) -> Iterator[NumberedRow]:
        """A row a line, or one over several lines, as it stands in indented JSON."""
        begin = 0
        while begin < len(self._text):
            end = self._line_end(begin)
            if self._text[begin:end].strip(SPACE):
                row, after = self._decode_value(self._skip_space(begin), end)
                yield self._numbered_row(begin, row)
                end = self._line_end(after)
                if rest := self._text[after:end].strip(SPACE):
                    said = "a second value" if rest[0] in '{["' else f"'{rest[:20]}'"
                    raise self._error_at(
                        begin, f"{said} follows the row: put each row on its own line"
                    )
            begin = end + 1

    def _decode_value(self, start: int, end: int) -> tuple[Any, int]:
        """The value at *start*, and where it ends, be it behind the line's *end*."""
        try:
            return _DECODER.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            following = self._text[end : end + 200].strip(SPACE)
            # An error beyond the line: either the row goes on there, or the next one has begun.
            continued = error.pos >= end and following[:1] not in ("{", "[", "")
            place = error.pos if continued else start
            if error.pos >= end and not continued:
                raise self._error_at(place, "not JSON: the row is incomplete") from None
            other = describe_other_form(self._text[start : start + 20_000].encode())
            said = other or self._describe_error(error)
            raise self._error_at(place, f"not JSON: {said}") from None
        except RecursionError:
            raise self._error_at(start, "the row is nested too deeply") from None
        except _NotJsonError as error:
            raise self._error_at(start, str(error)) from None
        except ValueError:  # Python reads no whole number of so many digits
            raise self._error_at(start, "a number has too many digits") from None

    def _describe_error(self, error: json.JSONDecodeError) -> str:
        column = error.pos - self._text.rfind("\n", 0, error.pos)
        if control := _CONTROL.match(self._text, error.pos):
            return (
                f"the control character U+{ord(control[0]):04X} in a text must be escaped"
                f" (column {column})"
            )
        return f"{error.msg} (column {column})"

    # ---- one list

    def _is_row_list(self, start: int) -> bool:
        """Whether the bracket at *start* opens a list of all rows, and not a row."""
        first = self._text[start : self._line_end(start)]
        try:
            value, end = _DECODER.raw_decode(first)
        except (ValueError, RecursionError):
            return True
        alone = not self._text[start + end :].strip(SPACE)
        return alone and (not value or any(isinstance(row, dict) for row in value))

    def _parse_list(self, at: int) -> Iterator[NumberedRow]:
        at = self._skip_space(at)
        while not self._text.startswith("]", at):
            row, after = self._decode_value(at, len(self._text))
            yield self._numbered_row(at, row)
            at = self._skip_space(after)
            if self._text.startswith(",", at):
                at = self._skip_space(at + 1)
                if self._text.startswith("]", at):
                    raise self._error_at(at, "not JSON: there is a comma after the last row")
            elif not self._text.startswith("]", at):
                raise self._error_at(
                    min(at, len(self._text) - 1), "not JSON: a comma or ] must follow the row"
                )
        if self._text[at + 1 :].strip(SPACE):
            raise self._error_at(at, "nothing may follow the list of rows")

    # ---- places

    def _numbered_row(self, at: int, row: Any) -> NumberedRow:
        if not isinstance(row, dict):
            kinds: dict[type[object], str] = {
                list: "a list",
                str: "a text",
                bool: "true or false",
                type(None): "null",
            }
            kind = kinds.get(cast(type[object], type(row)), "a number")
            raise self._error_at(
                at, f'a row must be a JSON object, such as {{"input": "…"}}, not {kind}'
            )
        found = cast(Row, row)
        if (half := _find_lone_surrogate(found)) is not None:
            said = f"a text has half a character: the lone surrogate \\u{ord(half):04x}"
            raise self._error_at(at, said)
        return NumberedRow(self._line_number(at), found)

    def _line_number(self, at: int) -> int:
        # From the last place on: from the beginning each time, the lines of n rows would take n²
        # steps.
        since, line = self._counted if self._counted[0] <= at else (0, 1)
        self._counted = (at, line + self._text.count("\n", since, at))
        return self._counted[1]

    def _error_at(self, place: int, problem: str) -> ConfigError:
        return ConfigError(f"{source_location(self._data, self._line_number(place))}: {problem}")

    def _line_end(self, start: int) -> int:
        end = self._text.find("\n", start)
        return len(self._text) if end < 0 else end

    def _skip_space(self, start: int) -> int:
        while start < len(self._text) and self._text[start] in SPACE:
            start += 1
        return start


def _find_lone_surrogate(value: object) -> str | None:
    """A surrogate without its other half in any text; no protocol can send it."""
    if isinstance(value, str):
        half_match = _HALF.search(value)
        return half_match[0] if half_match else None
    if isinstance(value, dict):
        parts = [part for item in cast(Row, value).items() for part in item]
    else:
        parts = cast(list[Any], value) if isinstance(value, list) else []
    return next((half for part in parts if (half := _find_lone_surrogate(part)) is not None), None)
