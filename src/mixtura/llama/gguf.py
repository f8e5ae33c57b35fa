"""Reads the header of a GGUF file: metadata, vocabulary, list of tensors."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, TypeVar

from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

T = TypeVar("T")

GGUF_MAGIC = b"GGUF"
PULL_ADVICE = "`mixtura pull` brings a model with a name anew"
MAX_HEADER_BYTES = 128 << 20
"""Bytes of the longest header that is read; one with 256,000 tokens has about 11 MB."""
MAX_KEY_BYTES = 1 << 16
FIRST_READ_BYTES = 1 << 20

CONTROL, USER_DEFINED = 3, 4
"""Token types of ``tokenizer.ggml.token_type``: never written as text; added by the user."""

_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
_STRING, _ARRAY = 8, 9
_U32, _U64 = _SCALARS[4], _SCALARS[10]

_TENSOR_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
    22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""Numbers in a block of each tensor type, and its bytes; the size of other types is not known."""

_OTHER_FORMATS = (
    (b"version https://git", "it only points at one: `git lfs pull` brings it"),
    (b"<!doctype html", "it is a web page"), (b"<html", "it is a web page"),
    (b"<?xml", "it is XML, as a server answers that refuses"),
    (b"{", "it is JSON, as a server answers that refuses"),
    (b"pk\x03\x04", "it is a zip archive, or a model of PyTorch"),
    (b"\x1f\x8b", "it is packed with gzip: unpack it"),
    (b"tjgg", "it is of the format before GGUF: convert it anew"),
    (b"lmgg", "it is of the format before GGUF: convert it anew"),
    (b"fmgg", "it is of the format before GGUF: convert it anew"),
)  # fmt: skip
"""Files that are found in place of a model file: their first bytes, and what they are."""


def _other_format(begins: bytes) -> Iterator[str]:
    """What a file that is no GGUF is, by its first 24 bytes, where that is known."""
    small = begins.lower()
    if small[8:9] == b"{":  # behind the length of a header
        yield "it is a safetensors file: llama.cpp's convert_hf_to_gguf.py makes GGUF of it"
    else:
        yield from (why for mark, why in _OTHER_FORMATS if small.startswith(mark))


@dataclass(frozen=True, slots=True)
class MetadataList:
    """A list in the metadata: its place in the file, from which ``read_values`` reads it."""

    path: Path
    kind: int
    count: int
    at: int
    length: int

    def read_values(self) -> list[Any]:
        """Its values, with U+FFFD for bytes that are not UTF-8. Raises ConfigError."""
        with _ReadErrorsAsConfig(self.path), self.path.open("rb") as file:
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

    def byte_size(self) -> int | None:
        """Bytes; None for a type that is not known here. Raises ValueError for a broken shape."""
        block, width = _TENSOR_BLOCKS.get(self.kind, (1, 0))
        if not width:
            return None
        numbers = 1
        for length in self.shape:
            numbers *= length
        if self.shape and self.shape[0] % block:
            raise ValueError(f"rows of {self.shape[0]} numbers, not a multiple of {block}")
        return numbers // block * width


@dataclass(frozen=True, slots=True)
class GgufHeader:
    path: Path
    size: int
    """Bytes of the whole file."""
    metadata: Mapping[str, Any]
    """Numbers, texts and truth values; lists as ``MetadataList``."""
    tensors: tuple[Tensor, ...] = field(repr=False)
    end: int
    """Where the header ends; the tensors begin at the next multiple of the alignment."""

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def architecture_value(self, key: str) -> Any:
        """The value of ``ARCHITECTURE.key``; None where there is none."""
        return self.metadata.get(f"{self.architecture}.{key}")

    def token_texts(self) -> list[str]:
        """The vocabulary by token id; empty where the file has none."""
        return self._read_list("tokenizer.ggml.tokens", str)

    def token_types(self) -> list[int]:
        """The type of each token by id (``CONTROL``, …); empty where the file does not say."""
        return self._read_list("tokenizer.ggml.token_type", int)

    def _read_list(self, key: str, kind: type[T]) -> list[T]:
        """Raises ConfigError where the list has values of another kind."""
        found = self.metadata.get(key)
        values = found.read_values() if isinstance(found, MetadataList) else []
        if not all(isinstance(value, kind) for value in values):
            raise damaged_file_error(self.path, f"{key!r} has other values than {kind.__name__}")
        return values


def read_header(path: Path) -> GgufHeader:
    """The header of *path*, kept while the file is the same. Raises ConfigError."""
    with _ReadErrorsAsConfig(path):
        about = path.stat()
    return _read_cached_header(path, about.st_size, about.st_mtime_ns, about.st_ino)


@lru_cache(maxsize=16)
def _read_cached_header(path: Path, size: int, _changed: int, _inode: int) -> GgufHeader:
    with _ReadErrorsAsConfig(path), path.open("rb") as file:
        return _HeaderReader(path, file, size).parse_header()


def damaged_file_error(path: Path, why: str) -> ConfigError:
    # Names in the file are quoted, and may be of any characters.
    return ConfigError(f"{path} is damaged: {to_one_line(why)}; {PULL_ADVICE}")


