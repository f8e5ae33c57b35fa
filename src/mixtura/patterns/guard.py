"""Guard: the mixture's answer, unless the best member's own is at least as good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from mixtura.core.errors import QuorumNotMetError
from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, Layer, PlannedCall, Proposer
from mixtura.core.types import Completion, Sampling
from mixtura.engine.final_step import FinalStep
from mixtura.engine.pattern import Pattern
from mixtura.patterns.choosing import fallback_verdict, finished_positions
from mixtura.patterns.comparisons import compare_pairs
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import PatternParts, PatternSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard(Pattern):
    """
    The aggregator's synthesis is the answer only where *judge* prefers it, in both orders, to the
    own answer of *member*, the best one; else that answer is, to the letter. One call more than a
    mixture to write, two to compare.

    *member* is the name of a proposer of the last layer, by default its first. Where the
    aggregator fails, the judge fails or gives no verdict, the member's answer goes out, and the
    answer says so in ``degraded``; where the member failed, the synthesis does, and where both did,
    the proposal closest to the others. Raises ValueError without layers, or where no proposer has
    that name.
    """

    aggregator: Aggregator
    judge: Model
    member: str = ""
    judging: Sampling = field(default=GREEDY_SAMPLING)
    """The sampling of the judge's verdicts."""
    name: str = "guard"
    proposals_answer = True

    def __post_init__(self) -> None:
        Pattern.__post_init__(self)
        names = [call.model.name for layer in self.layers[-1:] for call in layer.proposer_calls]
        if not names:
            raise ValueError("without proposers there is no best member")
        if self.member and self.member not in names:
            known = ", ".join(dict.fromkeys(names))
            raise ValueError(
                f"member: '{self.member}' is not a proposer of the last layer: {known}"
            )

    @property
    def guarded_member(self) -> str:
        """The name of the proposer whose own answer the synthesis has to beat."""
        return self.member or self.layers[-1].proposer_calls[0].model.name

    @property
    def needed_proposer(self) -> str:
        return self.guarded_member

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.aggregator.model.name, self.judge.name)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        written = reads[-1] + 1
        last = self.aggregator
        draft = PlannedCall(last.model, last.sampling, reads=reads, answers=True)
        verdict = PlannedCall(self.judge, self.judging, reads=(reads[0], written))
        return [draft, verdict, verdict]

    async def write_answer(self, step: FinalStep) -> Completion:
        """The synthesis or the member's answer; where neither is there, another proposal."""
        own = next(
            (
                i for i in finished_positions(step.proposals)
                if step.proposals[i].model == self.guarded_member
            ),
            None,
        )  # fmt: skip
        draft = await self._write_draft(step)
        if draft is None and own is None:
            missing = f"{self.guarded_member} has no answer, and no synthesis was written"
            verdict = fallback_verdict(step.proposals, missing)
            return step.choose(
                verdict.which, verdict.why, by=self.judge.name, degraded=verdict.degraded
            )
        if draft is None:
            assert own is not None
            return step.choose(own, "the aggregator failed", by=self.judge.name)
        step.proposals = (*step.proposals, draft)
        written = len(step.proposals) - 1
        if own is None:
            step.add_notices(f"{self.guarded_member} has no answer to compare with")
            return step.choose(written, "the only answer", by=self.judge.name)
        step.announce(self.judge.name)
        outcome = await compare_pairs(
            self.judge, [(draft, step.proposals[own])], step.request, self.judging,
            step.emit_inside,
        )  # fmt: skip
        better = outcome.results[0].first == 2
        why = "preferred in both orders" if better else "the synthesis was not preferred to it"
        problems = (outcome.problem,) if outcome.problem else ()
        return step.choose(written if better else own, why, by=self.judge.name, degraded=problems)

    async def _write_draft(self, step: FinalStep) -> Completion | None:
        """The synthesis, by the aggregator or a fallback; None where all fail."""
        last = self.aggregator
        for model in (last.model, *last.fallbacks):
            layer = Layer((Proposer(model, last.sampling),))
            try:
                result = await step.ask_layer(
                    layer, step.proposals, depth=step.depth - 1, answers=True
                )
            except QuorumNotMetError as error:
                step.add_notices(f"{model.name} failed: {error.causes[0]}")
            else:
                return result.proposals[0]
        return None


class GuardSettings(msgspec.Struct, frozen=True):
    """The settings of `Guard` in a file."""

    judge: str = ""
    """The model that compares; by default the aggregator, so that nobody else reads the answers."""
    member: str = ""


def _build(parts: PatternParts) -> Guard:
    judge = parts.models.get("judge") or parts.aggregator().model
    guard = parts.build_aggregated(Guard, judge=judge, member=parts.settings.member)
    *before, last = guard.layers
    if last.learned:  # without its answer there is nothing that guards
        last = replace(last, learned=last.learned.waiting_for(guard.guarded_member))
    return guard.with_layers((*before, last))


def _describe_final_step(settings: GuardSettings) -> str:
    who = settings.judge or "the same model"
    return f"the aggregator; then {who} compares its answer with the best member's"


PATTERN = PatternSpec(
    help="a synthesis, unless a judge finds the best member's own answer as good",
    kind=Guard,
    build=_build,
    settings=GuardSettings,
    aggregator="the model that writes the synthesis",
    model_settings=("judge",),
    describe_final_step=_describe_final_step,
    action="writes an answer that a judge compares with the best member's",
    final_layer_count=2,
)
