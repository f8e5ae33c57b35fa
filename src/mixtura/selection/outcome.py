"""What came of a selection, as data: the team, why, what else was tried, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec

from mixtura.core.text import pluralize_count
from mixtura.evals.statistics.intervals import IntervalEstimate, describe_difference
from mixtura.selection import pick
from mixtura.selection.diversity import CandidateDiversity
from mixtura.selection.measurements import ScoringMode, team_name
from mixtura.selection.roles import ModelRoles, model_roles
from mixtura.selection.search import Measurement, Search, Team, pool_measurements


@dataclass(frozen=True, slots=True)
class TriedTeam:
    """
    A team, or a model alone, on the prompts that were searched with. Bad ones were measured on
    few of them: *n*. *front*: no other one is as good in everything and better in something.
    """

    name: str
    members: tuple[str, ...]
    aggregator: str | None
    score: float | None
    low: float | None
    high: float | None
    n: int
    cost_usd: float | None
    """Of one answer, as if no other team had asked the same; None where a price is unknown."""
    seconds: float | None
    """On the critical path."""
    front: bool


@dataclass(frozen=True, slots=True)
class MemberReport:
    """Why a model is in: what it does alone, as a proposer, and what the team loses without it."""

    model: str
    draws: int
    alone: float | None
    as_proposer: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    cosine: float | None
    """Of its drafts and the other members', on average."""
    errors: float | None
    """How its errors go with theirs: a correlation."""
    why: str


@dataclass(frozen=True, slots=True)
class ChosenTeam:
    """The team that was chosen. *score* and its bounds are of the held-out prompts."""

    name: str
    members: tuple[str, ...]
    aggregator: str
    score: float | None
    low: float | None
    high: float | None
    n: int
    search_score: float | None
    """On the prompts that it was chosen by: the best of many, and so too high."""
    cost_usd: float | None
    seconds: float | None
    why: tuple[MemberReport, ...]


@dataclass(frozen=True, slots=True)
class HeldOutComparison:
    """The team and what is simpler, on the held-out prompts."""

    name: str
    kind: str
    score: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class PromptCounts:
    search: int
    held_out: int


@dataclass(frozen=True, slots=True)
class SelectionResult:
    """
    Everything that a selection says. Scores go from 0 to 1; a win rate of 0.5 is as good as
    *reference*.
    """

    task: str
    measure: ScoringMode
    judge: str | None
    reference: str | None
    goal: pick.Goal
    prompts: PromptCounts
    best: ChosenTeam
    against: tuple[HeldOutComparison, ...]
    overfit: bool
    tried: tuple[TriedTeam, ...]
    roles: tuple[ModelRoles, ...]
    diversity: CandidateDiversity
    calls: int
    exhaustive_calls: int
    spent_usd: float | None
    capped: bool
    """Whether the cap ended the search before it had tried everything."""
    warnings: tuple[str, ...] = ()

    @property
    def summary_line(self) -> str:
        """The choice in one line."""
        best = self.best
        score = "no score" if best.score is None else f"{self.measure} {best.score:.3f}"
        if best.low is not None and best.high is not None:
            score += f" ({best.low:.3f} to {best.high:.3f})"
        return (
            f"{score} on {pluralize_count(best.n, 'held-out prompt')}, chosen from"
            f" {pluralize_count(len(self.tried), 'team')}"
        )

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


# ---- what was tried


def tried_teams(search: Search, alone: Mapping[str, Measurement]) -> tuple[TriedTeam, ...]:
    """Every model alone and every team, the best first of those that were measured longest."""
    rows = [
        *(_tried_team(name, (name,), None, measurement) for name, measurement in alone.items()),
        *(
            _tried_team(team_name(team), team.members, team.aggregator, search.measurement_of(team))
            for team in search.measured
        ),
    ]
    whole = sum(search.slices)
    points = {
        row.name: pick.TradeoffPoint(row.score, row.cost_usd, row.seconds)
        for row in rows
        # On the front only what had every prompt: a team that fell out early was measured on the
        # first slices alone. The aggregators' race has teams larger than the one that is looked
        # for.
        if row.n == whole and len(row.members) <= search.size
    }
    ahead = pick.pareto_front(points)
    rows.sort(key=lambda row: (-row.n, -(row.score if row.score is not None else -1.0)))
    return tuple(replace(row, front=row.name in ahead) for row in rows)


