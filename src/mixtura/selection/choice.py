"""Which of the measured teams it is to be: by quality, or the cheapest that is as good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from mixtura.evals import stats
from mixtura.evals.stats import Estimate
from mixtura.selection.search import Measured, Search, Team, leaders, without

Goal = Literal["quality", "cost", "latency"]


def chosen(search: Search, goal: Goal) -> Team | None:
    """
    The team that serves *goal*; None where no team within the bounds has a score.

    For cost and latency: the least of those that are not seen to be worse than the best, by one
    standard error of the difference (the rule of Breiman et al. 1984, section 3.4.3).
    """
    ranked = leaders(search)
    if not ranked:
        return None
    best = search.found(ranked[0])
    if goal == "quality":
        able = [team for team in ranked if search.found(team).score == best.score]
    else:
        able = [team for team in ranked if _as_good(search.found(team), best)]
    return min(able, key=lambda team: _taking(search, team, goal))


def _taking(search: Search, team: Team, goal: Goal) -> tuple[float, float, int]:
    """What a team takes, what matters most first; the unknown counts as much."""
    found = search.found(team)
    dollars = math.inf if found.dollars is None else found.dollars
    seconds = math.inf if found.seconds is None else found.seconds
    first, second = (seconds, dollars) if goal == "latency" else (dollars, seconds)
    return first, second, team.calls


def _as_good(ours: Measured, best: Measured) -> bool:
    by = stats.per_prompt(best.scores) - stats.per_prompt(ours.scores)
    by = by[~np.isnan(by)]
    return len(by) > 1 and float(by.mean()) <= float(by.std(ddof=1)) / math.sqrt(len(by))


# ---- the front


class Point(NamedTuple):
    """What is had, and what it takes."""

    score: float | None
    dollars: float | None
    seconds: float | None


def front(points: Mapping[str, Point]) -> set[str]:
    """Those that no other one beats: none is as good in everything and better in something."""
    return {name for name, point in points.items() if not _beaten(point, points.values())}


def _beaten(point: Point, others: Iterable[Point]) -> bool:
    if point.score is None:
        return True
    mine = _least(point)
    return any(_least(other) != mine and _covers(_least(other), mine) for other in others)


def _least(point: Point) -> tuple[float, float, float]:
    """All to be small; what is not known counts as nothing, the same for all."""
    score = -math.inf if point.score is None else point.score
    return (-score, point.dollars or 0.0, point.seconds or 0.0)


def _covers(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return all(x <= y for x, y in zip(a, b, strict=True))


# ---- why


def gains(search: Search, team: Team) -> dict[str, Estimate | None]:
    """By member: how much better the team is with it; None where that was not measured."""
    whole = search.found(team).scores
    return {name: gain(whole, search.found(part).scores) for name, part in without(team).items()}


def gain(ours: tuple[float | None, ...], theirs: tuple[float | None, ...]) -> Estimate | None:
    """The paired difference; None below two prompts that both have a score for."""
    if len(ours) != len(theirs):
        return None
    both = sum(a is not None and b is not None for a, b in zip(ours, theirs, strict=True))
    return stats.difference(ours, theirs) if both > 1 else None


def interval(scores: tuple[float | None, ...]) -> Estimate | None:
    """The mean and its bounds; None below two prompts with a score."""
    return stats.mean(scores) if sum(score is not None for score in scores) > 1 else None
