"""Sparse: only the proposals that add something are passed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated

import msgspec

from mixtura.core.events import Notice
from mixtura.core.model import Model
from mixtura.core.roles import PlannedCall, plan_layer_calls
from mixtura.core.similarity import cosine_similarity, tfidf_vectors
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Sampling
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult
from mixtura.patterns.choosing import finished_positions
from mixtura.patterns.closing_object import read_closing_object
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import PatternSpec, require_proposers
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.prompts.synthesis import Synthesis, picking_prompt

NEAR_DUPLICATE = 0.95
"""Cosine of two texts of which one adds nothing: the 99th percentile of independent answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparse(AggregatedPattern):
    """
    After each layer only *keep* proposals are passed on: near-duplicates are dropped (cosine of
    TF-IDF from *duplicate* on), then the ones most different from each other are kept, or those
    that *judge* picks (SMoA: Li et al. 2024, arXiv 2411.03284).

    Most different: first the one least like all, then the one whose closest kept one is farthest
    (RMoA: arXiv 2505.24442). A judge whose choice cannot be read leaves these, and
    the answer says so in ``degraded``. Raises ValueError for a *keep* below 1.
    """

    keep: int = 3
    duplicate: float = NEAR_DUPLICATE
    judge: Model | None = None
    judging: Sampling = field(default=GREEDY_SAMPLING)
    """The sampling of the judge's choices."""
    name: str = "sparse"

    def __post_init__(self) -> None:
        AggregatedPattern.__post_init__(self)
        if self.keep < 1:
            raise ValueError("at least one proposal is passed on")

    def planned_calls(self) -> Sequence[PlannedCall]:
        """Each layer, its judge's choice, and the answer; who is kept is not known beforehand."""
        rows: list[PlannedCall] = []
        reads: tuple[int, ...] = ()
        choice: tuple[int, ...] = ()
        for layer in self.layers:
            begun = len(rows)
            rows += [replace(call, reads=reads, after=choice) for call in plan_layer_calls([layer])]
            every, choice = tuple(range(begun, len(rows))), ()
            if self.judge and len(every) > self.keep:
                choice = (len(rows),)
                rows.append(PlannedCall(self.judge, self.judging, reads=every))
            reads = every[: self.keep]
        last = self.planned_final_calls(reads)
        return [*rows, *(replace(call, after=(*choice, *call.after)) for call in last)]

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last = self.aggregator
        shown = reads[: self.keep]
        return [PlannedCall(last.model, last.sampling, reads=shown, answers=True)]

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:  # noqa: ARG002
        """
        The proposals that the last layer passes on. Raises QuorumNotMetError when too few of a
        layer answer.
        """
        kept: tuple[Completion, ...] = ()
        notices: list[str] = []
        for depth, layer in step.layers_to_ask(self.layers):
            result = await step.ask_layer(layer, kept, depth=depth)
            notices += result.notices(depth)
            kept, problems = await self._choose_proposals(step, result.proposals, depth)
            notices += problems
        return LayersResult(kept, tuple(notices))

    async def _choose_proposals(
        self, step: FinalStep, proposals: tuple[Completion, ...], depth: int
    ) -> tuple[tuple[Completion, ...], list[str]]:
        """Those that are passed on, and what went wrong with the choice."""
        texts = [proposal.text for proposal in proposals]
        whole = finished_positions(proposals)
        distinct = drop_near_duplicates(texts, whole, self.duplicate)
        chosen, problems = distinct, list[str]()
        if len(distinct) > self.keep:
            picked, problems = await self._ask_judge(step, [proposals[i] for i in distinct], depth)
            different = pick_most_different([texts[i] for i in distinct], self.keep)
            chosen = [distinct[i] for i in picked or different]
        if len(chosen) < len(proposals) and (emit := step.emit_inside):
            slots = ", ".join(str(i + 1) for i in sorted(chosen))
            count = pluralize_count(len(proposals), "proposal")
            emit(Notice(self.name, f"layer {depth}: of {count} passed on: {slots}"))
        return tuple(proposals[i] for i in sorted(chosen)), problems

    async def _ask_judge(
        self, step: FinalStep, shown: Sequence[Completion], depth: int
    ) -> tuple[list[int], list[str]]:
        """The positions that the judge picks of *shown*, none without a verdict, and why none."""
        if self.judge is None:
            return [], []
        read = partial(_read_slots, keep=self.keep, shown=len(shown))
        judge = Judge(self.judge, read, shown)
        error = await ask_judges(
            [judge], picking_prompt(self.keep), step.advice_request, self.judging, step.emit,
            depth=depth,
        )  # fmt: skip
        if judge.verdict is not None:
            return [slot - 1 for slot in judge.verdict], []
        problem = f"failed: {error}" if error else "made no choice"
        said = "the proposals most different from each other are passed on"
        return [], [f"layer {depth}: the judge {self.judge.name} {problem}: {said}"]


class _Choice(msgspec.Struct, frozen=True):
    best: tuple[int, ...]


def _read_slots(reply: Completion, *, keep: int, shown: int) -> list[int] | None:
    """The slots that *reply* ends with; None unless they are *keep* of *shown*."""
    choice = read_closing_object(reply, _Choice)
    slots = choice.best if choice else ()
    fits = len(slots) == keep == len(set(slots)) and all(1 <= slot <= shown for slot in slots)
    return list(slots) if fits else None


def drop_near_duplicates(
    texts: Sequence[str], positions: Sequence[int], duplicate: float
) -> list[int]:
    """Those *positions* whose text is not nearly that of an earlier one."""
    rows = tfidf_vectors(texts)
    kept: list[int] = []
    for i in positions:
        if not any(
            texts[i] == texts[j] or cosine_similarity(rows[i], rows[j]) >= duplicate for j in kept
        ):
            kept.append(i)
    return kept


def pick_most_different(texts: Sequence[str], count: int) -> list[int]:
    """
    The positions of *count* texts unlike each other: the one least like all, then each time the
    one whose most similar picked one is least like it (arXiv 2505.24442).
    """
    rows = tfidf_vectors(texts)
    alike = [[cosine_similarity(a, b) for b in rows] for a in rows]
    picked = [min(range(len(texts)), key=lambda i: sum(alike[i]))]
    while len(picked) < min(count, len(texts)):
        left = (i for i in range(len(texts)) if i not in picked)
        picked.append(min(left, key=lambda i: max(alike[i][j] for j in picked)))
    return picked


class SparseSettings(msgspec.Struct, frozen=True):
    """The settings of `Sparse` in a file: *judge* is a model that picks, none by default."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    duplicate: Annotated[float, msgspec.Meta(gt=0, le=1)] = NEAR_DUPLICATE
    judge: str = ""


def _describe_final_step(settings: SparseSettings) -> str:
    who = f"that {settings.judge} picks" if settings.judge else "most unlike each other"
    return f"the aggregator reads {settings.keep} proposals, those {who}"


PATTERN = PatternSpec(
    help="a synthesis of the few proposals that add something to each other",
    kind=Sparse,
    settings=SparseSettings,
    aggregator="the model that writes the answer",
    model_settings=("judge",),
    describe_final_step=_describe_final_step,
    check_layers=require_proposers("it passes some on"),
)
