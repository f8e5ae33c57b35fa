"""BestOf: every proposal is given a score, and the highest is the answer."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import NamedTuple

from mixtura.core.arguments import check_function, check_kind
from mixtura.core.errors import ModelError
from mixtura.core.events import Emit
from mixtura.core.model import Model, check_model
from mixtura.core.roles import PlannedCall
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Request, Sampling
from mixtura.engine.task_groups import gather_all
from mixtura.patterns.choosing import (
    Verdict,
    fallback_verdict,
    with_tool_calls_as_text,
)
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.spec import FinalModel, PatternSpec
from mixtura.patterns.verdict_calls import Judge, JudgeReply, ask_judges
from mixtura.patterns.verdict_parsing import parse_named_number
from mixtura.prompts.synthesis import judging_prompt

Verifier = Callable[[Request, Completion], float | Awaitable[float]]
"""Says how good a proposal is: a test that is run, a checker. Higher is better."""

MAX_SCORE = 10
"""The highest score that a judge can give."""


@dataclass(frozen=True, slots=True)
class BestOf:
    """
    Best of n (Cobbe et al. 2021, arXiv 2110.14168, section 4): the proposal with the highest
    score, the first of equals.

    *by* is a function that scores, or a model that is asked for a score of 0 to 10 for each
    proposal by itself, so that the order of the proposals has no influence. A proposal without a
    score (the judge failed, or gave none when it was asked twice; the function raised ModelError
    or gave no number) is out; where none has one, the closest to the others is taken. Either is
    reported in ``degraded``. Raises TypeError for arguments that are none.
    """

    by: Verifier | Model
    sampling: Sampling = field(default=GREEDY_SAMPLING)
    """Of the judge's verdicts."""

    def __post_init__(self) -> None:
        if isinstance(self.by, Model):
            check_model("by", self.by)
        else:
            check_function("by", self.by, "a model, or a function of a request and a proposal")
        check_kind("sampling", self.sampling, Sampling, "a Sampling")

    @property
    def name(self) -> str:
        """The judge's name; "best-of" for a function."""
        return self.by.name if isinstance(self.by, Model) else "best-of"

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """A call of the judge for each proposal; none for a function."""
        if not isinstance(self.by, Model):
            return ()
        return [PlannedCall(self.by, self.sampling, reads=(i,)) for i in range(proposals)]

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """
        The proposal with the highest score. Raises what the function raises besides ModelError.
        """
        if isinstance(self.by, Model):
            marks = await self._score_with_judge(self.by, request, proposals, emit)
        else:
            marks = await run_verifier(self.by, request, proposals)
        there = [i for i, mark in enumerate(marks) if mark.score is not None]
        problem = next((mark.problem for mark in marks if mark.score is None), "")
        if not there:
            return fallback_verdict(proposals, f"no proposal has a score: {problem}")
        best = max(there, key=lambda i: marks[i].score or 0.0)
        missing = len(marks) - len(there)
        notice = f"{pluralize_count(missing, 'proposal')} without a score: {problem}"
        why = f"a score of {marks[best].score:g}, the highest"
        return Verdict(best, why, (notice,) if missing else ())

    async def _score_with_judge(
        self, judge: Model, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> list[ProposalScore]:
        """A call for each proposal, all at once."""
        judges = [
            Judge(judge, parse_score, [with_tool_calls_as_text(proposal)]) for proposal in proposals
        ]
        error = await ask_judges(judges, judging_prompt, request, self.sampling, emit)
        lost = f"the judge {judge.name} failed: {error}" if error else ""
        return [_score_from_reply(judge, one.reply, lost) for one in judges]


def parse_score(reply: Completion) -> float | None:
    """The score that a judge's reply gives; None where it gives none from 0 to MAX_SCORE."""
    score = parse_named_number(reply, "score")
    return score if score is not None and 0 <= score <= MAX_SCORE else None


class ProposalScore(NamedTuple):
    """A proposal's score, or why it has none."""

    score: float | None
    problem: str = ""


def _score_from_reply(judge: Model, reply: JudgeReply[float] | None, lost: str) -> ProposalScore:
    if reply is None:
        return ProposalScore(None, lost)
    if reply.verdict is None:
        return ProposalScore(None, f"the judge {judge.name} gave none from 0 to {MAX_SCORE}")
    return ProposalScore(reply.verdict)


async def run_verifier(
    verifier: Verifier, request: Request, proposals: Sequence[Completion]
) -> list[ProposalScore]:
    """What the function says of each proposal; those that it awaits are run side by side."""
    return await gather_all(_verify_proposal(verifier, request, p) for p in proposals)


async def _verify_proposal(
    verifier: Verifier, request: Request, proposal: Completion
) -> ProposalScore:
    try:
        result = verifier(request, proposal)
        score = float(await result if isawaitable(result) else result)
    # A verifier may call a model: its failure costs this proposal its score, not the run.
    except ModelError as error:
        return ProposalScore(None, f"the verifier failed: {error}")
    return (
        ProposalScore(None, "the verifier gave no number")
        if math.isnan(score)
        else ProposalScore(score)
    )


PATTERN = PatternSpec(
    name="best-of",
    help="the proposal that a judge gives the highest score",
    chooser=BestOf,
    final_model=FinalModel(
        "judge", "the model that gives every proposal its score", GREEDY_SAMPLING
    ),
    final_step="scores each proposal: the best is the answer",
    action="judges the drafts",
)
