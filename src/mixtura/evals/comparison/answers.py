"""Everyone's answers to the compared prompts, their scores, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mixtura.evals.comparison.baselines import Participant
from mixtura.evals.comparison.result import (
    Unit,
)
from mixtura.evals.judges import pairwise
from mixtura.evals.log_reader import LoggedEvaluation, SampleAnswer

Key = tuple[str, int]
"""A sample's id and epoch."""


class Matchup(NamedTuple):
    """Two contenders that are compared: a mixture and an opponent."""

    ours: str
    theirs: str


@dataclass(slots=True)
class ComparisonData:
    """The participants, their answers, and the judge's preferences."""

    task: str
    judge: str | None = None
    entrants: dict[str, Participant] = field(default_factory=dict[str, Participant])
    answers: dict[str, dict[Key, SampleAnswer]] = field(
        default_factory=dict[str, dict[Key, SampleAnswer]]
    )
    judgements: dict[tuple[str, str], dict[Key, pairwise.PairJudgement]] = field(
        default_factory=dict[tuple[str, str], dict[Key, pairwise.PairJudgement]]
    )
    """By mixture and opponent: what the judge says of each pair of answers."""

    def add_participant(self, entrant: Participant, evaluation: LoggedEvaluation) -> None:
        self.entrants[entrant.name] = entrant
        self.answers[entrant.name] = {(one.sample, one.epoch): one for one in evaluation.answers}

    def participant_scores(self, mixture: str, name: str) -> dict[Key, float]:
        """The scores of *name*; where a judge says them, against *mixture*."""
        if self.judge is None:
            rows = self.answers[name]
            return {key: one.score for key, one in rows.items() if one.score is not None}
        # Beside itself, by definition.
        if name == mixture:
            return {key: 0.5 for key, one in self.answers[name].items() if one.has_answer}
        preferences = {
            key: one.mean_preference for key, one in self.judgements[mixture, name].items()
        }
        # The preference is for the mixture's answer, which stood first in the pair.
        return {key: 1 - value for key, value in preferences.items() if value is not None}

    def best_member(self, mixture: str, names: Sequence[str]) -> str:
        """
        The member with the highest mean score; of equals the cheapest, then the first. Whoever
        has a score for less than half of the prompts comes after those who have more.
        """

        def rank_key(name: str) -> tuple[bool, float, float]:
            values = self.participant_scores(mixture, name).values()
            mean = sum(values) / len(values) if values else -1.0
            dollars = self.mean_dollars(name)
            # A mean over few prompts may be one over the easy ones.
            there = 2 * len(values) >= len(self.answers[name])
            return there, mean, -math.inf if dollars is None else -dollars

        return max(names, key=rank_key)

    def given_answers(self, name: str) -> list[SampleAnswer]:
        """The answers that *name* gave, without the calls that failed."""
        return [one for one in self.answers[name].values() if one.has_answer]

    def mean_dollars(self, name: str) -> float | None:
        """Mean cost of one answer in dollars, cached answers counted in full; None if unknown."""
        return mean_if_known([one.cost_usd for one in self.given_answers(name)])

    def mean_tokens(self, name: str) -> float | None:
        return mean_if_known([float(one.total_tokens) for one in self.given_answers(name)])

    def written_share(self, name: str) -> float:
        """The share of completion tokens in all the tokens of an answer of *name*."""
        calls = [call for one in self.given_answers(name) for call in one.leaf_calls()]
        wrote = sum(call.completion_tokens for call in calls)
        # No tokens at all: a share of nothing, whatever it is divided by.
        return wrote / (sum(call.prompt_tokens for call in calls) + wrote or 1)

    def cost_ratio(self, ours: str, theirs: str) -> tuple[float | None, Unit]:
        """What one answer of *ours* takes over one of *theirs*: dollars, or tokens without any."""
        mine, other = self.mean_dollars(ours), self.mean_dollars(theirs)
        if mine and other:
            return mine / other, "price"
        mine, other = self.mean_tokens(ours), self.mean_tokens(theirs)
        return (mine / other if mine and other else None), "tokens"


def mean_if_known(values: Sequence[float | None]) -> float | None:
    """The mean; None where a value is unknown, or there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
