"""A mixture's table in a file, as a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mixtura.config import pattern_settings, toml_document
from mixtura.config.auto_defaults import AutoDefaults
from mixtura.config.mistakes import Mistakes
from mixtura.config.plan import (
    AUTO,
    AUTO_TEAM,
    MemberSpec,
    MixtureSpec,
    parse_member,
)
from mixtura.config.schema import MixtureTable, ProposerTable
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count
from mixtura.core.text_encoding import decode_text
from mixtura.core.types import Sampling
from mixtura.patterns.spec import PatternSpec
from mixtura.prompts.synthesis import LAYOUTS, Synthesis, limit_length, template

KeyPath = tuple[toml_document.Key, ...]


def read_mixture_spec(
    name: str, document: toml_document.TomlDocument, mistakes: Mistakes
) -> MixtureSpec:
    """
    The mixture *name* of a file, of what is right in it; the rest goes into *mistakes*.

    After a mistake the plan is only good for finding more of them.
    """
    found = pattern_settings.read_mixture_table(name, document, mistakes)
    if found is None:
        return MixtureSpec(name, (), AUTO, where=document)
    spec, table = found
    for number, layer in enumerate(table.layers):
        if not layer:
            problem = f"layer {number + 1} is empty: a layer is a list of model names"
            path = ["mixtures", name, "layers", number]
            mistakes.add(document.error_at(path, f"mixtures.{name}: {problem}"))
    last = pattern_settings.LastSeat(AUTO)
    with mistakes.collect():
        last = pattern_settings.read_pattern(name, spec, table, document)
    plan = MixtureSpec(
        name,
        _read_layers(name, table.layers, document, mistakes),
        last.name,
        tuple(getattr(table, "fallbacks", ())),
        table.quorum,
        table.patience if isinstance(table.patience, float) else None,
        _learns_patience(table, document.data["mixtures"][name]),
        table.deadline,
        sampling=table.sampling.to_sampling(),
        answer=last.sampling,
        answer_persona=last.persona,
        where=document,
        pattern=last.pattern,
    )
    with mistakes.collect():
        layout = _read_synthesis(name, table.synthesis, document)
        plan = replace(plan, synthesis=_limit_synthesis(name, spec, table, layout, document))
    if AUTO_TEAM not in plan.member_names() and all(plan.layers):
        with mistakes.collect():
            check_quorum(plan)
    return plan


def _read_layers(
    name: str,
    rows: Sequence[Sequence[str | ProposerTable]],
    document: toml_document.TomlDocument,
    mistakes: Mistakes,
) -> tuple[tuple[MemberSpec, ...], ...]:
    layers: list[tuple[MemberSpec, ...]] = []
    for i, row in enumerate(rows):
        members: list[MemberSpec] = []
        for j, member in enumerate(row):
            at = ("layers", i, j)
            try:
                members.append(_read_member(member, at, document, ["mixtures", name]))
            except ConfigError as error:
                mistakes.add(error)
                # Known, and of a number that is not: what depends on the number is not told.
                members.append(MemberSpec(AUTO_TEAM))
        layers.append(tuple(members))
    return tuple(layers)


def _learns_patience(table: MixtureTable, said: Mapping[str, object]) -> bool | None:
    """Whoever sets a quorum or seconds means to decide how long stragglers are waited for."""
    if table.patience is None:
        return False if "quorum" in said or "patience" in said else None
    return table.patience == "learned"


def check_quorum(plan: MixtureSpec) -> None:
    sizes = [sum(seat.samples for seat in layer) for layer in plan.layers]
    smallest = min(sizes, default=plan.quorum)
    if not 1 <= plan.quorum <= smallest:
        right = "1" if smallest == 1 else f"1 to {smallest}"
        proposals = pluralize_count(smallest, "proposal")
        said = f"quorum: {plan.quorum} is impossible, a layer has {proposals}: use {right}"
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
        return MemberSpec.from_table(member, (*at, "model"))
    except ConfigError as error:
        where = [*at, error.key] if error.key else at
        raise document.error_at([*path, *where], f"layers: {error}") from None


def seat_table(seat: MemberSpec) -> dict[str, Any]:
    """A member's seat as a file writes it; `model` and `samples` are always there."""
    told = {"persona": seat.persona, "variants": list(seat.variants)}
    table = {"model": seat.model, "samples": seat.samples} | sampling_part(seat.sampling)
    return table | {key: value for key, value in told.items() if value}


def answer_table(plan: MixtureSpec) -> dict[str, Any]:
    """The last seat as a file writes it."""
    persona = {"persona": plan.answer_persona} if plan.answer_persona else {}
    return {"model": plan.aggregator} | persona | sampling_part(plan.answer)


def sampling_part(sampling: Sampling) -> dict[str, Any]:
    """The key `sampling` of a table; nothing where nothing is said."""
    said = {key: value for key, value in asdict(sampling).items() if value is not None}
    return {"sampling": said} if said else {}


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
        return template(decode_text(file.read_bytes()))
    except (ValueError, OSError) as error:
        raise document.error_at(path, f"synthesis: {_file_error(file, error)}") from None


def _limit_synthesis(
    name: str,
    spec: PatternSpec,
    table: MixtureTable,
    layout: Synthesis,
    document: toml_document.TomlDocument,
) -> Synthesis:
    """*layout* with the length that the table asks for."""
    if table.length is None:
        return layout
    writes = spec.final_model is not None and spec.final_model.key == "aggregator"
    if not writes and len(table.layers) == 1:
        said = f"length: with one layer '{spec.name}' writes nothing from proposals"
        raise document.error_at(["mixtures", name, "length"], said)
    return limit_length(layout, None if table.length == "longest" else table.length)


def _file_error(file: Path, error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else error
    if isinstance(error, UnicodeDecodeError):
        reason = "it is not UTF-8 text"
    return f"{file}: {reason}"


def expand_auto(layer: Sequence[MemberSpec], auto: AutoDefaults) -> tuple[MemberSpec, ...]:
    seats: list[MemberSpec] = []
    for seat in layer:
        if seat.model == AUTO_TEAM:
            seats.extend(auto.team)
        elif seat.model == AUTO:
            drafts = seat.sampling.with_defaults(auto.team[0].sampling)
            persona = seat.persona or auto.team[0].persona
            seats.append(
                replace(seat, model=auto.aggregator, persona=persona, sampling=drafts, path=())
            )
        else:
            seats.append(seat)
    return tuple(seats)
