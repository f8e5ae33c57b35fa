"""The statements that add calls and amounts to a batch's journal: few, for many rows each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain

from mixtura.storage.transaction import Transaction

_ROWS_AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Rows of one statement. SQLite gives Python's lock back for each statement that it runs, and what
else this process does would go on between any two: two threads then wait for each other."""
_GROUP_BYTES = 1 << 20
"""Calls of more bytes are inserted one by one. A statement of many rows, where there is a trigger,
copies them first, and of more than two megabytes the copies go to a temporary file."""
_SPENT_FIELDS = 7

_ADDS_SPENT = (
    " ON CONFLICT (kind, model) DO UPDATE SET calls = calls + excluded.calls,"
    " prompt_tokens = prompt_tokens + excluded.prompt_tokens,"
    " completion_tokens = completion_tokens + excluded.completion_tokens,"
    " dollars = dollars + excluded.dollars, unpriced = unpriced + excluded.unpriced"
)


def insert_calls_and_spent(
    db: Transaction, calls: Sequence[bytes], spent: Iterable[Sequence[object]]
) -> None:
    """Calls, their keys and bodies in turn, and amounts, as ``SpentAmount`` has them."""
    if fit_in_statement(calls):
        _insert_rows(db, "calls (key, body)", calls, 2)
    else:
        rows = [*zip(calls[::2], calls[1::2], strict=True)]
        db.execute_many("INSERT INTO calls (key, body) VALUES (?, ?)", rows)
    amounts = [*chain.from_iterable(spent)]
    _insert_rows(db, "spent", amounts, _SPENT_FIELDS, _ADDS_SPENT)


def fit_in_statement(calls: Sequence[bytes]) -> bool:
    """Whether calls, their keys and bodies in turn, may be inserted by one statement."""
    return len(calls) <= 2 * _ROWS_AT_ONCE[-1] and sum(map(len, calls)) <= _GROUP_BYTES


def _insert_rows(
    db: Transaction, table: str, values: Sequence[object], width: int, conflict: str = ""
) -> None:
    """Rows of *width* values, none of whose first ones is None, all in one sequence."""
    most = _ROWS_AT_ONCE[-1] * width
    for start in range(0, len(values), most):
        some = [*values[start : start + most]]
        count = rows_of_statement(len(some) // width)
        some += [None] * (count * width - len(some))
        db.execute(_insert_statement(table, count, width) + conflict, some)


def rows_of_statement(rows: int) -> int:
    """Rows of the statement that is used for so many: it is prepared once for any number."""
    return next(count for count in _ROWS_AT_ONCE if count >= rows)


@cache
def insert_group_statement(count: int) -> str:
    """*count* calls, and with the first one what all of them cost, as JSON."""
    rows = ", ".join(["(?, ?, ?)"] + ["(?, ?, NULL)"] * (count - 1))
    return (
        "INSERT INTO calls (key, body, spent)"  # noqa: S608 - nothing of it is from outside
        f" SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"
    )


@cache
def _insert_statement(table: str, count: int, width: int) -> str:
    rows = ", ".join(["(" + ", ".join("?" * width) + ")"] * count)
    # The names are ours.
    return f"INSERT INTO {table} SELECT * FROM (VALUES {rows}) WHERE column1 IS NOT NULL"  # noqa: S608
