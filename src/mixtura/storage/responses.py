"""Responses in the store: kept for the client that got them, and found again by their ids."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple, Unpack

from mixtura.core import large_json
from mixtura.core.errors import ConfigError, StoreError
from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.storage.eviction import BoundedRecords, RecordBounds, delete_excess
from mixtura.storage.interfaces import Store
from mixtura.storage.run_record import Record
from mixtura.storage.transaction import Transaction
from mixtura.storage.turns import UNPACK_ERRORS

MAX_RESPONSES = 100_000
"""Responses that are kept at most, however small."""
MAX_CHAIN = 10_000
"""Responses, each the previous one of the next, that are read for one conversation."""


class PackedResponse(NamedTuple):
    """A response as it is written."""

    id: str
    who: str
    previous: str | None
    size: int
    """Bytes of it as JSON."""
    body: bytes


class ResponseNotFoundError(Exception):
    """A response of a conversation is not there: deleted, too old, or another client's."""

    def __init__(self, id: str) -> None:  # noqa: A002
        super().__init__(id)
        self.id = id


class ConversationTooLongError(Exception):
    """A conversation is larger than whoever asks for it takes."""


class ResponseStore(BoundedRecords):
    """
    Stored responses, each a record with ``id``, ``who`` (whose it is), ``previous`` (the id of the
    response before it), ``items`` (its own input) and ``response`` (as it was answered).

    *days* since one was last used and *megabytes* in all: how long and how much is kept, the
    longest unused go first. What is in *hidden* is never written. Threads may share it.
    """

    kind = "response"

    def __init__(self, store: Store, *, keep: bool = True, **bounds: Unpack[RecordBounds]) -> None:
        super().__init__(store, **bounds)
        self.keeps = keep and min(bounds.get("days", 1.0), bounds.get("megabytes", 1.0)) > 0

    # ---- writing

    def pack_record(self, record: Record, redactor: Redactor = NO_SECRETS) -> PackedResponse | None:
        """The response as it is written, without secrets; None, and that is told, if too large."""
        safe = self._redactor.with_values(redactor.values).redact_data(record)
        body = large_json.encode({"items": safe["items"], "response": safe["response"]})
        packed = zlib.compress(body)
        if len(packed) > self._size:
            self.report_problem("it is larger than all that is kept ([serve.responses] megabytes)")
            return None
        return PackedResponse(record["id"], record["who"], record["previous"], len(body), packed)

    def write_records(self, packed: Sequence[PackedResponse], /) -> bool:
        """Write them in one transaction; whether that was done, and if not, it is told."""
        try:
            with self._store.transaction(alone="responses") as db:
                now = self._store.current_time()
                db.execute_many(
                    "INSERT INTO responses (id, who, previous, size, body, used)"
                    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET who = excluded.who,"
                    " previous = excluded.previous, size = excluded.size, body = excluded.body,"
                    " used = excluded.used",
                    [(*row, now) for row in packed],
                )
                db.execute("DELETE FROM responses WHERE used < ?", (now - self._age,))
                self._unmeasured += sum(len(row.body) for row in packed)
                if self._unmeasured > self._size // 64:  # it looks at every row
                    delete_excess(db, "responses", self._size, MAX_RESPONSES)
            self._unmeasured %= self._size // 64 + 1
        except ConfigError as error:
            self.report_problem(str(error))
            return False
        return True

    # ---- reading

    def get_response(self, id: str, who: str) -> Record | None:  # noqa: A002
        """The response of that id, if it is *who*'s. Raises StoreError."""
        with self._store.transaction() as db:
            row = self._read_row(db, id, who)
        return None if row is None else _unpack_response(self._store, id, *row)

    def find_responses(self, ids: Collection[str], who: str, most: int) -> dict[str, Record]:
        """
        Those of the responses that are there and *who*'s, by id; they count as used now.

        *most*: bytes that they may have as JSON. Raises ConversationTooLongError,
        StoreError.
        """
        rows: list[tuple[str, str | None, int, bytes]] = []
        with self._store.transaction(alone="responses") as db:
            for name in ids:
                if (row := self._read_row(db, name, who)) is None:
                    continue
                most -= row[1]
                if most < 0:
                    raise ConversationTooLongError
                rows.append((name, *row))
            self._mark_used(db, [row[0] for row in rows])
        return {row[0]: _unpack_response(self._store, *row) for row in rows}

    def load_conversation(self, id: str, who: str, most: int) -> list[Record]:  # noqa: A002
        """
        The response and those before it, the first one first; they count as used now.

        *most*: bytes that they may have as JSON. Raises ResponseNotFoundError,
        ConversationTooLongError, StoreError.
        """
        rows: list[tuple[str, str | None, int, bytes]] = []
        seen: set[str] = set()
        wanted: str | None = id
        with self._store.transaction(alone="responses") as db:
            while wanted is not None:
                row = self._read_row(db, wanted, who)
                if row is None or wanted in seen:
                    raise ResponseNotFoundError(wanted)
                most -= row[1]
                if most < 0 or len(rows) == MAX_CHAIN:
                    raise ConversationTooLongError
                seen.add(wanted)
                rows.append((wanted, *row))
                wanted = row[0]
            self._mark_used(db, seen)
        return [_unpack_response(self._store, *row) for row in reversed(rows)]

    def delete_response(self, id: str, who: str) -> bool:  # noqa: A002
        """Whether there was one of that id that is *who*'s. Raises StoreError."""
        with self._store.transaction() as db:
            query = "DELETE FROM responses WHERE id = ? AND who = ?"
            return db.execute(query, (id, who)) > 0

    def close(self) -> None:
        self._store.close()

    def _read_row(self, db: Transaction, id: str, who: str) -> Any:  # noqa: A002
        """
        What comes before it, its size and its body; None where it is not there, or too old. Raises
        StoreError where it is damaged.
        """
        row = db.fetch_one(
            "SELECT previous, size, body FROM responses WHERE id = ? AND who = ? AND used >= ?",
            (id, who, self._store.current_time() - self._age),
        )
        if row is not None and (not isinstance(row[1], int) or row[1] < 0):
            raise _damaged_error(self._store, id, "its size is none")
        return row

    def _mark_used(self, db: Transaction, ids: Collection[str]) -> None:
        now = self._store.current_time()
        db.execute_many("UPDATE responses SET used = ? WHERE id = ?", [(now, id_) for id_ in ids])


def _damaged_error(store: Store, id: str, why: str) -> StoreError:  # noqa: A002
    return StoreError(
        f"the response {id} in the store {store.name} is damaged ({why}): delete it, or send the"
        " whole conversation"
    )


def _unpack_response(store: Store, id: str, previous: str | None, size: int, body: Any) -> Record:  # noqa: A002
    """A response as it was kept. Raises StoreError where it is damaged."""
    try:
        unzip = zlib.decompressobj()
        data: Any = large_json.decode(unzip.decompress(body, size + 1))
        response, items = data["response"], data["items"]
        if response["id"] != id or not isinstance(items, list) or "output" not in response:
            raise ValueError("it is another response's")
    except UNPACK_ERRORS as error:
        raise _damaged_error(store, id, type(error).__name__) from None
    return {"id": id, "previous": previous, **data}
