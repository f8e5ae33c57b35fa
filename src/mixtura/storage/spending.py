"""The day's spending and reservations of one account, kept in the store."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import dataclass

from mixtura.core.errors import StoreBusyError, StoreError
from mixtura.core.quantities import clamp_ledger_dollars, clamp_ledger_tokens
from mixtura.storage.settlements import Settlement, write_settlement
from mixtura.storage.sqlite import Store


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
            db.execute("DELETE FROM held WHERE day < date(?, '-2 days')", (day,))
            self._settle_dead_owners(db)
            used, used_tokens = self._used_on_day(db, day)
            over = most is not None and used + dollars > most + 1e-12
            if over or (most_tokens is not None and used_tokens + tokens > most_tokens):
                return None
            row = (self.purse, day, dollars, tokens, self.store.owners.own_name())
            cursor = db.execute(
                "INSERT INTO held (purse, day, dollars, tokens, owner) VALUES (?, ?, ?, ?, ?)", row
            )
            return cursor.lastrowid

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
            self._settle_dead_owners(db)
            return self._used_on_day(db, self._current_day())

    def _settle_dead_owners(self, db: sqlite3.Connection) -> None:
        mine = self.store.owners.own_name()
        owners = db.execute("SELECT DISTINCT owner FROM held WHERE owner NOT IN ('', ?)", (mine,))
        for (owner,) in owners.fetchall():
            if self.store.owners.is_alive(owner):
                continue
            rows = "SELECT id, purse, day, spent, spent_tokens FROM held WHERE owner = ?"
            for row in db.execute(rows, (owner,)).fetchall():
                write_settlement(db, Settlement(*row))

    def _used_on_day(self, db: sqlite3.Connection, day: str) -> tuple[float, int]:
        rows = [
            db.execute(
                f"SELECT total(dollars), total(tokens) FROM {table}"  # noqa: S608
                " WHERE purse = ? AND day = ?",
                (self.purse, day),
            ).fetchone()
            for table in ("spent", "held")
        ]
        return sum(row[0] for row in rows), int(sum(row[1] for row in rows))

    def _current_day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.store.current_time()))
