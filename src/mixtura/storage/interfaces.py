"""What the kept answers, spending, runs and responses need of a database, whichever it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol

from mixtura.storage.settlements import SettlementQueue
from mixtura.storage.transaction import Transaction

DAY_SECONDS = 86400.0

Subject = Literal["spending", "runs", "responses"]
"""What a transaction may have for itself."""


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
