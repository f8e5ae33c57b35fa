"""Standard input kept in a file, since a batch reads its input more than once."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from mixtura.core.errors import ConfigError
from mixtura.storage.process_locks import is_unlocked

try:
    import fcntl
except ImportError:  # Windows: what a killed process leaves is not known from what is in use
    fcntl = None


@contextmanager
def keep_standard_input(stream: BinaryIO, journal: Path) -> Generator[Path]:
    """
    A file beside *journal* with all of *stream*, for the length of a block.

    What killed processes left of theirs is removed. Raises ConfigError where it cannot be written.
    """
    # A file of its own: a second process is told only later that the journal is taken.
    beside = journal.with_name(f"{journal.name}-input-")
    _remove_left_inputs(beside)
    path: Path | None = None
    try:
        try:
            kept, path = _create_locked(beside)
            with os.fdopen(os.dup(kept), "wb") as file:
                shutil.copyfileobj(stream, file)
        except OSError as error:
            name = error.filename or beside
            raise ConfigError(f"{name} cannot be written: {error.strerror}") from None
        try:
            yield path
        finally:
            os.close(kept)
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def _create_locked(beside: Path) -> tuple[int, Path]:
    """A new file, locked for as long as it is open: it is seen to be in use."""
    while True:
        file, name = tempfile.mkstemp(".jsonl", beside.name, beside.parent)
        if fcntl is None:
            return file, Path(name)
        with suppress(OSError):  # no locks there, or another process looks whether it is in use
            fcntl.flock(file, fcntl.LOCK_EX)
        if Path(name).exists():
            return file, Path(name)
        os.close(file)  # taken for one that was left, before it was locked


def _remove_left_inputs(beside: Path) -> None:
    if fcntl is None:
        return
    for path in beside.parent.glob(f"{glob.escape(beside.name)}*.jsonl"):
        with suppress(OSError):
            if is_unlocked(path):
                path.unlink()
