"""mixtura show"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from mixtura import cli
from mixtura.cli.common import config_option, console, echo_json, named, read_config
from mixtura.cli.runs import recorded
from mixtura.config import Config, Plan
from mixtura.plan import AUTO
from mixtura.record import Record
from mixtura.text import one_line, plural


@click.command(name="show")
@click.argument("name", required=False, callback=named)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--html", "file", metavar="FILE", callback=named,
    help="Write the run into one file that any browser shows; - for standard output.",
)  # fmt: skip
@config_option
def command(name: str | None, as_json: bool, file: str | None, config_file: str | None) -> None:
    """Draw a mixture: its layers, its aggregator, the calls that one answer takes.

    Or show a run that was kept, as it was when it ran: NAME is its id, the beginning of it,
    or `last`. Without a NAME, list the mixtures there are.
    """
    config = read_config(config_file)
    if name is None:
        if file is not None:
            raise click.UsageError("--html goes with a run: mixtura show last --html FILE")
        _list(config, as_json)
    elif config.knows(name):
        if file is not None:
            raise click.UsageError(f"--html goes with a run, and {name} is none.")
        _mixture(config, name, as_json=as_json)
    else:
        _run(recorded(config, name), as_json=as_json, file=file)


def _run(run: Record, *, as_json: bool, file: str | None) -> None:
    if file is not None:
        _write_html(run, file)
    elif as_json:
        echo_json(run)
    else:
        from mixtura.render import replayed

        replayed(run, console())


def _write_html(run: Record, file: str) -> None:
    from mixtura.server import page

    whole = page.exported(run)
    if file == "-":
        click.echo(whole)
        return
    try:
        Path(file).write_text(whole, encoding="utf-8")
    except OSError as error:
        raise cli.OutputLostError(error) from None


def _mixture(config: Config, name: str, *, as_json: bool) -> None:
    plan = config.plan(name)
    if as_json:
        echo_json(as_data(plan, config))
        return
    from mixtura.render import drawing, say

    shown = console()
    shown.print(drawing(plan, config.calls(plan), shown.width))
    if name == AUTO or plan != config.mixtures().get(name, plan):
        auto = config.auto()
        say(shown, f"\nauto is {one_line(auto.aggregator)} here: {auto.why}", "dim")


def as_data(plan: Plan, config: Config) -> dict[str, Any]:
    """A plan as the documented JSON; *pattern* is there where it is not the paper's mixture."""
    kind = plan.pattern.kind
    row: dict[str, Any] = {} if kind == "mixture" else {"pattern": kind}
    return row | {
        "name": plan.name,
        "layers": [[s.model for s in layer for _ in range(s.samples)] for layer in plan.layers],
        "aggregator": plan.aggregator,
        "calls": config.calls(plan),
    }


def _list(config: Config, as_json: bool) -> None:
    plans = [config.plan(name) for name in config.mixtures()]
    if as_json:
        echo_json([as_data(plan, config) for plan in plans])
        return
    shown = console()
    names = [one_line(plan.name) for plan in plans]
    longest = max(map(len, names))
    for name, plan in zip(names, plans, strict=True):
        proposers = sum(s.samples for layer in plan.layers for s in layer)
        size = f"{plural(plan.depth, 'layer')}, {plural(config.calls(plan), 'call')}"
        team = f"{plural(proposers, 'proposal')}, then {one_line(plan.aggregator)}"
        line = f"{name:<{longest}}  {size}: {team}"
        if shown.is_terminal:
            indent = " " * min(longest + 2, shown.width // 2)
            line = textwrap.fill(
                line,
                shown.width,
                subsequent_indent=indent,
                break_on_hyphens=False,
                break_long_words=False,
            )
        click.echo(line)
