"""Spending caps: money and tokens are reserved before a call and settled after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from mixtura.core.arguments import NumberField, check_name, check_number_fields
from mixtura.core.errors import StoreBusyError
from mixtura.core.quantities import COUNTED, DOLLARS

BUSY_STORE_SECONDS = 30.0
"""Seconds that a run waits for a store that another process writes to."""


T = TypeVar("T")


class Spend(NamedTuple):
    """Dollars and tokens."""

    dollars: float = 0.0
    tokens: int = 0

    def sum_with(self, other: Spend) -> Spend:
        return Spend(self.dollars + other.dollars, self.tokens + other.tokens)


class SpendingCap(Protocol):
    """A cap on spending: of a run, of a day, of an API key."""

    @property
    def name(self) -> str: ...

    @property
    def dollars(self) -> float | None:
        """The cap in dollars, if it has one."""
        ...

    @property
    def tokens(self) -> int | None:
        """The cap in tokens, if it has one."""
        ...

    @property
    def has_dollar_cap(self) -> bool:
        """Whether it caps dollars, so that every price must be known."""
        ...

    def reserve(self, amount: Spend) -> int | None:
        """
        Reserve *amount*; the number of the reservation, or None when it would pass the cap.

        Does not wait. Raises StoreBusyError when another process writes to the store: try again, as
        ``retry_while_busy`` does.
        """
        ...

    def record_spend(self, hold: int, spent: Spend) -> None:
        """Record what is spent so far, in case this process ends before ``settle``."""
        ...

    def settle(self, hold: int, spent: Spend) -> None:
        """End a reservation: *spent* is booked, the rest is free again."""
        ...


@dataclass(slots=True)
class RunCap:
    """
    A spending cap in memory, for one run or for the whole process.

    Raises TypeError and ValueError for a cap that is no amount of money or of tokens.
    """

    name: str
    dollars: float | None = None
    tokens: int | None = None
    spent: Spend = field(default_factory=Spend)
    _held: dict[int, Spend] = field(default_factory=dict[int, Spend], init=False)
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_number_fields(
            self, NumberField("dollars", DOLLARS), NumberField("tokens", COUNTED, whole=True)
        )

    @property
    def has_dollar_cap(self) -> bool:
        return self.dollars is not None

    @property
    def committed_spend(self) -> Spend:
        """Spent and reserved."""
        whole = self.spent
        for amount in self._held.values():
            whole = whole.sum_with(amount)
        return whole

    def reserve(self, amount: Spend) -> int | None:
        """The number of the reservation, or None when *amount* would pass the cap."""
        after = self.committed_spend.sum_with(amount)
        # Sums of floats: a budget must not be exceeded by a rounding error.
        if self.dollars is not None and after.dollars > self.dollars + 1e-12:
            return None
        if self.tokens is not None and after.tokens > self.tokens:
            return None
        self._count += 1
        self._held[self._count] = amount
        return self._count

    def record_spend(self, hold: int, spent: Spend) -> None:
        pass  # nothing outlives this process

    def settle(self, hold: int, spent: Spend) -> None:
        del self._held[hold]
        # Also beyond the reservation: what was really spent counts.
        self.spent = self.spent.sum_with(spent)


class SpendLedger(Protocol):
    """A day's ledger that several processes share (``storage.spending.DailySpendLedger``)."""

    def reserve(
        self, dollars: float, tokens: int, most: float | None, most_tokens: int | None
    ) -> int | None: ...

    def record_spend(self, hold: int, dollars: float, tokens: int) -> None: ...

    def settle(self, hold: int, dollars: float, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class DailyCap:
    """A spending cap per day (UTC), shared by every process that uses the store."""

    name: str
    ledger: SpendLedger
    dollars: float | None = None
    tokens: int | None = None

    @property
    def has_dollar_cap(self) -> bool:
        return self.dollars is not None

    def reserve(self, amount: Spend) -> int | None:
        """
        The number of the reservation, or None when *amount* would pass the cap. Raises StoreError,
        StoreBusyError among them.
        """
        return self.ledger.reserve(amount.dollars, amount.tokens, self.dollars, self.tokens)

    def record_spend(self, hold: int, spent: Spend) -> None:
        self.ledger.record_spend(hold, spent.dollars, spent.tokens)

    def settle(self, hold: int, spent: Spend) -> None:
        self.ledger.settle(hold, spent.dollars, spent.tokens)


async def retry_while_busy(attempt: Callable[[], T], seconds: float = BUSY_STORE_SECONDS) -> T:
    """
    What *attempt* returns; it is repeated while the store is busy, without blocking the event loop.

    Raises StoreBusyError when it is still busy after *seconds*.
    """
    until, pause = time.monotonic() + seconds, 0.002
    while True:
        try:
            return attempt()
        except StoreBusyError:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(pause)
        # Soon at first, for a writer that is nearly done; later seldom, since many may wait.
        pause = min(pause * 2, 0.1)
