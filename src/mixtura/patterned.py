"""What a mixture's `pattern` says in a file, and what is built of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from mixtura import toml
from mixtura.errors import ConfigError
from mixtura.mixture import Mixture
from mixtura.model import Model
from mixtura.patterns import BestOf, Chosen, Ranker, Sequential, Vote
from mixtura.patterns.chosen import Chooser
from mixtura.patterns.extract import BY_NAME, Extract
from mixtura.patterns.ranked import STEADY
from mixtura.plan import VOTE, Pattern, Plan
from mixtura.roles import Aggregator, Composite, Layer
from mixtura.schema import MixtureTable
from mixtura.types import Sampling

KEYS: Mapping[str, Collection[str]] = {
    "mixture": ("aggregator", "fallbacks"),
    "sequential": ("aggregator", "fallbacks", "window", "repeat"),
    "rank": ("judge",),
    "vote": ("extract",),
    "best-of": ("judge",),
}
"""The patterns, and the keys that each has besides those of all."""
NEEDED: Mapping[str, tuple[str, str]] = {
    "mixture": ("aggregator", "who writes the answer"),
    "sequential": ("aggregator", "who brings the draws together"),
    "rank": ("judge", "who names the best proposal"),
    "best-of": ("judge", "who gives every proposal its score"),
}
EXTRACTS = (*BY_NAME, "text")


def ending(
    name: str, table: MixtureTable, document: toml.Document
) -> tuple[Pattern, str, Sampling]:
    """
    What follows the proposer layers: the pattern, who sits in the last seat, how it is asked.

    Raises ConfigError with the line of what does not fit.
    """
    path = ["mixtures", name]
    kind = table.pattern
    if kind not in KEYS:
        raise document.error([*path, "pattern"], toml.unknown("pattern", kind, KEYS))
    said = document.data["mixtures"][name]
    for key in sorted({key for keys in KEYS.values() for key in keys} - set(KEYS[kind])):
        if key in said:
            others = " or ".join(f"'{k}'" for k, keys in KEYS.items() if key in keys)
            problem = f"{key}: the pattern '{kind}' has none; it goes with {others}"
            raise document.error([*path, key], problem)
    if kind in NEEDED and NEEDED[kind][0] not in said:
        key, why = NEEDED[kind]
        raise document.error(path, f"mixtures.{name}: `{key}` is missing: {why}")
    _check(kind, path, table, document)
    last = table.judge or table.aggregator
    model, sampling = (VOTE, Sampling())
    if last is not None:
        plain = isinstance(last, str)
        model, sampling = (last, sampling) if plain else (last.model, last.sampling.words())
    return (
        Pattern(kind, table.window, table.repeat, cast("Extract", table.extract)),
        model,
        sampling,
    )


def _check(kind: str, path: list[str], table: MixtureTable, document: toml.Document) -> None:
    said = document.data["mixtures"][path[1]]
    if kind == "sequential" and len(table.layers) != 1:
        problem = f"layers: '{kind}' has one layer, of draws, not {len(table.layers)}"
        raise document.error([*path, "layers"], problem)
    if not 1 <= table.repeat < table.window:
        key = "repeat" if "repeat" in said else "window"
        problem = f"{key}: {table.repeat} of {table.window} texts leave no room for a new draw"
        raise document.error([*path, key], problem)
    if table.extract not in EXTRACTS:
        problem = toml.unknown("kind of answer", table.extract, EXTRACTS)
        raise document.error([*path, "extract"], f"extract: {problem}")
    if kind in ("mixture", "sequential"):
        return
    if not table.layers:
        problem = f"layers: '{kind}' needs proposers: one of their proposals is the answer"
        raise document.error([*path, "layers"], problem)
    if "synthesis" in said and len(table.layers) == 1:
        problem = f"synthesis: with one layer '{kind}' shows no proposals to a proposer"
        raise document.error([*path, "synthesis"], problem)


def built(
    plan: Plan, layers: tuple[Layer, ...], last: Model | None, fallbacks: tuple[Model, ...]
) -> Composite:
    """
    The mixture or its relative that a plan describes, of models. *last* writes or chooses.

    Raises ConfigError for a plan that was changed into one that cannot be.
    """
    kind, name, synthesis = plan.pattern.kind, plan.name, plan.synthesis
    own = plan.answer
    if kind == "vote" and last is not None:
        raise ConfigError(f"{name}: a vote has no aggregator: nobody writes its answer")
    if kind == "mixture":
        writer = _writer(last, own.over(plan.sampling), fallbacks)
        return Mixture(layers=layers, aggregator=writer, name=name, synthesis=synthesis)
    if kind == "sequential":
        if len(layers) != 1:
            raise ConfigError(f"{name}: '{kind}' has one layer, of draws, not {len(layers)}")
        return Sequential(
            layers=layers,
            aggregator=_writer(last, own.over(plan.sampling), fallbacks),
            width=plan.pattern.window,
            repeat=plan.pattern.repeat,
            name=name,
            synthesis=synthesis,
        )
    chooser = _chooser(plan, last, own.over(STEADY).over(plan.sampling))
    return Chosen(layers=layers, chooser=chooser, name=name, synthesis=synthesis)


def _writer(last: Model | None, sampling: Sampling, fallbacks: tuple[Model, ...]) -> Aggregator:
    assert last is not None
    return Aggregator(last, sampling, fallbacks)


def _chooser(plan: Plan, last: Model | None, sampling: Sampling) -> Chooser:
    if last is None:
        return Vote(plan.pattern.extract)
    return Ranker(last, sampling) if plan.pattern.kind == "rank" else BestOf(last, sampling)
