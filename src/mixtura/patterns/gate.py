"""Gate: scouts answer where they agree; only where they differ the mixture is asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated, NamedTuple

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.errors import QuorumNotMetError
from mixtura.core.roles import Layer, PlannedCall, Proposer
from mixtura.core.types import Completion, Sampling
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.patterns.answer_groups import AnswerReader, group_by_answer, largest_group
from mixtura.patterns.choosing import is_finished, with_tool_calls_as_text
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import PatternSpec, require_proposers
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.patterns.verdict_parsing import parse_named_number
from mixtura.patterns.vote import ExtractSettings
from mixtura.prompts.synthesis import sameness_prompt


class ScoutAgreement(NamedTuple):
    """How far scouts agree, 0 to 1, and the position of the proposal that stands for them."""

    share: float
    position: int
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate(AggregatedPattern):
    """
    Fuse only when needed (arXiv 2602.19509; 2604.26644): where the proposers' agreement reaches
    *threshold*, the first of those who agree answers, to the letter. Else the aggregator, the
    strong model, answers alone first, and then reads its own answer beside the proposals: a wrong
    draft costs a strong model more than a right one gives where it has not answered yet.

    Agreement is the share of the most frequent final answer, read by *extract*; for ``text`` it
    is the share of pairs that the aggregator finds the same in substance, one short call a pair.
    A proposal that was cut off, and a scout that gave none, agree with none.
    """

    threshold: float = 1.0
    extract: Extract | AnswerReader = "text"
    judging: Sampling = field(default=GREEDY_SAMPLING)
    """The sampling of those short calls."""
    name: str = "gate"
    proposals_answer = True

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.aggregator.model.name, self.aggregator.model.name)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        """At most: every pair compared, the strong model alone, and the answer."""
        last = self.aggregator
        pairs = combinations(reads, 2) if self.extract == "text" else ()
        calls = [PlannedCall(last.model, self.judging, reads=pair) for pair in pairs]
        begun = reads[-1] + 1 if reads else 0
        there = begun + len(calls)
        alone = PlannedCall(last.model, last.sampling, after=tuple(range(begun, there)))
        answer = PlannedCall(last.model, last.sampling, reads=(*reads, there), answers=True)
        return [*calls, alone, answer]

    async def write_answer(self, step: FinalStep) -> Completion:
        """A scout's answer or the aggregator's. Raises ModelError where nobody can write one."""
        last = self.aggregator
        if len(step.proposals) > 1:
            found = await self._measure_agreement(step)
            step.add_notices(*([found.problem] if found.problem else []))
            if found.share >= self.threshold and not found.problem:
                why = f"agreement {found.share:.0%}, at least {self.threshold:.0%}"
                return step.choose(found.position, why, support=Support("votes", found.share))
        layer = Layer((Proposer(last.model, last.sampling),))
        drafts = step.proposals
        try:
            alone = await step.ask_layer(
                layer, (), depth=step.depth - 1, in_turn=(*self.layers, layer)
            )
        except QuorumNotMetError as error:
            step.add_notices(f"{last.model.name} failed alone: {error.causes[0]}")
        else:
            drafts = (*drafts, *alone.proposals)
        return await step.ask(last.model, drafts, sampling=last.sampling, fallbacks=last.fallbacks)

    async def _measure_agreement(self, step: FinalStep) -> ScoutAgreement:
        proposals = step.proposals
        if self.extract == "text":
            return await self._compare_pairs(step)
        whole = any(map(is_finished, proposals))
        groups = group_by_answer(proposals, self.extract) if whole else ()
        if not groups:
            return ScoutAgreement(0.0, 0, "the scouts' proposals have no such answer")
        modal = largest_group(groups)
        share = len(modal.positions) / self._count_scouts(step)
        return ScoutAgreement(share, modal.positions[0])

    async def _compare_pairs(self, step: FinalStep) -> ScoutAgreement:
        pairs = list(combinations(range(len(step.proposals)), 2))
        all_pairs = math.comb(self._count_scouts(step), 2)
        if (most := len(pairs) / all_pairs) < self.threshold:
            return ScoutAgreement(most, 0)  # whatever these say, too few scouts are there
        shown = [with_tool_calls_as_text(proposal) for proposal in step.proposals]
        model = self.aggregator.model
        judges = [Judge(model, _parse_same, (shown[a], shown[b])) for a, b in pairs]
        error = await ask_judges(
            judges, sameness_prompt, step.request, self.judging, step.emit, depth=len(self.layers)
        )
        same = [
            (a, b) for (a, b), judge in zip(pairs, judges, strict=True)
            if judge.verdict and is_finished(shown[a]) and is_finished(shown[b])
        ]  # fmt: skip
        unread = sum(judge.verdict is None for judge in judges)
        problem = ""
        if unread:
            problem = f"{model.name} gave no verdict on {unread} of {len(pairs)} pairs of drafts"
            problem += f": {error}" if error else ""
        agreeing = Counter(position for pair in same for position in pair)
        first = max(range(len(shown)), key=agreeing.__getitem__)
        return ScoutAgreement(len(same) / all_pairs, first, problem)

    def _count_scouts(self, step: FinalStep) -> int:
        """With those that failed: what they would have said is unknown, and no agreement."""
        return max(len(step.proposals), self.layers[-1].call_count if self.layers else 0)


def _parse_same(reply: Completion) -> bool | None:
    number = parse_named_number(reply, "same")
    return bool(number) if number in (0, 1) else None


class GateSettings(ExtractSettings, frozen=True):
    """The settings of `Gate` in a file."""

    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0


PATTERN = PatternSpec(
    help="a scout's answer where the scouts agree, else a synthesis by the strong model",
    kind=Gate,
    settings=GateSettings,
    aggregator="the strong model, which answers if the scouts differ",
    final_step="where the drafts agree one of them is the answer, else the aggregator's",
    check_layers=require_proposers("one of their proposals may be the answer"),
    final_layer_count=2,
    may_stop_early=True,
)
