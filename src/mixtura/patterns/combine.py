"""Combine: a vote in which each answer has a score, by weights that were learned."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from mixtura.core.agreement import Support
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion
from mixtura.patterns.answer_groups import AnswerReader, group_by_answer
from mixtura.patterns.choosing import (
    DrawCountingChooser,
    Verdict,
    fallback_verdict,
)
from mixtura.patterns.final_answer import Extract
from mixtura.patterns.spec import PatternSpec, check_name
from mixtura.patterns.vote import ExtractSettings

FEATURES = ("votes", "accuracy", "families", "family_share", "surest", "length")
"""What is known of an answer; `measure_answers` says what each of them is."""
MAX_WEIGHT = 1000.0


@dataclass(frozen=True, slots=True)
class Combine(DrawCountingChooser):
    """
    A learned combiner (after arXiv 2601.07245): the answer with the highest score is given.

    An answer's score is the sum of its features, each times its weight; `mixtura tune` learns the
    *weights* by logistic regression; without any it is a plain vote. *accuracy*: by model name, how
    often it is right alone (1 where nothing is known); *families*: by model name, whose it is (a
    model of none is one of its own). Of equals the answer that came first is taken, and the first
    who gave it.
    """

    name = "combine"
    extract: Extract | AnswerReader = "text"
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    accuracy: Mapping[str, float] = field(default_factory=dict[str, float])
    families: Mapping[str, str] = field(default_factory=dict[str, str])

    def count_answers(self, proposals: Sequence[Completion]) -> Verdict:
        """The first proposal of the answer with the highest score. Raises what *extract* raises."""
        groups = group_by_answer(proposals, self.extract)
        if not groups:
            return fallback_verdict(proposals, "combine found no answer in any proposal")
        rows = measure_answers(
            [group.positions for group in groups],
            [proposal.model for proposal in proposals],
            [len(proposal.text) for proposal in proposals],
            self.accuracy,
            self.families,
            self.asked,
        )
        weights = self.weights or {"votes": 1.0}
        scores = [round(score_answer(row, weights), 12) for row in rows]
        place = max(range(len(groups)), key=scores.__getitem__)
        winner = groups[place]
        votes = pluralize_count(len(proposals), "vote")
        why = (
            f"{to_one_line(winner.answer)[:80]} has the highest score,"
            f" with {len(winner.positions)} of {votes}"
        )
        share = Support("votes", len(winner.positions) / len(proposals))
        return Verdict(winner.positions[0], why, support=share)


def measure_answers(
    groups: Sequence[Sequence[int]],
    models: Sequence[str],
    lengths: Sequence[float],
    accuracy: Mapping[str, float],
    families: Mapping[str, str],
    asked: Mapping[str, int] | None = None,
) -> list[dict[str, float]]:
    """
    The features of each answer, given by the positions of the proposals with it.

    ``votes``: its share of the proposals. ``accuracy``: the same, each proposal with its model's
    *accuracy*. ``families``: the share of the families of which a proposal gives it.
    ``family_share``: its share of a family's proposals, the mean over families. ``surest``: its
    largest share of one model's draws, of which so many were *asked* for: one that was lost gives
    none. ``length``: the logarithm of its proposals' mean length in characters, over that of all.
    """
    known = [accuracy.get(model, 1.0) for model in models]
    kin = [families.get(model, model) for model in models]
    all_known = math.fsum(known)
    drawn = asked or {}
    mean_length = math.fsum(lengths) / len(lengths)
    rows: list[dict[str, float]] = []
    for positions in groups:
        by_family = _shares_by_owner(positions, kin)
        own_length = math.fsum(lengths[i] for i in positions) / len(positions)
        rows.append({
            "votes": len(positions) / len(models),
            "accuracy": math.fsum(known[i] for i in positions) / all_known if all_known else 0.0,
            "families": sum(share > 0 for share in by_family.values()) / len(by_family),
            "family_share": math.fsum(by_family.values()) / len(by_family),
            "surest": max(
                share * models.count(model) / max(models.count(model), drawn.get(model, 0))
                for model, share in _shares_by_owner(positions, models).items()
            ),
            "length": math.log(max(own_length, 1.0) / max(mean_length, 1.0)),
        })  # fmt: skip
    return rows


def score_answer(features: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The sum of the *features*, each times its weight; 0 for one without a weight."""
    return math.fsum(features[name] * weight for name, weight in weights.items())


def _shares_by_owner(positions: Sequence[int], owners: Sequence[str]) -> dict[str, float]:
    """By owner, the share of its proposals that stand at *positions*."""
    own = [owners[i] for i in positions]
    return {owner: own.count(owner) / owners.count(owner) for owner in dict.fromkeys(owners)}


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight = Annotated[float, msgspec.Meta(ge=-MAX_WEIGHT, le=MAX_WEIGHT)]


class CombineSettings(ExtractSettings, frozen=True):
    """The settings of `Combine` in a file. Raises ConfigError for weights that are none."""

    weights: dict[str, Weight] = msgspec.field(default_factory=dict[str, float])
    """Empty: a plain vote."""
    accuracy: dict[str, Share] = msgspec.field(default_factory=dict[str, float])
    families: dict[str, str] = msgspec.field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.weights:
            check_name("weights", "feature", name, FEATURES)
        if self.weights and not any(self.weights.values()):
            raise ConfigError("weights: at least one must not be 0", key="weights")


def _check_draws(settings: CombineSettings, draws: Mapping[str, int]) -> None:
    for key, names in (("accuracy", settings.accuracy), ("families", settings.families)):
        for name in names:
            check_name(key, "member", name, draws)


PATTERN = PatternSpec(
    name="combine",
    help="the answer with the highest score, by weights that `mixtura tune` learns",
    chooser=Combine,
    settings=CombineSettings,
    final_step="the answer with the highest score is given",
    action="scores each answer",
    check_draws=_check_draws,
)
