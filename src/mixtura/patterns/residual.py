"""Residual: each layer is read with what it changed, until one changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

import msgspec

from mixtura.core.events import Notice
from mixtura.core.roles import PlannedCall, plan_layer_calls
from mixtura.core.types import Completion
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.engine.layer import LayersResult
from mixtura.patterns.choosing import finished_positions
from mixtura.patterns.closing_object import read_closing_object
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.sparse import pick_most_different
from mixtura.patterns.spec import PatternSpec, require_two_layers
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.prompts.synthesis import Synthesis, residual_prompt, show_with_changes


class Changes(msgspec.Struct, frozen=True):
    """What a layer changed in the answer, a sentence each; nothing where it is empty."""

    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual(AggregatedPattern):
    """
    Residual mixture (RMoA: arXiv 2505.24442): of each layer the *keep*
    proposals most different from each other are passed on, and the aggregator says what they
    changed against those of the layer before. The next layer, and the answer, read both. After
    *quiet* layers in a row that changed nothing the layers left are not called.

    Changes that cannot be read are asked for again, once; then the layer is read without, and the
    answer says so in ``degraded``. Raises ValueError for less than two layers of proposers.
    """

    keep: int = 3
    quiet: int = 1
    name: str = "residual"

    def __post_init__(self) -> None:
        AggregatedPattern.__post_init__(self)
        if len(self.layers) < 2:
            raise ValueError("there is a layer before the one that changes something")
        if self.keep < 1 or self.quiet < 1:
            raise ValueError("at least one proposal is passed on, one layer may change nothing")

    def planned_calls(self) -> Sequence[PlannedCall]:
        """Every layer and what it changed, and the answer; who is kept is not known beforehand."""
        rows: list[PlannedCall] = []
        kept: tuple[int, ...] = ()
        report: tuple[int, ...] = ()
        for number, layer in enumerate(self.layers):
            begun = len(rows)
            shown = (*kept, *report)
            rows += [replace(call, reads=shown) for call in plan_layer_calls([layer])]
            before, kept = kept, tuple(range(begun, len(rows)))[: self.keep]
            if number:
                report = (len(rows),)
                reads = (*before, *kept)
                rows.append(PlannedCall(self.aggregator.model, GREEDY_SAMPLING, reads=reads))
        return [*rows, *self.planned_final_calls((*kept, *report))]

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last = self.aggregator
        return [PlannedCall(last.model, last.sampling, reads=reads, answers=True)]

    async def run_proposers(self, step: FinalStep, synthesis: Synthesis) -> LayersResult:  # noqa: ARG002
        """
        The proposals that the last layer passes on. Raises QuorumNotMetError when too few of a
        layer answer.
        """
        before: tuple[Completion, ...] = ()
        notices: list[str] = []
        unchanged = 0
        for depth, layer in step.layers_to_ask(self.layers):
            layout = show_with_changes(step.report) if step.report else None
            result = await step.ask_layer(layer, before, depth=depth, layout=layout)
            notices += result.notices(depth)
            kept = self._pick_proposals(result.proposals)
            if before:
                changes, problem = await self._find_changes(step, before, kept, depth)
                notices += [problem] if problem else []
                step.report = changes
                unchanged = unchanged + 1 if changes is None and not problem else 0
            before = kept
            if unchanged >= self.quiet:
                self._report_stop(step, depth)
                break
        return LayersResult(before, tuple(notices))

    def _pick_proposals(self, proposals: Sequence[Completion]) -> tuple[Completion, ...]:
        whole = [proposals[i] for i in finished_positions(proposals)]
        picked = pick_most_different([one.text for one in whole], self.keep)
        return tuple(whole[i] for i in sorted(picked))

    def _report_stop(self, step: FinalStep, depth: int) -> None:
        left = len(self.layers) - depth
        if left and (emit := step.emit_inside):
            count = "1 layer is" if left == 1 else f"{left} layers are"
            emit(Notice(self.name, f"layer {depth} changes nothing: {count} not asked"))

    async def _find_changes(
        self, step: FinalStep, before: Sequence[Completion], now: Sequence[Completion], depth: int
    ) -> tuple[Completion | None, str]:
        """What layer *depth* changed, as an entry to read; None for nothing; why it is unknown."""
        model = self.aggregator.model
        read = partial(read_closing_object, kind=Changes)
        judge: Judge[Changes] = Judge(model, read, (*before, *now))
        error = await ask_judges(
            [judge], residual_prompt(len(before)), step.advice_request, GREEDY_SAMPLING,
            step.emit, depth=depth,
        )  # fmt: skip
        changes = judge.verdict
        if changes is None or judge.reply is None:
            problem = f"failed: {error}" if error else "cannot be read"
            said = f"layer {depth}: what {model.name} says of its changes {problem}"
            return None, f"{said}: the drafts alone are read"
        if not changes.changed:
            return None, ""
        reply = judge.reply.completion
        text = msgspec.json.encode(changes).decode()
        message = replace(reply.message, content=text)
        return replace(reply, message=message, charges=(), finish_reason="stop"), ""

    async def write_answer(self, step: FinalStep) -> Completion:
        """The aggregator's answer. Raises ModelError where nobody can write one."""
        last = self.aggregator
        layout = show_with_changes(step.report) if step.report else None
        return await step.ask(
            last.model, step.proposals,
            sampling=last.sampling, fallbacks=last.fallbacks, layout=layout,
        )  # fmt: skip


class ResidualSettings(msgspec.Struct, frozen=True):
    """The settings of `Residual` in a file."""

    keep: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    quiet: Annotated[int, msgspec.Meta(ge=1)] = 1


PATTERN = PatternSpec(
    help="a synthesis of layers that are told what each changed, until one changes nothing",
    kind=Residual,
    settings=ResidualSettings,
    aggregator="the model that says what a layer changed and writes the answer",
    final_step="the aggregator says what each layer changed, then writes the answer",
    check_layers=require_two_layers,
    may_stop_early=True,
)
