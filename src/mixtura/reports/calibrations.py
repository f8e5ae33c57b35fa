"""Calibrations fitted on recorded evaluations, one for each mixture of the configuration."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mixtura.config.calibrations import CalibratedTeam, CalibrationFile, team_of
from mixtura.config.config import Config
from mixtura.core.agreement import SupportSource
from mixtura.core.calibration import CalibrationCurve, CalibrationMethod
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count
from mixtura.evals.log_reader import SINGLE_MODEL, LoggedEvaluation
from mixtura.evals.statistics.calibration import RecordedOutcome, fit_curve
from mixtura.reports.confidence import measure_outcomes, recorded_outcomes

MIN_ANSWERS = 50
"""Answers from which on a curve is fitted: a share of fewer is off by more than 14 points."""
Fitted = tuple[CalibrationFile, dict[str, Any]]
"""A calibration, and under ``figures`` how good its support is, by source."""


def fit_calibrations(
    config: Config,
    evaluations: Iterable[LoggedEvaluation],
    mixtures: Sequence[str] = (),
    method: CalibrationMethod = "isotonic",
) -> tuple[list[Fitted], list[str]]:
    """
    A calibration for each mixture that counts, or for *mixtures*; and why others have none.

    For *mixtures* evaluations of the same team under another name count, too: `select`, `tune` and
    `compare` name what they try. Raises ConfigError where there is none at all, with each one's
    reason.
    """
    every = list(evaluations)
    groups: dict[str, list[LoggedEvaluation]] = {}
    for name in mixtures:
        team = team_of(config.mixture_spec(name))
        if tried := [one for one in every if one.name != name and _is_known_as(one, team)]:
            groups[name] = tried
    for one in every:
        # Models alone, and the teams that `compare` and `select` make up, are no one's mixtures.
        known = one.pattern != SINGLE_MODEL and one.name in config.registry.mixtures
        if one.name in mixtures if mixtures else known:
            groups.setdefault(one.name, []).append(one)
    if missing := [name for name in mixtures if name not in groups]:
        raise ConfigError(f"the logs contain no evaluation of {', '.join(missing)}")
    found: list[Fitted] = []
    problems: list[str] = []
    for name, logged in groups.items():
        try:
            found.append(_fit_mixture(config, name, logged, method))
        except (ConfigError, ValueError) as error:
            problems.append(f"{name}: {error}")
    if not found:
        nothing = "the logs contain no evaluation of your mixtures"
        reasons = "".join(f"\n  {one}" for one in problems) or f" {nothing}"
        raise ConfigError(f"nothing to calibrate:{reasons}")
    return found, problems


def _is_known_as(one: LoggedEvaluation, team: CalibratedTeam) -> bool:
    """Whether all is recorded of who answered in *one*, and it is *team*."""
    recorded = one.pattern != SINGLE_MODEL and one.settings is not None
    return recorded and _logged_team(one).is_same(team)


def _logged_team(one: LoggedEvaluation) -> CalibratedTeam:
    return CalibratedTeam(one.pattern, one.layers, one.aggregator, one.settings)


def _fit_mixture(
    config: Config, name: str, every: Sequence[LoggedEvaluation], method: CalibrationMethod
) -> Fitted:
    """Raises ConfigError, ValueError with what its evaluations lack."""
    team = team_of(config.mixture_spec(name))
    fitting = [one for one in every if _logged_team(one).is_same(team)]
    if not fitting:
        raise ConfigError("it was evaluated only with other members or settings than it has now")
    # One with an agreement report may have the very answers of one without: they count once.
    different = {
        frozenset((a.sample, a.epoch, a.text) for a in one.answers): one for one in fitting
    }
    fitting = list(different.values())
    pooled: dict[SupportSource, list[RecordedOutcome]] = {}
    for one in fitting:
        for source, outcomes in recorded_outcomes(one).items():
            pooled.setdefault(source, []).extend(outcomes)
    if not pooled:
        raise ConfigError("its pattern gives no support to calibrate, or no answer has a score")
    enough: dict[SupportSource, list[RecordedOutcome]] = {
        source: rows for source, rows in pooled.items() if len(rows) >= MIN_ANSWERS
    }
    if not enough:
        most = max(map(len, pooled.values()))
        raise ConfigError(
            f"only {pluralize_count(most, 'answer')} with a score, but {MIN_ANSWERS} are needed"
        )
    curves: dict[SupportSource, CalibrationCurve] = {
        source: fit_curve(rows, method) for source, rows in enough.items()
    }
    figures = {source: measure_outcomes(rows, source) for source, rows in enough.items()}
    logs = tuple(Path(one.log).name for one in fitting)
    day = time.strftime("%Y-%m-%d")
    recorded = dict(team.settings or {})
    whole = CalibrationFile(name, *team[:3], day, logs, curves, recorded)
    return whole, {"figures": figures}
