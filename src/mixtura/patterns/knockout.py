"""Knockout: proposals are compared in pairs until one is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Annotated

import msgspec

from mixtura.core.events import Emit
from mixtura.core.roles import PlannedCall
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Request, Sampling
from mixtura.patterns.choosing import JudgingChooser, Verdict
from mixtura.patterns.comparisons import Comparisons, compare_pairs
from mixtura.patterns.ranker import GREEDY_SAMPLING, shuffled_positions
from mixtura.patterns.spec import FinalModel, PatternSpec


@dataclass(frozen=True, slots=True)
class Knockout(JudgingChooser):
    """
    The knockout tournament of Chen et al. 2024 (arXiv 2411.19477, section 3.1): N proposals, a
    judge that compares each pair *comparisons* times, half of them in reverse order; N + (N - 1)K
    calls. If a right answer is among the proposals and comparisons are better than chance, the
    probability of failure falls exponentially in N and K.

    The draw of the pairs is a hash of the request and the proposals. Of a pair with as many
    preferences for each, and where the judge gives no verdict, the first in the draw goes on;
    the latter is said in ``degraded``.
    """

    comparisons: int = 2
    sampling: Sampling = field(default=GREEDY_SAMPLING)

    def planned_calls(self, proposals: int) -> Sequence[PlannedCall]:
        """*comparisons* calls for each of N - 1 pairs, round after round; each reads two."""
        pairs, left = pairwise(range(proposals)), proposals
        calls: list[PlannedCall] = []
        before: tuple[int, ...] = ()
        while left > 1:
            begun = len(calls)
            calls += [
                PlannedCall(self.model, self.sampling, reads=pair, after=before)
                for pair in islice(pairs, left // 2)
                for _ in range(self.comparisons)
            ]
            before = tuple(range(begun, len(calls)))
            left -= left // 2
        return calls

    async def choose(
        self, request: Request, proposals: Sequence[Completion], emit: Emit | None
    ) -> Verdict:
        """The proposal that is left; a failed comparison degrades the choice."""
        left = shuffled_positions(request, proposals)
        wins = dict.fromkeys(left, 0)
        every = Comparisons(self.name, (), None)
        depth = 0
        while len(left) > 1:
            depth += 1
            pairs = list(zip(left[::2], left[1::2], strict=False))
            outcome = await compare_pairs(
                self.model, [(proposals[a], proposals[b]) for a, b in pairs], request,
                self.sampling, emit, times=self.comparisons, depth=depth,
            )  # fmt: skip
            every = every.with_round(outcome)
            winners = [
                b if result.second > result.first else a
                for (a, b), result in zip(pairs, outcome.results, strict=True)
            ]
            for winner in winners:
                wins[winner] += 1
            left = winners + left[len(pairs) * 2 :]
        why = f"it won {pluralize_count(wins[left[0]], 'pair')}"
        return Verdict(left[0], why, (every.problem,) if every.problem else ())


class KnockoutSettings(msgspec.Struct, frozen=True):
    """The settings of `Knockout` in a file."""

    comparisons: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2


PATTERN = PatternSpec(
    name="knockout",
    help="the proposal that is left when a judge compares them in pairs",
    chooser=Knockout,
    settings=KnockoutSettings,
    final_model=FinalModel(
        "judge", "the model that compares the proposals in pairs", GREEDY_SAMPLING
    ),
    final_step="compares proposals in pairs, {comparisons} times each: the last one is the answer",
    action="compares the drafts in pairs",
)
