"""Files that clients of the server upload, and those that batches make for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec

from mixtura.core.errors import ConfigError, StoreDamagedError
from mixtura.storage.interfaces import Store
from mixtura.storage.transaction import Transaction
from mixtura.storage.turn_tables import MAX_STARTED

PART_BYTES = 1 << 20
"""Bytes of a file that are in memory at once."""
_FIELDS = "id, who, purpose, name, created, expires, size"
_LIVE = "whole = 1 AND (expires IS NULL OR expires > ?)"
MAX_FILES = 10_000
"""Files of one owner: empty ones take room, too."""
UNFINISHED_SECONDS = 86400.0
"""After which an upload that never became whole is removed."""


class KeptFile(NamedTuple):
    """A file. *created*, *expires*: seconds since the epoch; *size*: bytes."""

    id: str
    who: str
    purpose: str
    name: str
    created: float
    expires: float | None
    size: int


class FileSpaceError(ConfigError):
    """The files of one client would take more room than it has."""


class FileStore:
    """Files in a store, in parts, so that none is in memory as a whole. Threads may share it.

    Every method raises StoreError where the store cannot be used.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_file(self, file: KeptFile, parts: Iterable[bytes], *, room: int | None = None) -> None:
        """
        Keep a file, which takes the place of one with the same id.

        *room*: bytes that all files of its owner may have; raises FileSpaceError beyond that, and
        beyond ``MAX_FILES``.
        """
        with self._store.transaction(alone="responses") as db:
            _delete(db, file.id)
            self._purge(db)
            if room is not None:
                query = "SELECT COALESCE(SUM(size), 0), COUNT(*) FROM files WHERE who = ?"
                taken, count = db.fetch_one(query, (file.who,))
                if int(taken) + file.size > room or int(count) >= MAX_FILES:
                    raise FileSpaceError("the files of this key have no room for it")
            places = f"INSERT INTO files ({_FIELDS}, whole) VALUES (?, ?, ?, ?, ?, ?, ?, 0)"  # noqa: S608
            db.execute(places, tuple(file))
        for number, part in enumerate(parts):
            with self._store.transaction() as db:
                statement = "INSERT INTO file_parts (file, number, body) VALUES (?, ?, ?)"
                db.execute(statement, (file.id, number, part))
        with self._store.transaction() as db:
            db.execute("UPDATE files SET whole = 1 WHERE id = ?", (file.id,))

    def get_file(self, id: str, who: str) -> KeptFile | None:  # noqa: A002
        """
        The file of that id, if it is *who*'s. Raises StoreDamagedError where it cannot be read.
        """
        query = f"SELECT {_FIELDS} FROM files WHERE id = ? AND who = ? AND {_LIVE}"  # noqa: S608
        with self._store.transaction() as db:
            row = db.fetch_one(query, (id, who, self._store.current_time()))
        if row is None:
            return None
        if (file := _read_row(row)) is None:
            raise self._damaged_error(id)
        return file

    def list_files(self, who: str, *, purpose: str | None = None) -> list[KeptFile]:
        """The files of *who*, the newest first, without damaged ones."""
        query = f"SELECT {_FIELDS} FROM files WHERE who = ? AND {_LIVE}"  # noqa: S608
        values: list[Any] = [who, self._store.current_time()]
        if purpose is not None:
            query, values = f"{query} AND purpose = ?", [*values, purpose]
        with self._store.transaction() as db:
            rows = db.fetch_all(f"{query} ORDER BY created DESC, id DESC", values)
        return list(filter(None, map(_read_row, rows)))

    def check_whole(self, file: KeptFile) -> None:
        """Raises StoreDamagedError where its parts are not what was uploaded, by their number."""
        query = "SELECT count(*), max(number), sum(length(body)) FROM file_parts WHERE file = ?"
        with self._store.transaction() as db:
            count, last, size = db.fetch_one(query, (file.id,))
        if (size or 0) != file.size or (last is not None and last != count - 1):
            raise self._damaged_error(file.id)

    def _damaged_error(self, id: str) -> StoreDamagedError:  # noqa: A002
        return StoreDamagedError(f"the file {id} in the store {self._store.name} is damaged")

    def read_parts(self, id: str) -> Iterator[bytes]:  # noqa: A002
        """What a file holds, part by part. Raises StoreDamagedError."""
        number = 0
        query = "SELECT body FROM file_parts WHERE file = ? AND number = ?"
        while True:
            with self._store.transaction() as db:
                row = db.fetch_one(query, (id, number))
            if row is None:
                return
            if not isinstance(row[0], bytes | memoryview):  # bytes() of a number is as long as that
                raise self._damaged_error(id)
            yield bytes(row[0])
            number += 1

    def delete_file(self, id: str, who: str) -> bool:  # noqa: A002
        """Whether there was one of that id that is *who*'s."""
        with self._store.transaction() as db:
            query = "SELECT id FROM files WHERE id = ? AND who = ?"
            if db.fetch_one(query, (id, who)) is None:
                return False
            _delete(db, id)
        return True

    def _purge(self, db: Transaction) -> None:
        """Remove what has expired, and what a killed process left unfinished."""
        now = self._store.current_time()
        old = db.fetch_all(
            "SELECT id FROM files WHERE expires <= ? OR (whole = 0 AND created < ?)",
            (now, now - UNFINISHED_SECONDS),
        )
        for (name,) in old:
            _delete(db, name)


def _read_row(row: Any) -> KeptFile | None:
    """The file of a row; None where the row is damaged."""
    try:
        file = msgspec.convert(tuple(row), KeptFile, strict=True)
    except msgspec.ValidationError:
        return None
    times = (file.created, file.created if file.expires is None else file.expires)
    return file if all(0 <= one <= MAX_STARTED for one in times) and file.size >= 0 else None


def _delete(db: Transaction, id: str) -> None:  # noqa: A002
    db.execute("DELETE FROM file_parts WHERE file = ?", (id,))
    db.execute("DELETE FROM files WHERE id = ?", (id,))
