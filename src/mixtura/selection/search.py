"""Which team is best: a search that says what to measure next and is given the results.

It performs no call itself. A team is different models, or one model drawn several times, under an
aggregator. It grows by the marginal gain of what its aggregator makes of the drafts (arXiv
2605.24048, May 2026: neither the most accurate models nor the most diverse ones are the best team);
the single-proposer teams are always measured (Li et al. 2025, arXiv 2502.00674). Every stage is a
race by successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): all on the first slice
of the prompts, then the better half on the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

BEAM_WIDTH = 4
"""So many teams of each size grow on."""
MIN_SLICE_PROMPTS = 10
"""Prompts in the first slice, at least: fewer say nothing."""
MAX_HALVINGS = 3
AGGREGATOR_RACE_DRAFTS = 6
"""Drafts that everyone aggregates to find out who does it best: the paper's table 4 has six."""

Stage = Literal["aggregators", "single-proposer", "members", "swaps", "rewritten"]


class Team(NamedTuple):
    """Proposers in the order of the candidates; one name several times is so many draws."""

    members: tuple[str, ...]
    aggregator: str

    @property
    def is_single_proposer(self) -> bool:
        """Whether all its proposals are draws of one model."""
        return len(set(self.members)) == 1

    @property
    def call_count(self) -> int:
        return len(self.members) + 1


class Measurement(NamedTuple):
    """A team on some prompts: a score for each, None where there is none; means of an answer."""

    scores: tuple[float | None, ...]
    dollars: float | None = None
    seconds: float | None = None

    @property
    def known_scores(self) -> tuple[float, ...]:
        return tuple(score for score in self.scores if score is not None)

    @property
    def score(self) -> float | None:
        """The mean of the known scores; None without one."""
        return math.fsum(self.known_scores) / len(self.known_scores) if self.known_scores else None


class Bounds(NamedTuple):
    """What one answer of a team may cost and take."""

    dollars: float = math.inf
    seconds: float = math.inf

    def is_met_by(self, measurement: Measurement) -> bool:
        return (measurement.dollars or 0.0) <= self.dollars and (
            measurement.seconds or 0.0
        ) <= self.seconds


NO_BOUNDS = Bounds()


class Trial(NamedTuple):
    """Something to measure: a team on a slice of the prompts."""

    team: Team
    slice: int


@dataclass(frozen=True, slots=True)
class Race:
    """Teams that are measured slice by slice; *keep* of them or more reach the last slice."""

    stage: Stage
    teams: tuple[Team, ...]
    keep: int
    slice: int = 0
    entered: tuple[Team, ...] = ()
    """All that it began with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """
    Where a search stands. *models*: the best by themselves first. *slices*: how many prompts
    each has. *size*: the most members. *race* is None at the end.
    """

    models: tuple[str, ...]
    size: int
    slices: tuple[int, ...]
    aggregator: str | None = None
    bounds: Bounds = NO_BOUNDS
    beam: int = BEAM_WIDTH
    measured: Mapping[Team, tuple[Measurement, ...]] = field(
        default_factory=dict[Team, tuple[Measurement, ...]]
    )
    races: tuple[Race, ...] = ()
    """Those that are over, each as it ended: with the teams that reached the last slice."""
    race: Race | None = None

    def measurement_of(self, team: Team) -> Measurement:
        """A team over all the slices that it was measured on."""
        return pool_measurements(self.measured.get(team, ()))

    @property
    def answer_count(self) -> int:
        """So many answers of teams were measured."""
        return sum(len(part.scores) for parts in self.measured.values() for part in parts)

    def is_fully_measured(self, team: Team) -> bool:
        """Whether a team was measured on every slice."""
        return len(self.measured.get(team, ())) == len(self.slices)


def slice_sizes(prompts: int) -> tuple[int, ...]:
    """
    The slices of so many prompts: the first two alike, then each as large as all before it.

    So the better half of a race is measured at the price of the whole before.
    """
    halvings = min(MAX_HALVINGS, max(0, int(math.log2(max(prompts, 1) / MIN_SLICE_PROMPTS))))
    ends = [round(prompts / 2**step) for step in range(halvings, -1, -1)]
    return tuple(end - start for start, end in zip([0, *ends], ends, strict=False))


def pool_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Several slices as one."""
    return Measurement(
        tuple(score for part in parts for score in part.scores),
        _weighted_mean([(part.dollars, len(part.scores)) for part in parts]),
        _weighted_mean([(part.seconds, len(part.scores)) for part in parts]),
    )


def _weighted_mean(rows: Sequence[tuple[float | None, int]]) -> float | None:
    """Weighted; one unknown makes it unknown."""
    known = [(value, weight) for value, weight in rows if value is not None]
    weights = sum(weight for _, weight in known)
    if len(known) < len(rows) or not weights:
        return None
    return math.fsum(value * weight for value, weight in known) / weights


# ---- ask and tell


def begin_search(search: Search) -> Search:
    """The first race: who aggregates, unless that is settled."""
    if search.aggregator is not None:
        return _skip_known_trials(
            replace(search, race=_single_proposer_race(search, search.aggregator))
        )
    # Drafts of the best models by themselves: over poor drafts no aggregator shows what it can do.
    drafts = search.models[: max(AGGREGATOR_RACE_DRAFTS, search.size)]
    teams = [Team(drafts, name) for name in search.models]
    return _skip_known_trials(replace(search, race=_start_race("aggregators", teams, 1)))


def next_trials(search: Search) -> tuple[Trial, ...]:
    """What is to be measured next, all of it independent; nothing once the search is over."""
    race = search.race
    if race is None:
        return ()
    return tuple(
        Trial(team, race.slice)
        for team in race.teams
        if len(search.measured.get(team, ())) == race.slice
    )


