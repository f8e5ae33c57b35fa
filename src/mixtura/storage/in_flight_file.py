"""The calls that a batch has under way, in a file that outlives its process and that one owns."""

from __future__ import annotations

import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from mixtura.core.errors import ConfigError, StoreError

try:
    import fcntl
except ImportError:  # Windows: a second process is not noticed
    fcntl = None

PLACE_BYTES = 256
"""Bytes of one call."""
FIRST_PLACES = 256
"""Places of a new file: it doubles whenever all are taken."""
LONGEST_MODEL = 120
"""Bytes of a model's name that are kept."""
KNOWN_MODELS = 1000
"""Names that are remembered as they are written: whoever asks may name any number."""

# A place that holds a call: this byte, the sum that tells whether the rest is whole, the number
# of the process, tokens, the key, and the model's name behind its length.
_HELD = b"\x01"
_SUM = struct.Struct("<I")
_CALL = struct.Struct("<QQ20sB")
_EARLIER_HELD = b"{"
"""Of files before 2026-11-29: JSON."""


class InFlightCall(NamedTuple):
    """A call that was about to be sent; *run*: the number of its process."""

    key: bytes
    run: int
    model: str
    prompt_tokens: int


class _EarlierCall(msgspec.Struct):
    key: str
    run: int
    model: str
    prompt_tokens: int


_earlier_decoder = msgspec.json.Decoder(_EarlierCall)


def read_in_flight_calls(path: Path) -> list[InFlightCall]:
    """The calls in the file at *path*; none where there is no such file. Raises StoreError."""
    calls: list[InFlightCall] = []
    try:
        with path.open("rb") as file:
            while place := file.read(PLACE_BYTES):
                # What cannot be read was being written when its process was killed: nothing had
                # been sent then.
                with suppress(ValueError, struct.error):
                    calls += _read_place(place)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    return calls


def _read_place(place: bytes) -> list[InFlightCall]:
    """The call in a place, where there is one. Raises ValueError or struct.error."""
    if place[:1] == _EARLIER_HELD:
        call = _earlier_decoder.decode(place.rstrip(b" \n\0"))
        return [InFlightCall(bytes.fromhex(call.key), call.run, call.model, call.prompt_tokens)]
    if place[:1] != _HELD:
        return []
    start = len(_HELD) + _SUM.size
    run, tokens, key, length = _CALL.unpack_from(place, start)
    end = start + _CALL.size + length
    if crc32(place[start:end]) != _SUM.unpack_from(place, len(_HELD))[0]:
        return []
    model = place[start + _CALL.size : end].decode("utf-8", "ignore")
    return [InFlightCall(key, run, model, tokens)]


class JournalInUseError(ConfigError):
    """Another process works with a journal."""


class InFlightFile:
    """
    A place of fixed size for each call under way: written before it is sent, used for another
    once its answer is kept, cleared where none will be. What is written survives a killed process;
    not a loss of power.

    It is written as memory that the file is mapped to: no call of the system for each call, and
    no other thread takes its turn there. Raises ConfigError where another process uses it,
    StoreError where it cannot be written. *option*: what names the *journal*, where a person can.
    """

    def __init__(self, path: Path, *, journal: Path, option: str | None) -> None:
        self._path = path
        self._free: list[int] = []
        """Where places begin that no call has."""
        self._table: mmap.mmap | None = None
        self._models: dict[str, bytes] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise self._write_error(error) from None
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(self._file)
                or_else = f", stop it, or give {option} another file" if option else ", or stop it"
                raise JournalInUseError(
                    f"another process is working with the journal {journal}: wait until it ends"
                    + or_else
                ) from None

    def read_calls(self) -> list[InFlightCall]:
        """The calls that an earlier process left. What cannot be read counts for nothing."""
        return read_in_flight_calls(self._path)

    def clear(self) -> None:
        """Forget all calls in it."""
        self._unmap()
        self._free.clear()
        try:
            os.ftruncate(self._file, 0)
        except OSError as error:
            raise self._write_error(error) from None

    def add(self, key: bytes, run: int, model: str, prompt_tokens: int) -> int:
        """Write down a call that is about to be sent; its place. *key* has 20 bytes at most."""
        if not self._free:
            self._add_places()
        name = self._models.get(model) or self._encode_model(model)
        call = _CALL.pack(run, prompt_tokens, key, len(name)) + name
        # A kill in the middle of this leaves a wrong sum, and the call is not sent yet.
        data = _HELD + _SUM.pack(crc32(call)) + call
        place = self._free.pop()
        self._table[place : place + len(data)] = data  # pyright: ignore[reportOptionalSubscript]
        return place

    def remove(self, place: int) -> None:
        """The call is over, and that is written down elsewhere."""
        if self._table is not None:
            self._table[place] = 0
        self._free.append(place)

    def reuse(self, place: int) -> None:
        """The answer of the call is in the journal, where a later process finds it."""
        self._free.append(place)

    def close(self) -> None:
        if self._table is not None and len(self._free) * PLACE_BYTES == len(self._table):
            with suppress(StoreError):
                self.clear()
        self._unmap()
        os.close(self._file)

    def _encode_model(self, model: str) -> bytes:
        if len(self._models) >= KNOWN_MODELS:
            self._models.clear()
        name = self._models[model] = model.encode("utf-8", "replace")[:LONGEST_MODEL]
        return name

    def _add_places(self) -> None:
        """Make the file larger. Its new bytes are written: a disk that is full says so here."""
        size = len(self._table) if self._table is not None else 0
        larger = 2 * size or FIRST_PLACES * PLACE_BYTES
        try:
            os.lseek(self._file, size, os.SEEK_SET)
            left = larger - size
            while left:
                left -= os.write(self._file, bytes(left))
            table = mmap.mmap(self._file, larger)
        except OSError as error:
            raise self._write_error(error) from None
        self._unmap()
        self._table = table
        self._free += range(larger - PLACE_BYTES, size - 1, -PLACE_BYTES)

    def _unmap(self) -> None:
        if self._table is not None:
            self._table.close()
            self._table = None

    def _write_error(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path} cannot be written: {error.strerror}")
