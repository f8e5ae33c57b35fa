"""Who proposes well and who aggregates well, as in table 4 of Wang et al. 2024 (arXiv 2406.04692).

As a proposer: the single-proposer team of a model under the one aggregator. As an aggregator: the
model over the same drafts as every other one. Some do the one well and the other badly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mixtura.selection.search import Measurement, Search, Stage, Team


@dataclass(frozen=True, slots=True)
class RoleScore:
    """How well a model does in a role, on so many prompts: bad ones are measured on fewer."""

    score: float | None
    prompts: int


@dataclass(frozen=True, slots=True)
class ModelRoles:
    """One row of the table; None where a role was not measured."""

    model: str
    alone: RoleScore
    as_proposer: RoleScore | None
    as_aggregator: RoleScore | None


def model_roles(search: Search, alone: Mapping[str, Measurement]) -> tuple[ModelRoles, ...]:
    """A row for each model, the best by itself first."""
    proposing = {team.members[0]: team for team in _race_entrants(search, "single-proposer")}
    aggregating = {team.aggregator: team for team in _race_entrants(search, "aggregators")}
    return tuple(
        ModelRoles(
            name,
            _role_score(alone[name]),
            _team_role_score(search, proposing.get(name)),
            _team_role_score(search, aggregating.get(name)),
        )
        for name in search.models
    )


def _race_entrants(search: Search, stage: Stage) -> tuple[Team, ...]:
    """The teams that a race began with."""
    races = (*search.races, *([search.race] if search.race else []))
    return next((race.entered for race in races if race.stage == stage), ())


def _team_role_score(search: Search, team: Team | None) -> RoleScore | None:
    return _role_score(search.measurement_of(team)) if team in search.measured and team else None


def _role_score(measurement: Measurement) -> RoleScore:
    return RoleScore(measurement.score, len(measurement.known_scores))
