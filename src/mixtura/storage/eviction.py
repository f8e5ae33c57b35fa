"""
What is dropped when more is kept than there is room for: the oldest, or the longest unused; and
what all that is kept within such bounds has in common.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from typing import ClassVar, Literal, TypedDict, Unpack

from mixtura.core.redaction import Redactor
from mixtura.storage.interfaces import DAY_SECONDS, Store
from mixtura.storage.transaction import Transaction

_ORDERS = {
    "answers": "used DESC, key DESC",
    "runs": "started DESC, id DESC",
    "responses": "used DESC, rowid DESC",
}
"""Which rows of a table are kept first."""
_KEYS = {"answers": "key", "runs": "id", "responses": "id"}


def delete_excess(
    db: Transaction,
    table: Literal["answers", "runs", "responses"],
    most_bytes: int,
    most_rows: int = sys.maxsize,
) -> int:
    """Delete rows of *table* until no more than so many bytes, and rows, are left; how many."""
    measure = f"SELECT count(*), coalesce(sum(length(body)), 0) FROM {table}"  # noqa: S608
    count, size = db.fetch_one(measure)
    if size <= most_bytes and count <= most_rows:
        return 0
    key, order = _KEYS[table], _ORDERS[table]
    return db.execute(
        f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM (SELECT {key},"  # noqa: S608
        f" sum(length(body)) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS bytes_until,"
        f" row_number() OVER (ORDER BY {order}) AS place FROM {table}) AS ranked"
        " WHERE bytes_until > ? OR place > ?)",
        (most_bytes, most_rows),
    )


class RecordBounds(TypedDict, total=False):
    """How long records are kept, how much of them, and what is never written."""

    days: float
    megabytes: float
    hidden: Redactor | Collection[str]


class BoundedRecords:
    """
    Records in *store*: those of 30 days and 512 megabytes, where *bounds* say nothing else.

    ``notice`` is told, once, why one could not be kept; that never stops anyone.
    """

    kind: ClassVar[str]
    """What one of them is called."""

    def __init__(self, store: Store, **bounds: Unpack[RecordBounds]) -> None:
        self.notice: Callable[[str], None] | None = None
        self._store = store
        self._age = bounds.get("days", 30.0) * DAY_SECONDS
        self._size = int(bounds.get("megabytes", 512.0) * 1024**2)
        hidden = bounds.get("hidden", ())
        self._redactor = hidden if isinstance(hidden, Redactor) else Redactor(hidden)
        self._unmeasured = self._size
        """Bytes written since all that is kept was last measured."""

    def report_problem(self, problem: str) -> None:
        """Say, once, why a record could not be kept."""
        notice, self.notice = self.notice, None
        if notice:
            notice(f"this {self.kind} is not kept: {problem}")
