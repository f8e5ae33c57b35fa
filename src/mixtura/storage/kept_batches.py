"""Batches of the server's clients: what they are, and how far each is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from mixtura.core.errors import StoreDamagedError
from mixtura.storage.interfaces import Store

MAX_KEPT = 10_000
"""Batches of one owner that are kept: of those that are over, the oldest go first."""
OVER = ("failed", "completed", "expired", "cancelled")
"""States that a batch stays in."""


class KeptBatch(NamedTuple):
    """A batch. *created*: seconds since the epoch; *body*: it as the API shows it."""

    id: str
    who: str
    created: float
    status: str
    body: dict[str, Any]


class _NeededFields(msgspec.Struct):
    """What every body has, or it cannot be used."""

    id: str
    status: str
    input_file_id: str
    expires_at: float
    request_counts: dict[str, int]
    model: str | None
    cancelling_at: float | None


class BatchStore:
    """
    Batches in a store. Threads may share it. Every method raises StoreError; one that is damaged
    is in no list.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def add_batch(self, batch: KeptBatch, *, most: int) -> bool:
        """Keep a new batch; False where its owner has *most* that are not over."""
        with self._store.transaction(alone="responses") as db:
            query = (
                f"SELECT COUNT(*) FROM batches WHERE who = ? AND status NOT IN {_value_marks(OVER)}"  # noqa: S608
            )
            if int(db.fetch_one(query, (batch.who, *OVER))[0]) >= most:
                return False
            db.execute(
                f"DELETE FROM batches WHERE who = ? AND status IN {_value_marks(OVER)}"  # noqa: S608
                " AND id NOT IN"
                " (SELECT id FROM batches WHERE who = ? ORDER BY created DESC, id DESC LIMIT ?)",
                (batch.who, *OVER, batch.who, MAX_KEPT),
            )
            db.execute(
                "INSERT INTO batches (id, who, created, status, body) VALUES (?, ?, ?, ?, ?)",
                (*batch[:4], _encode(batch.body)),
            )
        return True

    def get_batch(self, id: str, who: str | None = None) -> KeptBatch | None:  # noqa: A002
        """
        The batch of that id, if it is *who*'s; None for anyone's. Raises StoreDamagedError where
        it cannot be read.
        """
        with self._store.transaction() as db:
            row = db.fetch_one(
                "SELECT id, who, created, status, body FROM batches WHERE id = ?", (id,)
            )
        if row is None or who not in (None, row[1]):
            return None
        if (found := _decode(row)) is None:
            raise StoreDamagedError(f"the batch {id} in the store {self._store.name} is damaged")
        return found

    def list_batches(self, who: str) -> list[KeptBatch]:
        """The batches of *who*, the newest first."""
        with self._store.transaction() as db:
            rows = db.fetch_all(
                "SELECT id, who, created, status, body FROM batches WHERE who = ?"
                " ORDER BY created DESC, id DESC",
                (who,),
            )
        return list(filter(None, map(_decode, rows)))

    def list_unfinished(self) -> list[KeptBatch]:
        """The batches of everyone that are not over, the oldest first."""
        with self._store.transaction() as db:
            rows = db.fetch_all(
                "SELECT id, who, created, status, body FROM batches"  # noqa: S608
                f" WHERE status NOT IN {_value_marks(OVER)} ORDER BY created, id",
                OVER,
            )
        return list(filter(None, map(_decode, rows)))

    def change_batch(self, id: str, body: dict[str, Any], *, before: Collection[str]) -> bool:  # noqa: A002
        """Write its *body*, with its status, unless that was none of *before*; whether it was."""
        with self._store.transaction() as db:
            return (
                db.execute(
                    "UPDATE batches SET status = ?, body = ? WHERE id = ?"  # noqa: S608
                    f" AND status IN {_value_marks(before)}",
                    (body["status"], _encode(body), id, *before),
                )
                > 0
            )

    def forget_old(self, before: float) -> None:
        """Remove batches that are over and were made earlier than *before*."""
        with self._store.transaction() as db:
            db.execute(
                f"DELETE FROM batches WHERE created < ? AND status IN {_value_marks(OVER)}",  # noqa: S608
                (before, *OVER),
            )


def _value_marks(values: Collection[str]) -> str:
    return f"({', '.join('?' for _ in values)})"


def _encode(body: dict[str, Any]) -> str:
    return msgspec.json.encode(body).decode()


def _decode(row: Any) -> KeptBatch | None:
    """The batch of a row; None where the row is damaged."""
    id_, who, created, status, body = row
    try:
        known = msgspec.json.decode(body, type=_NeededFields)
        if (known.id, known.status) != (id_, status):
            return None
        return KeptBatch(id_, str(who), float(created), status, msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, ValueError, RecursionError):
        return None
