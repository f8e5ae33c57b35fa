"""Sequential: any number of draws, brought together a window at a time."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from mixtura.apart import apart, weight
from mixtura.engine import aggregate, descend, propose, reading
from mixtura.errors import ModelError, QuorumNotMetError, bill
from mixtura.events import Completed, Emit, RunStarted
from mixtura.model import Model
from mixtura.patterns.chosen import closest
from mixtura.prompts import Synthesis, advised, envelope, within_turn
from mixtura.roles import Aggregator, Composite, Layer, Planned, Proposer, planned_layers
from mixtura.turns import Turns, keep, kept
from mixtura.types import Charge, Completion, Request, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequential(Composite):
    """
    Self-MoA-Seq (Li et al. 2025, arXiv 2502.00674, section 5 and figure 1).

    All draws are made at once. The aggregator reads the first *width* of them; then, again
    and again, what it wrote and as many new draws as make *width* texts; what it writes last
    is the answer. So no call reads more than *width* texts, however many draws there are.
    *repeat*: how often its last text stands among them, to weigh more than a draw does.

    A step that fails leaves the text closest to the others of its window in its place, and
    the answer says so in ``degraded``.
    """

    aggregator: Aggregator
    width: int = 6
    repeat: int = 1
    name: str = "sequential"
    synthesis: Synthesis = envelope
    turns: Turns | None = field(default=None, compare=False)
    """See ``Mixture.turns``."""

    def __post_init__(self) -> None:
        if len(self.layers) > 1:
            raise ValueError("a sequential run has one layer of draws")
        if not 1 <= self.repeat < self.width:
            raise ValueError(f"{self.repeat} of {self.width} places leave none for a new draw")

    @classmethod
    def of(
        cls,
        model: Model,
        draws: int,
        *,
        aggregator: Model | None = None,
        width: int = 6,
        temperature: float | None = 0.7,
        name: str = "sequential",
    ) -> Self:
        """The common case: *draws* of one model, which brings them together itself."""
        drawn = Proposer(model, Sampling(temperature=temperature), draws)
        last = Aggregator(aggregator or model)
        return cls(layers=(Layer((drawn,)),), aggregator=last, width=width, name=name)

    @property
    def depth(self) -> int:
        return len(self.layers) + len(self._windows(self._draws))

    @property
    def spares(self) -> tuple[Model, ...]:
        return self.aggregator.fallbacks

    @property
    def author(self) -> Model:
        return self.aggregator.model

    @property
    def _draws(self) -> int:
        return self.layers[0].size if self.layers else 0

    def _windows(self, drafts: int) -> list[range]:
        return windows(drafts, self.width, self.repeat)

    def planned(self) -> Sequence[Planned]:
        rows = planned_layers(self.layers)
        steps = self._windows(self._draws)
        before: tuple[int, ...] = ()
        for number, fresh in enumerate(steps, start=1):
            last = self.aggregator
            reads = (*before, *fresh)
            answers = number == len(steps)
            rows.append(Planned(last.model, last.sampling, reads=reads, answers=answers))
            before = (len(rows) - 1,) * self.repeat
        return rows

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        shape = self._shape()
        if emit:
            emit(RunStarted(self.name, request, shape))
        paid: list[Charge] = []
        degraded: list[str] = []
        try:
            window = await apart(weight(request), kept, self.turns, request, shape)
            if window is None:
                advice = await apart(weight(request), advised, request)
                down = await descend(self.layers, self.synthesis, advice, emit)
                paid += down.charges
                degraded += down.degraded
                window = await self._slid(down.proposals, advice, emit, paid, degraded)
                await apart(weight(request), keep, self.turns, request, shape, window)
            show = reading(within_turn(self.synthesis), request)
            last = self.aggregator
            answer = await aggregate(last, show, window, depth=self.depth, emit=emit)
        except ModelError as error:
            raise error.paid(*paid) from None
        except CancelledError as left:
            bill(left, *paid)
            raise
        whole = replace(
            answer,
            model=self.name,
            charges=(*paid, *answer.charges),
            degraded=(*degraded, *answer.degraded),
        )
        if emit:
            emit(Completed(whole))
        return whole

    async def _slid(
        self,
        drafts: Sequence[Completion],
        request: Request,
        emit: Emit | None,
        paid: list[Charge],
        degraded: list[str],
    ) -> tuple[Completion, ...]:
        """Every step but the last, whose window is what comes back."""
        *steps, last = self._windows(len(drafts))
        best: tuple[Completion, ...] = ()
        for depth, fresh in enumerate(steps, start=self.depth - len(steps)):
            window = (*best, *(drafts[i] for i in fresh))
            one = await self._step(window, request, depth, emit, paid, degraded)
            best = (one,) * self.repeat
        return (*best, *(drafts[i] for i in last))

    async def _step(
        self,
        window: Sequence[Completion],
        request: Request,
        depth: int,
        emit: Emit | None,
        paid: list[Charge],
        degraded: list[str],
    ) -> Completion:
        """One window brought together: by the aggregator, else by a fallback, else not at all."""
        show = reading(self.synthesis, request)
        for model in (self.aggregator.model, *self.aggregator.fallbacks):
            layer = Layer((Proposer(model, self.aggregator.sampling),))
            try:
                found = await propose(layer, show, window, depth=depth, emit=emit)
            except QuorumNotMetError as error:
                paid += error.charges
                degraded.append(f"layer {depth}: {model.name} failed: {error.causes[0]}")
            else:
                paid += found.charges
                (one,) = found.proposals
                degraded += (f"layer {depth}: {model.name}: {note}" for note in one.degraded)
                return one
        degraded.append(f"layer {depth}: the text closest to the others stands in for it")
        return window[closest(window)]

    def _shape(self) -> tuple[tuple[str, ...], ...]:
        rows = [tuple(call.model.name for call in layer.calls) for layer in self.layers]
        return (*rows, *[(self.aggregator.model.name,)] * (self.depth - len(rows)))


def windows(drafts: int, width: int, repeat: int = 1) -> list[range]:
    """
    The drafts that are new in each step: *width* in the first, then as many as there is room
    for beside *repeat* copies of what the step before wrote.
    """
    ends = [min(width, drafts)]
    while ends[-1] < drafts:
        ends.append(min(ends[-1] + width - repeat, drafts))
    return [range(begun, end) for begun, end in zip([0, *ends], ends, strict=False)]
