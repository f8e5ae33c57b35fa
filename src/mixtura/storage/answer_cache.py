"""Answers of models that are cached in the store, limited by age and size."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from mixtura.core.errors import StoreBusyError, StoreError
from mixtura.storage.eviction import delete_excess
from mixtura.storage.interfaces import DAY_SECONDS, Store

CACHE_LOCK_SECONDS = 0.25
"""Seconds that a cached answer is worth waiting for."""


class AnswerCache:
    """
    Answers by key.

    *age*: seconds after which an answer is dropped; *size*: bytes kept in all, the longest
    unused are dropped first.

    While the store is locked nothing is found or kept. Where it cannot be used at all, the
    first call raises StoreError, so that the user learns of it, and later calls do not.
    """

    def __init__(
        self, store: Store, *, age: float = 30 * DAY_SECONDS, size: int = 256 * 1024**2
    ) -> None:
        self._store = store
        self._age = age
        self._size = size
        self._was_reported = False

    def get(self, key: str) -> bytes | None:
        """The answer that was kept and is not too old. Raises StoreError at most once."""
        with self._report_once():
            return self._read_answer(key)
        return None

    def put(self, key: str, body: bytes) -> None:
        """Keep an answer, if that can be done. Raises StoreError at most once."""
        with self._report_once():
            self._write_answer(key, body)

    @contextmanager
    def _report_once(self) -> Generator[None, None, None]:
        try:
            yield
        except StoreBusyError:
            pass
        except StoreError:
            if not self._was_reported:
                self._was_reported = True
                raise

    def _read_answer(self, key: str) -> bytes | None:
        now = self._store.current_time()
        with self._store.transaction(CACHE_LOCK_SECONDS) as db:
            row = db.fetch_one("SELECT body, written FROM answers WHERE key = ?", (key,))
            if row is None or row[1] < now - self._age:
                return None
            db.execute("UPDATE answers SET used = ? WHERE key = ?", (now, key))
            return row[0]

    def _write_answer(self, key: str, body: bytes) -> None:
        now = self._store.current_time()
        with self._store.transaction(CACHE_LOCK_SECONDS) as db:
            db.execute(
                "INSERT INTO answers (key, body, written, used) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET body = excluded.body,"
                " written = excluded.written, used = excluded.used",
                (key, body, now, now),
            )
            db.execute("DELETE FROM answers WHERE written < ?", (now - self._age,))
            delete_excess(db, "answers", self._size)
