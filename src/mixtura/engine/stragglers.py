"""Waits for a layer's calls: until all are done, or too late for the others to wait for them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mixtura.core.errors import ModelError, TimedOutError
from mixtura.core.events import Position
from mixtura.core.model import unwrap_model
from mixtura.core.roles import Composite, Layer, Proposer
from mixtura.core.straggler_patience import (
    MIN_QUORUM_MULTIPLE,
    MIN_SECONDS,
    LearnedPatience,
    task_size,
)
from mixtura.core.types import Completion

CUT_BY_SETTING = "cut off by the layer's patience or deadline"

ProposerTask = asyncio.Task[Completion | ModelError]


@dataclass(frozen=True, slots=True)
class LateCalls:
    """
    What a layer says of its late calls. *cut*: why one was cancelled. *repeat_signals*: set for a
    call that is to be made a second time, beside the first.
    """

    cut: dict[Position, str] = field(default_factory=dict[Position, str])
    repeat_signals: dict[Position, asyncio.Event] = field(
        default_factory=dict[Position, asyncio.Event]
    )
    left_out: set[Position] = field(default_factory=set[Position])
    """Calls that somebody ended by hand: nothing that they wrote is used."""
    answered_without: set[Position] = field(default_factory=set[Position])
    """Calls under way when somebody asked for the answer."""
    replaced: set[Position] = field(default_factory=set[Position])
    """Seats whose first call was followed by another: how long one took is not known."""

    def error_for(self, position: Position) -> ModelError:
        """The outcome of a call that was cut."""
        by_hand = position in self.left_out or position in self.answered_without
        kind = ModelError if by_hand else TimedOutError
        return kind(self.cut[position])


class _Limit(NamedTuple):
    """The moment from which on a call is late, by the loop's clock, and what to say of it then."""

    moment: float
    why: str = CUT_BY_SETTING
    is_learned: bool = False


def calls_to_ask_again(layer: Layer, calls: Mapping[Position, Proposer]) -> list[Position]:
    """The calls of *layer*'s strongest model, which may be made a second time."""
    learned = layer.learned
    if learned is None or not learned.asks_again:
        return []
    return [
        position
        for position, call in calls.items()
        # A mixture is many calls: they are not all made again for one of them.
        if call.model.name == learned.strongest
        and not isinstance(unwrap_model(call.model), Composite)
    ]


async def wait_for_layer(
    tasks: Mapping[Position, ProposerTask],
    calls: Sequence[Proposer],
    layer: Layer,
    late: LateCalls,
) -> None:
    """Wait for the *tasks* that make *layer*'s *calls*; cancel those that come too late."""
    if layer.patience is None and layer.deadline is None and layer.learned is None:
        await asyncio.wait(tasks.values())
        return
    await _LayerWait(tasks, calls, layer, late).run()


