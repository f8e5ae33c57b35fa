"""What answers: the options that say it, the plan they make, and why it was chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from mixtura.cli.common import (
    ANSWER_TOKENS,
    LAYERS,
    PROBABILITY,
    SEED,
    TEMPERATURE,
    combine_options,
    count_option,
    create_console,
    embedded_note,
    name_option,
)
from mixtura.config.config import Config
from mixtura.config.plan import (
    AUTO,
    AUTO_TEAM,
    MemberSpec,
    MixtureSpec,
    parse_member,
    uniform_layers,
)
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

T = TypeVar("T")
_AUTO_NAMES = {AUTO, AUTO_TEAM}


team_options = combine_options(
    name_option("-m", "NAME", "Mixture or single model that answers.", "--mixture"),
    name_option(
        "-p", "MODEL",
        "Add a proposer; repeatable. 'MODEL*3' (in quotes) asks it three times.",
        "--proposer", "proposers", multiple=True,
    ),
    name_option(
        "-a", "MODEL", "Model that writes the answer; by default the first -p.", "--aggregator"
    ),
    count_option(
        "--layers", "Number of layers, the aggregator's included (with -p; default 2).",
        within=LAYERS,
    ),
)  # fmt: skip
"""For a command that asks a mixture."""
sampling_options = combine_options(
    click.option(
        "--temperature", type=TEMPERATURE, metavar="NUMBER",
        help="Randomness of the answer, 0 to 5.",
    ),
    click.option(
        "--top-p", type=PROBABILITY, metavar="NUMBER",
        help="Nucleus sampling of the answer, 0 to 1.",
    ),
    count_option("--max-tokens", "Length limit of the answer, in tokens.", within=ANSWER_TOKENS),
    count_option("--seed", "Seed for repeatable answers, where models support it.", within=SEED),
)  # fmt: skip
"""For a command whose answer can be sampled otherwise."""


def spec_from_options(
    config: Config,
    mixture: str | None,
    proposers: tuple[str, ...],
    aggregator: str | None,
    layers: int | None,
) -> MixtureSpec:
    """The plan that the options ask for.

    Raises ConfigError for options that contradict each other and names that mean nothing.
    """
    if mixture and proposers:
        raise ConfigError("-m names a whole mixture and -p makes one: give one or the other")
    if layers is not None and not proposers:
        raise ConfigError("--layers goes with -p: a named mixture has its own layers")
    if not proposers:
        name = config.default_names.get(mixture, mixture) if mixture else config.default
        # Only a name that stands behind -m is blamed on -m; the default is from a file, which says
        # so.
        plan = (
            _read_option("-m", config.mixture_spec, name) if mixture else config.mixture_spec(name)
        )
        if aggregator is None:
            return plan
        # Looked up before it is put in: the message is to name the option, not the mixture.
        _read_option("-a", config.mixture_spec, aggregator)
        if not plan.layers:
            problem = f"-a replaces a mixture's aggregator, and {name} is a model alone"
            raise ConfigError(f"{problem}: use -p {name} -a {aggregator}")
        return plan.with_aggregator(aggregator)
    seats = tuple(_read_option("-p", parse_member, name) for name in proposers)
    for seat in seats:
        _read_option("-p", config.mixture_spec, seat.model)
    if aggregator:
        _read_option("-a", config.mixture_spec, aggregator)
    if layers == 1:
        raise ConfigError("--layers 1 is the aggregator alone: leave out -p, or ask with -m")
    # The same notation as `a,b>c`: what is shown can be typed behind -m.
    rows = [",".join(proposers)] * ((layers or 2) - 1)
    name = ">".join([*rows, aggregator or seats[0].model])
    return uniform_layers(seats, aggregator, layers, name=name)


def _read_option(option: str, read: Callable[[str], T], name: str) -> T:
    """What *read* makes of an option's value; what is wrong with it names the option."""
    try:
        return read(name)
    except ConfigError as error:
        if error.has_location:
            raise
        raise ConfigError(f"{option}: {error}") from None


def print_choice_reason(
    config: Config,
    plan: MixtureSpec,
    mixture: str | None,
    proposers: tuple[str, ...] = (),
    aggregator: str | None = None,
) -> None:
    """
    One line on what was chosen, where we chose: where *plan* was asked for with `auto`; and that
    the answer is not to be relied on, where the embedded model gives it.
    """
    from mixtura.terminal import print_line

    chosen = bool(_given_names(config, mixture, proposers, aggregator) & _AUTO_NAMES)
    if note := embedded_note(config, plan, chosen=chosen):
        print_line(create_console(stderr=True), note, "yellow")
        return
    # Who named a model knows it: a reason is owed only where we chose.
    if not chosen:
        return
    auto = config.registry.auto_defaults()

    def format_member(name: str, times: int = 1) -> str:
        name = to_one_line(auto.aggregator if name == AUTO else name)
        return f"{name} × {times}" if times > 1 else name

    def format_layer(layer: Sequence[MemberSpec]) -> str:
        # A pattern may list a member several times; a reader wants it once, with its number.
        times = Counter[str]()
        for seat in layer:
            times[seat.model] += seat.samples
        return ", ".join(format_member(name, number) for name, number in times.items())

    rows = [format_layer(layer) for layer in plan.layers]
    last = [format_member(plan.aggregator)] if plan.has_final_model else []
    team = ", then ".join([*dict.fromkeys(rows), *last])
    print_line(create_console(stderr=True), f"Using {team}: {auto.why}.", "dim")


def _given_names(
    config: Config, mixture: str | None, proposers: tuple[str, ...], aggregator: str | None
) -> set[str]:
    """The names as they were written, before `auto` was filled in."""
    if proposers:
        return {parse_member(name).model for name in proposers} | {aggregator or ""}
    name = mixture or config.default
    raw = config.registry.mixtures.get(name)
    if raw is None:
        return {aggregator or name}
    drafts = {seat.model for layer in raw.layers for seat in layer}
    return drafts | {aggregator or raw.aggregator}
