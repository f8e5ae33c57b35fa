"""What the analyses need run: every model alone, and the mixtures that tell its questions apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from mixtura.config.config import Config
from mixtura.config.plan import MemberSpec, MixtureSpec, PatternChoice
from mixtura.core.errors import ConfigError
from mixtura.core.types import Sampling
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.inspect_provider import DEFAULT_CONNECTIONS
from mixtura.evals.result import EvalResult
from mixtura.evals.run import evaluate
from mixtura.evals.sample_progress import EvalProgress

PROPOSAL_COUNTS = (1, 2, 3, 6)
"""So many proposals, as the paper's table 3 has them."""
LAYER_COUNTS = (2, 3)
"""So many layers, in the paper's count."""
DRAWS_PER_MODEL = 3
"""Proposals of one model, where models are compared as proposers."""
DRAFT_SAMPLING = Sampling(temperature=0.7)
"""As the paper draws; alone and as a proposer alike, so that one answer serves both."""

OnProgress = Callable[[str, EvalProgress], None]
"""Called with a plan's name and the progress of its evaluation."""


def experiment_mixtures(models: Sequence[str], max_tokens: int | None = None) -> list[MixtureSpec]:
    """
    Every mixture that the analyses compare, the cheap ones first and none of them twice.

    The first model is the fixed aggregator, also the ranker; the whole team are all of them.
    *max_tokens* is for every answer of every model. Raises ConfigError for fewer than two
    models, or for one named twice.
    """
    if len(models) < 2 or len(set(models)) < len(models):
        raise ConfigError("a report compares models: name at least two, and each only once")
    drawn = replace(DRAFT_SAMPLING, max_tokens=max_tokens)
    # By their shape: two analyses may need the same mixture, and it is run once.
    plans = {
        _shape_key(plan): replace(plan, sampling=drawn) for plan in _candidate_mixtures(models)
    }
    # Cheap ones first: what a cap leaves out is then the least, and their answers are drafts of
    # others.
    return sorted(plans.values(), key=_proposal_count)


def _candidate_mixtures(models: Sequence[str]) -> Iterator[MixtureSpec]:
    aggregator, team = models[0], _one_draw_each(models)
    yield from (MixtureSpec(model, (), model) for model in models)
    for depth in LAYER_COUNTS:
        rows = [team] * (depth - 1)
        yield from (_build_mixture(rows, model) for model in models)
        yield _build_mixture(rows, aggregator, "rank")
    for model in models:
        yield _build_mixture([(MemberSpec(model, DRAWS_PER_MODEL),)], aggregator)
    for count in PROPOSAL_COUNTS:
        yield _build_mixture([(MemberSpec(aggregator, count),)], aggregator)
        if several := _team_of_size(models, count):
            yield _build_mixture([several], aggregator)


def _one_draw_each(models: Sequence[str]) -> tuple[MemberSpec, ...]:
    return tuple(MemberSpec(model) for model in models)


def _team_of_size(models: Sequence[str], count: int) -> tuple[MemberSpec, ...]:
    """That many proposals of as many models, else the same number of each; () where neither is."""
    if count <= len(models):
        return _one_draw_each(models[:count])
    each, left = divmod(count, len(models))
    return () if left else tuple(MemberSpec(model, each) for model in models)


def _build_mixture(
    rows: Sequence[tuple[MemberSpec, ...]], aggregator: str, kind: str = "mixture"
) -> MixtureSpec:
    layers = [",".join(_member_notation(seat) for seat in row) for row in rows]
    last = aggregator if kind == "mixture" else f"{kind}:{aggregator}"
    name = ">".join([*layers, last])
    # As the paper's mixtures, these wait for all of their members.
    return MixtureSpec(
        name, tuple(rows), aggregator, learns_patience=False, pattern=PatternChoice(kind)
    )


def _member_notation(seat: MemberSpec) -> str:
    return seat.model if seat.samples == 1 else f"{seat.model}*{seat.samples}"


def _shape_key(plan: MixtureSpec) -> object:
    # Not by name: `a*2` and `a,a` are the same mixture.
    rows = [[seat.model for seat in row for _ in range(seat.samples)] for row in plan.layers]
    return (str(rows), plan.aggregator, plan.pattern.kind)


def _proposal_count(plan: MixtureSpec) -> int:
    return sum(seat.samples for row in plan.layers for seat in row)


def run_experiments(
    config: Config,
    plans: Sequence[MixtureSpec],
    request: EvalRequest,
    *,
    logs: Path,
    max_cost: float | None = None,
    deadline: float | None = None,
    connections: int = DEFAULT_CONNECTIONS,
    watch: OnProgress | None = None,
) -> list[EvalResult]:
    """
    Evaluate every plan, each on the same rows. What is in *logs* is not asked again.

    *max_cost* dollars are for all of them together. Raises ConfigError, MixturaError and
    KeyboardInterrupt as `evaluate` does.
    """
    results: list[EvalResult] = []
    for plan in plans:
        # The cap is for all of them: `evaluate` refuses a cap where a price is unknown, so none is
        # missing.
        spent = sum(result.cost_usd or 0.0 for result in results)
        result = evaluate(
            config,
            plan,
            request,
            logs=logs,
            max_cost=None if max_cost is None else max(max_cost - spent, 0.0),
            deadline=deadline,
            connections=connections,
            watch=partial(watch, plan.name) if watch else None,
        )
        results.append(result)
    return results
