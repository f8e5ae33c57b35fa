"""Which of the measured teams it is to be: by quality, or the cheapest that is as good."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

import numpy as np

from mixtura.evals.statistics import intervals
from mixtura.evals.statistics.intervals import IntervalEstimate
from mixtura.selection.search import Measurement, Search, Team, leading_teams, teams_without_member

Goal = Literal["quality", "cost", "latency"]


def choose_team(search: Search, goal: Goal) -> Team | None:
    """
    The team that serves *goal*; None where no team within the bounds has a score.

    For cost and latency: the least of those that are not seen to be worse than the best, by one
    standard error of the difference (the rule of Breiman et al. 1984, section 3.4.3).
    """
    ranked = leading_teams(search)
    if not ranked:
        return None
    best = search.measurement_of(ranked[0])
    if goal == "quality":
        able = [team for team in ranked if search.measurement_of(team).score == best.score]
    else:
        able = [team for team in ranked if _is_as_good(search.measurement_of(team), best)]
    return min(able, key=lambda team: _cost_key(search, team, goal))


def _cost_key(search: Search, team: Team, goal: Goal) -> tuple[float, float, int]:
    """What a team takes, what matters most first; the unknown counts as much."""
    measurement = search.measurement_of(team)
    dollars = math.inf if measurement.dollars is None else measurement.dollars
    seconds = math.inf if measurement.seconds is None else measurement.seconds
    first, second = (seconds, dollars) if goal == "latency" else (dollars, seconds)
    return first, second, team.call_count


def _is_as_good(ours: Measurement, best: Measurement) -> bool:
    by = intervals.prompt_scores(best.scores) - intervals.prompt_scores(ours.scores)
    by = by[~np.isnan(by)]
    # At least two prompts: one alone has no standard error.
    return len(by) > 1 and float(by.mean()) <= float(by.std(ddof=1)) / math.sqrt(len(by))


# ---- the front


class TradeoffPoint(NamedTuple):
    """What is had, and what it takes."""

    score: float | None
    dollars: float | None
    seconds: float | None


def pareto_front(points: Mapping[str, TradeoffPoint]) -> set[str]:
    """Those that no other one beats: none is as good in everything and better in something."""
    return {name for name, point in points.items() if not _is_dominated(point, points.values())}


def _is_dominated(point: TradeoffPoint, others: Iterable[TradeoffPoint]) -> bool:
    if point.score is None:
        return True
    mine = _minimized_values(point)
    return any(
        _minimized_values(other) != mine and _is_no_worse(_minimized_values(other), mine)
        for other in others
    )


def _minimized_values(point: TradeoffPoint) -> tuple[float | None, ...]:
    """All to be small."""
    score = -math.inf if point.score is None else point.score
    return (-score, point.dollars, point.seconds)


def _is_no_worse(a: tuple[float | None, ...], b: tuple[float | None, ...]) -> bool:
    """Whether *a* is seen to be no worse: an unknown price is neither lower nor higher than one."""
    return all(x == y if x is None or y is None else x <= y for x, y in zip(a, b, strict=True))


# ---- why


def member_gains(search: Search, team: Team) -> dict[str, IntervalEstimate | None]:
    """By member: how much better the team is with it; None where that was not measured."""
    whole = search.measurement_of(team).scores
    return {
        name: paired_gain(whole, search.measurement_of(part).scores)
        for name, part in teams_without_member(team).items()
    }


def paired_gain(
    ours: tuple[float | None, ...], theirs: tuple[float | None, ...]
) -> IntervalEstimate | None:
    """The paired difference; None below two prompts that both have a score for."""
    # The cap may have ended the measuring of one of them: its scores are then of fewer prompts, and
    # there is nothing to pair them by.
    if len(ours) != len(theirs):
        return None
    both = sum(a is not None and b is not None for a, b in zip(ours, theirs, strict=True))
    return intervals.paired_difference(ours, theirs) if both > 1 else None


def mean_interval(scores: tuple[float | None, ...]) -> IntervalEstimate | None:
    """The mean and its bounds; None below two prompts with a score."""
    return (
        intervals.estimate_mean(scores) if sum(score is not None for score in scores) > 1 else None
    )


def interval_bounds(
    scores: tuple[float | None, ...],
) -> tuple[float, float] | tuple[None, None]:
    """The bounds of the mean; None below two prompts with a score."""
    known = mean_interval(scores)
    return (known.low, known.high) if known else (None, None)
