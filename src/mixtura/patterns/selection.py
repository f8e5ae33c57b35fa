"""Chosen: layers of proposers, and one of their proposals is the answer, as it is."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

from mixtura.core.errors import ModelError, add_charges
from mixtura.core.events import (
    Aggregation,
    CallStarted,
    Emit,
    Notice,
    Position,
    RunCompleted,
    RunStarted,
    Token,
    with_position,
)
from mixtura.core.model import Model
from mixtura.core.roles import Composite, Layer, PlannedCall, Proposer, plan_layer_calls
from mixtura.core.similarity import medoid_index
from mixtura.core.types import Charge, Completion, Request
from mixtura.engine.layer import run_layers
from mixtura.prompts.synthesis import Synthesis, envelope, keep_turn_order


class Verdict(NamedTuple):
    """Which proposal is the answer, why, what it took to say so, and what went wrong with it."""

    which: int
    why: str
    charges: tuple[Charge, ...] = ()
    degraded: tuple[str, ...] = ()


class Chooser(Protocol):
    """Says which of several proposals is the answer."""

    @property
    def name(self) -> str: ...

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """The calls it makes to choose; what they read are positions among the proposals."""
        ...

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """Choose from two proposals or more. Its own calls sit in the places of a first layer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen(Composite):
    """
    A Model that answers with one of its last layer's proposals, to the letter.

    The selection that Wang et al. 2024 (arXiv 2406.04692, section 3.3) compare synthesis with.
    Since a proposal becomes the answer, the caller's sampling, tools and response format
    reach the proposers of the last layer. *synthesis* shows proposals to a further layer.
    """

    chooser: Chooser
    name: str = "choice"
    synthesis: Synthesis = envelope

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("without proposers there is nothing to choose from")

    @classmethod
    def of(
        cls,
        proposers: Sequence[Model | Proposer],
        chooser: Chooser,
        *,
        name: str | None = None,
    ) -> Self:
        """The common case: one layer of *proposers*; it goes by the chooser's name."""
        seats = tuple(p if isinstance(p, Proposer) else Proposer(p) for p in proposers)
        return cls(layers=(Layer(seats),), chooser=chooser, name=name or chooser.name)

    def planned_calls(self) -> Sequence[PlannedCall]:
        rows = plan_layer_calls(self.layers, answers=True)
        size = self.layers[-1].call_count
        begun = len(rows) - size
        choosing = self.chooser.planned_calls(size) if size > 1 else ()
        return [*rows, *(replace(c, reads=tuple(begun + i for i in c.reads)) for c in choosing)]

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        if emit:
            emit(RunStarted(self.name, request, self._layer_model_names()))
        charges: tuple[Charge, ...] = ()
        try:
            show = keep_turn_order(self.synthesis)
            down = await run_layers(self.layers, show, request, emit, answers=True)
            charges = down.charges
            verdict, chosen = await self._select_answer(request, down.proposals, emit)
        except ModelError as error:
            raise error.with_charges(*charges) from None
        except CancelledError as left:
            add_charges(left, *charges)
            raise
        whole = replace(
            chosen,
            model=self.name,
            charges=(*charges, *verdict.charges),
            degraded=(*down.degraded, *verdict.degraded, *chosen.degraded),
        )
        if emit:
            emit(RunCompleted(whole))
        return whole

    async def _select_answer(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> tuple[Verdict, Completion]:
        """The choice, told as what happens in the last seat; its text is the answer's tokens."""
        inner = with_position(emit, Position(self.layer_count, 0, "aggregator")) if emit else None
        asks = bool(self.chooser.planned_calls(len(proposals)))
        asked = CallStarted(self.chooser.name, request)
        if inner and asks:
            inner(asked)
        if len(proposals) > 1:
            verdict = await self.chooser.choose(request, proposals, inner)
        else:
            verdict = Verdict(0, "the only one")
        chosen = proposals[verdict.which]
        if inner:
            if not asks:  # what calls no model costs nothing, also when it is left half way
                inner(asked)
            place = f"proposal {verdict.which + 1} of {len(proposals)}"
            inner(Notice(self.chooser.name, f"{place}, by {chosen.model}: {verdict.why}"))
            if chosen.text:
                inner(Token(chosen.text, refusal=chosen.refusal))
            inner(Aggregation(replace(chosen, charges=verdict.charges, degraded=verdict.degraded)))
        return verdict, chosen

    def _layer_model_names(self) -> tuple[tuple[str, ...], ...]:
        rows = [tuple(call.model.name for call in layer.proposer_calls) for layer in self.layers]
        return (*rows, (self.chooser.name,))


# ---- what choosers have in common


def with_tool_calls_as_text(proposal: Completion) -> Completion:
    """The proposal with its wishes for tools told as text, for who only compares words."""
    wishes = [f"[calls {c.name} with {c.arguments}]" for c in proposal.message.tool_calls]
    if not wishes:
        return proposal
    said = "\n".join((proposal.text, *wishes)).strip()
    return replace(proposal, message=replace(proposal.message, content=said, tool_calls=()))


def finished_positions(proposals: Sequence[Completion]) -> list[int]:
    """The positions of the proposals that came to their end; of all, where none did."""
    ended = [i for i, p in enumerate(proposals) if p.finish_reason in ("stop", "tool_calls")]
    return ended or list(range(len(proposals)))


def medoid_position(proposals: Sequence[Completion]) -> int:
    """The position of the proposal that agrees most with the others, of those that are whole."""
    there = finished_positions(proposals)
    return there[medoid_index([with_tool_calls_as_text(proposals[i]).text for i in there])]


def fallback_verdict(
    proposals: Sequence[Completion], problem: str, charges: Sequence[Charge] = ()
) -> Verdict:
    """The verdict when there was none: the proposal closest to the others, and the reason why."""
    index = medoid_position(proposals)
    said = f"this is the proposal of {proposals[index].model}, the closest to the others"
    return Verdict(index, "the closest to the others", tuple(charges), (problem, said))