class _LayerWait:
    """One layer that is waited for: which of its calls are done since when, and due when."""

    def __init__(
        self,
        tasks: Mapping[Position, ProposerTask],
        calls: Sequence[Proposer],
        layer: Layer,
        late: LateCalls,
    ) -> None:
        self._layer = layer
        self._late = late
        self._tasks = tasks
        self._positions = {task: position for position, task in tasks.items()}
        self._names = dict(zip(tasks, (call.model.name for call in calls), strict=True))
        self._clock = asyncio.get_running_loop().time
        self._began = 0.0
        self._end = math.inf
        self._answers: dict[Position, Completion] = {}
        self._seconds: dict[Position, float] = {}
        self._limits: dict[Position, _Limit] = {}
        self._has_quorum = False
        self._has_asked_again = False

    async def run(self) -> None:
        await asyncio.sleep(0)  # all start: a task cancelled before its start could not report it
        self._began = self._clock()
        deadline = self._layer.deadline
        self._end = math.inf if deadline is None else self._began + deadline
        self._limits = dict.fromkeys(self._tasks, _Limit(self._end))
        waiting = set(self._tasks.values())
        while waiting := waiting - self._cut_late_calls(waiting):
            left = self._next_moment(waiting) - self._clock()
            done, waiting = await asyncio.wait(
                waiting,
                timeout=None if left == math.inf else max(left, 0.0),
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                self._note_outcome(task)
            self._set_limits(waiting)
        self._learn()

    def _note_outcome(self, task: ProposerTask) -> None:
        if task.cancelled() or task.exception():
            return
        outcome = task.result()
        if isinstance(outcome, Completion):
            position = self._positions[task]
            self._answers[position] = outcome
            self._seconds[position] = self._clock() - self._began

    # ---- when a call is late

    def _set_limits(self, waiting: set[ProposerTask]) -> None:
        """Patience begins once, at the quorum: later answers do not prolong it."""
        learned, patience = self._layer.learned, self._layer.patience
        needed = self._layer.quorum
        if patience is None and learned is not None:
            needed = max(needed, learned.quorum_of(len(self._tasks)))
        if self._has_quorum or len(self._answers) < needed:
            return
        self._has_quorum = True
        for position in (self._positions[task] for task in waiting):
            limit = self._limits[position]
            if patience is not None:
                moment = self._clock() + patience
                self._limits[position] = min(limit, _Limit(moment), key=lambda one: one.moment)
            elif learned is not None:
                own = self._learned_limit(learned, position)
                self._limits[position] = min(limit, own, key=lambda one: one.moment)

    def _learned_limit(self, learned: LearnedPatience, position: Position) -> _Limit:
        size = task_size(self._answers.values())
        name = self._names[position]
        usual = None if size is None else learned.times.usual_seconds(name, size)
        if usual is None:
            return _Limit(math.inf)
        seconds = max(
            learned.multiple * usual,
            MIN_QUORUM_MULTIPLE * (self._clock() - self._began),
            MIN_SECONDS,
        )
        why = f"cut off after {seconds:.1f} s: it usually takes {usual:.1f} s for such an answer"
        return _Limit(self._began + seconds, why, is_learned=True)

    # ---- what becomes of late calls

    def _cut_late_calls(self, waiting: set[ProposerTask]) -> set[ProposerTask]:
        """Cancel the calls that are late, but not the only ones of the strongest model."""
        now = self._clock()
        # A call that was ended by hand is cancelled once; a second time would end the run.
        waiting = {task for task in waiting if self._positions[task] not in self._late.cut}
        can_be_cut = self._can_be_cut(waiting)
        late = [p for p in map(self._positions.__getitem__, waiting) if self._is_late(p, now)]
        for position in (one for one in late if one in can_be_cut):
            limit = self._limits[position] if now < self._end else _Limit(self._end)
            self._late.cut[position] = limit.why
            if limit.is_learned:
                self._seconds[position] = now - self._began
            self._tasks[position].cancel()
        for position in sorted((p for p in late if p not in can_be_cut), key=lambda p: p.index):
            self._ask_again(position)
        return {self._tasks[position] for position in late if position in can_be_cut}

    def _next_moment(self, waiting: set[ProposerTask]) -> float:
        """When one of the calls becomes late that something is then done about."""
        positions = self._can_be_cut(waiting)
        if not self._has_asked_again:
            positions |= {self._positions[task] for task in waiting} & set(
                self._late.repeat_signals
            )
        return min((*(self._limits[p].moment for p in positions), self._end))

    def _is_late(self, position: Position, now: float) -> bool:
        return self._limits[position].moment <= now

    def _can_be_cut(self, waiting: set[ProposerTask]) -> set[Position]:
        """The calls that the layer can do without; at its deadline, all of them."""
        positions = {self._positions[task] for task in waiting}
        learned = self._layer.learned
        if learned is None or self._end <= self._clock():
            return positions
        if any(self._names[p] == learned.strongest for p in self._answers):
            return positions
        return {
            position
            for position in positions
            if not self._limits[position].is_learned or self._names[position] != learned.strongest
        }

    def _ask_again(self, position: Position) -> None:
        """Have a late call made a second time, once in a layer, and not too often in all."""
        learned = self._layer.learned
        again = self._late.repeat_signals.get(position)
        if self._has_asked_again or again is None or learned is None:
            return
        self._has_asked_again = True
        if learned.times.take_copy(self._names[position]):
            again.set()

    def _learn(self) -> None:
        """Keep how long the calls took, or had taken when they were cut."""
        learned, size = self._layer.learned, task_size(self._answers.values())
        if learned is None or size is None:
            return
        for position, seconds in self._seconds.items():
            answer = self._answers.get(position)
            if position not in self._late.replaced and (answer is None or answer.charges):
                learned.times.record(self._names[position], size, seconds)
