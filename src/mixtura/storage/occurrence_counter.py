"""How often the rows of an input came before, counted on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixtura.storage.sqlite import SqliteStore


class OccurrenceCounter:
    """
    How often each key came before, on disk beyond a few megabytes: memory does not grow with the
    input. Raises StoreError.
    """

    def __init__(self, folder: Path) -> None:
        self._store = SqliteStore(
            folder / "occurrences.sqlite",
            migrations=(
                "CREATE TABLE seen (key BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID",
            ),
            called="temporary file",
            remedy="is there room for temporary files?",
        )

    def count_earlier(self, keys: Sequence[bytes]) -> list[int]:
        """For each key, in order, how often it was counted before; counts it."""
        with self._store.transaction() as db:
            return [
                db.fetch_one(
                    "INSERT INTO seen VALUES (?, 0) ON CONFLICT (key) DO UPDATE SET"
                    " times = times + 1 RETURNING times",
                    (key,),
                )[0]
                for key in keys
            ]

    def close(self) -> None:
        self._store.close()