def _tried_team(
    name: str, members: tuple[str, ...], aggregator: str | None, measurement: Measurement
) -> TriedTeam:
    low, high = pick.interval_bounds(measurement.scores)
    return TriedTeam(
        name=name,
        members=members,
        aggregator=aggregator,
        score=measurement.score,
        low=low,
        high=high,
        n=len(measurement.scores),
        cost_usd=measurement.dollars,
        seconds=measurement.seconds,
        front=False,
    )


# ---- the team, and why


def describe_best(
    search: Search,
    team: Team,
    held_out: Measurement,
    alone: Mapping[str, Measurement],
    diversity: CandidateDiversity,
) -> ChosenTeam:
    """*team* with its scores on the held-out prompts, and why each member is in."""
    low, high = pick.interval_bounds(held_out.scores)
    searched = search.measurement_of(team)
    # What an answer takes does not depend on which prompts chose the team: both parts count.
    both = pool_measurements([searched, held_out])
    return ChosenTeam(
        name=team_name(team),
        members=team.members,
        aggregator=team.aggregator,
        score=held_out.score,
        low=low,
        high=high,
        n=len(held_out.known_scores),
        search_score=searched.score,
        cost_usd=both.dollars,
        seconds=both.seconds,
        why=_member_reports(search, team, alone, diversity),
    )


def _member_reports(
    search: Search, team: Team, alone: Mapping[str, Measurement], diversity: CandidateDiversity
) -> tuple[MemberReport, ...]:
    table = {role.model: role for role in model_roles(search, alone)}
    gains = pick.member_gains(search, team)
    return tuple(
        _member_report(name, team, table[name], gains.get(name), diversity)
        for name in dict.fromkeys(team.members)
    )


def _member_report(
    name: str,
    team: Team,
    role: ModelRoles,
    gain: IntervalEstimate | None,
    diversity: CandidateDiversity,
) -> MemberReport:
    pairs = [
        pair
        for pair in diversity.pairs
        if name in (pair.a, pair.b) and {pair.a, pair.b} <= set(team.members)
    ]
    draws = team.members.count(name)
    made = MemberReport(
        model=name,
        draws=draws,
        alone=role.alone.score,
        as_proposer=role.as_proposer.score if role.as_proposer else None,
        gain=gain.value if gain else None,
        gain_low=gain.low if gain else None,
        gain_high=gain.high if gain else None,
        cosine=_mean_known([pair.cosine for pair in pairs]),
        errors=_mean_known([pair.errors for pair in pairs]),
        why="",
    )
    return replace(made, why=_member_reason(made, team))


def _member_reason(member: MemberReport, team: Team) -> str:
    reasons = [f"{_format_points(member.alone)} alone"]
    if member.as_proposer is not None:
        reasons.append(f"{_format_points(member.as_proposer)} as the only proposer")
    if member.gain is not None:
        lost = "one draw" if member.draws > 1 else "it"
        assert member.gain_low is not None
        assert member.gain_high is not None
        seen = "" if member.gain_low > 0 or member.gain_high < 0 else ", which may be chance"
        reasons.append(f"{100 * member.gain:+.1f} points over the team without {lost}{seen}")
    if member.errors is not None:
        reasons.append(f"its errors correlate with the others' at {member.errors:.2f}")
    if team.aggregator == member.model:
        reasons.append("also the aggregator")
    return "; ".join(reasons)


def _format_points(score: float | None) -> str:
    return "no score" if score is None else f"{100 * score:.1f}"


def _mean_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


# ---- the held-out prompts


def compare_held_out(
    name: str, kind: str, ours: Measurement, theirs: Measurement
) -> HeldOutComparison:
    """How much better *ours* is than *theirs* on the held-out prompts, and at what price."""
    gain = pick.paired_gain(ours.scores, theirs.scores)
    price = ours.dollars / theirs.dollars if ours.dollars and theirs.dollars else None
    return HeldOutComparison(
        name=name,
        kind=kind,
        score=theirs.score,
        difference=gain.value if gain else None,
        low=gain.low if gain else None,
        high=gain.high if gain else None,
        verdict=describe_difference(gain, price=price) if gain else "too few prompts to say",
    )


def is_overfit(team: ChosenTeam) -> bool:
    """Whether the score that it was chosen by is above all that the held-out prompts allow."""
    if team.search_score is None or team.high is None:
        return False
    return team.search_score > team.high
