"""Analyse: a report of where the proposals agree and differ, then an answer that settles it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from mixtura.core.agreement import Agreement, Support
from mixtura.core.events import Notice
from mixtura.core.roles import PlannedCall
from mixtura.core.types import Completion
from mixtura.engine.aggregated_pattern import AggregatedPattern
from mixtura.engine.final_step import FinalStep
from mixtura.patterns.agreement import name_agreement
from mixtura.patterns.analysis_report import AnalysisReport, parse_analysis
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import PatternSpec, require_proposers
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.prompts.synthesis import analysis_prompt, show_with_analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class Analyse(AggregatedPattern):
    """
    The aggregator first reports on the proposals, as JSON: what they agree on, dispute, what only
    one says, what none covers; then it writes the answer from the question, the proposals and
    that report. As OpenRouter's Fusion does; n + 2 calls.

    A report that cannot be read is asked for again, once; without one the aggregator synthesises
    the proposals alone, and the answer says so in ``degraded``.
    """

    name: str = "analyse"
    reports_agreement = True

    @property
    def final_layers(self) -> tuple[str, ...]:
        return (self.aggregator.model.name, self.aggregator.model.name)

    def final_calls(self, reads: tuple[int, ...]) -> Sequence[PlannedCall]:
        last = self.aggregator
        report = PlannedCall(last.model, GREEDY_SAMPLING, reads=reads)
        written = (*reads, reads[-1] + 1) if reads else ()
        return [report, PlannedCall(last.model, last.sampling, reads=written, answers=True)]

    async def write_answer(self, step: FinalStep) -> Completion:
        """The aggregator's answer. Raises ModelError where nobody can write one."""
        last = self.aggregator
        layout = None
        if len(step.proposals) > 1:
            report = await self._analyse_proposals(step)
            layout = show_with_analysis(report) if report else None
        return await step.ask(
            last.model, step.proposals,
            sampling=last.sampling, fallbacks=last.fallbacks, layout=layout,
        )  # fmt: skip

    async def _analyse_proposals(self, step: FinalStep) -> Completion | None:
        """The report as JSON in its own form; None where none can be read."""
        model, count = self.aggregator.model, len(step.proposals)
        judge: Judge[AnalysisReport] = Judge(
            model, lambda reply: parse_analysis(reply, count), step.proposals
        )
        error = await ask_judges(
            [judge], analysis_prompt, step.advice_request, GREEDY_SAMPLING, step.emit,
            depth=step.depth - 1,
        )  # fmt: skip
        report = judge.verdict
        if report is None or judge.reply is None:
            problem = f"failed: {error}" if error else "cannot be read"
            step.agreement = Agreement(None, None, f"the analysis of {model.name} {problem}")
            step.add_notices(f"the analysis of {model.name} {problem}: the drafts alone were read")
            return None
        if emit := step.emit_inside:
            number = "none" if report.agreement is None else f"{report.agreement:.0%}"
            emit(Notice(model.name, f"agreement {number}: {_summarize_report(report)}"))
        step.agreement = name_agreement(report, step.proposals, model.name)
        if report.agreement is not None:
            step.support = Support("agreement", report.agreement)
        text = msgspec.json.encode(report).decode()
        reply = judge.reply.completion
        return replace(reply, message=replace(reply.message, content=text), charges=())


def _summarize_report(report: AnalysisReport) -> str:
    counts = {
        "agreed": len(report.agreed), "disputed": len(report.disputed),
        "said by one": len(report.only_one), "not covered": len(report.not_covered),
    }  # fmt: skip
    return ", ".join(f"{number} {what}" for what, number in counts.items())


PATTERN = PatternSpec(
    help="a synthesis that follows a report on where the proposals agree and differ",
    kind=Analyse,
    aggregator="the model that analyses the proposals and writes the answer",
    check_layers=require_proposers("their proposals are what it reports on"),
    final_step="the aggregator: first an analysis of the proposals, then the answer",
    final_layer_count=2,
)
