"""What a mixture's `pattern` says in a file, and what is built of it."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple, cast

import msgspec

from mixtura.catalog.patterns import all_patterns, find_pattern, pattern_names
from mixtura.config.mistakes import Mistakes
from mixtura.config.plan import AUTO, AUTO_TEAM, MixtureSpec, PatternChoice
from mixtura.config.schema import AggregatorTable, MixtureTable
from mixtura.config.table_checks import StandIn
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.roles import Layer, Proposer
from mixtura.core.text import unknown_name_message
from mixtura.core.types import Sampling
from mixtura.engine.pattern import Pattern
from mixtura.models.fake import echo
from mixtura.patterns.spec import PatternParts, PatternSpec


class LastSeat(NamedTuple):
    """Who has the last seat of a mixture: the pattern, a name, how it is asked."""

    name: str
    pattern: PatternChoice = PatternChoice()
    sampling: Sampling = Sampling()
    persona: str | None = None


def read_mixture_table(
    name: str, document: TomlDocument, mistakes: Mistakes
) -> tuple[PatternSpec, MixtureTable] | None:
    """
    The pattern of the mixture *name*, and its table, which has that pattern's keys.

    What does not fit goes into *mistakes*; None where nothing can be read. `auto-team` stands for
    what is wrong in its layers: it is known, and of a number that is not.
    """
    path, part = ["mixtures", name], document.data["mixtures"][name]
    said: Mapping[str, Any] = cast("dict[str, Any]", part) if isinstance(part, dict) else {}
    kind = said.get("pattern", "mixture")
    if not isinstance(kind, str):
        document.convert_valid_part(path, MixtureTable, mistakes)
        return None
    try:
        with document.add_location([*path, "pattern"], "pattern: "):
            if (spec := find_pattern(kind)) is None:
                raise ConfigError(unknown_name_message("pattern", kind, pattern_names()))
    except ConfigError as error:
        mistakes.add(error)
        return None
    foreign = _foreign_keys(spec, said)
    for key, problem in foreign.items():
        mistakes.add(document.error_at([*path, key], problem))
    for key in spec.model_settings:
        if key not in foreign and isinstance(said.get(key), dict):
            right = f'as in {key} = "NAME"'
            foreign[key] = f"{key}: '{spec.name}' takes a model's name alone here, {right}"
            mistakes.add(document.error_at([*path, key], foreign[key]))
    table = document.convert_valid_part(
        path, table_type(spec), mistakes, without=foreign, stand_in=StandIn("layers", AUTO_TEAM)
    )
    if spec.final_model and not _has_key(said, spec.final_model.key, spec):
        key, why, _ = spec.final_model
        mistakes.add(document.error_at(path, f"mixtures.{name}: `{key}` is missing: {why}"))
    return None if table is None else (spec, table)


def _has_key(said: Mapping[str, Any], key: str, spec: PatternSpec) -> bool:
    """Whether *key* is there, or a misspelt one that stands for it and is told as such."""
    known = {one.encode_name for one in msgspec.structs.fields(table_type(spec))}
    return key in said or any(
        difflib.get_close_matches(other, (key,)) for other in said if other not in known
    )


def own_keys(spec: PatternSpec) -> list[str]:
    """The keys that a pattern has besides those of all."""
    keys = [spec.final_model.key] if spec.final_model else []
    keys += ["fallbacks"] if spec.takes_fallbacks else []
    return [*keys, *(one.encode_name for one in msgspec.structs.fields(spec.settings))]


@cache
def table_type(spec: PatternSpec) -> type[MixtureTable]:
    """The table of a mixture of that pattern."""
    fields: list[tuple[str, Any, Any]] = []
    if spec.final_model:
        fields.append((spec.final_model.key, str | AggregatorTable | None, None))
    if spec.takes_fallbacks:
        fields.append(("fallbacks", tuple[str, ...], ()))
    for one in msgspec.structs.fields(spec.settings):
        default: Any = one.default
        if one.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=one.default_factory)
        fields.append((one.encode_name, one.type, default))
    made = msgspec.defstruct(
        "MixtureTable", fields, bases=(MixtureTable,), forbid_unknown_fields=True, kw_only=True
    )
    return cast("type[MixtureTable]", made)


def _foreign_keys(spec: PatternSpec, said: Mapping[str, Any]) -> dict[str, str]:
    """Keys that only other patterns have, and what to say of each."""
    known = {one.encode_name for one in msgspec.structs.fields(table_type(spec))}
    if not (foreign := sorted(set(said) - known)):
        return {}  # other packages' patterns are loaded only where they help
    keys = {one.name: own_keys(one) for one in all_patterns()}
    found: dict[str, str] = {}
    for key in foreign:
        if others := [f"'{name}'" for name, own in keys.items() if key in own]:
            listed = " or ".join([", ".join(others[:-1]), others[-1]] if others[1:] else others)
            found[key] = f"{key}: the pattern '{spec.name}' has no such key; it belongs to {listed}"
    return found


def read_pattern(
    name: str, spec: PatternSpec, table: MixtureTable, document: TomlDocument
) -> LastSeat:
    """
    What follows the proposer layers: the pattern, who sits in the last seat, how it is asked.

    Raises ConfigError with the line of what does not fit.
    """
    path = ["mixtures", name]
    said = document.data["mixtures"][name]
    settings = _read_settings(spec, path, table, document)
    if spec.kind.proposals_answer:
        if not table.layers:
            problem = f"layers: '{spec.name}' needs proposers: one of their proposals is the answer"
            raise document.error_at([*path, "layers"], problem)
        if "synthesis" in said and len(table.layers) == 1:
            problem = f"synthesis: with one layer '{spec.name}' shows no proposals to a proposer"
            raise document.error_at([*path, "synthesis"], problem)
    choice = PatternChoice(spec.name, settings)
    if spec.final_model is None:
        return LastSeat(spec.name, choice)
    last: str | AggregatorTable | None = getattr(table, spec.final_model.key)
    if last is None:  # it is missing or wrong, which was said
        return LastSeat(AUTO, choice)
    if isinstance(last, str):
        return LastSeat(last, choice)
    return LastSeat(last.model, choice, last.sampling.to_sampling(), last.persona)


def _read_settings(
    spec: PatternSpec, path: list[str], table: MixtureTable, document: TomlDocument
) -> msgspec.Struct:
    values = {
        one.name: getattr(table, one.encode_name) for one in msgspec.structs.fields(spec.settings)
    }
    try:
        spec.check_layers(spec.name, len(table.layers))
        settings = spec.settings(**values)
    except (ConfigError, ValueError) as error:
        key = error.key if isinstance(error, ConfigError) else None
        raise document.error_at([*path, *([key] if key else [])], str(error)) from None
    return settings


def check_draws(plan: MixtureSpec) -> None:
    """Raises ConfigError, with its line, where the pattern's settings do not fit the members."""
    draws: Counter[str] = Counter()
    for seat in plan.layers[-1] if plan.layers else ():
        draws[seat.model] += seat.samples
    # Which models `auto` stands for is known on the machine where it is asked.
    if not draws or draws.keys() & {AUTO, AUTO_TEAM}:
        return
    try:
        plan.pattern.spec.check_draws(plan.pattern.settings, draws)
    except ConfigError as error:
        raise plan.error_at([error.key] if error.key else [], str(error)) from None


