"""The calls that a batch has under way, in a file that outlives its process and that one owns."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from mixtura.core.errors import ConfigError, StoreError

try:
    import fcntl
except ImportError:  # Windows: a second process is not noticed
    fcntl = None

_pwrite = getattr(os, "pwrite", None)  # not on Windows
PLACE_BYTES = 256
"""Bytes of one call: one write, far below a page, which no kill cuts in two."""
LONGEST_MODEL = 120


class InFlightCall(msgspec.Struct):
    """A call that was about to be sent; *run*: the number of its process."""

    key: str
    run: int
    model: str
    prompt_tokens: int


_decoder = msgspec.json.Decoder(InFlightCall)


def read_in_flight_calls(path: Path) -> list[InFlightCall]:
    """The calls in the file at *path*; none where there is no such file. Raises StoreError."""
    calls: list[InFlightCall] = []
    try:
        with path.open("rb", buffering=0) as file:
            while place := file.read(PLACE_BYTES):
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    calls.append(_decoder.decode(place.rstrip(b" \n\0")))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    return calls


class InFlightFile:
    """
    A place of fixed size for each call under way: written before it is sent, used for another
    once its answer is kept, cleared where none will be. What is written survives a killed process;
    not a loss of power.

    Raises ConfigError where another process uses it, StoreError where it cannot be written.
    *option*: what names the *journal*, where a person can.
    """

    def __init__(self, path: Path, *, journal: Path, option: str | None) -> None:
        self._path = path
        self._free: list[int] = []
        self._places = 0
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
                raise ConfigError(
                    f"another process is working with the journal {journal}: wait until it ends"
                    + or_else
                ) from None

    def read_calls(self) -> list[InFlightCall]:
        """The calls that an earlier process left. What cannot be read counts for nothing."""
        return read_in_flight_calls(self._path)

    def clear(self) -> None:
        """Forget what an earlier process left."""
        try:
            os.ftruncate(self._file, 0)
        except OSError as error:
            raise self._write_error(error) from None

    def add(self, call: InFlightCall) -> int:
        """Write down a call that is about to be sent; its place."""
        if self._free:
            place = self._free.pop()
        else:
            place = self._places
            self._places += 1
        call.model = call.model[:LONGEST_MODEL]
        line = msgspec.json.encode(call)
        if len(line) >= PLACE_BYTES:  # a name of many bytes a letter
            call.model = ""
            line = msgspec.json.encode(call)
        self._write(place, line.ljust(PLACE_BYTES - 1) + b"\n")
        return place

    def remove(self, place: int) -> None:
        """The call is over, and that is written down elsewhere."""
        # Where it cannot be written, the next process takes the call for lost, or finds its answer.
        with suppress(StoreError):
            self._write(place, b"\0")  # not JSON any more
        self._free.append(place)

    def reuse(self, place: int) -> None:
        """The answer of the call is in the journal, where a later process finds it."""
        self._free.append(place)

    def close(self) -> None:
        if self._places and len(self._free) == self._places:
            with suppress(StoreError):
                self.clear()
        os.close(self._file)

    def _write(self, place: int, data: bytes) -> None:
        try:
            if _pwrite is not None:
                _pwrite(self._file, data, place * PLACE_BYTES)
            else:
                os.lseek(self._file, place * PLACE_BYTES, os.SEEK_SET)
                os.write(self._file, data)
        except OSError as error:
            raise self._write_error(error) from None

    def _write_error(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path} cannot be written: {error.strerror}")
