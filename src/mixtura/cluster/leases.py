"""What each worker may take of an endpoint's limits, which all of them share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from mixtura.engine.endpoint_lease import EndpointUse, Lease
from mixtura.models.wrappers.rate_limit import (
    CONCURRENCY_DECREASE,
    FAILURE_WINDOW_SECONDS,
    MINUTE,
    RateLimits,
)

MOST_LEASES = 200
"""Times a second that all workers together are lent something: many ask more seldom."""
LEAST_SECONDS = 0.1
"""Between two times that a worker asks."""
TURN_SECONDS = 2.0
"""After which what cannot be divided goes to others."""


def lease_seconds(workers: int) -> float:
    """Seconds between two times that each of so many workers is lent anew."""
    return max(LEAST_SECONDS, workers / MOST_LEASES)


@dataclass(slots=True)
class _Holding:
    """What a worker may have in use, and has, of one quantity."""

    lease: int = 0
    used: int = 0
    wanted: int = 0
    gone: bool = False

    @property
    def occupied_amount(self) -> int:
        """What others may not have."""
        # What was lent and is taken back is free only once it is not used any more.
        return max(self.lease, self.used)


@dataclass(slots=True)
class SharedQuantity:
    """
    So many calls, or calls or tokens of a minute, divided among workers. What all of them hold is
    never more than *limit*, as long as that is not lowered.
    """

    limit: int
    holdings: dict[str, _Holding] = field(default_factory=dict[str, _Holding])

    def lend(self, worker: str, used: int, wanted: int, turn: int = 0) -> int:
        """What *worker* may have in use from now on."""
        mine = self.holdings.setdefault(worker, _Holding())
        mine.used, mine.wanted, mine.gone = used, wanted, False
        free = self.limit - sum(
            one.occupied_amount for name, one in self.holdings.items() if name != worker
        )
        mine.lease = max(0, min(self._fair_share(worker, turn), free))
        return mine.lease

    def forget(self, worker: str) -> None:
        self.holdings.pop(worker, None)

    def mark_gone(self, worker: str) -> None:
        """It takes nothing more; what it may have taken counts until it is forgotten."""
        if (one := self.holdings.get(worker)) is not None:
            one.used, one.lease, one.gone = one.occupied_amount, 0, True

    def _fair_share(self, worker: str, turn: int) -> int:
        """The most for whoever wants least; what is left over goes to all alike."""
        names = sorted(name for name, one in self.holdings.items() if not one.gone)
        names = names[turn % len(names) :] + names[: turn % len(names)]
        order = sorted(names, key=lambda name: self.holdings[name].wanted)
        left = self.limit - sum(one.occupied_amount for one in self.holdings.values() if one.gone)
        shares = dict[str, int]()
        for number, name in enumerate(order):
            # Rounded up: the first ones of this turn have what cannot be divided.
            fair = max(0, -(-left // (len(order) - number)))
            shares[name] = min(self.holdings[name].wanted, fair)
            left -= shares[name]
        for number, name in enumerate(order):
            more = max(0, -(-left // (len(order) - number)))
            shares[name] += more
            left -= more
        return shares[worker]


class SharedLimits:
    """The limits of one endpoint, lent to workers; a 429 that any of them meets lowers all."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._most = limits.concurrency
        self._allowed = float(limits.concurrency or "inf")
        self._last_decrease = float("-inf")
        self._closed_until = float("-inf")
        self._concurrency = _share_quantity(limits.concurrency)
        self._requests = _share_quantity(limits.requests_per_minute)
        self._tokens = _share_quantity(limits.tokens_per_minute)
        self._gone: list[tuple[float, str]] = []

    def lend(self, worker: str, use: EndpointUse) -> Lease:
        now = self._clock()
        self._forget_old(now)
        # It was only not heard for a while: what it takes counts as that of the others does.
        self._gone = [one for one in self._gone if one[1] != worker]
        self._learn(now, use)
        turn = int(now / TURN_SECONDS)
        busy = use.inside + use.waiting
        lease = Lease(closed=max(0.0, self._closed_until - now))
        if (calls := self._concurrency) is not None:
            calls.limit = max(1, int(self._allowed))
            lease = replace(lease, concurrency=calls.lend(worker, use.inside, busy, turn))
        if (requests := self._requests) is not None:
            wanted = use.requests + use.waiting
            lease = replace(lease, requests=requests.lend(worker, use.requests, wanted, turn))
        if (tokens := self._tokens) is not None:
            wanted = use.tokens + use.waiting_tokens
            lease = replace(lease, tokens=tokens.lend(worker, use.tokens, wanted, turn))
        return lease

    def forget(self, worker: str) -> None:
        """It is gone; what it took of the last minute counts for as long."""
        if self._concurrency is not None:
            self._concurrency.forget(worker)
        for one in (self._requests, self._tokens):
            if one is not None:
                one.mark_gone(worker)
        self._gone.append((self._clock() + MINUTE, worker))

    def _forget_old(self, now: float) -> None:
        while self._gone and self._gone[0][0] <= now:
            _, worker = self._gone.pop(0)
            for one in (self._requests, self._tokens):
                if one is not None:
                    one.forget(worker)

    def _learn(self, now: float, use: EndpointUse) -> None:
        """As a limiter in one process does; what *use* counts is since the worker's last one."""
        self._closed_until = max(self._closed_until, now + use.closed)
        if self._concurrency is None or self._most is None:
            return
        if use.rate_limited and now - self._last_decrease >= FAILURE_WINDOW_SECONDS:
            inside = sum(one.used for one in self._concurrency.holdings.values())
            at_once = min(self._allowed, float(max(inside, 1)))
            self._allowed = max(1.0, at_once * CONCURRENCY_DECREASE)
            self._last_decrease = now
        elif use.answered:
            self._allowed = min(float(self._most), self._allowed + use.answered / self._allowed)


def _share_quantity(limit: int | None) -> SharedQuantity | None:
    return None if limit is None else SharedQuantity(limit)


class LimitOwner:
    """The owner of all limits: it knows each endpoint by its name, from whoever names it first."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._endpoints: dict[str, SharedLimits] = {}

    def lend(
        self, worker: str, limits: Mapping[str, RateLimits], uses: Mapping[str, EndpointUse]
    ) -> dict[str, Lease]:
        """What *worker* may take at each endpoint; *limits*: what these take in all."""
        for name, whole in limits.items():
            if name not in self._endpoints:
                self._endpoints[name] = SharedLimits(whole, self._clock)
        return {name: self._endpoints[name].lend(worker, one) for name, one in uses.items()}

    def forget_worker(self, worker: str) -> None:
        """It is gone: what it had is the others'."""
        for one in self._endpoints.values():
            one.forget(worker)
