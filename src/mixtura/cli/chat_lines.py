"""Lines that a conversation prints: who answers, the mixtures there are, what a turn took."""

from __future__ import annotations

from collections.abc import Iterator

from mixtura.catalog import downloads
from mixtura.cli.run import FinishedRun
from mixtura.config.config import Config
from mixtura.config.plan import AUTO, MixtureSpec
from mixtura.core.text import pluralize_count, to_one_line


def answerer_line(config: Config, plan: MixtureSpec) -> str:
    """Who answers, and in how many calls. Raises ConfigError for a plan that cannot be built."""
    name = config.registry.auto_defaults().aggregator if plan.name == AUTO else plan.name
    if not plan.layers:
        return f"{to_one_line(name)} answers alone"
    layers = pluralize_count(plan.layer_count, "layer")
    calls = pluralize_count(config.count_calls(plan), "call")
    return f"{to_one_line(name)} answers: {layers}, {calls} a turn"


def mixture_lines(config: Config, current: str) -> Iterator[str]:
    """The configured mixtures, with a star at the *current* one, and the models."""
    plans = config.registry.mixtures
    longest = max(map(len, plans))
    for name, plan in plans.items():
        calls = pluralize_count(config.count_calls(config.mixture_spec(name)), "call")
        size = f"{pluralize_count(plan.layer_count, 'layer')}, {calls}"
        yield f"{'*' if name == current else ' '} {to_one_line(name):<{longest}}  {size}"
    if current not in plans:
        yield f"* {to_one_line(current)}"
    here = [
        # Models of providers are too many to list, and local ones that are not here would be
        # fetched.
        name
        for name in downloads.known_models()
        if downloads.cached_path(name, config.models_folder)
    ]
    models = ", ".join(map(to_one_line, [*config.registry.models, *here])) or "none here"
    yield f"Models: {models}; or provider/model, or a,b*2>c."


def turn_footer(run: FinishedRun) -> str:
    """A turn's run, calls, tokens, dollars and seconds."""
    from mixtura.terminal import format_dollars

    whole = run.record
    parts = [
        *([f"run {run.run}"] if run.run else []),
        pluralize_count(sum(1 for _ in run.trace.leaf_calls()), "call"),
        pluralize_count(whole["usage"]["total_tokens"], "token"),
        format_dollars(whole["cost_usd"]),
        f"{whole['seconds']:.1f} s",
    ]
    return " · ".join(parts)
