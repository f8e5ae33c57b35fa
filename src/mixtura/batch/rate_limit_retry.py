"""RateLimitRetrying: a Model that asks again, for minutes, after its endpoint's rate limits."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from mixtura.core.errors import QuotaError, RateLimitedError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper
from mixtura.core.types import Completion, Request
from mixtura.engine.call_context import remaining_seconds

RETRY_WINDOW_SECONDS = 900.0
"""Seconds that one call waits in all: longer than any endpoint's minute, many times."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds, where the endpoint says none; doubled each time."""


class RateLimitRetrying(Wrapper):
    """
    A batch has time: a refusal that will pass costs no row its answer.

    Stands around the retries, which are for one who waits for an answer. The rate limiter inside
    has lowered the calls at once by then. A quota that is spent is not waited for.
    """

    def __init__(
        self,
        model: Model,
        *,
        window: float = RETRY_WINDOW_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(model)
        self._window = window
        self._sleep = sleep
        self._clock = clock

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        until = self._clock() + min(self._window, remaining_seconds())
        bound = FIRST_WAIT
        while True:
            try:
                return await self._model.complete(request, emit)
            except QuotaError:
                raise
            except RateLimitedError as error:
                asked = error.retry_after
                wait = random.uniform(0.5, 1.0) * bound if asked is None else asked
                if self._clock() + wait >= until:
                    raise
            await self._sleep(wait)
            bound = min(2 * bound, LONGEST_WAIT)
