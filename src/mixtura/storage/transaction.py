"""The statements of one transaction, whichever the database: they begin, are run, and end."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol


class Transaction(Protocol):
    """
    The statements of one transaction, in SQL that SQLite and PostgreSQL both understand.

    ``?`` stands for a value. Every method raises StoreError.
    """

    def execute(self, statement: str, values: Sequence[object] = (), /) -> int:
        """Run a statement; how many rows it inserted, changed or deleted."""
        ...

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]], /) -> None:
        """Run a statement once for each row of values."""
        ...

    def insert(self, statement: str, values: Sequence[object], /) -> int:
        """Insert one row into a table that numbers its rows as ``id``; its number."""
        ...

    def fetch_one(self, query: str, values: Sequence[object] = (), /) -> Any:
        """The first row of what is found, as a tuple; None where nothing is."""
        ...

    def fetch_all(self, query: str, values: Sequence[object] = (), /) -> list[tuple[Any, ...]]:
        """
        Every row that is found.

        Raises StoreDamagedError where part of the database cannot be read, but the rest can,
        in the same transaction.
        """
        ...

    def own_name(self) -> str:
        """Under which others see whether this process is alive; empty where they cannot."""
        ...

    def find_dead_processes(self, names: Collection[str], /) -> set[str]:
        """Those of the names whose processes have certainly ended."""
        ...


class StatementRunner(Protocol):
    """A connection of either database."""

    def execute(self, statement: Any, /) -> object: ...


@contextmanager
def commit_or_roll_back(
    connection: StatementRunner, database_error: type[Exception]
) -> Generator[None]:
    """The block's transaction is committed, or rolled back where the block raises."""
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # The connection may be lost, or a full disk may have ended the transaction already.
        with suppress(database_error):
            connection.execute("ROLLBACK")
        raise
