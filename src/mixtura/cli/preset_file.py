"""The file that a selected team or a tuned mixture is written into, and what it takes at most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mixtura.cli.common import download_embedded, echo_json
from mixtura.cli.dry_run import check_evaluation, plans_of
from mixtura.core.text import pluralize_count, strip_invisible, to_one_line

if TYPE_CHECKING:
    from mixtura.config.config import Config
    from mixtura.selection.forecast import SelectionForecast
    from mixtura.selection.measurements import SelectionTerms


class PresetOutput(NamedTuple):
    """Where a preset goes and how what came of it is printed, as the options say."""

    out: Path | None
    name: str
    as_json: bool
    dry_run: bool


def take_output(options: dict[str, Any]) -> PresetOutput:
    """The options of `preset_options` that are of the output; they are taken out of *options*."""
    return PresetOutput(*(options.pop(name) for name in PresetOutput._fields))


def require_prompts(models: Sequence[str], data: str | None, called: str) -> None:
    """Raises click.UsageError without models, which are *called* so, and without prompts."""
    if not models:
        raise click.UsageError(f"Which {called}? As in: --models A B C --on prompts.jsonl")
    if data is None:
        raise click.UsageError("--on is missing: the file with the prompts.")


def download_members(config: Config, models: Sequence[str], terms: SelectionTerms) -> None:
    """Download the model that comes along, where a member or the judge is it."""
    for one in (*models, *([terms.judge] if terms.judge else [])):
        download_embedded(config, config.mixture_spec(one))


def print_forecast(before: SelectionForecast) -> None:
    """Print what it takes, before anything is paid."""
    from mixtura.terminal import format_most_dollars

    most = before.max_cost_usd
    price = "" if most is None else f", {format_most_dollars(most)}"
    click.echo(
        f"{pluralize_count(before.prompts, 'prompt')} to search with, {before.held_out:,} held out;"
        f" about {pluralize_count(before.calls, 'call')}{price}.",
        err=True,
    )
    if before.unknown_prices:
        names = ", ".join(map(to_one_line, before.unknown_prices))
        click.echo(f"No price is known for {names}.", err=True)


def print_dry_run(
    config: Config,
    models: Sequence[str],
    terms: SelectionTerms,
    before: SelectionForecast,
    *,
    as_json: bool,
) -> int:
    """Print what it takes and what keeps it from running as it is asked for: the exit code."""
    plans = plans_of(config, models, terms.judge)
    found = check_evaluation(config, plans, before.max_cost_usd, terms.max_cost)
    if as_json:
        echo_json(before._asdict() | found.to_json())
    else:
        print_forecast(before)
        found.print_lines()
    return found.exit_code


def check_file(config: Config, output: PresetOutput, models: Sequence[str]) -> None:
    """
    Raises ConfigError where there is a file that could take no table of that name: before anything
    is paid.
    """
    from mixtura.selection import preset

    if output.out:
        tables = _redacted_tables(config, models)
        preset.check_writable(output.out, output.name, models, tables, _load_written)


def write_table(config: Config, output: PresetOutput, table: str, members: set[str]) -> None:
    """Write the table into the file, if any, and its models' tables where the file lacks them."""
    from mixtura.selection import preset

    if output.out:
        tables = _redacted_tables(config, sorted(members))
        preset.write_preset(output.out, output.name, table, tables, _load_written)


def print_written(output: PresetOutput, table: str) -> None:
    """Print where the table is, or the table where it was written into no file."""
    if output.out:
        where, name = to_one_line(output.out), to_one_line(output.name)
        click.echo(f"Written to {where}: mixtura ask -m {name} …", err=True)
    else:
        click.echo(f"\n{strip_invisible(table)}", nl=False)


def _redacted_tables(config: Config, names: Iterable[str]) -> dict[str, Mapping[str, object]]:
    """The tables of those that have one; a secret in them does not go into another file."""
    tables = {one: table for one in names if (table := config.registry.raw_table(one)) is not None}
    safe = {one: config.redactor.redact_data(table) for one, table in tables.items()}
    for one, table in tables.items():
        if safe[one] != table:
            note = f"The table of {to_one_line(one)} holds a secret: the new file has *** for it."
            click.echo(note, err=True)
    return safe


def _load_written(file: Path) -> object:
    """Read the file as a configuration. Raises ConfigError."""
    from mixtura.config.config import load

    return load(str(file), environ=os.environ, folder=Path.cwd())
