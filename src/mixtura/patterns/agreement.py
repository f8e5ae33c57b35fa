"""AgreementReported: any pattern, with a report of where the proposals agree behind its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from mixtura.core.agreement import Agreement, Support
from mixtura.core.call_ledger import CallLedger, open_ledger
from mixtura.core.errors import ModelError
from mixtura.core.events import (
    CallStarted,
    Emit,
    Failure,
    Position,
    Proposal,
    RunCompleted,
    RunStarted,
    with_position,
)
from mixtura.core.model import Model
from mixtura.core.model_info import ModelInfo
from mixtura.core.roles import Composite, Layer, PlannedCall, find_proposers
from mixtura.core.text import to_one_line
from mixtura.core.types import Completion, Request
from mixtura.engine.call_context import remaining_seconds
from mixtura.engine.final_step import FinalStep
from mixtura.engine.pattern import Pattern
from mixtura.engine.prompt_builder import make_prompt_builder
from mixtura.patterns.analysis_report import AnalysisReport, Claim, parse_analysis
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.verdict_calls import ask_for_verdict
from mixtura.prompts.synthesis import analysis_prompt

TIME_SHARE = 0.9
"""The part of a run's remaining time that a report may take: the answer must still get out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReported(Composite):
    """
    A pattern whose answer comes with a report by *model* of where its proposals agree and differ.

    One call more, behind the answer, which it neither changes nor fails: where there is no
    report, the agreement says why. A pattern that makes the report itself pays for none.
    """

    pattern: Pattern
    model: Model

    @classmethod
    def of(cls, pattern: Pattern, model: Model) -> Self:
        """*pattern* with a report by *model*."""
        return cls(layers=pattern.layers, name=pattern.name, pattern=pattern, model=model)

    @property
    def info(self) -> ModelInfo:
        return self.pattern.info

    @property
    def layer_count(self) -> int:
        return self.pattern.layer_count

    @property
    def fallback_models(self) -> tuple[Model, ...]:
        return self.pattern.fallback_models

    @property
    def sole_answerer(self) -> Model | None:
        return self.pattern.sole_answerer

    @property
    def needed_proposer(self) -> str:
        return self.pattern.needed_proposer

    def with_layers(self, layers: tuple[Layer, ...]) -> Self:
        return replace(self, layers=layers, pattern=self.pattern.with_layers(layers))

    def without_proposers(self) -> Composite | None:
        alone = self.pattern.without_proposers()
        return replace(self, layers=(), pattern=alone) if isinstance(alone, Pattern) else None

    def planned_calls(self) -> Sequence[PlannedCall]:
        """The pattern's calls, then the report, where it does not make one itself."""
        calls = self.pattern.planned_calls()
        sizes = [layer.call_count for layer in self.layers]
        if self.pattern.reports_agreement or sum(sizes) < 2:
            return calls
        proposers = find_proposers(self.pattern, calls)
        # Where a proposal answers, those of any layer may be among what is compared.
        read = proposers[0 if self.pattern.proposals_answer else sum(sizes[:-1]) :]
        every = tuple(range(len(calls)))
        report = PlannedCall(self.model, GREEDY_SAMPLING, reads=tuple(read), after=every)
        return [*calls, report]

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The pattern's answer with its agreement. Raises what the pattern raises."""

        async def add_agreement(step: FinalStep) -> None:
            if step.agreement is None:
                step.agreement = await self._report_in_time(step)
            number = step.agreement.number
            if step.support is None and number is not None:
                step.support = Support("agreement", number)

        return await self.pattern.complete_then(request, emit, add_agreement)

    async def _report_in_time(self, step: FinalStep) -> Agreement:
        left = remaining_seconds()
        try:
            async with asyncio.timeout(None if left == float("inf") else left * TIME_SHARE):
                return await report_agreement(
                    self.model, step.advice_request, step.member_proposals,
                    depth=step.depth + 1, emit=step.emit,
                )  # fmt: skip
        except TimeoutError:
            return Agreement(None, None, "the deadline left no time for a report")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgreementReporter(Composite):
    """
    Answers a request that `show_proposals` made with the report alone: for a run that is over.

    It is a Composite so that caps count its call.
    """

    model: Model
    proposals: tuple[Completion, ...]

    @classmethod
    def of(cls, model: Model, proposals: Sequence[Completion]) -> Self:
        """Reports by *model* on *proposals*."""
        return cls(layers=(), name=model.name, model=model, proposals=tuple(proposals))

    async def show_proposals(self, request: Request) -> Request:
        """
        The request that the model is sent for a run's *request*. Raises ContextOverflowError where
        it cannot fit.
        """
        return await _show_proposals(self.model, request, self.proposals)

    def planned_calls(self) -> Sequence[PlannedCall]:
        return [PlannedCall(self.model, GREEDY_SAMPLING)]

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The report, with its agreement. Raises ModelError when the model fails."""
        if emit:
            emit(RunStarted(self.name, request, ((self.name,),)))
        with open_ledger() as ledger:
            reply, agreement = await _ask_for_report(
                self.model, request, self.proposals, 1, emit, ledger
            )
            whole = replace(ledger.bill_answer(reply), agreement=agreement)
        if emit:
            emit(RunCompleted(whole))
        return whole


async def report_agreement(
    model: Model,
    request: Request,
    proposals: Sequence[Completion],
    *,
    depth: int,
    emit: Emit | None,
) -> Agreement:
    """
    Have *model* report where *proposals* agree and differ: one call, two where the first reply
    cannot be read. Reported at the position of layer *depth*. A failure is the reason in it.
    """
    if len(proposals) < 2:
        found = "only one proposal" if proposals else "no proposal"
        return Agreement(None, None, f"there is {found}, so there is nothing to compare")
    with open_ledger() as ledger:
        try:
            asked = await _show_proposals(model, request, proposals)
            _, agreement = await _ask_for_report(model, asked, proposals, depth, emit, ledger)
        except ModelError as error:
            return Agreement(None, None, f"{model.name} failed: {to_one_line(error)}")
    return agreement


async def _show_proposals(
    model: Model, request: Request, proposals: Sequence[Completion]
) -> Request:
    shown = await make_prompt_builder(analysis_prompt, request)(model, proposals, None)
    return Request(shown.messages, GREEDY_SAMPLING, draft=True)


async def _ask_for_report(
    model: Model,
    asked: Request,
    proposals: Sequence[Completion],
    depth: int,
    emit: Emit | None,
    ledger: CallLedger,
) -> tuple[Completion, Agreement]:
    """The reply to *asked* and what it says. Raises ModelError, after its event."""
    at = Position(depth, 0, "reporter")
    if emit:
        emit(CallStarted(model.name, asked, (at,), ledger))
    try:
        reply = await ask_for_verdict(
            model, asked, lambda reply: parse_analysis(reply, len(proposals)),
            with_position(emit, at) if emit else None,
        )  # fmt: skip
    except ModelError as error:
        error.model = error.model or model.name
        if emit:
            emit(Failure(model.name, error, (at,), ledger.charges))
        raise
    if emit:
        emit(Proposal(reply.completion, (at,)))
    if reply.verdict is None:
        unread = Agreement(None, None, f"the report of {model.name} cannot be read")
        return reply.completion, unread
    return reply.completion, name_agreement(reply.verdict, proposals, model.name)


def name_agreement(report: AnalysisReport, proposals: Sequence[Completion], by: str) -> Agreement:
    """The report for people: *proposals* by the names of their models, *by* who wrote it."""
    names = member_labels([proposal.model for proposal in proposals])

    def claim_json(claim: Claim) -> dict[str, Any]:
        return {"claim": claim.claim, "who": [names[slot - 1] for slot in claim.slots]}

    whole: dict[str, Any] = {
        "agreed": [claim_json(claim) for claim in report.agreed],
        "disputed": [
            {"topic": point.topic, "stances": [claim_json(stance) for stance in point.stances]}
            for point in report.disputed
        ],
        "only_one": [claim_json(claim) for claim in report.only_one],
        "not_covered": list(report.not_covered),
        "members": names,
        "by": by,
    }
    number = report.agreement
    reason = None if number is not None else "no claim is made by more than one of the proposals"
    return Agreement(number, whole, reason)


def member_labels(models: Sequence[str]) -> list[str]:
    """A name for each proposal: its model's, with the draw's number where there are several."""
    labels: list[str] = []
    for place, model in enumerate(models):
        draw = models[: place + 1].count(model)
        labels.append(f"{model} #{draw}" if models.count(model) > 1 else model)
    return labels
