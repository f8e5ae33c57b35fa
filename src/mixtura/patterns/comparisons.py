"""Two answers compared by a judge, in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mixtura.core.errors import ModelError
from mixtura.core.events import Emit
from mixtura.core.model import Model
from mixtura.core.types import Completion, Request, Sampling
from mixtura.patterns.choosing import with_tool_calls_as_text
from mixtura.patterns.verdict_calls import Judge, ask_judges
from mixtura.patterns.verdict_parsing import parse_named_number
from mixtura.prompts.synthesis import comparison_prompt

Pair = tuple[Completion, Completion]


class PairPreferences(NamedTuple):
    """How often each of two answers was preferred."""

    first: int
    second: int
    unread: int
    """Comparisons without a verdict."""


class Comparisons(NamedTuple):
    """The outcome for each pair, and what went wrong."""

    judge: str
    results: tuple[PairPreferences, ...]
    error: ModelError | None
    """The first one, where a call failed."""

    @property
    def problem(self) -> str:
        """How many comparisons have no verdict, and why; empty where all have one."""
        unread = sum(result.unread for result in self.results)
        if not unread:
            return ""
        asked = sum(result.first + result.second + result.unread for result in self.results)
        problem = f"the judge {self.judge} gave no verdict in {unread} of {asked} comparisons"
        return f"{problem}: {self.error}" if self.error else problem

    def with_round(self, later: Comparisons) -> Comparisons:
        """These comparisons and those of a *later* round, as one."""
        return Comparisons(self.judge, (*self.results, *later.results), self.error or later.error)


async def compare_pairs(
    judge: Model,
    pairs: Sequence[Pair],
    request: Request,
    sampling: Sampling,
    emit: Emit | None,
    *,
    times: int = 2,
    depth: int = 1,
) -> Comparisons:
    """
    Have *judge* compare each pair *times* times, all at once, every other time in reverse order.

    Judges favour a position (Zheng et al. 2023, arXiv 2306.05685, section 3.3): an even number of
    comparisons takes that out. *emit* reports the calls as layer *depth*.
    """
    shown = [tuple(with_tool_calls_as_text(one) for one in pair) for pair in pairs]
    judges = [
        Judge(judge, _parse_better, pair if number % 2 == 0 else pair[::-1])
        for pair in shown
        for number in range(times)
    ]
    error = await ask_judges(judges, comparison_prompt, request, sampling, emit, depth=depth)
    results: list[PairPreferences] = []
    for place in range(len(pairs)):
        verdicts = [one.verdict for one in judges[place * times : (place + 1) * times]]
        first = sum(v == 1 + number % 2 for number, v in enumerate(verdicts) if v is not None)
        read = sum(verdict is not None for verdict in verdicts)
        results.append(PairPreferences(first, read - first, times - read))
    return Comparisons(judge.name, tuple(results), error)


def _parse_better(reply: Completion) -> int | None:
    slot = parse_named_number(reply, "better")
    return int(slot) if slot in (1, 2) else None
