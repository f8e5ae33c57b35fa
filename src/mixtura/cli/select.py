"""mixtura select"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import (
    bring_embedded,
    config_option,
    console,
    echo_json,
    named,
    needs,
    read_config,
    words,
)
from mixtura.cli.listed import Listing
from mixtura.cli.progress import progress
from mixtura.text import one_line, plural, visible

if TYPE_CHECKING:
    from mixtura.config import Config
    from mixtura.selection.estimate import Estimate
    from mixtura.selection.measuring import Terms

POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command(name="select", cls=Listing)
@click.option("--models", multiple=True, metavar="A B C…", callback=named, help="The candidates.")
@click.option("--on", "data", metavar="FILE", callback=words, help="The prompts: JSON lines.")
@click.option("--task", metavar="TASK", callback=named, help="What they are: gsm8k, math, …")
@click.option(
    "--scoring",
    metavar="HOW",
    callback=named,
    help="How answers are compared with a row's target: exact, number, …",
)
@click.option(
    "--judge",
    metavar="NAME",
    callback=named,
    help="Who says which of two answers is better, where nothing checks them.",
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
@click.option(
    "--aggregator",
    metavar="NAME",
    callback=named,
    help="Who aggregates; otherwise that is found out, too.",
)
@click.option(
    "--answer-cost", type=POSITIVE, metavar="DOLLARS", help="What an answer of it costs at most."
)
@click.option(
    "--answer-seconds", type=POSITIVE, metavar="SECONDS", help="What it takes at most, on average."
)
@click.option(
    "--max-cost",
    type=click.FloatRange(min=0),
    metavar="DOLLARS",
    help="For the whole selection, earlier runs of it included.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most.")
@click.option(
    "--held-out",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
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
    callback=named,
    help="What the team is called there.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--dry-run", is_flag=True, help="Say what it would take; ask no one.")
@click.option(
    "--logs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("logs"),
    metavar="DIR",
    show_default=True,
    help="Where answers are kept.",
)
@click.option(
    "--connections",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Prompts under way at once.",
)
@click.option("--deadline", type=POSITIVE, metavar="SECONDS", help="No answer takes longer.")
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
    **given: Any,
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
    terms = _terms(data, given)
    for one in (*models, *([terms.judge] if terms.judge else [])):
        if not dry_run:
            bring_embedded(config, config.plan(one))
    return _selected(config, models, terms, out=out, name=name, as_json=as_json, dry_run=dry_run)


def _terms(data: str, given: dict[str, Any]) -> Terms:
    with needs("eval", "selection"):
        from mixtura.selection.measuring import Terms
        from mixtura.selection.search import NO_BOUNDS
    bounds = NO_BOUNDS._replace(
        dollars=given.pop("answer_cost") or NO_BOUNDS.dollars,
        seconds=given.pop("answer_seconds") or NO_BOUNDS.seconds,
    )
    return Terms(data=data, bounds=bounds, **given)


def _selected(
    config: Config,
    models: tuple[str, ...],
    terms: Terms,
    *,
    out: Path | None,
    name: str,
    as_json: bool,
    dry_run: bool,
) -> int:
    from mixtura.selection import preset
    from mixtura.selection.estimate import estimate
    from mixtura.selection.run import select

    before = estimate(config, models, terms)
    if dry_run and as_json:
        echo_json(before._asdict())
        return cli.ANSWERED
    _say_before(before)
    if dry_run:
        return cli.ANSWERED
    if out:
        preset.possible(out, name, models, _tables(config, models), _readable)
    with progress(console(aside=True), quiet=as_json) as shown:
        found = select(config, models, terms, watch=shown)
    best = found.best
    table = preset.table(name, best.members, best.aggregator, found.told)
    if out:
        _keep(config, out, name, table, {*best.members, best.aggregator})
    if as_json:
        echo_json(found.json() | {"preset": table})
        return cli.ANSWERED
    from mixtura.render.selected import selected

    console().print(selected(found, console().width))
    if out:
        click.echo(f"Written to {one_line(out)}: mixtura ask -m {one_line(name)} …", err=True)
    else:
        click.echo(f"\n{visible(table)}", nl=False)
    return cli.ANSWERED


def _say_before(before: Estimate) -> None:
    """What it takes, before anything is paid."""
    from mixtura.render import dollars

    most = "" if before.max_cost_usd is None else f", at most {dollars(before.max_cost_usd)}"
    click.echo(
        f"{plural(before.prompts, 'prompt')} to search with, {before.held_out:,} held out;"
        f" about {plural(before.calls, 'call')}{most}.",
        err=True,
    )
    if before.unknown_prices:
        names = ", ".join(map(one_line, before.unknown_prices))
        click.echo(f"No price is known for {names}.", err=True)


def _keep(config: Config, out: Path, name: str, table: str, members: set[str]) -> None:
    """Write the team down, and the tables of its models where the file lacks them."""
    from mixtura.selection import preset

    preset.written_to(out, name, table, _tables(config, sorted(members)), _readable)


def _tables(config: Config, names: Iterable[str]) -> dict[str, Mapping[str, object]]:
    """The tables of those that have one; a secret in them does not go into another file."""
    tables = {one: said for one in names if (said := config.said(one)) is not None}
    safe = {one: config.redactor.data(said) for one, said in tables.items()}
    for one, said in tables.items():
        if safe[one] != said:
            note = f"The table of {one_line(one)} holds a secret: the new file has *** for it."
            click.echo(note, err=True)
    return safe


def _readable(file: Path) -> object:
    """The file as a configuration. Raises ConfigError."""
    from mixtura.config import load

    return load(str(file), environ=os.environ, folder=Path.cwd())
