"""Sequential: any number of draws, brought together a window at a time."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from mixtura.core.errors import ModelError, QuorumNotMetError, add_charges
from mixtura.core.events import Emit, RunCompleted, RunStarted
from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, Composite, Layer, PlannedCall, Proposer, plan_layer_calls
from mixtura.core.types import Charge, Completion, Request, Sampling
from mixtura.engine.aggregator import run_aggregator
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.layer import run_layers, run_proposer_layer
from mixtura.engine.prompt_builder import make_prompt_builder
from mixtura.engine.proposal_cache import ProposalCache, find_turn_proposals, store_turn_proposals
from mixtura.patterns.selection import medoid_position
from mixtura.prompts.proposer_view import for_proposer
from mixtura.prompts.synthesis import Synthesis, envelope, keep_turn_order


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
    turns: ProposalCache | None = field(default=None, compare=False)
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
    def layer_count(self) -> int:
        return len(self.layers) + len(self._draft_windows(self._draw_count))

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        return self.aggregator.fallbacks

    @property
    def sole_answerer(self) -> Model:
        return self.aggregator.model

    @property
    def _draw_count(self) -> int:
        return self.layers[0].call_count if self.layers else 0

    def _draft_windows(self, drafts: int) -> list[range]:
        return draft_windows(drafts, self.width, self.repeat)

    def planned_calls(self) -> Sequence[PlannedCall]:
        rows = plan_layer_calls(self.layers)
        steps = self._draft_windows(self._draw_count)
        before: tuple[int, ...] = ()
        for number, fresh in enumerate(steps, start=1):
            last = self.aggregator
            reads = (*before, *fresh)
            answers = number == len(steps)
            rows.append(PlannedCall(last.model, last.sampling, reads=reads, answers=answers))
            before = (len(rows) - 1,) * self.repeat
        return rows

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        shape = self._layer_model_names()
        if emit:
            emit(RunStarted(self.name, request, shape))
        paid: list[Charge] = []
        degraded: list[str] = []
        try:
            window = await run_in_thread_if_large(
                estimate_request_bytes(request), find_turn_proposals, self.turns, request, shape
            )
            if window is None:
                advice = await run_in_thread_if_large(
                    estimate_request_bytes(request), for_proposer, request
                )
                down = await run_layers(self.layers, self.synthesis, advice, emit)
                paid += down.charges
                degraded += down.degraded
                window = await self._run_early_steps(down.proposals, advice, emit, paid, degraded)
                await run_in_thread_if_large(
                    estimate_request_bytes(request),
                    store_turn_proposals,
                    self.turns,
                    request,
                    shape,
                    window,
                )
            show = make_prompt_builder(keep_turn_order(self.synthesis), request)
            last = self.aggregator
            answer = await run_aggregator(last, show, window, depth=self.layer_count, emit=emit)
        except ModelError as error:
            raise error.with_charges(*paid) from None
        except CancelledError as left:
            add_charges(left, *paid)
            raise
        whole = replace(
            answer,
            model=self.name,
            charges=(*paid, *answer.charges),
            degraded=(*degraded, *answer.degraded),
        )
        if emit:
            emit(RunCompleted(whole))
        return whole

    async def _run_early_steps(
        self,
        drafts: Sequence[Completion],
        request: Request,
        emit: Emit | None,
        paid: list[Charge],
        degraded: list[str],
    ) -> tuple[Completion, ...]:
        """Every step but the last, whose window is what comes back."""
        *steps, last = self._draft_windows(len(drafts))
        best: tuple[Completion, ...] = ()
        for depth, fresh in enumerate(steps, start=self.layer_count - len(steps)):
            window = (*best, *(drafts[i] for i in fresh))
            one = await self._merge_window(window, request, depth, emit, paid, degraded)
            best = (one,) * self.repeat
        return (*best, *(drafts[i] for i in last))

    async def _merge_window(
        self,
        window: Sequence[Completion],
        request: Request,
        depth: int,
        emit: Emit | None,
        paid: list[Charge],
        degraded: list[str],
    ) -> Completion:
        """One window brought together: by the aggregator, else by a fallback, else not at all."""
        show = make_prompt_builder(self.synthesis, request)
        for model in (self.aggregator.model, *self.aggregator.fallbacks):
            layer = Layer((Proposer(model, self.aggregator.sampling),))
            try:
                found = await run_proposer_layer(layer, show, window, depth=depth, emit=emit)
            except QuorumNotMetError as error:
                paid += error.charges
                degraded.append(f"layer {depth}: {model.name} failed: {error.causes[0]}")
            else:
                paid += found.charges
                (one,) = found.proposals
                degraded += (f"layer {depth}: {model.name}: {note}" for note in one.degraded)
                return one
        degraded.append(f"layer {depth}: the text closest to the others stands in for it")
        return window[medoid_position(window)]

    def _layer_model_names(self) -> tuple[tuple[str, ...], ...]:
        rows = [tuple(call.model.name for call in layer.proposer_calls) for layer in self.layers]
        return (*rows, *[(self.aggregator.model.name,)] * (self.layer_count - len(rows)))


def draft_windows(drafts: int, width: int, repeat: int = 1) -> list[range]:
    """
    The drafts that are new in each step: *width* in the first, then as many as there is room
    for beside *repeat* copies of what the step before wrote.
    """
    ends = [min(width, drafts)]
    while ends[-1] < drafts:
        ends.append(min(ends[-1] + width - repeat, drafts))
    return [range(begun, end) for begun, end in zip([0, *ends], ends, strict=False)]