def check_shape(plan: MixtureSpec) -> None:
    """
    Raises ConfigError, with its line, where the pattern cannot be made of such layers: what only
    its parts find out, together.
    """
    # Which and how many models `auto` stands for is known on the machine where it is asked.
    if plan.member_names() & {AUTO, AUTO_TEAM} or not all(plan.layers):
        return
    layers = tuple(
        Layer(tuple(Proposer(echo(seat.model), samples=seat.samples) for seat in row))
        for row in plan.layers
    )
    last = echo(plan.aggregator) if plan.has_final_model else None
    named = {key: echo(name) for key, name in plan.setting_models().items()}
    try:
        build_pattern(plan, layers, last, (), named)
    except (ConfigError, ValueError) as error:
        key = error.key if isinstance(error, ConfigError) else None
        said = str(error).removeprefix(f"{plan.name}: ")
        raise plan.error_at([key] if key else [], said) from None


def build_pattern(
    plan: MixtureSpec,
    layers: tuple[Layer, ...],
    last: Model | None,
    fallbacks: tuple[Model, ...],
    named: Mapping[str, Model],
) -> Pattern:
    """
    The mixture or its relative that a plan describes, of models. *last* writes or chooses, *named*
    are those of the pattern's own settings.

    Raises ConfigError for a plan that was changed into one that cannot be.
    """
    spec, settings = plan.pattern.spec, plan.pattern.settings
    if layers:
        try:
            spec.check_layers(spec.name, len(layers))
        except ConfigError as error:
            said = str(error).removeprefix(f"{error.key}: ")
            raise ConfigError(f"{plan.name}: {said}") from None
    default = spec.final_model.sampling if spec.final_model else Sampling()
    sampling = plan.answer.with_defaults(default).with_defaults(plan.sampling)
    built = spec.build_pattern(
        PatternParts(plan.name, layers, settings, plan.synthesis, last, sampling, fallbacks, named)
    )
    return replace(built, instruction=plan.answer_persona) if plan.answer_persona else built
