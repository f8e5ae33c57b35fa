"""What is dropped when more is kept than there is room for: the oldest, or the longest unused."""

from __future__ import annotations

import sys
from typing import Literal

from mixtura.storage.interfaces import Transaction

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
