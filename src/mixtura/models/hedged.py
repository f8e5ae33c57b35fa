"""Hedged: a Model that asks a second time when the first token is late."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from mixtura.errors import ModelError, bill, billed, leave, partial
from mixtura.events import Emit, Event, Noticed, Token, ToolPiece
from mixtura.model import Model, Wrapper
from mixtura.types import Charge, Completion, Request

ENOUGH = 20
"""First tokens seen before a quantile of them is trusted."""
REMEMBERED = 200


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
        self._seen: deque[float] = deque(maxlen=REMEMBERED)
        self.calls = 0
        self.copies = 0

    @property
    def spares(self) -> tuple[Model, ...]:
        return () if self._elsewhere is self._model else (self._elsewhere,)

    def late(self) -> float | None:
        """Seconds after which a first token is late; None when no one can say."""
        if len(self._seen) < ENOUGH:
            return self._after
        ranked = sorted(self._seen)
        learned = ranked[min(int(self._quantile * len(ranked)), len(ranked) - 1)]
        return max(learned, self._after or 0.0)

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        self.calls += 1
        late = self.late()
        race = _Race(emit, self._clock)
        first = race.enter(self._model, request)
        try:
            if late is not None:
                await race.wait(late)
                if not race.decided and not first.task.done() and self._may_copy():
                    self.copies += 1
                    if emit:
                        said = f"no first token within {late:.2f} s: asked a second time"
                        emit(Noticed(self.name, said))
                    race.enter(self._elsewhere, request)
            answer = await race.won()
        except asyncio.CancelledError as left:
            await race.left()
            left.charges = ()  # pyright: ignore[reportAttributeAccessIssue]
            bill(left, *race.charges())
            leave(left, race.written())
            raise
        finally:
            await race.left()
        if first.spoke is not None:
            self._seen.append(first.spoke)
        return answer

    def _may_copy(self) -> bool:
        return self.copies + 1 <= max(self._share * self.calls, 1.0)


@dataclass(slots=True, eq=False)
class _Runner:
    task: asyncio.Task[Completion]
    started: float
    spoke: float | None = None
    beaten: bool = False
    outcome: Completion | BaseException | None = None

    def ended(self) -> Completion | BaseException:
        """Its answer, or what ended it: of a cancelled task, asyncio tells that only once."""
        if self.outcome is None:
            try:
                self.outcome = self.task.result()
            except (ModelError, asyncio.CancelledError) as error:
                self.outcome = error
        return self.outcome

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What it cost, once it is over: a copy that was called off has a bill, too."""
        return billed(self.ended())


class _Race:
    """Copies of one call: who speaks first goes on, the others are called off."""

    def __init__(self, emit: Emit | None, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self._runners: list[_Runner] = []
        self._winner: _Runner | None = None
        self._changed = asyncio.Event()

    @property
    def decided(self) -> bool:
        return self._winner is not None

    def enter(self, model: Model, request: Request) -> _Runner:
        def emit(event: Event) -> None:
            self._spoke(runner, event)

        task = asyncio.create_task(model.complete(request, emit))
        runner = _Runner(task, self._clock())
        self._runners.append(runner)
        task.add_done_callback(lambda _: self._changed.set())
        return runner

    def _spoke(self, runner: _Runner, event: Event) -> None:
        if isinstance(event, Token | ToolPiece) and runner.spoke is None:
            runner.spoke = self._clock() - runner.started
            if self._winner is None:
                self._decide(runner)
        if self._emit and not runner.beaten and (self._winner in (runner, None)):
            self._emit(event)

    def _decide(self, winner: _Runner) -> None:
        self._winner = winner
        self._changed.set()
        for runner in self._runners:
            if runner is not winner:
                runner.beaten = True
                runner.task.cancel()

    async def wait(self, seconds: float) -> None:
        """Until something happens, but no longer than *seconds*."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def won(self) -> Completion:
        """The winner's answer with the losers' charges on it; raises when all have failed."""
        while True:
            running = {r.task for r in self._runners if not r.task.done()}
            answered = [r for r in self._runners if r.task.done() and not r.beaten]
            for runner in answered:
                if not runner.task.cancelled() and runner.task.exception() is None:
                    if self._winner is None:
                        self._decide(runner)
                    await self._called_off()
                    return self._billed(runner)
            if not running:
                break
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await self._called_off()
        raise self._failure()

    def _billed(self, winner: _Runner) -> Completion:
        answer = winner.task.result()
        lost = tuple(
            charge._replace(outcome="lost")
            for runner in self._runners
            if runner is not winner
            for charge in runner.charges
        )
        return replace(answer, charges=(*lost, *answer.charges)) if lost else answer

    def _failure(self) -> BaseException:
        """The winner's own failure, else the first one's, with everyone's charges."""
        chosen = self._winner or self._runners[0]
        error = chosen.task.exception()
        assert error is not None
        if isinstance(error, ModelError):
            for runner in self._runners:
                if runner is not chosen:
                    error.paid(*runner.charges)
        return error

    async def _called_off(self) -> None:
        beaten = [r.task for r in self._runners if r.beaten]
        if beaten:
            await asyncio.wait(beaten)

    def charges(self) -> tuple[Charge, ...]:
        """What all copies cost, once none of them runs."""
        return tuple(charge for runner in self._runners for charge in runner.charges)

    def written(self) -> str:
        """What the winner had written of its answer, once no copy runs."""
        end = self._winner.ended() if self._winner else None
        return end.text if isinstance(end, Completion) else partial(end)

    async def left(self) -> None:
        """Nothing runs on, however the race was left."""
        tasks = [r.task for r in self._runners]
        for task in tasks:
            task.cancel()
        if running := [task for task in tasks if not task.done()]:  # else it must not pause:
            await asyncio.wait(running)  # whoever is called off here has lost the bill
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: asyncio need not complain that no one looked