class _ReadErrorsAsConfig:
    """In this block, an error of the file system is raised as a ConfigError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, FileNotFoundError):
            raise ConfigError(f"there is no model file {self._path}") from None
        if isinstance(error, OSError):
            raise ConfigError(f"{self._path} cannot be read: {error.strerror or error}") from None


class _HeaderReader:
    """Reads a header from its beginning; every length in it is checked against the file's size."""

    def __init__(self, path: Path, file: IO[bytes], size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._data = bytearray()
        self._at = 0

    def parse_header(self) -> GgufHeader:
        self._read_magic_and_version()
        tensors = self._read_count("tensors", at_least=32)
        pairs = self._read_count("metadata", at_least=13)
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self._read_string("the name of a metadata value", MAX_KEY_BYTES)
            if key in metadata:
                raise self._damaged_error(f"the metadata has {key[:60]!r} twice")
            metadata[key] = self._read_value(key)
        found = [self._read_tensor() for _ in range(tensors)]
        if len({tensor.name for tensor in found}) < len(found):
            raise self._damaged_error("two tensors have one name")
        return GgufHeader(self._path, self._size, metadata, tuple(found), self._at)

    def _read_magic_and_version(self) -> None:
        begins = self._read_bytes(min(self._size, 24))
        if begins[:4] != GGUF_MAGIC[: len(begins)]:
            raise ConfigError(
                f"{self._path} is not a GGUF file: it does not begin with the letters GGUF"
                + "".join(f"; {why}" for why in _other_format(begins))
            )
        if self._size < 24:
            raise self._damaged_error("it has fewer bytes than the shortest header")
        self._at = 4
        (version,) = _U32.unpack(self._read_bytes(4))
        if not version & 0xFFFF:
            raise ConfigError(f"{self._path} is written for big-endian machines")
        if version not in (2, 3):
            raise ConfigError(
                f"{self._path} is of version {version} of the GGUF format; 2 and 3 can be read"
            )

    def _read_count(self, of: str, at_least: int) -> int:
        count = self._read_u64()
        if count > (self._size - self._at) // at_least:
            raise self._damaged_error(f"it promises {count} {of}, more than fit into its bytes")
        return count

    def _read_value(self, key: str) -> Any:
        (kind,) = _U32.unpack(self._read_bytes(4))
        if kind == _STRING:
            return self._read_string(key, MAX_HEADER_BYTES)
        if kind == _ARRAY:
            return self._read_list(key)
        return self._read_scalar(key, kind)

    def _read_scalar(self, key: str, kind: int) -> Any:
        if (form := _SCALARS.get(kind)) is None:
            raise self._damaged_error(f"{key[:60]!r} is of the unknown type {kind}")
        return form.unpack(self._read_bytes(form.size))[0]

    def _read_list(self, key: str) -> MetadataList:
        (kind,) = _U32.unpack(self._read_bytes(4))
        count = self._read_u64()
        start = self._at
        if kind == _STRING:
            self._skip_strings(key, count)
        elif (form := _SCALARS.get(kind)) is None:
            raise self._damaged_error(f"{key[:60]!r} is a list of the unknown type {kind}")
        else:
            self._ensure_bytes(self._at + count * form.size, key)
            self._at += count * form.size
        return MetadataList(self._path, kind, count, start, self._at - start)

    def _skip_strings(self, key: str, count: int) -> None:
        unpack, at, done = _U64.unpack_from, self._at, 0
        while done < count:
            data = self._data
            try:
                for _ in range(count - done):
                    at += 8 + unpack(data, at)[0]
                    done += 1
            except (struct.error, OverflowError):  # beyond what was read
                self._ensure_bytes(at + 8, key)
        self._ensure_bytes(at, key)
        self._at = at

    def _read_tensor(self) -> Tensor:
        name = self._read_string("the name of a tensor", MAX_KEY_BYTES)
        (dimensions,) = _U32.unpack(self._read_bytes(4))
        if not 1 <= dimensions <= 4:
            raise self._damaged_error(f"the tensor {name[:60]!r} has {dimensions} dimensions")
        shape = tuple(self._read_u64() for _ in range(dimensions))
        (kind,) = _U32.unpack(self._read_bytes(4))
        return Tensor(name, shape, kind, self._read_u64())

    def _read_u64(self) -> int:
        return _U64.unpack(self._read_bytes(8))[0]

    def _read_string(self, of: str, longest: int) -> str:
        length = self._read_u64()
        if length > longest:
            raise self._damaged_error(f"{of[:60]!r} is {length} bytes long")
        return self._read_bytes(length).decode("utf-8", "replace")

    def _read_bytes(self, length: int) -> bytes:
        self._ensure_bytes(self._at + length, "the header")
        start, self._at = self._at, self._at + length
        return bytes(self._data[start : self._at])

    def _ensure_bytes(self, end: int, of: str) -> None:
        """Read the file up to byte *end*. Raises ConfigError when it is too short or too long."""
        if end <= len(self._data):
            return
        if end > self._size:
            raise self._damaged_error(f"it ends inside {of[:60]}")
        if end > MAX_HEADER_BYTES:
            raise self._damaged_error(f"{of[:60]} goes on beyond {MAX_HEADER_BYTES >> 20} MB")
        wanted = max(end - len(self._data), FIRST_READ_BYTES, len(self._data))
        self._data += self._file.read(wanted)
        if end > len(self._data):
            raise self._damaged_error(f"it ends inside {of[:60]}")

    def _damaged_error(self, why: str) -> ConfigError:
        return damaged_file_error(self._path, why)
