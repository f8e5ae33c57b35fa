"""A mixture's table in a file, as a plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mixtura import patterned, toml
from mixtura.errors import ConfigError
from mixtura.plan import AUTO, AUTO_TEAM, Auto, Plan, Seated, counted, seated
from mixtura.prompts import BY_NAME, Synthesis, template
from mixtura.schema import MixtureTable, ProposerTable

Path_ = tuple[toml.Key, ...]


def read_plan(name: str, table: MixtureTable, document: toml.Document) -> Plan:
    path = ["mixtures", name]
    for number, layer in enumerate(table.layers):
        if not layer:
            problem = f"layer {number + 1} is empty: a layer is a list of model names"
            raise document.error([*path, "layers", number], f"mixtures.{name}: {problem}")
    pattern, last, answer = patterned.ending(name, table, document)
    plan = Plan(
        name,
        tuple(
            tuple(_seat(member, ("layers", i, j), document, path) for j, member in enumerate(row))
            for i, row in enumerate(table.layers)
        ),
        last,
        tuple(table.fallbacks),
        table.quorum,
        table.patience,
        table.deadline,
        _synthesis(name, table.synthesis, document),
        table.sampling.words(),
        answer,
        document,
        pattern,
    )
    if AUTO_TEAM not in plan.members():
        check_quorum(plan)
    return plan


def check_quorum(plan: Plan) -> None:
    sizes = [sum(seat.samples for seat in layer) for layer in plan.layers]
    smallest = min(sizes, default=plan.quorum)
    if not 1 <= plan.quorum <= smallest:
        said = f"quorum: {plan.quorum} does not fit a layer of {smallest}: 1 to {smallest} would"
        raise plan.error(["quorum"], said)


def _seat(
    member: str | ProposerTable, at: Path_, document: toml.Document, path: Sequence[str]
) -> Seated:
    try:
        if isinstance(member, str):
            return replace(seated(member), path=at)
        counted(member.samples)
    except ConfigError as error:
        raise document.error([*path, *at], f"layers: {error}") from None
    sampling = member.sampling.words()
    return Seated(member.model, member.samples, member.persona, sampling, (*at, "model"))


def _synthesis(name: str, value: str, document: toml.Document) -> Synthesis:
    """A layout by name, or a text file of one's own beside the configuration."""
    if value in BY_NAME:
        return BY_NAME[value]
    path = ["mixtures", name, "synthesis"]
    file = Path(document.source).parent / value
    if not file.is_file():
        names = ", ".join(f"'{known}'" for known in BY_NAME)
        raise document.error(
            path, f"synthesis: '{value}' is neither {names} nor the path of a text file"
        )
    try:
        return template(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise document.error(path, f"synthesis: {file}: {error}") from None


def with_auto(layer: Sequence[Seated], auto: Auto) -> tuple[Seated, ...]:
    seats: list[Seated] = []
    for seat in layer:
        if seat.model == AUTO_TEAM:
            seats.extend(auto.team)
        elif seat.model == AUTO:
            drafts = seat.sampling.over(auto.team[0].sampling)
            seats.append(Seated(auto.aggregator, seat.samples, seat.persona, drafts))
        else:
            seats.append(seat)
    return tuple(seats)
