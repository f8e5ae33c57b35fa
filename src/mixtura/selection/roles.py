"""
Who proposes well and who aggregates well, as in table 4 of Wang et al. 2024 (arXiv 2406.04692).

As a proposer: the single-proposer team of a model under the one aggregator. As an aggregator: the
model over the same drafts as every other one. Some do the one well and the other badly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixtura.selection.search import Measured, Search, Stage, Team


@dataclass(frozen=True, slots=True)
class Part:
    """How well a model does in a role, on so many prompts: bad ones are measured on fewer."""

    score: float | None
    prompts: int


@dataclass(frozen=True, slots=True)
class Role:
    """One row of the table; None where a role was not measured."""

    model: str
    alone: Part
    as_proposer: Part | None
    as_aggregator: Part | None


def roles(search: Search, alone: Mapping[str, Measured]) -> tuple[Role, ...]:
    """A row for each model, the best by itself first."""
    proposing = {team.members[0]: team for team in _entered(search, "single-proposer")}
    aggregating = {team.aggregator: team for team in _entered(search, "aggregators")}
    return tuple(
        Role(
            name,
            _part(alone[name]),
            _of(search, proposing.get(name)),
            _of(search, aggregating.get(name)),
        )
        for name in search.models
    )


def _entered(search: Search, stage: Stage) -> tuple[Team, ...]:
    """The teams that a race began with."""
    races = (*search.races, *([search.race] if search.race else []))
    return next((race.entered for race in races if race.stage == stage), ())


def _of(search: Search, team: Team | None) -> Part | None:
    return _part(search.found(team)) if team in search.measured and team else None


def _part(found: Measured) -> Part:
    return Part(found.score, len(found.known))
