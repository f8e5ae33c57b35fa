"""BestOf: every proposal is given a score, and the highest is the answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import NamedTuple

from mixtura.engine import propose, reading
from mixtura.errors import ModelError, QuorumNotMetError
from mixtura.events import Emit
from mixtura.model import Model
from mixtura.patterns.chosen import Verdict, instead, readable
from mixtura.patterns.ranked import STEADY
from mixtura.patterns.verdict_calls import Judge, Said
from mixtura.patterns.verdicts import named_number
from mixtura.prompts import judging
from mixtura.roles import Layer, Planned, Proposer
from mixtura.text import plural
from mixtura.types import Charge, Completion, Request, Sampling

Verifier = Callable[[Request, Completion], float | Awaitable[float]]
"""Says how good a proposal is: a test that is run, a checker. Higher is better."""

MOST = 10
"""The highest score that a judge can give."""


@dataclass(frozen=True, slots=True)
class BestOf:
    """
    Best of n (Cobbe et al. 2021, arXiv 2110.14168, section 4): the proposal with the highest
    score, the first of equals.

    *by* is a function that scores, or a model that is asked for a score of 0 to 10 for each
    proposal by itself, so that no place among others can help one. A proposal without a score
    (the judge failed, or gave none when it was asked twice; the function raised ModelError or gave
    no number) is out; where none has one, the closest to the others is taken. Either is said.
    """

    by: Verifier | Model
    sampling: Sampling = field(default=STEADY)
    """Of the judge's verdicts."""

    @property
    def name(self) -> str:
        return self.by.name if isinstance(self.by, Model) else "best-of"

    def planned(self, proposals: int) -> Sequence[Planned]:
        if not isinstance(self.by, Model):
            return ()
        return [Planned(self.by, self.sampling, reads=(i,)) for i in range(proposals)]

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        if isinstance(self.by, Model):
            marks = await self._judged(self.by, request, proposals, emit)
        else:
            marks = await _verified(self.by, request, proposals)
        charges = tuple(charge for mark in marks for charge in mark.charges)
        there = [i for i, mark in enumerate(marks) if mark.score is not None]
        problem = next((mark.problem for mark in marks if mark.score is None), "")
        if not there:
            return instead(proposals, f"no proposal has a score: {problem}", charges)
        best = max(there, key=lambda i: marks[i].score or 0.0)
        missing = len(marks) - len(there)
        said = f"{plural(missing, 'proposal')} without a score: {problem}"
        why = f"a score of {marks[best].score:g}, the highest"
        return Verdict(best, why, charges, (said,) if missing else ())

    async def _judged(
        self, judge: Model, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> list[_Mark]:
        """A call for each proposal, all at once."""
        readers = [_Reader(judge, readable(proposal)) for proposal in proposals]
        show = reading(judging, request)

        async def one(model: Model, _: Sequence[Completion], persona: str | None) -> Request:
            assert isinstance(model, _Reader)
            return await show(model, [model.proposal], persona)

        seats = tuple(Proposer(reader, self.sampling) for reader in readers)
        layer = Layer(seats, quorum=len(seats))  # no score stands in for another
        lost = ""
        try:
            charges = (await propose(layer, one, (), depth=1, emit=emit)).charges
        except QuorumNotMetError as error:  # then some are without
            charges = error.charges
            lost = f"the judge {judge.name} failed: {error.causes[0]}"
        marks = [_mark(judge, reader.said, lost) for reader in readers]
        return [marks[0]._replace(charges=charges), *marks[1:]]


class _Reader(Judge[float]):
    """The judge with one proposal before it."""

    def __init__(self, judge: Model, proposal: Completion) -> None:
        super().__init__(judge, _score)
        self.proposal = proposal


def _score(reply: Completion) -> float | None:
    score = named_number(reply, "score")
    return score if score is not None and 0 <= score <= MOST else None


class _Mark(NamedTuple):
    """A proposal's score, or why it has none; and what it cost to say."""

    score: float | None
    problem: str = ""
    charges: tuple[Charge, ...] = ()


def _mark(judge: Model, said: Said[float] | None, lost: str) -> _Mark:
    if said is None:
        return _Mark(None, lost)
    if said.verdict is None:
        return _Mark(None, f"the judge {judge.name} gave none from 0 to {MOST}")
    return _Mark(said.verdict)


async def _verified(
    verifier: Verifier, request: Request, proposals: Sequence[Completion]
) -> list[_Mark]:
    """What the function says of each proposal; those that it awaits are run side by side."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_tried(verifier, request, p)) for p in proposals]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _tried(verifier: Verifier, request: Request, proposal: Completion) -> _Mark:
    try:
        said = verifier(request, proposal)
        score = float(await said if isawaitable(said) else said)
    except ModelError as error:
        return _Mark(None, f"the verifier failed: {error}", error.charges)
    return _Mark(None, "the verifier gave no number") if math.isnan(score) else _Mark(score)
