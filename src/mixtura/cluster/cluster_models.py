"""The mixture of a batch that workers of a cluster answer, as its session sees it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from mixtura.batch.journaled import CURRENT_ROW
from mixtura.batch.journaled_models import JournaledModels
from mixtura.batch.outcome import EndpointProgress
from mixtura.cluster.worker_pool import WorkerPool
from mixtura.core.events import Emit
from mixtura.core.types import Completion, Request
from mixtura.models.wrappers.rate_limit import RateLimiter, RateLimits


class PoolRateLimiter(RateLimiter):
    """Holds back the calls of all workers, as a limiter does those of one process."""

    def __init__(self, pool: WorkerPool) -> None:
        super().__init__(RateLimits())
        self._pool = pool

    def hold_back(self) -> None:
        self._pool.drain()


class ClusterModels(JournaledModels):
    """
    The models of a batch on a cluster. Those that are built here are asked nothing: they say what
    the mixture is, and what its endpoints take.
    """

    def __init__(self, concurrency: int) -> None:
        super().__init__(concurrency)
        self._pool: WorkerPool | None = None
        self._window = 0

    def use_pool(self, pool: WorkerPool) -> None:
        """Once the mixture is built: from now on the workers' calls are what there is."""
        self._window = self.window_of(pool.worker_count)
        self._pool = pool
        self.limiters = {PoolRateLimiter(pool): "workers"}

    @property
    def window(self) -> int:
        return self._window

    def endpoints(self) -> tuple[EndpointProgress, ...]:
        return self._pool.endpoints() if self._pool is not None else ()


class ClusterModel:
    """A Model: the workers' answer to the row that is asked. Raises what they met."""

    def __init__(self, name: str, pool: WorkerPool) -> None:
        self.name = name
        self._pool = pool

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:  # noqa: ARG002
        row = CURRENT_ROW.get()
        assert row is not None, "a batch's row"
        answer = await self._pool.answer_row(row.key, request)
        row.replayed += answer.charges
        if answer.held_back:
            row.held_back = True
            await asyncio.get_running_loop().create_future()  # until the row is called off
        if answer.error is not None:
            raise answer.error
        assert answer.completion is not None
        return replace(answer.completion, charges=())