def with_results(search: Search, results: Mapping[Team, Measurement]) -> Search:
    """The search with the results of what it asked, as far as the next thing to measure."""
    measured = dict(search.measured)
    for team, result in results.items():
        measured[team] = (*measured.get(team, ()), result)
    return _skip_known_trials(replace(search, measured=measured))


def _skip_known_trials(search: Search) -> Search:
    """Go on while everything that would be asked is known."""
    while search.race is not None and not next_trials(search):
        search = _halve_race(search, search.race)
    return search


def _halve_race(search: Search, race: Race) -> Search:
    """After a slice: the better half goes on to the next one, or the race is over."""
    ranked = rank_teams(search, race.teams)
    if race.slice + 1 < len(search.slices):
        # Rounded up: among few teams the smallest slice is not to drop more than half.
        kept = ranked[: max(race.keep, math.ceil(len(ranked) / 2))]
        return replace(search, race=replace(race, teams=tuple(kept), slice=race.slice + 1))
    over = replace(race, teams=tuple(ranked))
    ended = replace(search, races=(*search.races, over))
    return replace(ended, race=_next_race(ended, over))


def rank_teams(search: Search, teams: Iterable[Team]) -> list[Team]:
    """The best first; without those that break a bound, or lack a score on half of the prompts."""
    rows: list[tuple[float, Team]] = []
    for team in teams:
        measurement = search.measurement_of(team)
        score = measurement.score
        # A mean over a few of the prompts may be one over the easy ones.
        scored = 2 * len(measurement.known_scores) >= len(measurement.scores)
        if score is not None and scored and search.bounds.is_met_by(measurement):
            rows.append((score, team))
    return [team for _, team in sorted(rows, key=lambda row: -row[0])]


# ---- the stages


def _next_race(search: Search, over: Race) -> Race | None:
    """The race after one that is over; None when there is none."""
    if not over.teams and over.stage in ("aggregators", "single-proposer"):
        return None
    match over.stage:
        case "aggregators":
            return _single_proposer_race(search, over.teams[0].aggregator)
        case "single-proposer":
            # A team grows from models that do well under this aggregator, which is not who does
            # well alone.
            starts = [Team(team.members[:1], team.aggregator) for team in over.teams]
            return _growth_race(search, starts) or _rewrite_race(search)
        case "members":
            full = len(over.teams[0].members) if over.teams else search.size
            grown = _growth_race(search, over.teams) if full < search.size else None
            return grown or _swap_race(search) or _rewrite_race(search)
        case "swaps":
            return _rewrite_race(search)
        case "rewritten":
            return None


def _single_proposer_race(search: Search, aggregator: str) -> Race:
    teams = [Team((name,) * search.size, aggregator) for name in search.models]
    return _start_race("single-proposer", teams, search.beam)


def _start_race(stage: Stage, teams: Iterable[Team], keep: int) -> Race:
    entered = tuple(teams)
    return Race(stage, entered, keep, entered=entered)


def _growth_race(search: Search, parents: Sequence[Team]) -> Race | None:
    """Every team that has one member more than one of the best *parents*."""
    grown = {
        Team(_ordered_members(search, (*parent.members, name)), parent.aggregator): None
        for parent in parents[: search.beam]
        for name in search.models
        if name not in parent.members
    }
    if not grown or search.size < 2:
        return None
    return _start_race("members", grown, search.beam)


def _swap_race(search: Search) -> Race | None:
    """Every team that differs from the best mixed one in a single member."""
    mixed = [team for team in search.measured if len(set(team.members)) == search.size > 1]
    best = next((t for t in rank_teams(search, mixed) if search.is_fully_measured(t)), None)
    if best is None:
        return None
    swapped = {
        Team(_ordered_members(search, (set(best.members) - {gone}) | {name}), best.aggregator): None
        for gone in best.members
        for name in search.models
        if name not in best.members
    }
    return _start_race("swaps", (best, *swapped), 1) if swapped else None


def _rewrite_race(search: Search) -> Race | None:
    """The best team, written by each of those that aggregated well."""
    # The aggregator was chosen over the drafts of the best models; these drafts are others.
    first = search.races[0]
    best = leading_teams(search)[:1]
    if first.stage != "aggregators" or not best:
        return None
    teams = [best[0]._replace(aggregator=team.aggregator) for team in first.teams]
    return _start_race("rewritten", teams, 1)


def _ordered_members(search: Search, members: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(members, key=search.models.index))


# ---- the end


def leading_teams(search: Search, size: int | None = None) -> list[Team]:
    """The teams measured on every slice, the best first; of one *size* only, if it is given."""
    there = [
        team
        for team in search.measured
        if search.is_fully_measured(team)
        and len(team.members) <= search.size
        and size in (None, len(team.members))
    ]
    return rank_teams(search, there)


def ablation_trials(search: Search, team: Team) -> tuple[Trial, ...]:
    """What is to be measured next of *team* without each of its members, to say what each adds."""
    trials: list[Trial] = []
    for part in teams_without_member(team).values():
        done = len(search.measured.get(part, ()))
        if part.members and done < len(search.slices):
            trials.append(Trial(part, done))
    return tuple(trials)


def teams_without_member(team: Team) -> dict[str, Team]:
    """By member: the team that is left when one draft of it is missing."""
    left: dict[str, Team] = {}
    for name in dict.fromkeys(team.members):
        members = list(team.members)
        members.remove(name)
        left[name] = team._replace(members=tuple(members))
    return left
