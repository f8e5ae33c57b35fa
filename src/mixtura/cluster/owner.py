"""The one owner of what workers share: the limits of the endpoints, and the budget."""

from __future__ import annotations

import time
from collections.abc import Callable

from mixtura.cluster.dollar_leases import DollarLease, DollarOwner, DollarUse
from mixtura.cluster.lease_loop import EndpointLimits, EndpointUses
from mixtura.cluster.leases import LimitOwner
from mixtura.engine.endpoint_lease import Lease


class LeaseOwner:
    """Lends to workers; *dollars*: what they may spend in all, None for any amount."""

    def __init__(
        self, dollars: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = LimitOwner(clock)
        self._dollars = None if dollars is None else DollarOwner(dollars)

    def lend(
        self, worker: str, limits: EndpointLimits, uses: EndpointUses, dollars: DollarUse | None
    ) -> tuple[dict[str, Lease], DollarLease]:
        """What *worker* may take from now on; *limits*: what the endpoints take in all."""
        leases = self._limits.lend(worker, limits, uses)
        if self._dollars is None or dollars is None:
            return leases, DollarLease()
        return leases, self._dollars.lend(worker, dollars)

    def forget_worker(self, worker: str, spent: float | None) -> float:
        """
        It is gone, and has spent so many dollars: what it had is the others'. None: what it has
        spent is not known. What counts as spent is returned.
        """
        self._limits.forget_worker(worker)
        if self._dollars is None:
            return spent or 0.0
        return self._dollars.settle_dead(worker, spent)
