"""Retrying: a Model that tries again what may work later."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from mixtura.core.arguments import check_count, check_function, check_number
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import (
    CircuitOpenError,
    EmptyAnswerError,
    ModelError,
    QuotaError,
    RateLimitedError,
    TimedOutError,
    UnavailableError,
)
from mixtura.core.events import CallRestarted, Emit
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.quantities import COUNT, SECONDS
from mixtura.core.types import Completion, Request
from mixtura.engine.call_context import is_dispensable, remaining_seconds
from mixtura.transport.timeouts import CallDeadline, call_scope

TOTAL_TIMEOUT_MESSAGE = "not finished within the call's total time limit"
LONGEST_RETRY_WAIT = 60.0
"""Seconds: an upstream that asks for more is not waited for."""


class Retrying(Wrapper):
    """
    Asks *model* up to *attempts* times in all while the failure may pass.

    Waits what the upstream asks for, else a random time that doubles its bound with every
    attempt (*first_wait* seconds, then twice that); where that is longer than anyone waits for
    the answer, or than the *total* clock of the call leaves, it gives up at once. An answer of
    which a person has seen a part is never begun again. A draft that its layer can do without
    is tried again once at most when its upstream is unavailable. What failed attempts cost
    stays on the bill. Raises TypeError and ValueError for arguments that are none.
    """

    def __init__(
        self,
        model: Model,
        *,
        attempts: int = 3,
        first_wait: float = 0.5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(model)
        self._attempts = check_count("attempts", attempts, COUNT)
        self._first_wait = check_number("first_wait", first_wait, SECONDS)
        check_function("sleep", sleep, "an async function of seconds")
        self._sleep = sleep

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        with open_ledger() as ledger, call_scope(self.name, anew=True) as clock:
            return ledger.bill_answer(await self._complete_with_retries(request, emit, clock))

    async def _complete_with_retries(
        self, request: Request, emit: Emit | None, clock: CallDeadline
    ) -> Completion:
        for attempt in range(1, self._attempts + 1):
            with open_ledger() as ledger:
                try:
                    left = clock if attempt > 1 else None
                    return ledger.bill_answer(await self._attempt_once(request, emit, left))
                except ModelError as error:
                    wait = self._retry_wait(error, attempt, request)
                    if wait is None or clock.is_over_after(wait):
                        raise
                    ledger.mark_outcome("retried")
                    if emit:
                        emit(CallRestarted(self.name, error, wait))
            await self._sleep(wait)
        raise AssertionError("unreachable: the last attempt either answers or raises")

    async def _attempt_once(
        self, request: Request, emit: Emit | None, clock: CallDeadline | None
    ) -> Completion:
        """One attempt; what it waits for before its request is sent is on the *clock*, too."""
        if clock is None or clock.ends is None:
            return await ask_model(self._model, request, emit)
        scope = asyncio.timeout_at(clock.ends)
        try:
            async with scope:
                return await ask_model(self._model, request, emit)
        except TimeoutError:
            if not scope.expired():
                raise
            raise TimedOutError(TOTAL_TIMEOUT_MESSAGE) from None

    def _retry_wait(self, error: ModelError, attempt: int, request: Request) -> float | None:
        """Seconds until the next attempt; None when there is none."""
        if attempt == self._attempts or (error.shown and not request.draft):
            return None
        match error:
            case QuotaError() | CircuitOpenError():
                return None
            case UnavailableError() if attempt > 1 and is_dispensable(request):
                return None
            case RateLimitedError(retry_after=asked) | UnavailableError(retry_after=asked):
                jitter = random.uniform(0.5, 1.0) * self._first_wait * 2 ** (attempt - 1)
                wait = jitter if asked is None else asked + random.uniform(0, 0.1 * asked)
                too_long = asked is not None and asked > LONGEST_RETRY_WAIT
                return None if too_long or wait >= remaining_seconds() else wait
            case EmptyAnswerError():
                return 0.0 if attempt == 1 else None
            case _:
                return None
