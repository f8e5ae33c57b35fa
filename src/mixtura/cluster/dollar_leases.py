"""One budget for many workers: its owner lends each of them some dollars at a time."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from mixtura.billing.spending_caps import RunCap, Spend
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import BudgetExceededError, DeadlineExceededError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper
from mixtura.core.types import Completion, Request

LENT_SHARE = 4
"""A worker is lent at once at most this part of what is left, divided by the number of workers."""
_TINY = 1e-12
"""Dollars: sums of floats must not refuse the last call."""


class DollarUse(NamedTuple):
    """
    What a worker says of its dollars: *spent*, *held* by rows under way, *returned* of its lease
    since it said so last, and *needed* for a row that waits (0 where none does). *number* counts
    what it says: a question that comes again, since its response was lost, changes nothing.
    """

    spent: float
    held: float
    returned: float
    needed: float
    number: int


class DollarLease(NamedTuple):
    """
    *more* dollars for a worker. *wanted*: others need what it has no use for. *exhausted*: what
    it needs there will not be.
    """

    more: float = 0.0
    wanted: bool = False
    exhausted: bool = False


@dataclass(slots=True)
class DollarOwner:
    """
    Lends *total* dollars: what all workers have spent, hold and may still reserve is never more.
    """

    total: float
    _lent: dict[str, float] = field(default_factory=dict[str, float], init=False)
    _uses: dict[str, DollarUse] = field(default_factory=dict[str, DollarUse], init=False)
    _last: dict[str, DollarLease] = field(default_factory=dict[str, DollarLease], init=False)
    """What each worker was told last."""

    def lend(self, worker: str, use: DollarUse) -> DollarLease:
        """What *worker* is lent in response to *use*, once for each of its numbers."""
        before = self._uses.get(worker)
        if before is None or before.number != use.number:
            self._last[worker] = self._lend_more(worker, use)
        return self._last[worker]

    def _lend_more(self, worker: str, use: DollarUse) -> DollarLease:
        self._lent[worker] = self._lent.get(worker, 0.0) - use.returned
        self._uses[worker] = use
        wanted = any(one.needed for name, one in self._uses.items() if name != worker)
        if not use.needed:
            return DollarLease(wanted=wanted)
        free = self._lent[worker] - use.spent - use.held
        over = max(0.0, -free)
        left = self.total - sum(map(self._occupied_dollars, self._lent))
        if left + free + over + _TINY < use.needed:
            return DollarLease(wanted=wanted, exhausted=self._nothing_comes_back())
        share = left / (LENT_SHARE * len(self._uses))
        more = min(left + over, max(use.needed - free, share))
        self._lent[worker] += more
        return DollarLease(more, wanted)

    def settle_dead(self, worker: str, spent: float | None) -> float:
        """
        It is gone, and has spent so much: the rest of its lease is free. None: it may have spent
        all of that. What counts as spent is returned.
        """
        if worker not in self._lent:
            return spent or 0.0
        spent = self._occupied_dollars(worker) if spent is None else spent
        self._lent[worker] = spent
        self._uses[worker] = self._uses[worker]._replace(spent=spent, held=0.0, needed=0.0)
        return spent

    def _occupied_dollars(self, worker: str) -> float:
        """What others may not have: its lease, or more where calls cost more than they reserved."""
        use = self._uses[worker]
        return max(self._lent[worker], use.spent + use.held)

    def _nothing_comes_back(self) -> bool:
        """Nowhere is a row under way, and every worker has returned what it does not use."""
        return all(
            one.held <= _TINY and self._lent[name] - one.spent <= _TINY
            for name, one in self._uses.items()
        )


_NEED: ContextVar[list[float] | None] = ContextVar("need", default=None)
"""Where a reservation that finds no room in the lease writes what it needs."""


class LeasedCap:
    """
    The cap of a batch in one worker, a ``SpendingCap``: *dollars* are those of the whole batch,
    and reserved is what is lent of them.
    """

    tokens = None
    has_dollar_cap = True

    def __init__(self, name: str, dollars: float) -> None:
        self.name = name
        self.dollars = dollars
        self._lent = RunCap(name, 0.0)
        self._returned = 0.0
        self._waiting: dict[asyncio.Future[None], float] = {}
        """Who waits for room, first come first, and for how many dollars."""
        self._uses_told = 0
        self._exhausted = float("inf")
        """Dollars of which it is known that there are not so many."""
        self.asks = asyncio.Event()
        """Set while someone waits for more."""

    def reserve(self, amount: Spend) -> int | None:
        hold = self._lent.reserve(amount)
        if hold is None and (box := _NEED.get()) is not None:
            box.append(amount.dollars)
        return hold

    def record_spend(self, hold: int, spent: Spend) -> None:
        pass  # what a killed worker has spent stands in its journal

    def settle(self, hold: int, spent: Spend) -> None:
        self._lent.settle(hold, spent)
        self._wake()  # what it leaves may be enough for another

    def current_use(self) -> DollarUse:
        """What the owner is told; what is returned since it was told last is told once."""
        spent = self._lent.spent.dollars
        held = max(0.0, self._lent.committed_spend.dollars - spent)
        returned, self._returned = self._returned, 0.0
        needed = max(self._waiting.values(), default=0.0)
        self._uses_told += 1
        return DollarUse(spent, held, returned, needed, self._uses_told)

    def apply_lease(self, lease: DollarLease) -> None:
        whole = self._lent.dollars or 0.0
        self._lent.dollars = whole + lease.more
        if lease.more:
            self._exhausted = float("inf")
        if lease.exhausted and self._waiting:
            self._exhausted = max(self._waiting.values())
        if (lease.wanted or self._waiting) and not lease.more:
            free = max(0.0, whole - self._lent.committed_spend.dollars)
            self._lent.dollars = whole - free
            self._returned += free
        self._wake()

    def _wake(self) -> None:
        """Those for whom there is room by now, and those for whom there will be none."""
        # Not all of them: thousands would try again whenever one row has ended.
        free = (self._lent.dollars or 0.0) - self._lent.committed_spend.dollars + _TINY
        for turn, needed in self._waiting.items():
            if turn.done():
                continue
            if needed < self._exhausted:
                if needed > free:
                    continue
                free -= needed
            turn.set_result(None)

    async def wait_for_room(self, needed: float) -> bool:
        """Return once there may be room for so many dollars; False where there will be none."""
        if needed >= self._exhausted:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = needed
        self.asks.set()
        try:
            await turn
        finally:
            del self._waiting[turn]
        return needed < self._exhausted


class LeasedBudget(Wrapper):
    """
    Waits where *cap* has lent too little by now. Raises BudgetExceededError once no more can come.
    """

    def __init__(self, model: Model, cap: LeasedCap) -> None:
        super().__init__(model)
        self._cap = cap

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        while True:
            needed: list[float] = []
            token = _NEED.set(needed)
            with open_ledger() as ledger:
                try:
                    return await self._model.complete(request, emit)
                except DeadlineExceededError:
                    raise
                except BudgetExceededError:
                    # What has begun is paid: only what cost nothing may be tried again.
                    if not needed or ledger.charges:
                        raise
                    if not await self._cap.wait_for_room(max(needed)):
                        raise
                finally:
                    _NEED.reset(token)
