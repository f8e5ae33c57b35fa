"""The day's spending and reservations of one account, kept in the store."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

from mixtura.core.errors import StoreBusyError, StoreError
from mixtura.core.quantities import clamp_ledger_dollars, clamp_ledger_tokens
from mixtura.storage.interfaces import DAY_SECONDS, Store
from mixtura.storage.settlements import Settlement
from mixtura.storage.transaction import Transaction


@dataclass(frozen=True, slots=True)
class DailySpendLedger:
    """
    What one account (*purse*: the whole machine's, a key's) has spent and reserved today.

    Reservations of a process that died are released, less what its finished calls had cost;
    where its state is unknown they count until their day is over. ``reserve``,
    ``record_spend`` and ``settle`` never wait, so an event loop may call them.
    """

    store: Store
    purse: str

    def reserve(
        self, dollars: float, tokens: int, most: float | None, most_tokens: int | None
    ) -> int | None:
        """
        Reserve dollars and tokens; the reservation's number, None where a cap forbids it.

        Raises StoreError; StoreBusyError when it should be tried again in a moment.
        """
        try:
            return self._insert_reservation(dollars, tokens, most, most_tokens)
        except StoreError as error:
            raise type(error)(f"{error}; a cap for the day needs it") from None

    def _insert_reservation(
        self, dollars: float, tokens: int, most: float | None, most_tokens: int | None
    ) -> int | None:
        day = self._current_day()
        dollars, tokens = clamp_ledger_dollars(dollars), clamp_ledger_tokens(tokens)
        with self.store.settlements.transaction(0.0) as db:
            db.execute("DELETE FROM held WHERE day < ?", (self._current_day(days_ago=2),))
            _release_dead_owners(db)
            used, used_tokens = self._used_on_day(db, day)
            over = most is not None and used + dollars > most + 1e-12
            if over or (most_tokens is not None and used_tokens + tokens > most_tokens):
                return None
            row = (self.purse, day, dollars, tokens, db.own_name())
            return db.insert(
                "INSERT INTO held (purse, day, dollars, tokens, owner) VALUES (?, ?, ?, ?, ?)", row
            )

    def record_spend(self, hold: int, dollars: float, tokens: int) -> None:
        """What of a reservation is spent so far: it stays spent if this process dies."""
        with suppress(StoreError), self.store.settlements.transaction(0.0) as db:
            db.execute(
                "UPDATE held SET spent = ?, spent_tokens = ? WHERE id = ?", (dollars, tokens, hold)
            )

    def settle(self, hold: int, dollars: float, tokens: int) -> None:
        """
        End a reservation, of which so much was spent.

        What cannot be written now is written later, and counts as reserved until then.
        """
        dollars, tokens = clamp_ledger_dollars(dollars), clamp_ledger_tokens(tokens)
        self.store.settlements.pending.append(
            Settlement(hold, self.purse, self._current_day(), dollars, tokens)
        )
        try:
            with self.store.settlements.transaction(0.0):
                pass
        except StoreBusyError:
            self.store.settlements.write_in_background()
        except StoreError:
            pass  # it stays pending: the next reservation writes it or is refused

    def used_today(self) -> tuple[float, int]:
        """Dollars and tokens spent and reserved today. Raises StoreError."""
        with self.store.settlements.transaction() as db:
            _release_dead_owners(db)
            return self._used_on_day(db, self._current_day())

    def _used_on_day(self, db: Transaction, day: str) -> tuple[float, int]:
        dollars, tokens = db.fetch_one(
            "SELECT coalesce(sum(dollars), 0.0), coalesce(sum(tokens * 1.0), 0.0) FROM"
            " (SELECT dollars, tokens FROM spent WHERE purse = ? AND day = ?"
            " UNION ALL SELECT dollars, tokens FROM held WHERE purse = ? AND day = ?) AS used",
            (self.purse, day) * 2,
        )
        return float(dollars), int(tokens)

    def _current_day(self, days_ago: int = 0) -> str:
        moment = self.store.current_time() - days_ago * DAY_SECONDS
        return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _release_dead_owners(db: Transaction) -> None:
    """
    Of the reservations of processes that died, only what was spent counts from now on.

    The rows stay: a process that was only taken for dead settles its own as ever.
    """
    owners = {name for (name,) in db.fetch_all("SELECT DISTINCT owner FROM held") if name}
    for owner in db.find_dead_processes(owners - {db.own_name()}):
        db.execute(
            "UPDATE held SET dollars = spent, tokens = spent_tokens, owner = '' WHERE owner = ?",
            (owner,),
        )
