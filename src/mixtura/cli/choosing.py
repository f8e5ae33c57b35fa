"""What answers: the options that say it, the plan they make, and why it was chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import click

from mixtura.cli.common import F, console, named
from mixtura.config import Config, Plan, seated
from mixtura.errors import ConfigError
from mixtura.plan import AUTO, AUTO_TEAM, composed
from mixtura.text import one_line

T = TypeVar("T")
_AUTOMATIC = {AUTO, AUTO_TEAM}


def team_options(function: F) -> F:
    """``-m``, ``-p``, ``-a``, ``--layers`` for a command that asks a mixture."""
    for option in (
        click.option(
            "--layers", type=click.IntRange(min=1), metavar="N",
            help="Layers in the paper's count, the aggregator's included (with -p; default 2).",
        ),
        click.option(
            "-a", "--aggregator", metavar="MODEL", callback=named, help="Who writes the answer."
        ),
        click.option(
            "-p", "--proposer", "proposers", multiple=True, metavar="MODEL", callback=named,
            help="A proposer, as often as you like; MODEL*3 asks it three times.",
        ),
        click.option(
            "-m", "--mixture", metavar="NAME", callback=named,
            help="A mixture or a single model, by name.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def chosen(
    config: Config,
    mixture: str | None,
    proposers: tuple[str, ...],
    aggregator: str | None,
    layers: int | None,
) -> Plan:
    """The plan that the options ask for. Raises ConfigError."""
    if mixture and proposers:
        raise ConfigError("-m names a whole mixture and -p makes one: give one or the other")
    if layers is not None and not proposers:
        raise ConfigError("--layers goes with -p: a named mixture has its own layers")
    if not proposers:
        name = mixture or config.default
        plan = _of("-m", config.plan, name) if mixture else config.plan(name)
        if aggregator is None:
            return plan
        _of("-a", config.plan, aggregator)
        if not plan.layers:
            said = f"-a takes the place of a mixture's aggregator, and {name} is a model alone"
            raise ConfigError(f"{said}: use -p {name} -a {aggregator}")
        return replace(plan, aggregator=aggregator)
    seats = tuple(_of("-p", seated, name) for name in proposers)
    for seat in seats:
        _of("-p", config.plan, seat.model)
    if aggregator:
        _of("-a", config.plan, aggregator)
    if layers == 1:
        raise ConfigError("--layers 1 is the aggregator alone: leave out -p, or ask with -m")
    rows = [",".join(proposers)] * ((layers or 2) - 1)
    name = ">".join([*rows, aggregator or seats[0].model])
    return composed(seats, aggregator, layers, name=name)


def _of(option: str, read: Callable[[str], T], name: str) -> T:
    """What *read* makes of an option's value; what is wrong with it names the option."""
    try:
        return read(name)
    except ConfigError as error:
        if error.located:
            raise
        raise ConfigError(f"{option}: {error}") from None


def say_why(
    config: Config,
    plan: Plan,
    mixture: str | None,
    proposers: tuple[str, ...] = (),
    aggregator: str | None = None,
) -> None:
    """One line on what was chosen, where we chose: where *plan* was asked for with `auto`."""
    from mixtura.render import say

    if not _given(config, mixture, proposers, aggregator) & _AUTOMATIC:
        return
    auto = config.auto()

    def called(name: str, times: int = 1) -> str:
        name = one_line(auto.aggregator if name == AUTO else name)
        return f"{name} × {times}" if times > 1 else name

    rows = [", ".join(called(s.model, s.samples) for s in layer) for layer in plan.layers]
    team = ", then ".join([*dict.fromkeys(rows), called(plan.aggregator)])
    say(console(aside=True), f"Using {team}: {auto.why}.", "dim")


def _given(
    config: Config, mixture: str | None, proposers: tuple[str, ...], aggregator: str | None
) -> set[str]:
    """The names as they were written, before `auto` was filled in."""
    if proposers:
        return {seated(name).model for name in proposers} | {aggregator or ""}
    name = mixture or config.default
    raw = config.mixtures().get(name)
    if raw is None:
        return {aggregator or name}
    drafts = {seat.model for layer in raw.layers for seat in layer}
    return drafts | {aggregator or raw.aggregator}
