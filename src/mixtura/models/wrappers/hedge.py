"""Hedged: a Model that asks a second time when the first token is late."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mixtura.core.call_ledger import CallLedger, open_ledger
from mixtura.core.errors import ModelError, partial_text, set_partial_text
from mixtura.core.events import Emit, Event, Notice, Token, ToolCallChunk
from mixtura.core.model import Model, Wrapper
from mixtura.core.types import Completion, Request

MIN_OBSERVATIONS = 20
"""First tokens seen before a quantile of them is trusted."""
MAX_OBSERVATIONS = 200


class Hedged(Wrapper):
    """
    Asks *elsewhere* (or *model* again) when the first token has not come in time.

    In time is the *quantile* of the first tokens seen, but never less than *after* seconds;
    while there are too few, *after* alone counts (None: no copy yet). The first copy to
    speak is the answer; the other is cancelled and stays on the bill. At most a *share* of
    the calls gets a copy. It looks at the first token, not the whole: a second copy mends a
    queue, not a long answer (Dean and Barroso 2013, "The tail at scale").
    """

    def __init__(
        self,
        model: Model,
        *,
        elsewhere: Model | None = None,
        share: float = 0.05,
        quantile: float = 0.95,
        after: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(model)
        if not (0 < share <= 1 and 0 < quantile < 1):
            raise ValueError("share and quantile are between 0 and 1")
        self._elsewhere = elsewhere or model
        self._share = share
        self._quantile = quantile
        self._after = after
        self._clock = clock
        self._seen: deque[float] = deque(maxlen=MAX_OBSERVATIONS)
        self.calls = 0
        self.copies = 0

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        return () if self._elsewhere is self._model else (self._elsewhere,)

    def hedge_delay(self) -> float | None:
        """Seconds after which a first token is late; None when no one can say."""
        if len(self._seen) < MIN_OBSERVATIONS:
            return self._after
        ranked = sorted(self._seen)
        learned = ranked[min(int(self._quantile * len(ranked)), len(ranked) - 1)]
        return max(learned, self._after or 0.0)

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        with open_ledger() as ledger:
            return ledger.bill_answer(await self._race_copies(request, emit))

    async def _race_copies(self, request: Request, emit: Emit | None) -> Completion:
        self.calls += 1
        late = self.hedge_delay()
        race = _HedgeRace(emit, self._clock)
        first = race.start_attempt(self._model, request)
        try:
            if late is not None:
                await race.wait_for_change(late)
                if not race.has_winner and not first.task.done() and self._may_send_copy():
                    self.copies += 1
                    if emit:
                        said = f"no first token within {late:.2f} s: asked a second time"
                        emit(Notice(self.name, said))
                    race.start_attempt(self._elsewhere, request)
            answer = await race.wait_for_answer()
        except asyncio.CancelledError as left:
            await race.cancel_attempts()
            set_partial_text(left, race.partial_answer())
            raise
        finally:
            await race.cancel_attempts()
        if first.spoke is not None:
            self._seen.append(first.spoke)
        return answer

    def _may_send_copy(self) -> bool:
        return self.copies + 1 <= max(self._share * self.calls, 1.0)


@dataclass(slots=True, eq=False)
class _Attempt:
    task: asyncio.Task[Completion]
    started: float
    spoke: float | None = None
    beaten: bool = False
    outcome: Completion | BaseException | None = None
    ledger: CallLedger = field(default_factory=CallLedger)

    def final_outcome(self) -> Completion | BaseException:
        """Its answer, or what ended it: of a cancelled task, asyncio tells that only once."""
        if self.outcome is None:
            try:
                self.outcome = self.task.result()
            except (ModelError, asyncio.CancelledError) as error:
                self.outcome = error
        return self.outcome


class _HedgeRace:
    """Copies of one call: who speaks first goes on, the others are called off."""

    def __init__(self, emit: Emit | None, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self._runners: list[_Attempt] = []
        self._winner: _Attempt | None = None
        self._changed = asyncio.Event()

    @property
    def has_winner(self) -> bool:
        return self._winner is not None

    def start_attempt(self, model: Model, request: Request) -> _Attempt:
        def emit(event: Event) -> None:
            self._forward_event(runner, event)

        async def complete() -> Completion:
            with open_ledger() as runner.ledger:
                return runner.ledger.bill_answer(await model.complete(request, emit))

        task = asyncio.create_task(complete())
        runner = _Attempt(task, self._clock())
        self._runners.append(runner)
        task.add_done_callback(lambda _: self._changed.set())
        return runner

    def _forward_event(self, runner: _Attempt, event: Event) -> None:
        if isinstance(event, Token | ToolCallChunk) and runner.spoke is None:
            runner.spoke = self._clock() - runner.started
            if self._winner is None:
                self._set_winner(runner)
        if self._emit and not runner.beaten and (self._winner in (runner, None)):
            self._emit(event)

    def _set_winner(self, winner: _Attempt) -> None:
        self._winner = winner
        self._changed.set()
        for runner in self._runners:
            if runner is not winner:
                runner.beaten = True
                runner.task.cancel()

    async def wait_for_change(self, seconds: float) -> None:
        """Until something happens, but no longer than *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def wait_for_answer(self) -> Completion:
        """The winner's answer; raises when all have failed."""
        while True:
            running = {r.task for r in self._runners if not r.task.done()}
            answered = [r for r in self._runners if r.task.done() and not r.beaten]
            for runner in answered:
                if not runner.task.cancelled() and runner.task.exception() is None:
                    if self._winner is None:
                        self._set_winner(runner)
                    await self._wait_for_cancelled()
                    self._mark_lost(runner)
                    return runner.task.result()
            if not running:
                break
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await self._wait_for_cancelled()
        raise self._build_failure()

    def _mark_lost(self, winner: _Attempt) -> None:
        for runner in self._runners:
            if runner is not winner:
                runner.ledger.mark_outcome("lost")

    def _build_failure(self) -> BaseException:
        """The winner's own failure, else the first one's."""
        chosen = self._winner or self._runners[0]
        error = chosen.task.exception()
        assert error is not None
        return error

    async def _wait_for_cancelled(self) -> None:
        beaten = [r.task for r in self._runners if r.beaten]
        if beaten:
            await asyncio.wait(beaten)

    def partial_answer(self) -> str:
        """What the winner had written of its answer, once no copy runs."""
        end = self._winner.final_outcome() if self._winner else None
        return end.text if isinstance(end, Completion) else partial_text(end)

    async def cancel_attempts(self) -> None:
        """Nothing runs on, however the race was left."""
        tasks = [r.task for r in self._runners]
        for task in tasks:
            task.cancel()
        if running := [task for task in tasks if not task.done()]:  # else it must not pause:
            await asyncio.wait(running)  # whoever is called off here is called off twice
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: asyncio need not complain that no one looked
