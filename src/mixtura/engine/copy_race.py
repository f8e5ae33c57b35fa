"""CopyRace: one call made twice, of which one answer is used and the other called off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from mixtura.core.call_ledger import CallLedger, open_ledger
from mixtura.core.errors import MixturaError, partial_text, set_partial_text
from mixtura.core.events import CallRestarted, Emit, Event, Token, ToolCallChunk
from mixtura.core.model import Model, ask_model
from mixtura.core.types import Completion, Request


@dataclass(slots=True, eq=False)
class Attempt:
    """
    One of the calls. *started*: by the clock; *spoke*: seconds from there to its first piece;
    *usual_pace*: seconds that its model takes for a letter, None where no one knows.
    """

    model: Model
    task: asyncio.Task[Completion]
    started: float
    usual_pace: float | None = None
    spoke: float | None = None
    letters: int = 0
    last_piece: float = 0.0
    most_behind: float = 0.0
    """The most seconds that it was behind its usual pace."""
    beaten: bool = False
    outcome: Completion | BaseException | None = None
    ledger: CallLedger = field(default_factory=CallLedger)
    kept_events: list[Event] = field(default_factory=list[Event])

    def note_piece(self, letters: int, now: float) -> None:
        """A piece of *letters* letters came."""
        if self.spoke is None:
            self.spoke = now - self.started
        elif self.usual_pace is not None:
            self.most_behind = max(self.most_behind, self.seconds_behind(now))
        self.letters += letters
        self.last_piece = now

    def seconds_behind(self, now: float) -> float:
        """How much later it is than it would be at the usual pace, else since the last piece."""
        if self.spoke is None or self.usual_pace is None:
            return now - self.last_piece
        return now - self.started - self.spoke - self.letters * self.usual_pace

    def final_outcome(self) -> Completion | BaseException:
        """Its answer, or what ended it: of a cancelled task, asyncio tells that only once."""
        if self.outcome is None:
            try:
                self.outcome = self.task.result()
            except (MixturaError, asyncio.CancelledError) as error:
                self.outcome = error
        return self.outcome


class CopyRace:
    """
    Copies of one call. The first to speak goes on and the others are called off; with
    *to_the_end* the first that is done does: its tokens are then reported behind a
    CallRestarted, so only for drafts, which no person watches as an answer.
    """

    def __init__(
        self, emit: Emit | None, clock: Callable[[], float], *, to_the_end: bool = False
    ) -> None:
        self._emit = emit
        self._clock = clock
        self._to_the_end = to_the_end
        self._attempts: list[Attempt] = []
        self._winner: Attempt | None = None
        self._shown: Attempt | None = None
        self._changed = asyncio.Event()

    @property
    def has_winner(self) -> bool:
        return self._winner is not None

    @property
    def has_copy(self) -> bool:
        return len(self._attempts) > 1

    def start_attempt(self, model: Model, request: Request, *, watched: bool = True) -> Attempt:
        """Call *model*, beside the attempts that run already; if *watched*, it streams."""

        def emit(event: Event) -> None:
            self._forward_event(attempt, event)

        async def complete() -> Completion:
            with open_ledger() as attempt.ledger:
                return attempt.ledger.bill_answer(
                    await ask_model(model, request, emit if watched or self._emit else None)
                )

        task = asyncio.create_task(complete())
        attempt = Attempt(model, task, self._clock())
        self._attempts.append(attempt)
        if self._shown is None:
            self._shown = attempt
        task.add_done_callback(lambda _: self._changed.set())
        return attempt

    def _forward_event(self, attempt: Attempt, event: Event) -> None:
        if isinstance(event, Token | ToolCallChunk):
            text = event.text if isinstance(event, Token) else event.arguments
            is_first = attempt.spoke is None
            attempt.note_piece(len(text), self._clock())
            if is_first:
                self._changed.set()
            if is_first and self._winner is None and not self._to_the_end:
                self._set_winner(attempt)
        if self._emit is None or attempt.beaten:
            return
        if self._to_the_end and attempt is not self._shown:
            attempt.kept_events.append(event)
        elif self._to_the_end or self._winner in (attempt, None):
            self._emit(event)

    def _set_winner(self, winner: Attempt) -> None:
        self._winner = winner
        self._changed.set()
        for attempt in self._attempts:
            if attempt is not winner:
                attempt.beaten = True
                attempt.task.cancel()
        if self._to_the_end:
            self._show_attempt(winner)

    def _show_attempt(self, attempt: Attempt) -> None:
        """Report what *attempt* has said, in place of the one that was shown so far."""
        if attempt is self._shown:
            return
        self._shown = attempt
        kept, attempt.kept_events = attempt.kept_events, []
        if self._emit:
            self._emit(CallRestarted(attempt.model.name, None))
            for event in kept:
                self._emit(event)

    async def wait_for_change(self, seconds: float | None) -> None:
        """Wait until an attempt sends output or ends, for *seconds* at most; None: no limit."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._changed.clear()

    async def wait_for_answer(self) -> Completion:
        """The winner's answer; raises when all have failed."""
        while True:
            running = {one.task for one in self._attempts if not one.task.done()}
            answered = [one for one in self._attempts if one.task.done() and not one.beaten]
            for attempt in answered:
                if not attempt.task.cancelled() and attempt.task.exception() is None:
                    if self._winner is None:
                        self._set_winner(attempt)
                    await self._wait_for_cancelled()
                    self._mark_lost(attempt)
                    return attempt.task.result()
            if not running:
                break
            if self._to_the_end and self._shown in answered:  # it failed: the other is left
                self._show_attempt(next(one for one in self._attempts if one.task in running))
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await self._wait_for_cancelled()
        raise self._build_failure()

    def _mark_lost(self, winner: Attempt) -> None:
        for attempt in self._attempts:
            if attempt is not winner:
                attempt.ledger.mark_outcome("lost")

    def _build_failure(self) -> BaseException:
        """The winner's own failure, else the first one's."""
        chosen = self._winner or self._attempts[0]
        error = chosen.task.exception()
        assert error is not None
        return error

    async def _wait_for_cancelled(self) -> None:
        beaten = [one.task for one in self._attempts if one.beaten]
        if beaten:
            await asyncio.wait(beaten)

    async def leave(self, cancelled: asyncio.CancelledError) -> None:
        """Nothing runs on; *cancelled* carries what was written by then."""
        await self.cancel_attempts()
        set_partial_text(cancelled, self._partial_answer())

    def _partial_answer(self) -> str:
        """What the winner had written of its answer, without one the longest, once none runs."""
        if self._winner is None and not self._to_the_end:
            return ""
        ended = [self._winner] if self._winner else self._attempts
        return max((_written_text(one.final_outcome()) for one in ended), key=len, default="")

    async def cancel_attempts(self) -> None:
        """Nothing runs on, however the race was left."""
        tasks = [one.task for one in self._attempts]
        for task in tasks:
            task.cancel()
        if running := [task for task in tasks if not task.done()]:  # else it must not pause:
            await asyncio.wait(running)  # whoever is called off here is called off twice
        for task in tasks:
            if not task.cancelled():
                task.exception()  # seen: asyncio need not complain that no one looked


def _written_text(end: Completion | BaseException) -> str:
    return end.text if isinstance(end, Completion) else partial_text(end)
