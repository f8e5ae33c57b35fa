"""Chosen: layers of proposers, and one of their proposals is the answer, as it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, Self, runtime_checkable

from mixtura.core.agreement import Support
from mixtura.core.arguments import check_kind, check_optional
from mixtura.core.events import Emit
from mixtura.core.model import Model, check_model
from mixtura.core.roles import Layer, PlannedCall, Proposer, check_models
from mixtura.core.similarity import medoid_index
from mixtura.core.types import Completion, Json, Request
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult, run_layers
from mixtura.engine.pattern import Pattern
from mixtura.prompts.synthesis import Synthesis, write_draft


class Verdict(NamedTuple):
    """Which proposal is the answer, why, what went wrong with the choice, what supports it."""

    which: int
    why: str
    degraded: tuple[str, ...] = ()
    support: Support | None = None


@runtime_checkable
class Chooser(Protocol):
    """Chooses which of several proposals is the answer."""

    @property
    def name(self) -> str: ...

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """
        The calls it makes to choose; what they read are positions among the proposals, what they
        come after positions among these calls.
        """
        ...

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """
        Choose from two proposals or more. *emit* reports its own calls as those of a first layer.
        """
        ...


class CountingChooser(ABC):
    """A chooser that calls no model: it counts what the proposals say."""

    __slots__ = ()

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:  # noqa: ARG002
        """None: counting calls no model."""
        return ()

    async def choose(
        self,
        request: Request,  # noqa: ARG002
        proposals: Sequence[Completion],
        emit: Emit | None,  # noqa: ARG002
    ) -> Verdict:
        """Choose from two proposals or more. Raises what `count_answers` raises."""
        return self.count_answers(proposals)

    def for_draws(self, asked: Mapping[str, int]) -> Self:  # noqa: ARG002
        """This chooser where each model, by its name, was *asked* so often; some may be lost."""
        return self

    @abstractmethod
    def count_answers(self, proposals: Sequence[Completion]) -> Verdict:
        """Which of two proposals or more is the answer."""


@dataclass(frozen=True, slots=True)
class DrawCountingChooser(CountingChooser):
    """A chooser that also counts the draws that were lost."""

    asked: Mapping[str, int] = field(default_factory=dict[str, int], kw_only=True)
    """How many draws each model was asked for, by name; as many as there are by default."""

    def for_draws(self, asked: Mapping[str, int]) -> Self:
        return replace(self, asked=asked)


@dataclass(frozen=True, slots=True)
class JudgingChooser:
    """A chooser that asks a model, and goes by its name. Raises TypeError for what is no model."""

    model: Model

    def __post_init__(self) -> None:
        check_model("model", self.model)

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def proposal_extra(self) -> Json:
        """Further parameters that the proposals to choose from are asked for with."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen(Pattern):
    """
    A Model that answers with one of its last layer's proposals, to the letter.

    The selection that Wang et al. 2024 (arXiv 2406.04692, section 3.3) compare synthesis with.
    Since a proposal becomes the answer, the caller's sampling, tools and response format
    reach the proposers of the last layer. Raises ValueError without layers, TypeError for what is
    no chooser.
    """

    chooser: Chooser
    name: str = "choice"
    proposals_answer = True

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)
        if not self.layers:
            raise ValueError("without proposers there is nothing to choose from")
        right = "a chooser, such as Vote(), Ranker(model) or BestOf(model)"
        check_kind("chooser", self.chooser, Chooser, right)

    @classmethod
    def of(
        cls,
        proposers: Sequence[Model | Proposer],
        chooser: Chooser,
        *,
        name: str | None = None,
    ) -> Self:
        """
        The common case: one layer of *proposers*; it goes by the chooser's name. Raises ValueError
        without proposers, TypeError for what is no model or no chooser.
        """
        members = tuple(
            one if isinstance(one, Proposer) else Proposer(one)
            for one in check_models("proposers", proposers)
        )
        check_optional("name", name, str, "a text, or None")
        return cls(
            layers=(Layer(members),),
            chooser=chooser,
            name=name or (chooser.name if isinstance(chooser, Chooser) else "choice"),  # pyright: ignore[reportUnnecessaryIsInstance]
        )

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.chooser.name,)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        calls = self.chooser.planned_calls(len(reads)) if len(reads) > 1 else ()
        behind = max(reads, default=-1) + 1
        return [
            replace(
                call,
                reads=tuple(reads[i] for i in call.reads),
                after=tuple(behind + i for i in call.after),
            )
            for call in calls
        ]

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:
        """
        The last layer's proposals, with what the chooser reads of them. Raises QuorumNotMetError
        when too few of a layer answer.
        """
        asked = step.request
        if more := self._proposal_extra:
            asked = replace(asked, extra={**more, **asked.extra})
        return await run_layers(
            self.layers, synthesis, step.advice_request, step.emit,
            to_answer=asked, drafts=step.drafts,
        )  # fmt: skip

    @property
    def _proposal_extra(self) -> Json:
        return self.chooser.proposal_extra if isinstance(self.chooser, JudgingChooser) else {}

    async def write_answer(self, step: FinalStep) -> Completion:
        """
        The chosen proposal; the choice is reported as the last step's call. Raises what the chooser
        raises.
        """
        proposals, name, chooser = step.proposals, self.chooser.name, self.chooser
        if isinstance(chooser, CountingChooser):
            calls = self.layers[-1].proposer_calls
            chooser = chooser.for_draws(Counter(call.model.name for call in calls))
        if chooser.planned_calls(len(proposals)):
            step.announce(name)  # what calls no model costs nothing, also when it is left half way
        # With one proposal no call is made to choose it.
        if len(proposals) > 1:
            verdict = await chooser.choose(step.request, proposals, step.emit_inside)
        else:
            verdict = Verdict(0, "the only one")
        if self._proposal_extra and not step.request.extra.get("logprobs"):
            # They were for the chooser: the caller asked for none.
            step.proposals = tuple(replace(proposal, logprobs=()) for proposal in proposals)
            step.member_proposals = step.proposals
        return step.choose(
            verdict.which, verdict.why, by=name, degraded=verdict.degraded, support=verdict.support
        )


# ---- what choosers have in common


def with_tool_calls_as_text(proposal: Completion) -> Completion:
    """The proposal with its tool calls as text, for choosers that only compare words."""
    if not proposal.message.tool_calls:
        return proposal
    message = replace(proposal.message, content=write_draft(proposal), tool_calls=())
    return replace(proposal, message=message)


def is_finished(proposal: Completion) -> bool:
    """Whether it came to its end, with or without calls of tools."""
    return proposal.finish_reason in ("stop", "tool_calls")


def finished_positions(proposals: Sequence[Completion]) -> list[int]:
    """The positions of the proposals that came to their end; of all, where none did."""
    ended = [i for i, proposal in enumerate(proposals) if is_finished(proposal)]
    return ended or list(range(len(proposals)))


def medoid_position(proposals: Sequence[Completion]) -> int:
    """The position of the proposal that agrees most with the others, of those that are whole."""
    there = finished_positions(proposals)
    return there[medoid_index([with_tool_calls_as_text(proposals[i]).text for i in there])]


def fallback_verdict(proposals: Sequence[Completion], problem: str) -> Verdict:
    """The verdict when there was none: the proposal closest to the others, and the reason why."""
    index = medoid_position(proposals)
    notice = f"this is the proposal of {proposals[index].model}, the closest to the others"
    return Verdict(index, "the closest to the others", (problem, notice))
