"""What the analyses need run: every model alone, and the mixtures that tell its questions apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.evals.provider import AT_ONCE
from mixtura.evals.result import Result
from mixtura.evals.run import Asked, Progress, evaluate
from mixtura.plan import Pattern, Plan, Seated
from mixtura.types import Sampling

COUNTS = (1, 2, 3, 6)
"""So many proposals, as the paper's table 3 has them."""
DEPTHS = (2, 3)
"""So many layers, in the paper's count."""
DRAWS = 3
"""Proposals of one model, where models are compared as proposers."""
DRAWN = Sampling(temperature=0.7)
"""As the paper draws; alone and as a proposer alike, so that one answer serves both."""

Watch = Callable[[str, Progress], None]
"""Told of every evaluation's progress, by the plan's name."""


def grid(models: Sequence[str], max_tokens: int | None = None) -> list[Plan]:
    """
    Every mixture that the analyses compare, the cheap ones first and none of them twice.

    The first model is the fixed aggregator, also the ranker; the whole team are all of them.
    *max_tokens* is for every answer of every model. Raises ConfigError for fewer than two
    models, or for one named twice.
    """
    if len(models) < 2 or len(set(models)) < len(models):
        raise ConfigError("a report compares models: name at least two, each once")
    drawn = replace(DRAWN, max_tokens=max_tokens)
    plans = {_shape(plan): replace(plan, sampling=drawn) for plan in _plans(models)}
    return sorted(plans.values(), key=_calls)


def _plans(models: Sequence[str]) -> Iterator[Plan]:
    chief, team = models[0], _once(models)
    yield from (Plan(model, (), model) for model in models)
    for depth in DEPTHS:
        rows = [team] * (depth - 1)
        yield from (_mixture(rows, model) for model in models)
        yield _mixture(rows, chief, "rank")
    for model in models:
        yield _mixture([(Seated(model, DRAWS),)], chief)
    for count in COUNTS:
        yield _mixture([(Seated(chief, count),)], chief)
        if several := _several(models, count):
            yield _mixture([several], chief)


def _once(models: Sequence[str]) -> tuple[Seated, ...]:
    return tuple(Seated(model) for model in models)


def _several(models: Sequence[str], count: int) -> tuple[Seated, ...]:
    """That many proposals of as many models, else the same number of each; () where neither is."""
    if count <= len(models):
        return _once(models[:count])
    each, left = divmod(count, len(models))
    return () if left else tuple(Seated(model, each) for model in models)


def _mixture(rows: Sequence[tuple[Seated, ...]], aggregator: str, kind: str = "mixture") -> Plan:
    layers = [",".join(_spelt(seat) for seat in row) for row in rows]
    last = aggregator if kind == "mixture" else f"{kind}:{aggregator}"
    name = ">".join([*layers, last])
    return Plan(name, tuple(rows), aggregator, pattern=Pattern(kind))


def _spelt(seat: Seated) -> str:
    return seat.model if seat.samples == 1 else f"{seat.model}*{seat.samples}"


def _shape(plan: Plan) -> object:
    rows = [[seat.model for seat in row for _ in range(seat.samples)] for row in plan.layers]
    return (str(rows), plan.aggregator, plan.pattern.kind)


def _calls(plan: Plan) -> int:
    return sum(seat.samples for row in plan.layers for seat in row)


def collect(
    config: Config,
    plans: Sequence[Plan],
    asked: Asked,
    *,
    logs: Path,
    max_cost: float | None = None,
    deadline: float | None = None,
    connections: int = AT_ONCE,
    watch: Watch | None = None,
) -> list[Result]:
    """
    Evaluate every plan, each on the same rows. What is in *logs* is not asked again.

    *max_cost* dollars are for all of them together. Raises what `evaluate` raises.
    """
    results: list[Result] = []
    for plan in plans:
        spent = sum(result.cost_usd or 0.0 for result in results)
        result = evaluate(
            config,
            plan,
            asked,
            logs=logs,
            max_cost=None if max_cost is None else max(max_cost - spent, 0.0),
            deadline=deadline,
            connections=connections,
            watch=partial(watch, plan.name) if watch else None,
        )
        results.append(result)
    return results
