"""How often the rows of an input came before, counted on disk."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from mixtura.core.errors import StoreError


class OccurrenceCounter:
    """
    How often each key came before, on disk beyond a few megabytes: memory does not grow with the
    input. Raises StoreError.
    """

    def __init__(self) -> None:
        with _translate_errors():
            # A file without a name: nothing is left of it, even where the process is killed.
            self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            # One that nobody closed goes with this object: Python 3.13 warns of a connection left.
            self._finalizer = weakref.finalize(self, self._connection.close)
            self._finalizer.atexit = False
            self._connection.execute("PRAGMA journal_mode=OFF")
            self._connection.execute(
                "CREATE TABLE seen (key BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID"
            )

    def count_earlier(self, keys: Sequence[bytes]) -> list[int]:
        """For each key, in order, how often it was counted before; counts it."""
        with _translate_errors():
            self._connection.execute("BEGIN")
            found = [
                self._connection.execute(
                    "INSERT INTO seen VALUES (?, 0) ON CONFLICT (key) DO UPDATE SET"
                    " times = times + 1 RETURNING times",
                    (key,),
                ).fetchone()[0]
                for key in keys
            ]
            self._connection.execute("COMMIT")
        return found

    def close(self) -> None:
        self._finalizer()


@contextmanager
def _translate_errors() -> Generator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"a temporary file cannot be written: {error}: is there room for temporary files?"
        ) from None
