"""The records of an input, one after the other: JSON lines, CSV, text, Parquet, a data set."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from mixtura.catalog.user_files import path_kind
from mixtura.core import large_json
from mixtura.core.errors import ConfigError
from mixtura.core.file_forms import ZERO_BYTES, describe_other_form
from mixtura.core.json_text import (
    MAX_REQUEST_DEPTH,
    describe_decode_error,
    find_lone_surrogate,
    is_deeper_than,
)
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.text import to_one_line
from mixtura.core.text_encoding import MARK_BYTES, decode_text, find_encoding

Format = Literal["jsonl", "csv", "tsv", "text", "parquet", "openai", "dataset"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "tsv", "text", "parquet", "openai", "dataset")
_SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".csv": "csv", ".tsv": "tsv",
    ".txt": "text", ".parquet": "parquet",
}  # fmt: skip
DEFAULT_SPLIT = "train"
_DATASET_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_OPENAI_FIELDS = {"custom_id", "method", "url", "body"}
_TOO_DEEP_TEXT = f"its objects and lists are nested more than {MAX_REQUEST_DEPTH} deep"
_PARQUET_ROWS = 256
"""Rows of a Parquet file that are in memory at once."""


class Record(NamedTuple):
    """One record; *data* is decoded where it is needed, see ``fields``."""

    place: str
    """Where it stands, as errors say it."""
    data: bytes | Mapping[str, Any]

    def fields(self) -> Mapping[str, Any]:
        """Its fields by name. Raises ConfigError where it is no JSON object."""
        if not isinstance(self.data, bytes):
            return self.data
        try:
            found = large_json.decode(self.data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            half = find_lone_surrogate(self.data)
            said = f"a text has half a character: the lone surrogate {half}" if half else None
            if said is None and isinstance(error, UnicodeDecodeError):
                said = f"not UTF-8: it contains the byte 0x{error.object[error.start]:02x}"
            said = said or describe_other_form(self.data) or describe_decode_error(error)
            raise ConfigError(f"{self.place}: not JSON: {said}") from None
        except RecursionError:
            raise ConfigError(f"{self.place}: {_TOO_DEEP_TEXT}") from None
        flat = self.data.count(b"{") + self.data.count(b"[") <= MAX_REQUEST_DEPTH
        if not flat and is_deeper_than(found, MAX_REQUEST_DEPTH):
            raise ConfigError(f"{self.place}: {_TOO_DEEP_TEXT}")
        if isinstance(found, str):
            return {"prompt": found}
        if not isinstance(found, dict):
            raise ConfigError(f"{self.place}: a line must be a JSON object, or a text in quotes")
        row = cast(dict[str, Any], found)
        if (name := _repeated_name(self.data, row)) is not None:
            raise ConfigError(f"{self.place}: the key '{name}' appears twice in one object")
        return row


def _repeated_name(data: bytes, row: Mapping[str, Any]) -> str | None:
    """A name that stands twice in a row: of its values the decoder keeps the last."""
    # Looked for in the text first: nearly no row has one, and an exact look is slow. It is faster
    # for a great many names: the text would be read for each.
    if len(row) <= MAX_NAMES_LOOKED_FOR and not any(
        data.count(b'"%b"' % name.encode()) > 1 for name in row
    ):
        return None
    try:
        pairs: list[tuple[str, Any]] = json.loads(data, object_pairs_hook=_RowPairs)
    except (ValueError, RecursionError):  # a number of too many digits
        return None
    counts = Counter(name for name, _ in pairs)
    return next((name for name, count in counts.items() if count > 1), None)


MAX_NAMES_LOOKED_FOR = 50


class _RowPairs(list[tuple[str, Any]]):
    """The names and values of an object in their order."""


@dataclass(frozen=True, slots=True)
class Source:
    """
    An input that can be read more than once. *name* is a path, or a data set's name; *shown* is
    what errors call it.
    """

    name: str
    shown: str
    format: Format
    split: str = DEFAULT_SPLIT
    subset: str | None = None

    @property
    def folder(self) -> Path:
        """Where the paths of its pictures begin."""
        return Path() if self.format == "dataset" else Path(self.name).parent

    def text_encoding(self) -> str:
        """The encoding of the file's text, as its byte order mark says. Raises OSError."""
        with Path(self.name).open("rb") as file:
            return find_encoding(file.read(MARK_BYTES))

    def records(self) -> Iterator[Record]:
        """
        Every record, read as it is needed. Raises ConfigError for what cannot be read, and where
        a package is missing.
        """
        try:
            yield from _READERS[self.format](self)
        except OSError as error:
            raise ConfigError(f"{self.shown} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"{self.shown} is not UTF-8 text: save it as UTF-8") from None


def find_source(
    path: Path,
    *,
    name: str,
    format: Format | None = None,  # noqa: A002
    split: str = DEFAULT_SPLIT,
    subset: str | None = None,
) -> Source:
    """
    The input called *name*, a file at *path* or a data set of the Hugging Face hub. Raises
    ConfigError where it is neither, or its format cannot be told.
    """
    shown = to_one_line(name)
    if "://" in name:
        raise ConfigError(f"{shown} is a web address: download it, and name the file")
    if format == "dataset" or (format is None and not path_kind(path) and _is_dataset_name(name)):
        return Source(name, shown, "dataset", split, subset)
    if path_kind(path) == "folder":
        raise ConfigError(
            f"{shown} is a folder: name a file in it, or read it as a data set, with"
            " --format dataset"
        )
    if not path_kind(path):
        raise ConfigError(
            f"there is no file {shown} (a data set of the Hugging Face hub is OWNER/NAME)"
        )
    if split != DEFAULT_SPLIT or subset is not None:
        raise ConfigError(f"--split and --subset are for data sets, but {shown} is a file")
    if format is None:
        format = _SUFFIXES.get(path.suffix.lower())  # noqa: A001
    if format is None:
        known = ", ".join(_SUFFIXES)
        raise ConfigError(
            f"{shown}: the file name does not show the format ({known}): give --format"
        )
    source = Source(str(path), shown, format, split, subset)
    first = next(source.records(), None) if format == "jsonl" else None
    if first is not None and _is_openai_record(first):
        return Source(str(path), shown, "openai", split, subset)
    return source


def _is_dataset_name(name: str) -> bool:
    if not set(name.split("/")).isdisjoint((".", "..")):
        return False
    return bool(_DATASET_NAME.fullmatch(name)) and Path(name).suffix.lower() not in _SUFFIXES


def _is_openai_record(record: Record) -> bool:
    try:
        return set(record.fields()) >= _OPENAI_FIELDS
    except ConfigError:  # said when all of the file is looked at
        return False


# ---- one reader for each format


def _read_json_lines(source: Source) -> Iterator[Record]:
    if Path(source.name).suffix.lower() == ".json" and (rows := _read_json_document(source)):
        yield from rows
        return
    encoding = source.text_encoding()
    with Path(source.name).open("rb") as file:
        lines: Iterable[bytes] = file
        if encoding.startswith(("utf-16", "utf-32")):  # JSON's decoder reads UTF-8 alone
            text = io.TextIOWrapper(file, encoding, newline="\n")
            lines = (line.encode() for line in text)
        for number, line in enumerate(lines, start=1):
            data = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            if data.strip():
                yield Record(f"{source.shown}:{number}", data)


def _read_json_document(source: Source) -> list[Record]:
    """The rows of a file that is one list, or one row over several lines; none of any other."""
    data = Path(source.name).read_bytes()
    try:
        if find_encoding(data) != "utf-8":
            data = decode_text(data).encode()
        whole = msgspec.json.decode(data, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if isinstance(whole, dict):
        return [Record(f"{source.shown}:1", data)]
    records: list[Record] = []
    at, line = 0, 1
    for row in map(bytes, whole):
        begin = data.index(row, at)
        line += data.count(b"\n", at, begin)
        records.append(Record(f"{source.shown}:{line}", row))
        line += row.count(b"\n")
        at = begin + len(row)
    return records


def _read_text_lines(source: Source) -> Iterator[Record]:
    with Path(source.name).open(encoding=source.text_encoding()) as file:
        for number, line in enumerate(_check_text(source, file), start=1):
            if text := line.strip():
                yield Record(f"{source.shown}:{number}", {"prompt": text})


def _check_text(source: Source, lines: Iterable[str]) -> Iterator[str]:
    """The lines. Raises ConfigError where one is no text: of a file in UTF-16 without its mark."""
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise ConfigError(f"{source.shown}:{number}: {ZERO_BYTES}")
        yield line


def _read_table(source: Source) -> Iterator[Record]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    between = "\t" if source.format == "tsv" else ","
    with Path(source.name).open(encoding=source.text_encoding(), newline="") as file:
        lines = chain(_check_text(source, file), (_END_LINE,))
        rows = csv.DictReader(lines, delimiter=between)
        try:
            names = [name for name in rows.fieldnames or () if name != _END_LINE]
            _check_closed(source, 1, names)
            _check_names(source, names)
            begin = rows.line_num + 1
            for row in rows:
                place = f"{source.shown}:{rows.line_num}"
                begin, before = rows.line_num + 1, begin
                if _END_LINE in row.values():
                    return
                _check_closed(source, before, row.values())
                if None in row:
                    raise ConfigError(f"{place}: it has more fields than the first line has names")
                if None in row.values():
                    raise ConfigError(f"{place}: it has fewer fields than the first line has names")
                yield Record(place, cast(dict[str, Any], row))
        except csv.Error as error:
            raise ConfigError(f"{source.shown}:{rows.line_num}: {error}") from None


_END_LINE = "\x1dend of the table\x1d"
"""Put behind the last line: a field whose quotation mark is not closed swallows it."""


def _check_closed(source: Source, begin: int, values: Iterable[Any]) -> None:
    """Raises ConfigError where the last quoted field has taken all lines from *begin* on."""
    if any(isinstance(one, str) and one.endswith(_END_LINE) for one in values):
        raise ConfigError(
            f"{source.shown}:{begin}: a quotation mark is not closed: the rest of the file would be"
            " in one field"
        )


def _check_names(source: Source, names: Sequence[str]) -> None:
    """Raises ConfigError for a first line from which no row can be understood."""
    place = f"{source.shown}:1"
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"{place}: the name {to_one_line(twice)} appears twice in the first line")
    if source.format == "csv" and len(names) == 1 and ";" in names[0]:
        raise ConfigError(f"{place}: the columns are separated by semicolons: use commas instead")
    if source.format == "csv" and len(names) == 1 and "\t" in names[0]:
        raise ConfigError(f"{place}: the columns are separated by tabs: give --format tsv")


def _read_parquet(source: Source) -> Iterator[Record]:
    library = _import_extra("pyarrow.parquet", "reading Parquet", "parquet")
    arrow = _import_extra("pyarrow", "reading Parquet", "parquet")
    number = 0
    try:
        with library.ParquetFile(source.name) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield Record(f"{source.shown}, row {number}", row)
    except arrow.ArrowException as error:
        said = to_one_line(error)[:200]
        raise ConfigError(f"{source.shown} cannot be read as Parquet: {said}") from None


def _read_dataset(source: Source) -> Iterator[Record]:
    library = _import_extra("datasets", "reading a data set of the Hugging Face hub", "datasets")
    try:
        rows = library.load_dataset(source.name, source.subset, split=source.split, streaming=True)
        # Pictures as the bytes that they are kept in: they are sent on as they are. Where no
        # features are known, as of a broken file, the rows say what is wrong.
        undecoded = rows if rows.features is None else rows.decode(False)
        for number, row in enumerate(undecoded, start=1):
            yield Record(f"{source.shown} {source.split}, row {number}", row)
    except ConfigError:
        raise
    # Its errors have no family of their own: a wrong name, no network, a script it does not run.
    except Exception as error:  # noqa: BLE001
        said = to_one_line(error)[:300] or type(error).__name__
        here = "" if path_kind(Path(source.name)) else " (there is no file of that name either)"
        raise ConfigError(f"the data set {source.shown} cannot be read: {said}{here}") from None


def _import_extra(module: str, what: str, extra: str) -> Any:
    """An optional package. Raises ConfigError with the command that installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise ConfigError(missing_package_text(what, missing, extra)) from None


_READERS: Mapping[str, Callable[[Source], Iterator[Record]]] = {
    "jsonl": _read_json_lines,
    "openai": _read_json_lines,
    "csv": _read_table,
    "tsv": _read_table,
    "text": _read_text_lines,
    "parquet": _read_parquet,
    "dataset": _read_dataset,
}
