"""The output while it grows, in a file of its own, and the whole output made of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mixtura.catalog.user_files import write_whole
from mixtura.core.errors import ConfigError
from mixtura.storage.batch_journal import FailedRow

try:
    import fcntl
except ImportError:  # Windows: a second process is not noticed
    fcntl = None

_COPY_BYTES = 1 << 20
_ENDINGS = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True, slots=True)
class BatchFiles:
    """Where a batch writes."""

    output: Path
    journal: Path

    @property
    def part(self) -> Path:
        """The output while it grows."""
        return self.output.with_name(f"{self.output.name}.part")

    @property
    def errors(self) -> Path:
        """The rows without an answer."""
        # Whatever else stands behind a dot tells one output from another: answers.v1, answers.v2.
        is_ending = self.output.suffix.lower() in _ENDINGS
        name = self.output.stem if is_ending else self.output.name
        return self.output.with_name(f"{name}.errors.jsonl")

    def check_apart_from(self, source: Path) -> None:
        """
        Raise ConfigError where one of the files is *source*, which it would replace, or the output
        would replace the journal.
        """
        output = {
            "OUT": self.output, "OUT's .part": self.part, "OUT's file of errors": self.errors,
        }  # fmt: skip
        _check_apart("IN", source, output | {"the journal": self.journal})
        _check_apart("the journal", self.journal, output)


def _check_apart(name: str, path: Path, written: Mapping[str, Path]) -> None:
    for other, file in written.items():
        if file.resolve() == path.resolve() or _is_same_file(file, path):
            raise ConfigError(f"{name} and {other} are the same file ({path}): rename one of them")


def _is_same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


class PartFile:
    """
    Lines behind the first *size* bytes of the file at *path*; what stood there is cut off. It is
    this process's until ``close``.

    Raises OSError, and ConfigError where another process has it or has cut it off before *size*.
    What is appended is on the disk when ``append`` returns.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = _open_locked(path)
        try:
            if os.fstat(self._file).st_size < size:
                raise ConfigError(f"{path} was changed in the meantime: run the same command again")
            os.ftruncate(self._file, size)
            os.lseek(self._file, size, os.SEEK_SET)
        except BaseException:
            os.close(self._file)
            raise
        self.size = size
        self._closed = False

    def append(self, data: bytes) -> bool:
        """False where it is closed: a batch that is called off may leave a commit behind."""
        with self._lock:
            if self._closed:  # the number may be another file's by now: the journal's
                return False
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
            self.size += len(data)
        return True

    def remove(self) -> None:
        """Close it and delete it; it stays where it cannot be deleted."""
        if fcntl is None:  # Windows deletes no open file
            self.close()
        with suppress(OSError):
            self._path.unlink()
        self.close()

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._file)


def check_unused(part: Path) -> None:
    """Raise ConfigError where another process writes the part file, OSError where none can."""
    if part.exists():
        os.close(_open_locked(part))


def begin_with_copy(part: Path, source: Path) -> None:
    """The part file holds what *source* does. Raises as ``PartFile`` does."""
    with closing(PartFile(part, 0)) as copy, source.open("rb") as file:
        while data := file.read(_COPY_BYTES):
            copy.append(data)


def build_output(
    part: Path,
    target: Path,
    failed: Sequence[FailedRow],
    recovered: Callable[[int], bytes | None],
) -> list[FailedRow]:
    """
    *target* is *part* with the lines of those *failed* rows at their places that have *recovered*;
    returns the others, with their places in it. Raises OSError.
    """
    left: list[FailedRow] = []

    def write(file: BinaryIO) -> None:
        left.clear()
        at = added = 0
        for row in failed:
            _copy_bytes(part, file, at, row.place)
            at = row.place
            line = recovered(row.line)
            if line is None:
                left.append(row._replace(place=row.place + added))
            else:
                file.write(line)
                added += len(line)
        _copy_bytes(part, file, at, part.stat().st_size)

    write_whole(target, write)
    return left


def write_lines(target: Path, lines: Iterable[bytes]) -> None:
    """*target* holds these lines, whole or not at all; no file where there are none."""
    lines = list(lines)
    if not lines:
        with suppress(FileNotFoundError):
            target.unlink()
        return
    write_whole(target, lambda file: file.writelines(lines))


def _open_locked(path: Path) -> int:
    """Open the file for this process alone, as far as the file system can say so."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
    while True:
        file = os.open(path, flags, 0o666)
        if fcntl is None:
            return file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise ConfigError(
                f"another process is writing {path}: wait until it ends, stop it, or give another"
                " file for the output"
            ) from None
        except OSError:  # no locks there
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)  # deleted by the process that had it


def _copy_bytes(source: Path, into: BinaryIO, start: int, end: int) -> None:
    if end <= start:
        return
    with source.open("rb") as file:
        file.seek(start)
        left = end - start
        while left and (data := file.read(min(left, _COPY_BYTES))):
            into.write(data)
            left -= len(data)
