"""Spending of reservations that ended: written to the store, or queued until its lock is free."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import NamedTuple

from mixtura.core.errors import StoreError
from mixtura.core.quantities import MAX_LEDGER_VALUE
from mixtura.storage.transaction import Transaction

OpenTransaction = Callable[[float | None], AbstractContextManager[Transaction]]
"""Begins a write transaction; waits at most the given seconds, None for the store's usual time."""


class Settlement(NamedTuple):
    """The actual spend of a reservation (a row of table ``held``) that has ended."""

    hold: int
    purse: str
    day: str
    dollars: float
    tokens: int


class SettlementQueue:
    """
    Settlements of a store that are not written yet.

    The next reservation or settlement writes them, or a thread once the lock is free.
    """

    def __init__(self, open_transaction: OpenTransaction) -> None:
        self.pending: deque[Settlement] = deque()
        self._open_transaction = open_transaction
        self._thread_lock = threading.Lock()
        self._is_thread_running = False

    @contextmanager
    def transaction(self, lock_timeout: float | None = None) -> Generator[Transaction, None, None]:
        """
        A write transaction that writes every pending settlement first; *lock_timeout*: seconds.

        Raises StoreError; then they are pending again.
        """
        written: list[Settlement] = []
        try:
            with self._open_transaction(lock_timeout) as db:
                while self.pending:
                    written.append(self.pending.popleft())
                    write_settlement(db, written[-1])
                yield db
        except BaseException:
            self.pending.extendleft(reversed(written))
            raise

    def write_in_background(self) -> None:
        """Write them as soon as the lock is free, in a thread that the process waits for."""
        with self._thread_lock:
            if not self._is_thread_running:
                self._is_thread_running = True
                threading.Thread(target=self._write_pending, name="mixtura-settles").start()

    def _write_pending(self) -> None:
        while True:
            try:
                with self.transaction():
                    pass
            except StoreError:  # the next reservation tries again; until then it counts as held
                with self._thread_lock:
                    self._is_thread_running = False
                return
            with self._thread_lock:
                if not self.pending:
                    self._is_thread_running = False
                    return


def write_settlement(db: Transaction, settlement: Settlement) -> None:
    """Replace a reservation by what was spent of it, booked on the day of the reservation."""
    held = db.fetch_one("SELECT day FROM held WHERE id = ?", (settlement.hold,))
    db.execute("DELETE FROM held WHERE id = ?", (settlement.hold,))
    db.execute(
        "INSERT INTO spent (purse, day, dollars, tokens) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (purse, day) DO UPDATE SET dollars = spent.dollars + excluded.dollars,"
        " tokens = CASE WHEN spent.tokens < ? THEN spent.tokens ELSE ? END + excluded.tokens",
        (
            settlement.purse,
            held[0] if held else settlement.day,
            settlement.dollars,
            settlement.tokens,
            MAX_LEDGER_VALUE,
            MAX_LEDGER_VALUE,
        ),
    )
