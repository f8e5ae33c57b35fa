"""Pattern: layers of proposers and a last step, run, billed and reported in one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mixtura.core.arguments import check_function, check_items, check_optional, check_text
from mixtura.core.calibration import NOT_CALIBRATED, Calibration
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import QuorumNotMetError
from mixtura.core.events import Emit, RunCompleted, RunStarted
from mixtura.core.roles import Composite, Layer, PlannedCall, plan_layer_calls
from mixtura.core.types import Completion, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.final_step import FinalStep
from mixtura.engine.kept_drafts import current_drafts, reuse_drafts
from mixtura.engine.layer import LayersResult, run_layers
from mixtura.engine.proposal_cache import ProposalCache, find_turn_proposals, store_turn_proposals
from mixtura.prompts.control_tokens import neutralize_text
from mixtura.prompts.instructions import append_system_text
from mixtura.prompts.proposer_view import for_proposer
from mixtura.prompts.synthesis import Synthesis, envelope, keep_turn_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern(Composite):
    """
    A Model of layers of proposers and a last step, which is all that a pattern has to give.

    A pattern is a frozen dataclass with a `name`. It says which calls its last step makes
    (`final_calls`) and makes them (`write_answer`), through the `FinalStep` that it is given.
    Layers, events, bill, notices of what failed and the proposals of a turn are handled here.
    *synthesis* shows proposals to the next model.
    """

    synthesis: Synthesis = envelope
    calibration: Calibration = field(default=NOT_CALIBRATED, compare=False)
    """What turns the support of an answer into the probability that it is right."""
    instruction: str | None = None
    """What the models of the last step are told besides: the persona of its seat."""
    turns: ProposalCache | None = field(default=None, compare=False)
    """Where proposals are kept while an agent calls tools; None asks for them every time."""
    proposals_answer: ClassVar[bool] = False
    """
    Whether one of the last layer's proposals may be the answer, as it is. Then the caller's
    sampling, tools and response format reach those proposers, and no proposals are kept.
    """

    reports_agreement: ClassVar[bool] = False
    """Whether its last step finds out itself where the proposals agree."""

    def __post_init__(self) -> None:
        """Raises TypeError and ValueError for parts that are none; a pattern with checks of its
        own calls `Pattern.__post_init__(self)` before them."""
        right = "a tuple of Layer, as in (Layer((Proposer(model),)),)"
        object.__setattr__(self, "layers", check_items("layers", self.layers, Layer, right))
        check_text("name", self.name)
        check_function("synthesis", self.synthesis, "a function that shows proposals")
        check_optional("instruction", self.instruction, str, "a text, or None")

    @abstractmethod
    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        """
        The calls of the last step, at most; one that writes the answer is marked `answers`.

        *reads*: the positions of the last layer's proposals; a call of the last step may also
        read those before it, which are counted on from there.
        """

    @abstractmethod
    async def write_answer(self, step: FinalStep) -> Completion:
        """The answer, from `step.ask` or `step.choose`. Raises ModelError where there is none."""

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:
        """
        The proposals, by default those of the last layer, each layer reading the one before it.
        Raises QuorumNotMetError when too few of a layer answer.
        """
        return await run_layers(
            self.layers, synthesis, step.advice_request, step.emit,
            to_answer=step.request if self.proposals_answer else None, drafts=step.drafts,
        )  # fmt: skip

    async def condense_proposals(self, step: FinalStep) -> Sequence[Completion]:
        """
        What the last step reads, where that is not the proposals as they are. Raises ModelError
        where they cannot be condensed.
        """
        return step.proposals

    @property
    def final_layers(self) -> tuple[str, ...]:
        """The names of the models after the proposers, one for each layer."""
        calls = self.final_calls(tuple(range(self.layers[-1].call_count if self.layers else 0)))
        return (calls[-1].model.name if calls else self.name,)

    @property
    def layer_count(self) -> int:
        return len(self.layers) + len(self.final_layers)

    def planned_calls(self) -> Sequence[PlannedCall]:
        rows = plan_layer_calls(self.layers, answers=self.proposals_answer)
        size = self.layers[-1].call_count if self.layers else 0
        reads = tuple(range(len(rows) - size, len(rows)))
        # The last step begins when the proposals are there, whatever its calls read of them.
        last = self.planned_final_calls(reads)
        return [*rows, *(replace(call, after=(*reads, *call.after)) for call in last)]

    def planned_final_calls(self, reads: tuple[int, ...]) -> list[PlannedCall]:
        """The calls of the last step with what they are told besides."""
        return [replace(call, persona=self.instruction) for call in self.final_calls(reads)]

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """
        The pattern's answer, with the charges of all its calls. Raises QuorumNotMetError when too
        few of a layer answer, any ModelError that the last step raises.
        """
        return await self.complete_then(request, emit)

    async def complete_then(
        self,
        request: Request,
        emit: Emit | None,
        then: Callable[[FinalStep], Awaitable[None]] | None = None,
    ) -> Completion:
        """
        The same, with *then* called behind the answer, while the run and its bill are still open.
        Raises what `complete` raises, and what *then* raises.
        """
        if emit:
            emit(RunStarted(self.name, request, self._layer_model_names()))
        step = FinalStep(request, self.name, self.synthesis, self.layer_count, emit)
        with open_ledger() as ledger:
            await self._collect_proposals(step)
            for told in (self.instruction, step.drafts.instruction if step.drafts else None):
                if told:
                    step.request = append_system_text(step.request, neutralize_text(told))
            # A ledger of its own within the run's: a chosen proposal shows what choosing it cost.
            with reuse_drafts(None), open_ledger() as step.ledger:
                answer = await self.write_answer(step)
            if then is not None:
                with reuse_drafts(None):
                    await then(step)
            whole = replace(
                ledger.bill_answer(answer),
                model=self.name,
                degraded=(*step.degraded, *answer.degraded),
                support=step.support,
                confidence=self.calibration.find_confidence(step.support),
                agreement=step.agreement,
            )
        if emit:
            emit(RunCompleted(whole))
        return whole

    async def _collect_proposals(self, step: FinalStep) -> None:
        """The proposals of this turn: those that were kept, else those of the layers."""
        names = self._layer_model_names()
        step.drafts, step.proposer_layers = current_drafts(), len(self.layers)
        turns = None if self.proposals_answer or step.drafts else self.turns
        size = estimate_request_bytes(step.request)
        kept = await run_in_thread_if_large(size, find_turn_proposals, turns, step.request, names)
        if kept is not None:
            step.proposals = step.member_proposals = tuple(kept)
            return
        synthesis = self.synthesis
        if self.proposals_answer:
            # These proposers see the tool calls of the turn: drafts belong before those.
            synthesis = keep_turn_order(synthesis)
        # Drafts are asked for with any pattern: those of all layers but the last, and of a last
        # step. Many endpoints refuse calls of tools in a conversation without the tools.
        step.advice_request = await run_in_thread_if_large(size, for_proposer, step.request)
        down = await self.run_proposers(step, synthesis)
        if step.drafts and not step.drafts.asks_missing and not down.proposals:
            raise QuorumNotMetError(len(self.layers), 1, 0, ())
        step.add_notices(*down.degraded)
        step.proposals = step.member_proposals = down.proposals
        # Condensed before they are kept: a step further in the turn does not pay for it again.
        step.proposals = tuple(await self.condense_proposals(step))
        if self.layers:
            await run_in_thread_if_large(
                size, store_turn_proposals, turns, step.request, names, step.proposals
            )

    def _layer_model_names(self) -> tuple[tuple[str, ...], ...]:
        rows = [tuple(call.model.name for call in layer.proposer_calls) for layer in self.layers]
        return (*rows, *((name,) for name in self.final_layers))
