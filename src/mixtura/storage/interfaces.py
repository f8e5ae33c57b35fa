"""What the kept answers, spending, runs and responses need of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Literal, Protocol

from mixtura.storage.settlements import SettlementQueue

DAY_SECONDS = 86400.0

Subject = Literal["spending", "runs", "responses"]
"""What a transaction may have for itself."""


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


class Store(Protocol):
    """
    A database, opened at the first use; threads share the object, processes the database.

    ``transaction`` and ``read_transaction`` are its only ways in: who keeps something knows no
    database.
    """

    settlements: SettlementQueue

    @property
    def name(self) -> str:
        """Where it is, as errors say it: no user and no secret in it."""
        ...

    def current_time(self) -> float:
        """Seconds since the epoch."""
        ...

    def check_usable(self) -> None:
        """Open it now rather than in the middle of a run. Raises StoreError."""
        ...

    def close(self) -> None:
        """Close it; the next use opens it again."""
        ...

    def transaction(
        self, lock_timeout: float | None = None, *, alone: Subject | None = None
    ) -> AbstractContextManager[Transaction]:
        """
        A transaction: all of it is written, or nothing.

        *lock_timeout*: seconds to wait for others, threads of this process too, None: the store's
        own; with 0 an event loop may call it. *alone*: what no one else changes until it is over,
        at the least; None where every statement can stand for itself. Raises StoreError;
        StoreBusyError where waiting longer may help.
        """
        ...

    def read_transaction(self) -> AbstractContextManager[Transaction]:
        """
        A transaction that only reads, on a connection of its own: however long it looks, nobody
        else waits for it. Raises StoreError.
        """
        ...
