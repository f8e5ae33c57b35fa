"""The header of a GGUF file: metadata, vocabulary, and whether its tensors are all there."""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar

from mixtura.errors import ConfigError

T = TypeVar("T")

MAGIC = b"GGUF"
ANEW = "`mixtura pull` brings a model with a name anew"
LONGEST_HEADER = 128 << 20
"""Bytes of the longest header that is read; one with 256,000 tokens has about 11 MB."""
LONGEST_KEY = 1 << 16
FIRST_READ = 1 << 20

CONTROL, USER_DEFINED = 3, 4
"""Token types of ``tokenizer.ggml.token_type``: never written as text; added by the user."""

_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]

_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
    22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Numbers in a block of each tensor type, and the bytes that it takes. Others are not measured."""

_OTHERS = (
    (b"version https://git", "; it only points at one: `git lfs pull` brings it"),
    (b"<!doctype html", "; it is a web page"), (b"<html", "; it is a web page"),
)  # fmt: skip
"""What stands in a model file's place now and then: how it begins, and what it is."""

_SHARD = re.compile(
    r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<ending>\.gguf)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Values:
    """A list in the metadata, read from the file when it is asked for."""

    path: Path
    kind: int
    count: int
    at: int
    length: int

    def read(self) -> list[Any]:
        """Its values; text that is not UTF-8 has U+FFFD in place of the odd bytes."""
        with _told(self.path), self.path.open("rb") as file:
            file.seek(self.at)
            data = file.read(self.length)
        if self.kind != _STRING:
            return [value for (value,) in _SCALARS[self.kind].iter_unpack(data)]
        found: list[str] = []
        at = 0
        for _ in range(self.count):
            start = at + 8
            at = start + _U64.unpack_from(data, at)[0]
            found.append(data[start:at].decode("utf-8", "replace"))
        return found


