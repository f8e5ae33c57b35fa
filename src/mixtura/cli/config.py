"""The command mixtura config: the configuration file checked, shown, edited, found."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import click

from mixtura import cli
from mixtura.catalog.user_files import file_problem
from mixtura.cli.common import config_option, echo_json, read_config
from mixtura.cli.help_layout import MixturaCommand, MixturaGroup
from mixtura.config.config import Config
from mixtura.config.mistakes import Mistakes
from mixtura.config.paths import config_folder, find_config_file
from mixtura.core.errors import ConfigError, NotAvailableHereError
from mixtura.core.text import pluralize_count, to_one_line

NO_FILE = "there is no configuration file; `mixtura init` writes one"


@click.group(
    name="config", cls=MixturaGroup, examples=("mixtura config check", "mixtura config show --json")
)
def command() -> None:
    """Check, show, edit or locate the configuration file."""


@command.command(
    name="check", cls=MixturaCommand, examples=("mixtura config check --config team.toml",)
)
@config_option
def check_command(config_file: str | None) -> int:
    """Check the configuration file and list every mistake, one per line.

    Each line is FILE:LINE: what is wrong; what would be right. Exit code 0 without mistakes, else
    2. API keys that are missing on this machine are notes, not mistakes.
    """
    return _check_and_report(config_file)


def _check_and_report(config_file: str | None) -> int:
    path = _find_file(config_file)
    mistakes = Mistakes()
    notes: dict[str, None] = {}
    try:
        config = read_config(config_file)
        _check_all_built(config, mistakes, notes)
        mistakes.raise_if_any()
    except ConfigError as error:
        for one in error.mistakes or (error,):
            click.echo(to_one_line(str(one)), err=True)
        return cli.WRONG_USE
    for note in notes:
        click.echo(f"note: {to_one_line(note)}", err=True)
    if path is None:
        click.echo(f"No configuration file ({_looked_for()}). `mixtura init` writes one.")
        return cli.ANSWERED
    models = pluralize_count(len(config.registry.models), "model")
    own = [name for name in config.registry.mixtures if _is_own_mixture(config, name)]
    mixtures = pluralize_count(len(own), "mixture")
    click.echo(f"{to_one_line(path)}: no mistakes ({models}, {mixtures}).")
    return cli.ANSWERED


def _check_all_built(config: Config, mistakes: Mistakes, notes: dict[str, None]) -> None:
    """Make every model and mixture of the user's file; no model is called."""
    names = [*config.registry.models]
    names += [name for name in config.registry.mixtures if _is_own_mixture(config, name)]
    if config.default not in config.registry.mixtures:
        names.append(config.default)
    for name in dict.fromkeys(names):
        try:
            with mistakes.collect():
                _build(config, name)
        except _MissingHereError as missing:
            notes[str(missing)] = None


class _MissingHereError(Exception):
    """A key that is not set on this machine."""


def _build(config: Config, name: str) -> None:
    try:
        config.build_mixture(config.mixture_spec(name))
    except NotAvailableHereError as error:
        raise _MissingHereError(str(error)) from None


def _is_own_mixture(config: Config, name: str) -> bool:
    where = config.registry.mixtures[name].where
    return where is not None and not where.packaged


@command.command(name="show", cls=MixturaCommand, examples=("mixtura config show --json",))
@click.option("--json", "as_json", is_flag=True, help="One JSON list.")
@config_option
def show_command(as_json: bool, config_file: str | None) -> None:
    """Show the settings in effect and where each comes from. Secrets are shown as ***."""
    from mixtura.config.effective_settings import list_settings
    from mixtura.config.toml_text import key_to_toml, value_to_toml

    path = _find_file(config_file)
    settings = list(list_settings(read_config(config_file)))
    if as_json:
        echo_json(
            [
                {"key": ".".join((*one.table, one.key)), "value": one.value, "origin": one.origin}
                for one in settings
            ],
            indent=2,
        )
        return
    shown = to_one_line(path or "no configuration file: every setting is the default")
    click.echo(f"# {shown}")
    table: tuple[str, ...] = ()
    for one in settings:
        if one.table != table:
            table = one.table
            click.echo(f"\n[{'.'.join(map(key_to_toml, table))}]")
        origin = one.origin
        if path is not None and origin.startswith(f"{path}:"):
            origin = f"{path.name}{origin.removeprefix(str(path))}"
        unset = one.value is None
        text = f"{key_to_toml(one.key)} = {value_to_toml(one.value)}"
        line = f"# {one.key} is not set" if unset else f"{text:<48}  # {origin}"
        click.echo(to_one_line(line) if unset else line)


@command.command(name="edit", cls=MixturaCommand, examples=("mixtura config edit",))
@config_option
def edit_command(config_file: str | None) -> int:
    """Open the configuration file in $VISUAL or $EDITOR, then check it."""
    path = _find_file(config_file)
    if path is None:
        raise ConfigError(NO_FILE)
    set_ones = (name for name in ("VISUAL", "EDITOR") if os.environ.get(name, "").strip())
    variable = next(set_ones, None)
    if variable is None:
        raise ConfigError(f"set EDITOR to the editor to use, as in EDITOR=nano; or open {path}")
    try:
        words = shlex.split(os.environ[variable])
    except ValueError:
        raise ConfigError(f"{variable} is not a command: a quotation mark is not closed") from None
    # Whatever the file is called, it is no option of the editor.
    path = path.absolute()
    try:
        # The person's own choice of a program, from their own environment.
        code = subprocess.run([*words, str(path)], check=False).returncode  # noqa: S603
    except OSError as error:
        reason = "not found" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigError(f"the editor that {variable} names cannot be started: {reason}") from None
    if code:
        how = f"ended with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        raise ConfigError(f"the editor that {variable} names {how}")
    if problem := file_problem(path):
        raise ConfigError(f"after the editor, {problem}")
    return _check_and_report(str(path))


@command.command(name="path", cls=MixturaCommand, examples=("mixtura config path",))
@config_option
def path_command(config_file: str | None) -> None:
    """Print the path of the configuration file in effect. Exit code 2 if there is none."""
    path = _find_file(config_file)
    if path is None:
        raise ConfigError(f"{NO_FILE} ({_looked_for()})")
    click.echo(str(path))


def _looked_for() -> str:
    return f"looked for ./mixtura.toml and {config_folder(os.environ) / 'mixtura.toml'}"


def _find_file(config_file: str | None) -> Path | None:
    return find_config_file(config_file, environ=os.environ, folder=Path.cwd())
