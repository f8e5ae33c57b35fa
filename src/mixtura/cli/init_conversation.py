"""The conversation of mixtura init: a team that is shown, changed and accepted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from mixtura.cli.common import POSITIVE_DOLLARS
from mixtura.config.config import Config, read_presets
from mixtura.config.first_file import (
    ANSWER_TOKENS,
    QUESTION_TOKENS,
    ProposedTeam,
    check_member_names,
    estimate_question_cost,
    join_command_tools,
    write_configuration,
)
from mixtura.config.paths import models_folder, state_folder
from mixtura.config.plan import AUTO, AUTO_TEAM, EMBEDDED_MODEL
from mixtura.config.toml_document import TomlDocument
from mixtura.core.errors import ConfigError
from mixtura.core.text import strip_invisible

T = TypeVar("T")


def say(text: str) -> None:
    """A line for the person, on standard error."""
    click.echo(strip_invisible(text), err=True)


def read_back(text: str, path: Path) -> Config:
    """The configuration that *text* would be in the file *path*. Raises ConfigError."""
    return Config(
        [read_presets(), TomlDocument(text, str(path))],
        environ=os.environ,
        models_folder=models_folder(os.environ),
        store_folder=state_folder(os.environ),
    )


def print_team(team: ProposedTeam, path: Path) -> None:
    """The team, by the models that would answer today, and what a question costs."""
    config = read_back(write_configuration(team), path)
    proposers, aggregator = _today_names(team, config)
    say("")
    say(f"Proposers:   {', '.join(proposers)}")
    say(f"Aggregator:  {aggregator} ({team.why})")
    cost = estimate_question_cost(config, "team")
    size = f"{QUESTION_TOKENS} tokens, with an answer of {ANSWER_TOKENS}"
    if cost is None:
        say("Cost:        unknown, because the price of a model is not known")
    elif cost == 0:
        say("Cost:        none (local models)")
    else:
        say(f"Cost:        about ${cost:.4f} for a question of {size}")
    if config.mixture_spec("team").aggregator == EMBEDDED_MODEL:
        say(
            "This very small model only shows how Mixtura works. Once a provider's API key is set,"
            " Ollama runs, or `mixtura pull starter` has downloaded models, those answer instead."
        )


def _today_names(team: ProposedTeam, config: Config) -> tuple[list[str], str]:
    """The names of a team, those of models in place of `auto` and `auto-team`."""
    if AUTO not in (*team.proposers, team.aggregator) and AUTO_TEAM not in team.proposers:
        return list(team.proposers), team.aggregator
    plan = config.mixture_spec("team")
    members = [
        f"{seat.model}*{seat.samples}" if seat.samples > 1 else seat.model
        for layer in plan.layers
        for seat in layer
    ]
    return members, plan.aggregator


def converse(
    team: ProposedTeam, day_limit: float | None, path: Path, tools: Sequence[str] = ()
) -> tuple[ProposedTeam, float | None]:
    """The team and the limit that a person wants; *tools*: command-line tools that may join.

    Raises click.UsageError where nothing is to be written.
    """
    try:
        say("")
        if tools and _ask(lambda: click.confirm(_tools_question(tools), default=False, err=True)):
            team = join_command_tools(team, tools)
            print_team(team, path)
            say("")
        if not _ask(lambda: click.confirm("Use this team?", default=True, err=True)):
            team = _ask_for_team(team, path)
            print_team(team, path)
        if day_limit is None:
            day_limit = _ask_for_limit()
        if not _ask(lambda: click.confirm(f"Write {path}?", default=True, err=True)):
            raise click.UsageError("Nothing was written.")
    except click.Abort:
        if sys.stdin.isatty():  # Ctrl-C
            raise
        said = (
            "Standard input ended before the last question; --yes asks none. Nothing was written."
        )
        raise click.UsageError(said) from None
    except UnicodeDecodeError:
        said = "Standard input is not text (UTF-8). Nothing was written."
        raise click.UsageError(said) from None
    return team, day_limit


def _tools_question(tools: Sequence[str]) -> str:
    verb = "spends your subscription" if len(tools) == 1 else "spend your subscriptions"
    return f"Let {' and '.join(tools)} answer, too? That {verb} and sends the question to its maker"


def _ask(question: Callable[[], T]) -> T:
    """The answer to a question; in a pipe no one types the line end behind it."""
    try:
        return question()
    finally:
        if not sys.stdin.isatty():
            click.echo(err=True)


def _ask_for_team(team: ProposedTeam, path: Path) -> ProposedTeam:
    """A team by its names, asked for again while a name means nothing."""
    config = read_back(write_configuration(team), path)
    today, last = _today_names(team, config)
    shown = ",".join(today)
    while True:
        words = _ask(lambda: click.prompt("Proposers, with commas", default=shown, err=True))
        proposers = tuple(name.strip() for name in words.split(",") if name.strip())
        aggregator = _ask(lambda: click.prompt("Aggregator", default=last, err=True)).strip()
        # Left as they stand, `auto` and `auto-team` go on to mean what is there by then.
        proposers = team.proposers if words == shown else proposers
        aggregator = team.aggregator if aggregator == last else aggregator
        chosen = replace(team, proposers=proposers, aggregator=aggregator, why="Chosen by you")
        try:
            check_member_names(config, {"Proposers": proposers, "Aggregator": (aggregator,)})
            read_back(write_configuration(chosen), path)
        except ConfigError as error:
            for one in error.mistakes or (error,):
                say(str(one).partition(": ")[2] if one.has_location else str(one))
            continue
        return chosen


def _ask_for_limit() -> float | None:
    text = "Daily limit in dollars (Enter for none)"
    while True:
        words = _ask(lambda: click.prompt(text, "", err=True, show_default=False))
        if not words.strip():
            return None
        try:
            return POSITIVE_DOLLARS.convert(words, None, None)
        except click.BadParameter as error:
            say(str(error.message))