@dataclass(frozen=True, slots=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int

    def size(self) -> int | None:
        """Bytes; None for a type that is not known here. Raises ValueError for a broken shape."""
        block, width = _BLOCKS.get(self.kind, (1, 0))
        if not width:
            return None
        numbers = 1
        for length in self.shape:
            numbers *= length
        if self.shape and self.shape[0] % block:
            raise ValueError(f"rows of {self.shape[0]} numbers, not a multiple of {block}")
        return numbers // block * width


@dataclass(frozen=True, slots=True)
class Header:
    path: Path
    size: int
    """Bytes of the whole file."""
    metadata: Mapping[str, Any]
    """Numbers, texts and truth values; lists as ``Values``."""
    tensors: tuple[Tensor, ...] = field(repr=False)
    end: int
    """Where the header ends; the tensors begin at the next multiple of the alignment."""

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def of_architecture(self, key: str) -> Any:
        """The value of ``ARCHITECTURE.key``; None where there is none."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def tokens(self) -> list[str]:
        """The vocabulary by token id; empty where the file has none."""
        return self._listed("tokenizer.ggml.tokens", str)

    def token_types(self) -> list[int]:
        """The type of each token by id (``CONTROL``, …); empty where the file does not say."""
        return self._listed("tokenizer.ggml.token_type", int)

    def _listed(self, key: str, kind: type[T]) -> list[T]:
        """Raises ConfigError where the list has values of another kind."""
        found = self.metadata.get(key)
        values = found.read() if isinstance(found, Values) else []
        if not all(isinstance(value, kind) for value in values):
            raise damaged(self.path, f"{key!r} has other values than {kind.__name__}")
        return values


def read_header(path: Path) -> Header:
    """The header of *path*, kept while the file is the same. Raises ConfigError."""
    with _told(path):
        about = path.stat()
    return _read(path, about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=16)
def _read(path: Path, size: int, _changed: int, _inode: int) -> Header:
    with _told(path), path.open("rb") as file:
        return _Reader(path, file, size).header()


def damaged(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is damaged: {why}; {ANEW}")


class _told:  # noqa: N801 - used as a function
    """What the disk refuses is told as a ConfigError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise ConfigError(f"there is no model file {self._path}") from None
        if isinstance(error, OSError):
            raise ConfigError(f"{self._path} cannot be read: {error.strerror or error}") from None


class _Reader:
    """Reads a header from its beginning; nothing that it says about lengths is believed."""

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._data = bytearray()
        self._at = 0

    def header(self) -> Header:
        self._opening()
        tensors = self._count("tensors", at_least=32)
        pairs = self._count("metadata", at_least=13)
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._string("the name of a metadata value", LONGEST_KEY)
            if key in metadata:
                raise self._damaged(f"the metadata has {key[:60]!r} twice")
            metadata[key] = self._value(key)
        found = [self._tensor() for _ in range(tensors)]
        if len({tensor.name for tensor in found}) < len(found):
            raise self._damaged("two tensors have one name")
        return Header(self._path, self._size, metadata, tuple(found), self._at)

    def _opening(self) -> None:
        if self._size < 24:
            raise self._damaged("it has fewer bytes than the shortest header")
        if (begins := self._take(24)[:19])[:4] != MAGIC:
            said = next((why for mark, why in _OTHERS if begins.lower().startswith(mark)), "")
            raise ConfigError(
                f"{self._path} is not a GGUF file: it does not begin with the letters GGUF{said}"
            )
        self._at = 4
        (version,) = _U32.unpack(self._take(4))
        if not version & 0xFFFF:
            raise ConfigError(f"{self._path} is written for big-endian machines")
        if version not in (2, 3):
            raise ConfigError(
                f"{self._path} is of version {version} of the GGUF format; 2 and 3 can be read"
            )

    def _count(self, of: str, at_least: int) -> int:
        count = self._number()
        if count > (self._size - self._at) // at_least:
            raise self._damaged(f"it promises {count} {of}, more than fit into its bytes")
        return count

    def _value(self, key: str) -> Any:
        (kind,) = _U32.unpack(self._take(4))
        if kind == _STRING:
            return self._string(key, LONGEST_HEADER)
        if kind == _ARRAY:
            return self._values(key)
        return self._scalar(key, kind)

    def _scalar(self, key: str, kind: int) -> Any:
        if (form := _SCALARS.get(kind)) is None:
            raise self._damaged(f"{key[:60]!r} is of the unknown type {kind}")
        return form.unpack(self._take(form.size))[0]

    def _values(self, key: str) -> Values:
        (kind,) = _U32.unpack(self._take(4))
        count = self._number()
        start = self._at
        if kind == _STRING:
            self._skip_strings(key, count)
        elif (form := _SCALARS.get(kind)) is None:
            raise self._damaged(f"{key[:60]!r} is a list of the unknown type {kind}")
        else:
            self._need(self._at + count * form.size, key)
            self._at += count * form.size
        return Values(self._path, kind, count, start, self._at - start)

    def _skip_strings(self, key: str, count: int) -> None:
        unpack, at, done = _U64.unpack_from, self._at, 0
        while done < count:
            data = self._data
            try:
                for _ in range(count - done):
                    at += 8 + unpack(data, at)[0]
                    done += 1
            except (struct.error, OverflowError):  # beyond what is at hand
                self._need(at + 8, key)
        self._need(at, key)
        self._at = at

    def _tensor(self) -> Tensor:
        name = self._string("the name of a tensor", LONGEST_KEY)
        (dimensions,) = _U32.unpack(self._take(4))
        if not 1 <= dimensions <= 4:
            raise self._damaged(f"the tensor {name[:60]!r} has {dimensions} dimensions")
        shape = tuple(self._number() for _ in range(dimensions))
        (kind,) = _U32.unpack(self._take(4))
        return Tensor(name, shape, kind, self._number())

    def _number(self) -> int:
        return _U64.unpack(self._take(8))[0]

    def _string(self, of: str, longest: int) -> str:
        length = self._number()
        if length > longest:
            raise self._damaged(f"{of[:60]!r} is {length} bytes long")
        return self._take(length).decode("utf-8", "replace")

    def _take(self, length: int) -> bytes:
        self._need(self._at + length, "the header")
        start, self._at = self._at, self._at + length
        return bytes(self._data[start : self._at])

    def _need(self, end: int, of: str) -> None:
        """Have the file's bytes up to *end* at hand."""
        if end <= len(self._data):
            return
        if end > self._size:
            raise self._damaged(f"it ends inside {of[:60]}")
        if end > LONGEST_HEADER:
            raise self._damaged(f"{of[:60]} goes on beyond {LONGEST_HEADER >> 20} MB")
        wanted = max(end - len(self._data), FIRST_READ, len(self._data))
        self._data += self._file.read(wanted)
        if end > len(self._data):
            raise self._damaged(f"it ends inside {of[:60]}")

    def _damaged(self, why: str) -> ConfigError:
        return damaged(self._path, why)


# ---- what can be said of a file before llama.cpp loads it


def shards(path: Path) -> list[Path]:
    """
    Every file of the model that *path* is a part of, in order; itself where it is whole.

    Raises ConfigError when the name says that there are more and one is not there.
    """
    found = _SHARD.fullmatch(path.name)
    if not found:
        return [path]
    count = int(found["count"])
    if not 1 <= int(found["number"]) <= count:
        raise ConfigError(f"{path} is not a part of a model: its name counts beyond its end")
    parts = [
        path.with_name(f"{found['stem']}-{number:05}-of-{found['count']}{found['ending']}")
        for number in range(1, count + 1)
    ]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        named = ", ".join(missing[:3]) + (" …" if len(missing) > 3 else "")
        raise ConfigError(
            f"{path} is one of {count} parts of a model, and of the others {named} is not beside it"
            if len(missing) == 1
            else f"{path} is one of {count} parts of a model; {len(missing)} are missing: {named}"
        )
    return parts


def check(path: Path) -> Path:
    """
    Read the headers of *path* and of the parts that belong to it; the file to load.

    Raises ConfigError for what is wrong in a way that a header shows.
    """
    parts = shards(path)
    headers = [read_header(part) for part in parts]
    _check_parts(headers)
    _check_model(headers[0])
    for header in headers:
        _check_tensors(header)
    return parts[0]


@contextmanager
def in_small_letters(path: Path) -> Generator[Path]:
    """
    *path* by a name that llama.cpp finds its other parts by: it looks for ``.gguf`` only.

    Where parts are named otherwise (``.GGUF``), links to them stand in a folder for this while.
    """
    parts = shards(path)
    if len(parts) == 1 or path.suffix == ".gguf":
        yield path
        return
    with TemporaryDirectory(prefix="mixtura-") as folder:
        for part in parts:
            (Path(folder) / part.with_suffix(".gguf").name).symlink_to(part.absolute())
        yield Path(folder) / path.with_suffix(".gguf").name


def _check_parts(headers: Sequence[Header]) -> None:
    """Each file is the part that its name says. Raises ConfigError."""
    for number, header in enumerate(headers):
        count = header.metadata.get("split.count")
        if not isinstance(count, int) or count < 2:
            continue
        place = header.metadata.get("split.no")
        named = f"NAME-{number + 1:05}-of-{count:05}.gguf"
        if isinstance(place, int):
            named = f"NAME-{place + 1:05}-of-{count:05}.gguf"
        if count != len(headers) or place not in (number, None):
            raise ConfigError(
                f"{header.path} is one of the {count} parts of a model, by its name it is another:"
                f" the parts keep their names ({named}) and stand side by side;"
                " `llama-gguf-split --merge` makes one file of them"
            )


def _check_model(header: Header) -> None:
    kind = header.metadata.get("general.type", "model")
    if not header.architecture:
        raise damaged(header.path, "it does not say its architecture")
    if header.architecture == "clip" or kind in ("mmproj", "adapter"):
        what = "the eyes of another model" if kind != "adapter" else "an adapter to another model"
        raise ConfigError(f"{header.path} is {what}, not a language model")
    for key in ("block_count", "embedding_length", "context_length"):
        value = header.of_architecture(key)
        if value is not None and not (isinstance(value, int) and 1 <= value < 1 << 31):
            named = f"{header.architecture[:40]}.{key}"
            raise damaged(
                header.path, f"{named!r} is {str(value)[:40]!r}, not a number of at least 1"
            )
    tokens = header.metadata.get("tokenizer.ggml.tokens")
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        values = header.metadata.get(key)
        if (
            isinstance(tokens, Values)
            and isinstance(values, Values)
            and values.count != tokens.count
        ):
            raise damaged(
                header.path, f"it has {tokens.count} tokens and {values.count} values of {key}"
            )


def _check_tensors(header: Header) -> None:
    path = header.path
    alignment = header.metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise damaged(path, "its alignment is no power of two")
    start = -(-header.end // alignment) * alignment
    for tensor in header.tensors:
        try:
            size = tensor.size()
        except ValueError as error:
            raise damaged(path, f"the tensor {tensor.name[:60]!r} has {error}") from None
        end = start + tensor.offset + (size or 0)
        if tensor.offset % alignment:
            raise damaged(path, f"the tensor {tensor.name[:60]!r} is not aligned")
        if end > header.size:
            raise ConfigError(
                f"{path} is cut short: the tensor {tensor.name[:60]!r} ends at byte {end:,} and"
                f" the file has {header.size:,}; {ANEW}"
            )
