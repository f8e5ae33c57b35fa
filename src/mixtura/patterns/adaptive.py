"""Adaptive: layer after layer, until one changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec

from mixtura.core.errors import ConfigError
from mixtura.core.events import Notice
from mixtura.core.model import Model
from mixtura.core.roles import PlannedCall, plan_layer_calls
from mixtura.core.similarity import cosine_similarity, tfidf_vectors
from mixtura.core.types import Completion, Sampling
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult
from mixtura.patterns.answer_groups import AnswerReader, group_by_answer, largest_group
from mixtura.patterns.choosing import medoid_position
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import PatternSpec, require_two_layers
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.patterns.verdict_parsing import parse_named_number
from mixtura.patterns.vote import ExtractSettings
from mixtura.prompts.synthesis import Synthesis, sameness_prompt

UNCHANGED_SIMILARITY = 0.9
"""Mean cosine of proposals to the closest ones of the layer before, from which on all is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptive(AggregatedPattern):
    """
    A mixture that stops as soon as a layer says what the one before it said (SMoA: arXiv
    2411.03284; RMoA: arXiv 2505.24442); the layers behind it are not
    called.

    A layer changes nothing where its most frequent final answer, read by *extract*, is that of the
    layer before, and a share of *threshold* gives it. For ``text``: where *judge* finds the two
    layers' most typical proposals the same in substance; without a judge, where each proposal is
    on average so close to its closest one before (TF-IDF, cosine). A judge without a verdict stops
    nothing, which ``degraded`` says. Raises ValueError for less than two layers of proposers.
    """

    extract: Extract | AnswerReader = "text"
    threshold: float = UNCHANGED_SIMILARITY
    judge: Model | None = None
    judging: Sampling = field(default=GREEDY_SAMPLING)
    """The sampling of the judge's verdicts."""
    name: str = "adaptive"

    def __post_init__(self) -> None:
        AggregatedPattern.__post_init__(self)
        if len(self.layers) < 2:
            raise ValueError("there is a layer before the one that changes nothing")

    def planned_calls(self) -> Sequence[PlannedCall]:
        """
        At most: every layer, a verdict on each but the first and the last, which the layer behind
        it waits for, and the answer.
        """
        rows: list[PlannedCall] = []
        before: tuple[int, ...] = ()
        verdict: tuple[int, ...] = ()
        for number, layer in enumerate(self.layers, start=1):
            begun = len(rows)
            calls = plan_layer_calls([layer])
            rows += [replace(call, reads=before, after=verdict) for call in calls]
            now, verdict = tuple(range(begun, len(rows))), ()
            if self.judge and self.extract == "text" and 1 < number < len(self.layers):
                verdict = (len(rows),)
                # The most typical of each layer, which are not known beforehand.
                rows.append(PlannedCall(self.judge, self.judging, reads=(*before[:1], now[0])))
            before = now
        return [*rows, *self.planned_final_calls(before)]

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:  # noqa: ARG002
        """
        The last proposals that were asked for. Raises QuorumNotMetError when too few of a layer
        answer, and what a function *extract* raises.
        """
        before: tuple[Completion, ...] = ()
        notices: list[str] = []
        for depth, layer in step.layers_to_ask(self.layers):
            result = await step.ask_layer(layer, before, depth=depth)
            notices += result.notices(depth)
            now = result.proposals
            last = depth == len(self.layers)
            if before and not last:
                same, problem = await self._is_unchanged(step, before, now, depth)
                notices += [problem] if problem else []
                if same:
                    self._report_stop(step, depth)
                    return LayersResult(now, tuple(notices))
            before = now
        return LayersResult(before, tuple(notices))

    def _report_stop(self, step: FinalStep, depth: int) -> None:
        left = len(self.layers) - depth
        if emit := step.emit_inside:
            count = "1 layer is" if left == 1 else f"{left} layers are"
            emit(Notice(self.name, f"layer {depth} changes nothing: {count} not asked"))

    async def _is_unchanged(
        self, step: FinalStep, before: Sequence[Completion], now: Sequence[Completion], depth: int
    ) -> tuple[bool, str]:
        """Whether layer *depth* says what the one before it said, and why that is not known."""
        if self.extract != "text":
            groups = group_by_answer(now, self.extract)
            earlier = group_by_answer(before, self.extract)
            if not groups or not earlier:
                return False, ""
            modal = largest_group(groups)
            share = len(modal.positions) / len(now)
            same = modal.answer == largest_group(earlier).answer
            return same and share >= self.threshold, ""
        if self.judge is None:
            return mean_similarity(before, now) >= self.threshold, ""
        shown = (before[medoid_position(before)], now[medoid_position(now)])
        judge = Judge(self.judge, _read_same, shown)
        error = await ask_judges(
            [judge], sameness_prompt, step.advice_request, self.judging, step.emit, depth=depth
        )
        if judge.verdict is None:
            problem = f"failed: {error}" if error else "gave no verdict"
            return False, f"layer {depth}: the judge {self.judge.name} {problem}: it goes on"
        return judge.verdict, ""


def mean_similarity(before: Sequence[Completion], now: Sequence[Completion]) -> float:
    """The mean, over the proposals of *now*, of the cosine with the closest one *before*."""
    rows = tfidf_vectors([*(one.text for one in before), *(one.text for one in now)])
    old, new = rows[: len(before)], rows[len(before) :]
    closest = [max(cosine_similarity(row, other) for other in old) for row in new]
    return sum(closest) / len(closest)


def _read_same(reply: Completion) -> bool | None:
    number = parse_named_number(reply, "same")
    return bool(number) if number in (0, 1) else None


class AdaptiveSettings(ExtractSettings, frozen=True):
    """
    The settings of `Adaptive` in a file: *judge* is a model that compares, none by default. Raises
    ConfigError where they do not go together.
    """

    threshold: Annotated[float, msgspec.Meta(ge=0, le=1)] = UNCHANGED_SIMILARITY
    judge: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.judge and self.extract != "text":
            problem = f"judge: with extract = '{self.extract}' nobody judges: answers are counted"
            raise ConfigError(problem, key="judge")
        if self.judge and self.threshold != UNCHANGED_SIMILARITY:
            problem = "threshold: has no effect beside `judge`, who decides in its place"
            raise ConfigError(problem, key="threshold")


PATTERN = PatternSpec(
    help="a synthesis of the first layer that says what the one before it said",
    kind=Adaptive,
    settings=AdaptiveSettings,
    aggregator="the model that writes the answer",
    model_settings=("judge",),
    final_step="the aggregator, as soon as a layer changes nothing",
    check_layers=require_two_layers,
    may_stop_early=True,
)
