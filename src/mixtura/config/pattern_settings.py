"""What a mixture's `pattern` says in a file, and what is built of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from mixtura.config import toml_document
from mixtura.config.plan import VOTE, MixtureSpec, Pattern
from mixtura.config.schema import MixtureTable
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.roles import Aggregator, Composite, Layer
from mixtura.core.types import Sampling
from mixtura.engine.mixture import Mixture
from mixtura.patterns import BestOf, Chosen, Ranker, Sequential, Vote
from mixtura.patterns.final_answer import EXTRACTORS, Extract
from mixtura.patterns.ranker import GREEDY_SAMPLING
from mixtura.patterns.selection import Chooser

PATTERN_KEYS: Mapping[str, Collection[str]] = {
    "mixture": ("aggregator", "fallbacks"),
    "sequential": ("aggregator", "fallbacks", "window", "repeat"),
    "rank": ("judge",),
    "vote": ("extract",),
    "best-of": ("judge",),
}
"""The patterns, and the keys that each has besides those of all."""
REQUIRED_KEYS: Mapping[str, tuple[str, str]] = {
    "mixture": ("aggregator", "who writes the answer"),
    "sequential": ("aggregator", "who brings the draws together"),
    "rank": ("judge", "who names the best proposal"),
    "best-of": ("judge", "who gives every proposal its score"),
}
EXTRACT_NAMES = (*EXTRACTORS, "text")


def read_pattern(
    name: str, table: MixtureTable, document: toml_document.TomlDocument
) -> tuple[Pattern, str, Sampling]:
    """
    What follows the proposer layers: the pattern, who sits in the last seat, how it is asked.

    Raises ConfigError with the line of what does not fit.
    """
    path = ["mixtures", name]
    kind = table.pattern
    if kind not in PATTERN_KEYS:
        raise document.error_at(
            [*path, "pattern"], toml_document.unknown_name_message("pattern", kind, PATTERN_KEYS)
        )
    said = document.data["mixtures"][name]
    for key in sorted(
        {key for keys in PATTERN_KEYS.values() for key in keys} - set(PATTERN_KEYS[kind])
    ):
        if key in said:
            others = " or ".join(f"'{k}'" for k, keys in PATTERN_KEYS.items() if key in keys)
            problem = f"{key}: the pattern '{kind}' has none; it goes with {others}"
            raise document.error_at([*path, key], problem)
    if kind in REQUIRED_KEYS and REQUIRED_KEYS[kind][0] not in said:
        key, why = REQUIRED_KEYS[kind]
        raise document.error_at(path, f"mixtures.{name}: `{key}` is missing: {why}")
    _check_pattern(kind, path, table, document)
    last = table.judge or table.aggregator
    model, sampling = (VOTE, Sampling())
    if last is not None:
        plain = isinstance(last, str)
        model, sampling = (last, sampling) if plain else (last.model, last.sampling.to_sampling())
    return (
        Pattern(kind, table.window, table.repeat, cast("Extract", table.extract)),
        model,
        sampling,
    )


def _check_pattern(
    kind: str, path: list[str], table: MixtureTable, document: toml_document.TomlDocument
) -> None:
    said = document.data["mixtures"][path[1]]
    if kind == "sequential" and len(table.layers) != 1:
        problem = f"layers: '{kind}' has one layer, of draws, not {len(table.layers)}"
        raise document.error_at([*path, "layers"], problem)
    if not 1 <= table.repeat < table.window:
        key = "repeat" if "repeat" in said else "window"
        problem = f"{key}: {table.repeat} of {table.window} texts leave no room for a new draw"
        raise document.error_at([*path, key], problem)
    if table.extract not in EXTRACT_NAMES:
        problem = toml_document.unknown_name_message("kind of answer", table.extract, EXTRACT_NAMES)
        raise document.error_at([*path, "extract"], f"extract: {problem}")
    if kind in ("mixture", "sequential"):
        return
    if not table.layers:
        problem = f"layers: '{kind}' needs proposers: one of their proposals is the answer"
        raise document.error_at([*path, "layers"], problem)
    if "synthesis" in said and len(table.layers) == 1:
        problem = f"synthesis: with one layer '{kind}' shows no proposals to a proposer"
        raise document.error_at([*path, "synthesis"], problem)


def build_composite(
    plan: MixtureSpec, layers: tuple[Layer, ...], last: Model | None, fallbacks: tuple[Model, ...]
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
        writer = _build_aggregator(last, own.with_defaults(plan.sampling), fallbacks)
        return Mixture(layers=layers, aggregator=writer, name=name, synthesis=synthesis)
    if kind == "sequential":
        if len(layers) != 1:
            raise ConfigError(f"{name}: '{kind}' has one layer, of draws, not {len(layers)}")
        return Sequential(
            layers=layers,
            aggregator=_build_aggregator(last, own.with_defaults(plan.sampling), fallbacks),
            width=plan.pattern.window,
            repeat=plan.pattern.repeat,
            name=name,
            synthesis=synthesis,
        )
    chooser = _build_chooser(
        plan, last, own.with_defaults(GREEDY_SAMPLING).with_defaults(plan.sampling)
    )
    return Chosen(layers=layers, chooser=chooser, name=name, synthesis=synthesis)


def _build_aggregator(
    last: Model | None, sampling: Sampling, fallbacks: tuple[Model, ...]
) -> Aggregator:
    assert last is not None
    return Aggregator(last, sampling, fallbacks)


def _build_chooser(plan: MixtureSpec, last: Model | None, sampling: Sampling) -> Chooser:
    if last is None:
        return Vote(plan.pattern.extract)
    return Ranker(last, sampling) if plan.pattern.kind == "rank" else BestOf(last, sampling)
