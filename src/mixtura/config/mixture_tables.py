"""A mixture's table in a file, as a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixtura.config import pattern_settings, toml_document
from mixtura.config.plan import (
    AUTO,
    AUTO_TEAM,
    AutoDefaults,
    MemberSpec,
    MixtureSpec,
    check_samples,
    parse_member,
)
from mixtura.config.schema import ProposerTable
from mixtura.core.errors import ConfigError
from mixtura.prompts.synthesis import LAYOUTS, Synthesis, template

KeyPath = tuple[toml_document.Key, ...]


def read_mixture_spec(name: str, document: toml_document.TomlDocument) -> MixtureSpec:
    """The mixture *name* of a file. Raises ConfigError with the line of what is wrong."""
    spec, table = pattern_settings.read_mixture_table(name, document)
    path = ["mixtures", name]
    for number, layer in enumerate(table.layers):
        if not layer:
            problem = f"layer {number + 1} is empty: a layer is a list of model names"
            raise document.error_at([*path, "layers", number], f"mixtures.{name}: {problem}")
    pattern, last, answer = pattern_settings.read_pattern(name, spec, table, document)
    plan = MixtureSpec(
        name,
        tuple(
            tuple(
                _read_member(member, ("layers", i, j), document, path)
                for j, member in enumerate(row)
            )
            for i, row in enumerate(table.layers)
        ),
        last,
        tuple(getattr(table, "fallbacks", ())),
        table.quorum,
        table.patience,
        table.deadline,
        _read_synthesis(name, table.synthesis, document),
        table.sampling.to_sampling(),
        answer,
        document,
        pattern,
    )
    if AUTO_TEAM not in plan.member_names():
        check_quorum(plan)
    return plan


def check_quorum(plan: MixtureSpec) -> None:
    sizes = [sum(seat.samples for seat in layer) for layer in plan.layers]
    smallest = min(sizes, default=plan.quorum)
    if not 1 <= plan.quorum <= smallest:
        said = f"quorum: {plan.quorum} does not fit a layer of {smallest}: 1 to {smallest} would"
        raise plan.error_at(["quorum"], said)


def _read_member(
    member: str | ProposerTable,
    at: KeyPath,
    document: toml_document.TomlDocument,
    path: Sequence[str],
) -> MemberSpec:
    try:
        if isinstance(member, str):
            return replace(parse_member(member), path=at)
        check_samples(member.samples)
    except ConfigError as error:
        raise document.error_at([*path, *at], f"layers: {error}") from None
    sampling = member.sampling.to_sampling()
    return MemberSpec(member.model, member.samples, member.persona, sampling, (*at, "model"))


def _read_synthesis(name: str, value: str, document: toml_document.TomlDocument) -> Synthesis:
    """A layout by name, or a text file of one's own beside the configuration."""
    if value in LAYOUTS:
        return LAYOUTS[value]
    path = ["mixtures", name, "synthesis"]
    file = Path(document.source).parent / value
    if not file.is_file():
        names = ", ".join(f"'{known}'" for known in LAYOUTS)
        raise document.error_at(
            path, f"synthesis: '{value}' is neither {names} nor the path of a text file"
        )
    try:
        return template(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise document.error_at(path, f"synthesis: {file}: {error}") from None


def expand_auto(layer: Sequence[MemberSpec], auto: AutoDefaults) -> tuple[MemberSpec, ...]:
    seats: list[MemberSpec] = []
    for seat in layer:
        if seat.model == AUTO_TEAM:
            seats.extend(auto.team)
        elif seat.model == AUTO:
            drafts = seat.sampling.with_defaults(auto.team[0].sampling)
            seats.append(MemberSpec(auto.aggregator, seat.samples, seat.persona, drafts))
        else:
            seats.append(seat)
    return tuple(seats)
