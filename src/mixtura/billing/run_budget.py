"""The budget of one run: what it reserved under its spending caps, and what its calls used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from functools import partial

from mixtura.billing.price import Pricer
from mixtura.billing.spending_caps import Spend, SpendingCap, retry_while_busy
from mixtura.core.errors import CallOverBudgetError, ConfigError, StoreError
from mixtura.core.types import Charge, Usage


class RunBudget:
    """
    What one run has reserved under its spending caps, and what its calls have used of that.

    Every attempt at a call takes its worst case before it is sent and gives back the rest.
    When a run needs more than it reserved (a retry, a hedged call), more is reserved first, or
    the attempt is not made. The budget of a run inside another run takes from both.
    """

    def __init__(
        self, caps: Sequence[SpendingCap], pricer: Pricer, parent: RunBudget | None = None
    ) -> None:
        self._parent = parent
        self._caps = tuple(caps)
        self._pricer = pricer
        self._reservations: list[tuple[SpendingCap, int]] = []
        self._free = Spend()
        self.spent = Spend()

    def reserve_spend(self, amount: Spend) -> str | None:
        """
        Reserve *amount* under every cap; the name of the cap that it would pass, else None. Raises
        StoreError when a cap's store cannot be read or written.
        """
        taken: list[tuple[SpendingCap, int]] = []
        for cap in self._caps:
            try:
                reservation = cap.reserve(amount)
            except StoreError:
                _release_reservations(taken)
                raise
            if reservation is None:
                _release_reservations(taken)
                return cap.name
            taken.append((cap, reservation))
        self._reservations += taken
        self._free = self._free.sum_with(amount)
        return None

    def reserve_attempt(self, model: str, usage: Usage) -> Spend | str:
        """
        Take the worst case of one attempt; the name of the cap that it would pass. Raises
        ConfigError when a cap in dollars needs a price that is not known, StoreError as
        ``reserve_spend`` does.
        """
        # The outer run first: what it refuses needs no reservation here.
        above = self._parent.reserve_attempt(model, usage) if self._parent else None
        if isinstance(above, str):
            return above
        amount = self.price_usage(model, usage)
        # Only what goes beyond the run's first reservation: a cap in a store is a transaction.
        short = Spend(
            max(amount.dollars - self._free.dollars, 0.0),
            max(amount.tokens - self._free.tokens, 0),
        )
        if short.dollars > 0 or short.tokens > 0:
            try:
                full = self.reserve_spend(short)
            except StoreError:
                if self._parent and above:
                    self._parent.release_attempt(above, ())
                raise
            if full:
                if self._parent and above:
                    self._parent.release_attempt(above, ())
                return full
        self._free = Spend(self._free.dollars - amount.dollars, self._free.tokens - amount.tokens)
        return amount

    def release_attempt(self, reserved: Spend, charges: Sequence[Charge]) -> None:
        """
        Settle an attempt that cost *charges* and for which *reserved* was taken. Raises ConfigError
        when a cap in dollars needs an unknown price, StoreError when it cannot be recorded.
        """
        if self._parent:
            self._parent.release_attempt(reserved, charges)
        spent = Spend()
        for charge in charges:
            spent = spent.sum_with(self.price_usage(charge.model, charge.usage))
        self.spent = self.spent.sum_with(spent)
        self._free = Spend(
            self._free.dollars + reserved.dollars - spent.dollars,
            self._free.tokens + reserved.tokens - spent.tokens,
        )
        if charges:
            for cap, reservation in self._first_reservations().values():
                # A process that is killed leaves no bill: the next one finds what was spent by now.
                cap.record_spend(reservation, self.spent)

    def price_usage(self, model: str, usage: Usage) -> Spend:
        """
        Dollars and tokens of *usage*. Raises ConfigError when a cap in dollars needs a price that
        is not known.
        """
        dollars = self._pricer(model, usage)
        if dollars is None and any(cap.has_dollar_cap for cap in self._caps):
            raise unknown_price_error([model])
        return Spend(dollars or 0.0, usage.total_tokens)

    def close(self, charges: Sequence[Charge]) -> None:
        """
        End a run that cost *charges*: that is booked as spent, the rest is free again. Raises
        StoreError when it cannot be booked.
        """
        whole = Spend()
        for charge in charges:  # calls without a reservation are charged all the same
            dollars = self._pricer(charge.model, charge.usage)
            whole = whole.sum_with(Spend(dollars or 0.0, charge.usage.total_tokens))
        self.spent = max(self.spent, whole)
        # What was spent is booked once under each cap, however often the run reserved.
        first = self._first_reservations()
        for cap, reservation in self._reservations:
            cap.settle(reservation, self.spent if first[cap.name][1] == reservation else Spend())
        self._reservations.clear()

    def _first_reservations(self) -> dict[str, tuple[SpendingCap, int]]:
        """The first reservation under each cap: what is spent is booked on it."""
        return {cap.name: (cap, reservation) for cap, reservation in reversed(self._reservations)}


def _release_reservations(taken: Sequence[tuple[SpendingCap, int]]) -> None:
    for cap, reservation in taken:
        cap.settle(reservation, Spend())


def unknown_price_error(models: Iterable[str]) -> ConfigError:
    """The error for a cap in dollars where the prices of *models* are unknown."""
    return ConfigError(
        f"a cap in dollars needs the price of every model, and that of {', '.join(models)} is"
        " unknown: set `price` in its table under [models] (in Python, in its info), or cap the"
        " tokens of each run instead, with `run_tokens` under [budget]"
    )


RUN_BUDGET: ContextVar[RunBudget | None] = ContextVar("run_budget", default=None)
"""The budget of the run that this task belongs to."""

BUSY_STORE_SECONDS = 5.0
"""Seconds that an attempt waits for a busy store when it needs more than was set aside."""


async def reserve_for_attempt(budget: RunBudget, name: str, usage: Usage) -> Spend:
    """
    Reserve the worst case *usage* of one attempt of the model or tool *name*; ``release_attempt``
    settles it. Raises CallOverBudgetError without room, ConfigError as ``reserve_attempt`` does.
    """
    try:
        reserved = await retry_while_busy(
            partial(budget.reserve_attempt, name, usage), BUSY_STORE_SECONDS
        )
    except StoreError as error:  # no one knows whether there is room: then there is none
        raise CallOverBudgetError(str(error), model=name) from None
    if isinstance(reserved, str):
        said = f"no room for this attempt in the budget of {reserved}"
        raise CallOverBudgetError(said, model=name)
    return reserved
