"""Two answers compared by a judge, in both orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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

    results: tuple[PairPreferences, ...]
    problem: str


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
    unread = sum(result.unread for result in results)
    problem = ""
    if unread:
        problem = f"the judge {judge.name} gave no verdict in {unread} of {len(judges)} comparisons"
        problem += f": {error}" if error else ""
    return Comparisons(tuple(results), problem)


def _parse_better(reply: Completion) -> int | None:
    slot = parse_named_number(reply, "better")
    return int(slot) if slot in (1, 2) else None
