"""The figures of the proof: intervals, paired differences, power, looks, and how sure is right."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from statistics import NormalDist, mean
from typing import NamedTuple

from bench.proof.members import MEMBERS
from bench.proof.results import Outcome

from mixtura.evals.statistics.intervals import (
    IntervalEstimate,
    detectable_difference,
    paired_difference,
)
from mixtura.evals.statistics.repeated_looks import ALPHA

_NORMAL = NormalDist()
_PARAMETERS = {member.name: member.parameters for member in MEMBERS.values()}


class Row(NamedTuple):
    """What one arm came to, over the items that it and the arm it is compared with both have."""

    right: float
    low: float
    high: float
    items: int
    answers: int
    calls: float
    """Of an answer, as the tokens, the work and the seconds."""
    tokens: float
    work: float
    """Floating-point operations, in 10^12."""
    seconds: float
    cut: float
    """The share of members' answers that ran into the limit of tokens."""
    degraded: int
    difference: IntervalEstimate | None
    detectable: float | None
    """The true difference that so many items show with a power of 0.8."""


def wilson_interval(share: float, count: int, confidence: float = 1 - ALPHA) -> tuple[float, float]:
    """
    Wilson's interval (1927) of a *share* of *count*. Raises ValueError for a count below 1.
    """
    if count < 1:
        raise ValueError("a share needs at least one answer")
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def scores_by_item(outcomes: Iterable[Outcome], arm: str) -> dict[str, float]:
    """The mean score of each item's answers: the same item's draws are one observation."""
    found: dict[str, list[bool]] = {}
    for one in outcomes:
        if one.arm == arm:
            found.setdefault(one.item, []).append(one.right)
    return {item: mean(scores) for item, scores in found.items()}


def row_of(
    outcomes: Sequence[Outcome], arm: str, base: str | None, confidence: float = 1 - ALPHA
) -> Row | None:
    """
    The figures of *arm*, with its paired difference to *base*; None where it has fewer than two
    items. The share's interval takes items, not draws, for its count: draws of one item are alike.
    """
    scores = scores_by_item(outcomes, arm)
    mine = [one for one in outcomes if one.arm == arm]
    if len(scores) < 2:
        return None
    share = mean(scores.values())
    low, high = wilson_interval(share, len(scores))
    difference = detectable = None
    if base is not None and base != arm:
        others = scores_by_item(outcomes, base)
        both = [item for item in scores if item in others]
        if len(both) >= 2:
            difference = paired_difference(
                [scores[item] for item in both], [others[item] for item in both],
                confidence=confidence,
            )  # fmt: skip
            if difference.spread > 0:
                detectable = detectable_difference(
                    difference.spread, len(both), confidence=confidence
                )
    calls = [call for one in mine for call in one.calls]
    return Row(
        share, low, high, len(scores), len(mine), len(calls) / len(mine),
        sum(c[1] + c[2] for c in calls) / len(mine),
        sum(2 * _PARAMETERS[c[0]] * (c[1] + c[2]) for c in calls) / 1000 / len(mine),
        sum(c[3] for c in calls) / len(mine),
        sum(c[4] == "length" for c in calls) / max(1, len(calls)),
        sum(one.degraded > 0 for one in mine),
        difference, detectable,
    )  # fmt: skip


def oracle_share(outcomes: Sequence[Outcome], seats: Mapping[str, int]) -> tuple[float, int] | None:
    """
    The share of items that at least one of the first draws of *seats* (arm: how many) answers
    rightly, and of how many items: what choosing can reach at most.
    """
    right: dict[str, list[bool]] = {}
    for one in outcomes:
        if one.draw < seats.get(one.arm, 0):
            right.setdefault(one.item, []).append(one.right)
    whole = [any(all_) for all_ in right.values() if len(all_) == sum(seats.values())]
    return (mean(whole), len(whole)) if whole else None


# ---- confidence


def auroc(pairs: Sequence[tuple[float, bool]]) -> float | None:
    """
    The chance that a right answer has a higher confidence than a wrong one, ties half; None where
    all are right or all are wrong.
    """
    right = [value for value, good in pairs if good]
    wrong = [value for value, good in pairs if not good]
    if not right or not wrong:
        return None
    wins = sum((a > b) + (a == b) / 2 for a in right for b in wrong)
    return wins / (len(right) * len(wrong))


def auroc_interval(
    items: Sequence[Sequence[tuple[float, bool]]], times: int = 1000
) -> tuple[float, float] | None:
    """
    The 95 % interval of `auroc` by the bootstrap over items: of the answers to one item, which are
    alike, all or none are drawn.
    """
    found = [
        auroc(list(chain(*random.Random(turn).choices(items, k=len(items)))))
        for turn in range(times)
    ]
    kept = sorted(one for one in found if one is not None)
    if len(kept) < times // 2:
        return None
    return kept[int(0.025 * len(kept))], kept[int(0.975 * len(kept)) - 1]


def confidences_by_item(
    outcomes: Sequence[Outcome], arm: str, measure: str
) -> list[list[tuple[float, bool]]]:
    """By item: the confidence and whether it was right, of each answer that has that *measure*."""
    found: dict[str, list[tuple[float, bool]]] = {}
    for one in outcomes:
        if one.arm == arm and measure in one.confidence:
            found.setdefault(one.item, []).append((one.confidence[measure], one.right))
    return list(found.values())
