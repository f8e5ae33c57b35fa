"""The command mixtura init: a first mixtura.toml for what this machine has."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import click

from mixtura.catalog.command_tools import find_installed_tools
from mixtura.catalog.user_files import expand_home, write_whole
from mixtura.cli.common import POSITIVE_DOLLARS, name_callback
from mixtura.cli.dry_run import find_missing
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.init_conversation import converse, print_team, read_back, say
from mixtura.config.first_file import (
    FoundModels,
    check_member_names,
    find_model_files,
    propose_team,
    write_configuration,
)
from mixtura.config.local_servers import FoundServer, find_local_servers
from mixtura.config.paths import config_folder, models_folder
from mixtura.config.plan import find_provider_keys
from mixtura.core.credentials import looks_like_key
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

MAX_SHOWN_MODELS = 4


@click.command(
    name="init",
    cls=MixturaCommand,
    examples=("mixtura init", "mixtura init --yes", "mixtura init --yes --day-limit 5"),
)
@click.option("--yes", is_flag=True, help="Accept the proposed team without asking.")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    callback=name_callback,
    help="Write this file instead of ./mixtura.toml.",
)
@click.option(
    "--user",
    is_flag=True,
    help="Write ~/.config/mixtura/mixtura.toml, used in every folder.",
)
@click.option(
    "-p",
    "--proposer",
    "proposers",
    multiple=True,
    metavar="MODEL",
    callback=name_callback,
    help="A proposer of the team, instead of the proposed ones; repeatable.",
)
@click.option(
    "-a",
    "--aggregator",
    metavar="MODEL",
    callback=name_callback,
    help="The model that writes the answer.",
)
@click.option(
    "--server",
    "servers",
    multiple=True,
    metavar="URL",
    help="Also look for models at this address, such as http://192.168.1.5:1234; repeatable.",
)
@click.option("--no-scan", is_flag=True, help="Do not look for servers on this machine's ports.")
@click.option(
    "--day-limit", type=POSITIVE_DOLLARS, metavar="DOLLARS", help="Daily spending limit."
)  # fmt: skip
def command(
    yes: bool,
    force: bool,
    config_file: str | None,
    user: bool,
    proposers: tuple[str, ...],
    aggregator: str | None,
    servers: tuple[str, ...],
    no_scan: bool,
    day_limit: float | None,
) -> None:
    """Write a mixtura.toml with a team for what this machine has.

    Looks for API keys in the environment, for Ollama, LM Studio and llama.cpp servers, and for
    model files; proposes a team and what a question costs. No model is called and no key is
    written.
    """
    path = _target_path(config_file, user=user)
    _check_target(path, force=force)
    _check_addresses(servers)
    found = _find_models(servers, scan=not no_scan)
    _print_found(found, servers)
    team = propose_team(found)
    tools = [one.name for one in find_installed_tools(os.environ) if one.logged_in]
    if tools and yes and not proposers:
        say(f"Logged-in tools may join with -p: {', '.join(tools)}")
    if proposers or aggregator:
        named = {"-p": proposers, "-a": (aggregator,) if aggregator else ()}
        check_member_names(read_back(write_configuration(team), path), named)
        members = proposers or team.proposers
        why = _choice_reason(proposers, aggregator)
        first = members[0].partition("*")[0]
        team = replace(team, proposers=members, aggregator=aggregator or first, why=why)
    print_team(team, path)
    if not yes:
        team, day_limit = converse(team, day_limit, path, () if proposers else tools)
    text = write_configuration(team, day_usd=day_limit)
    config = read_back(text, path)  # what is wrong with it is said before anything is written
    _check_target(path, force=force)  # someone else may have been quicker
    _write_file(path, text)
    click.echo(f"Wrote {to_one_line(path)}")
    for need in find_missing(config, [config.mixture_spec("team")]):
        say(f"Before the first question: {need}.")
    click.echo('Next: mixtura ask "Why is the sky blue?"')


def _choice_reason(proposers: tuple[str, ...], aggregator: str | None) -> str:
    """Where the team comes from, for the line of its aggregator and the file's comment."""
    if not proposers:
        return "The aggregator was chosen with -a"
    if aggregator is None:
        return "The proposers were chosen with -p; the first one is the aggregator"
    return "Chosen with -p and -a"


def _target_path(config_file: str | None, *, user: bool) -> Path:
    if config_file and user:
        raise click.UsageError("--config and --user name two files: give one of them.")
    if user:
        return config_folder(os.environ) / "mixtura.toml"
    return Path.cwd() / expand_home(config_file or "mixtura.toml")


def _check_target(path: Path, *, force: bool) -> None:
    """Raises ConfigError where *path* is there already, or is no file that can be replaced."""
    try:
        there = os.path.lexists(path)
        irregular = path.exists() and not path.is_file()
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    if irregular:
        raise ConfigError(f"{path} is not a regular file: name another with --config")
    if there and not force:
        raise ConfigError(
            f"{path} already exists. Use --force to replace it,"
            " or `mixtura config edit` to edit it."
        )


def _check_addresses(servers: tuple[str, ...]) -> None:
    for address in servers:
        try:
            parts = urlsplit(address)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable, parts = False, None
        if not usable or not parts:
            problem = "write an address as http://192.168.1.5:1234."
        elif "@" in parts.netloc or parts.query or parts.fragment or looks_like_key(parts.path):
            problem = "an address has no login, no query and no key: keys go into the environment."
        else:
            continue
        raise click.BadParameter(problem, param_hint="--server")


# ---- what there is


def _find_models(servers: tuple[str, ...], *, scan: bool) -> FoundModels:
    return FoundModels(
        find_provider_keys(os.environ),
        find_local_servers(os.environ, servers, scan=scan),
        find_model_files(models_folder(os.environ), Path.cwd()),
    )


def _print_found(found: FoundModels, servers: tuple[str, ...]) -> None:
    for provider, variable in found.keys.items():
        say(f"Found {variable}: models of {provider}")
    for server in found.servers:
        say(f"Found {server.title} at {server.base_url}: {_describe_models(server)}")
    for name in found.files:
        say(f"Found the model file {name}")
    answered = {server.base_url for server in found.servers}
    for address in servers:
        if f"{address.rstrip('/').removesuffix('/v1')}/v1" not in answered:
            say(f"No list of models at {address}: is the server running?")
    if not (found.keys or found.servers or found.files):
        say("Found no API key, no model server and no model file.")


def _describe_models(server: FoundServer) -> str:
    if not server.models:
        return "it has no models yet"
    shown = ", ".join(server.models[:MAX_SHOWN_MODELS])
    more = len(server.models) - MAX_SHOWN_MODELS
    return f"{shown} and {more} more" if more > 0 else shown


# ---- the file


def _write_file(path: Path, text: str) -> None:
    """Write the file whole or not at all. Raises ConfigError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except FileExistsError:
        raise ConfigError(f"{path} cannot be written: a part of that path is a file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
