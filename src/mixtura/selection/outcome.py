"""What came of a selection, as data: the team, why, what else was tried, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec

from mixtura.evals.stats import Estimate, verdict
from mixtura.selection import choice
from mixtura.selection.diversity import Diversity
from mixtura.selection.measuring import Manner, written
from mixtura.selection.roles import Role, roles
from mixtura.selection.search import Measured, Search, Team, pooled
from mixtura.text import plural


@dataclass(frozen=True, slots=True)
class Tried:
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
class Member:
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
class Best:
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
    why: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Against:
    """The team and what is simpler, on the held-out prompts."""

    name: str
    kind: str
    score: float | None
    difference: float | None
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True, slots=True)
class Prompts:
    search: int
    held_out: int


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Everything that is said. Scores go from 0 to 1; a win rate of 0.5 is as good as *reference*.
    """

    task: str
    measure: Manner
    judge: str | None
    reference: str | None
    goal: choice.Goal
    prompts: Prompts
    best: Best
    against: tuple[Against, ...]
    overfit: bool
    tried: tuple[Tried, ...]
    roles: tuple[Role, ...]
    diversity: Diversity
    calls: int
    exhaustive_calls: int
    spent_usd: float | None
    warnings: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """The choice in one line."""
        best = self.best
        score = "no score" if best.score is None else f"{self.measure} {best.score:.3f}"
        if best.low is not None and best.high is not None:
            score += f" ({best.low:.3f} to {best.high:.3f})"
        return f"{score} on {plural(best.n, 'held-out prompt')}, of {len(self.tried):,} tried"

    def json(self) -> dict[str, Any]:
        """The same as plain data."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


# ---- what was tried


def tried(search: Search, alone: Mapping[str, Measured]) -> tuple[Tried, ...]:
    """Every model alone and every team, the best first of those that were measured longest."""
    rows = [
        *(_row(name, (name,), None, found) for name, found in alone.items()),
        *(
            _row(written(team), team.members, team.aggregator, search.found(team))
            for team in search.measured
        ),
    ]
    whole = sum(search.slices)
    points = {
        row.name: choice.Point(row.score, row.cost_usd, row.seconds)
        for row in rows
        if row.n == whole and len(row.members) <= search.size
    }
    ahead = choice.front(points)
    rows.sort(key=lambda row: (-row.n, -(row.score if row.score is not None else -1.0)))
    return tuple(replace(row, front=row.name in ahead) for row in rows)


def _row(name: str, members: tuple[str, ...], aggregator: str | None, found: Measured) -> Tried:
    sure = choice.interval(found.scores)
    return Tried(
        name=name,
        members=members,
        aggregator=aggregator,
        score=found.score,
        low=sure.low if sure else None,
        high=sure.high if sure else None,
        n=len(found.scores),
        cost_usd=found.dollars,
        seconds=found.seconds,
        front=False,
    )


# ---- the team, and why


def best(
    search: Search,
    team: Team,
    held_out: Measured,
    alone: Mapping[str, Measured],
    diversity: Diversity,
) -> Best:
    sure = choice.interval(held_out.scores)
    searched = search.found(team)
    both = pooled([searched, held_out])
    return Best(
        name=written(team),
        members=team.members,
        aggregator=team.aggregator,
        score=held_out.score,
        low=sure.low if sure else None,
        high=sure.high if sure else None,
        n=len(held_out.known),
        search_score=searched.score,
        cost_usd=both.dollars,
        seconds=both.seconds,
        why=_members(search, team, alone, diversity),
    )


def _members(
    search: Search, team: Team, alone: Mapping[str, Measured], diversity: Diversity
) -> tuple[Member, ...]:
    table = {role.model: role for role in roles(search, alone)}
    gains = choice.gains(search, team)
    return tuple(
        _member(name, team, table[name], gains.get(name), diversity)
        for name in dict.fromkeys(team.members)
    )


def _member(
    name: str, team: Team, role: Role, gain: Estimate | None, diversity: Diversity
) -> Member:
    pairs = [
        pair
        for pair in diversity.pairs
        if name in (pair.a, pair.b) and {pair.a, pair.b} <= set(team.members)
    ]
    draws = team.members.count(name)
    made = Member(
        model=name,
        draws=draws,
        alone=role.alone.score,
        as_proposer=role.as_proposer.score if role.as_proposer else None,
        gain=gain.value if gain else None,
        gain_low=gain.low if gain else None,
        gain_high=gain.high if gain else None,
        cosine=_mean([pair.cosine for pair in pairs]),
        errors=_mean([pair.errors for pair in pairs]),
        why="",
    )
    return replace(made, why=_why(made, team))


def _why(member: Member, team: Team) -> str:
    said = [f"{_points(member.alone)} alone"]
    if member.as_proposer is not None:
        said.append(f"{_points(member.as_proposer)} as the only proposer")
    if member.gain is not None:
        lost = "one draw" if member.draws > 1 else "it"
        assert member.gain_low is not None
        assert member.gain_high is not None
        seen = "" if member.gain_low > 0 or member.gain_high < 0 else ", which may be chance"
        said.append(f"{100 * member.gain:+.1f} points over the team without {lost}{seen}")
    if member.errors is not None:
        said.append(f"errors go with the others' by {member.errors:.2f}")
    if team.aggregator == member.model:
        said.append("also the aggregator")
    return "; ".join(said)


def _points(score: float | None) -> str:
    return "no score" if score is None else f"{100 * score:.1f}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


# ---- the held-out prompts


def against(name: str, kind: str, ours: Measured, theirs: Measured) -> Against:
    found = choice.gain(ours.scores, theirs.scores)
    price = ours.dollars / theirs.dollars if ours.dollars and theirs.dollars else None
    return Against(
        name=name,
        kind=kind,
        score=theirs.score,
        difference=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        verdict=verdict(found, price=price) if found else "too few prompts to say",
    )


def overfit(found: Best) -> bool:
    """Whether the score that it was chosen by is above all that the held-out prompts allow."""
    if found.search_score is None or found.high is None:
        return False
    return found.search_score > found.high
