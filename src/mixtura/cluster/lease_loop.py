"""Rate limiters of one process that are lent, again and again, their parts of what all may take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from mixtura.cluster.dollar_leases import DollarLease, DollarUse
from mixtura.engine.endpoint_lease import EndpointUse, Lease
from mixtura.models.wrappers.rate_limit import RateLimiter, RateLimits

EndpointLimits = Mapping[str, RateLimits]
"""Of the endpoints, by their names."""
EndpointUses = Mapping[str, EndpointUse]


class Owner(Protocol):
    """The owner of the limits and of the budget, wherever it is."""

    async def lend(
        self, worker: str, limits: EndpointLimits, uses: EndpointUses, dollars: DollarUse | None
    ) -> tuple[Mapping[str, Lease], DollarLease]: ...


class RemoteOwner:
    """An ``Owner`` in another process of Ray. Raises what Ray does."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def lend(
        self, worker: str, limits: EndpointLimits, uses: EndpointUses, dollars: DollarUse | None
    ) -> tuple[Mapping[str, Lease], DollarLease]:
        return await self._actor.lend.remote(worker, limits, uses, dollars)


class LeasedLimiters:
    """Tells the owner what the limiters of the process *name* use, and applies its leases."""

    def __init__(self, name: str, owner: Owner) -> None:
        self._name = name
        self._owner = owner
        self._before: dict[str, EndpointUse] = {}

    async def renew(
        self, limiters: Mapping[str, RateLimiter], dollars: DollarUse | None = None
    ) -> DollarLease:
        """Once; what is lent of the budget is returned."""
        limits = {name: one.limits for name, one in limiters.items()}
        uses = {name: one.current_use() for name, one in limiters.items()}
        since = {name: _use_since(use, self._before.get(name)) for name, use in uses.items()}
        leases, more = await self._owner.lend(self._name, limits, since, dollars)
        self._before = uses
        for name, lease in leases.items():
            limiters[name].apply_lease(lease)
        return more


def _use_since(use: EndpointUse, before: EndpointUse | None) -> EndpointUse:
    """*use*, with what it counts reckoned from *before*."""
    if before is None:
        return use
    return use._replace(
        rate_limited=use.rate_limited - before.rate_limited,
        answered=use.answered - before.answered,
    )
