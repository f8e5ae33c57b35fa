"""The command mixtura select: the team of one's models that answers one's prompts best."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import (
    DOLLARS,
    POSITIVE_DOLLARS,
    POSITIVE_SECONDS,
    SHARE,
    config_option,
    create_console,
    download_embedded,
    echo_json,
    name_callback,
    read_config,
    require_extra,
)
from mixtura.cli.evaluation_options import (
    connections_option,
    deadline_option,
    json_option,
    limit_option,
    logs_option,
    name_option,
    prompts_option,
)
from mixtura.cli.list_options import ListOptionsCommand
from mixtura.cli.progress import show_progress
from mixtura.core.text import pluralize_count, strip_invisible, to_one_line

if TYPE_CHECKING:
    from mixtura.config.config import Config
    from mixtura.selection.forecast import SelectionForecast
    from mixtura.selection.measurements import SelectionTerms


@click.command(name="select", cls=ListOptionsCommand)
@name_option("--models", "A B C…", "The candidates.", multiple=True)
@prompts_option
@name_option("--task", "TASK", "What they are: gsm8k, math, …")
@name_option("--scoring", "HOW", "How answers are compared with a row's target: exact, number, …")
@name_option(
    "--judge", "NAME", "Who says which of two answers is better, where nothing checks them."
)
@click.option(
    "--goal",
    type=click.Choice(["quality", "cost", "latency"]),
    default="quality",
    show_default=True,
    help="The best team; or the cheapest, or the fastest, that is as good.",
)
@click.option(
    "--size",
    type=click.IntRange(min=1, max=12),
    default=3,
    show_default=True,
    metavar="N",
    help="Members at most.",
)
@name_option("--aggregator", "NAME", "Who aggregates; otherwise that is found out, too.")
@click.option(
    "--answer-cost",
    type=POSITIVE_DOLLARS,
    metavar="DOLLARS",
    help="What an answer of it costs at most.",
)
@click.option(
    "--answer-seconds",
    type=POSITIVE_SECONDS,
    metavar="SECONDS",
    help="What it takes at most, on average.",
)
@click.option(
    "--max-cost",
    type=DOLLARS,
    metavar="DOLLARS",
    help="For the whole selection, earlier runs of it included.",
)
@limit_option
@click.option(
    "--held-out",
    type=SHARE,
    default=1 / 3,
    metavar="SHARE",
    help="Of the prompts, for the winner alone (default: a third).",
)
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    metavar="N",
    help="Answers of each candidate to each prompt; the size at least.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="How the prompts are split.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.toml",
    help="Write the team into this configuration.",
)
@click.option(
    "--name",
    default="selected",
    show_default=True,
    callback=name_callback,
    help="What the team is called there.",
)
@json_option
@click.option("--dry-run", is_flag=True, help="Say what it would take; ask no one.")
@logs_option
@connections_option
@deadline_option
@click.option(
    "--cache/--no-cache", default=True, help="Share drafts among teams, or draw anew for each."
)
@config_option
def command(
    models: tuple[str, ...],
    data: str | None,
    out: Path | None,
    name: str,
    as_json: bool,
    dry_run: bool,
    cache: bool,
    config_file: str | None,
    **options: Any,
) -> int:
    """Find the team that answers your prompts best.

    Every candidate answers every prompt a few times; teams of them share those answers. A search
    measures what the aggregator makes of them: who aggregates, draws of one model, teams that
    grow by whoever adds most. Prompts that the search never saw judge the winner, beside the
    best model alone and the best single-proposer team. A run that was stopped goes on where it was.

    \b
      mixtura select --models small big other --on test.jsonl --task gsm8k --out mixtura.toml
      mixtura select --models a b c --on prompts.jsonl --judge openai/gpt-5.4 --goal cost
    """
    if not models:
        raise click.UsageError("Which candidates? As in: --models A B C --on prompts.jsonl")
    if data is None:
        raise click.UsageError("--on is missing: the file with the prompts.")
    config = read_config(config_file, cache=cache)
    terms = _build_terms(data, options)
    for one in (*models, *([terms.judge] if terms.judge else [])):
        if not dry_run:
            download_embedded(config, config.mixture_spec(one))
    return _run_selection(
        config, models, terms, out=out, name=name, as_json=as_json, dry_run=dry_run
    )


def _build_terms(data: str, options: dict[str, Any]) -> SelectionTerms:
    with require_extra("eval", "selection"):
        from mixtura.selection.measurements import SelectionTerms
        from mixtura.selection.search import NO_BOUNDS
    bounds = NO_BOUNDS._replace(
        dollars=options.pop("answer_cost") or NO_BOUNDS.dollars,
        seconds=options.pop("answer_seconds") or NO_BOUNDS.seconds,
    )
    return SelectionTerms(data=data, bounds=bounds, **options)


def _run_selection(
    config: Config,
    models: tuple[str, ...],
    terms: SelectionTerms,
    *,
    out: Path | None,
    name: str,
    as_json: bool,
    dry_run: bool,
) -> int:
    from mixtura.selection import preset
    from mixtura.selection.forecast import forecast_selection
    from mixtura.selection.run import select_team

    before = forecast_selection(config, models, terms)
    if dry_run and as_json:
        echo_json(before._asdict())
        return cli.ANSWERED
    _print_forecast(before)
    if dry_run:
        return cli.ANSWERED
    if out:
        # A file that cannot take the team is found before the search is paid.
        preset.check_writable(out, name, models, _redacted_tables(config, models), _load_written)
    with show_progress(create_console(aside=True), quiet=as_json) as progress:
        selection = select_team(config, models, terms, watch=progress)
    best = selection.best
    table = preset.mixture_table(name, best.members, best.aggregator, selection.summary_line)
    if out:
        _write_team(config, out, name, table, {*best.members, best.aggregator})
    if as_json:
        echo_json(selection.to_json() | {"preset": table})
        return cli.ANSWERED
    from mixtura.terminal.selections import render_selection

    create_console().print(render_selection(selection, create_console().width))
    if out:
        click.echo(f"Written to {to_one_line(out)}: mixtura ask -m {to_one_line(name)} …", err=True)
    else:
        click.echo(f"\n{strip_invisible(table)}", nl=False)
    return cli.ANSWERED


def _print_forecast(before: SelectionForecast) -> None:
    """What it takes, before anything is paid."""
    from mixtura.terminal import format_dollars

    most = "" if before.max_cost_usd is None else f", at most {format_dollars(before.max_cost_usd)}"
    click.echo(
        f"{pluralize_count(before.prompts, 'prompt')} to search with, {before.held_out:,} held out;"
        f" about {pluralize_count(before.calls, 'call')}{most}.",
        err=True,
    )
    if before.unknown_prices:
        names = ", ".join(map(to_one_line, before.unknown_prices))
        click.echo(f"No price is known for {names}.", err=True)


def _write_team(config: Config, out: Path, name: str, table: str, members: set[str]) -> None:
    """Write the team down, and the tables of its models where the file lacks them."""
    from mixtura.selection import preset

    preset.write_preset(out, name, table, _redacted_tables(config, sorted(members)), _load_written)


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
