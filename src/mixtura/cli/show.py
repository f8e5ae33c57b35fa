"""The command mixtura show: a mixture drawn, or a run as it was when it ran."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mixtura import cli
from mixtura.cli.common import config_option, create_console, echo_json, name_callback, read_config
from mixtura.cli.completed_values import complete_file, complete_name_or_run
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.runs import find_run
from mixtura.config.config import Config
from mixtura.config.plan import AUTO, MixtureSpec
from mixtura.core.text import to_one_line
from mixtura.storage.run_record import Record


@click.command(
    name="show",
    cls=MixturaCommand,
    examples=("mixtura show", "mixtura show paper", "mixtura show last --html run.html"),
)
@click.argument("name", required=False, callback=name_callback, shell_complete=complete_name_or_run)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--html", "file", metavar="FILE", callback=name_callback, shell_complete=complete_file,
    help="Write the run as a single HTML file; - for standard output.",
)  # fmt: skip
@click.option("--patterns", is_flag=True, help="List the patterns that `pattern =` may name.")
@config_option
def command(
    name: str | None, as_json: bool, file: str | None, patterns: bool, config_file: str | None
) -> None:
    """Draw a mixture, or show a past run.

    NAME is a mixture, or the id of a run, the start of one, or `last`. Of a mixture it shows
    the layers, the aggregator and the number of calls for an answer; of a run, what every
    model said. Without NAME, list the mixtures.
    """
    if patterns:
        if name is not None or file is not None:
            raise click.UsageError("--patterns stands alone.")
        _list_patterns(as_json)
        return
    config = read_config(config_file)
    if name is None:
        if file is not None:
            raise click.UsageError("--html goes with a run: mixtura show last --html FILE")
        _list_mixtures(config, as_json)
    elif config.registry.is_known_name(name):
        if file is not None:
            raise click.UsageError(f"--html goes with a run, and {name} is none.")
        _show_mixture(config, name, as_json=as_json)
    else:
        _show_run(find_run(config, name), as_json=as_json, file=file)


def _list_patterns(as_json: bool) -> None:
    from mixtura.catalog.patterns import all_patterns
    from mixtura.config.pattern_settings import own_keys

    specs = all_patterns()
    if as_json:
        echo_json([{"pattern": s.name, "help": s.help, "keys": own_keys(s)} for s in specs])
        return
    longest = max(len(to_one_line(spec.name)) for spec in specs)
    for spec in specs:
        keys = f" ({', '.join(own_keys(spec))})" if own_keys(spec) else ""
        click.echo(f"{to_one_line(spec.name):<{longest}}  {to_one_line(spec.help + keys)}")


def _show_run(run: Record, *, as_json: bool, file: str | None) -> None:
    if file is not None:
        _write_html(run, file)
    elif as_json:
        echo_json(run)
    else:
        from mixtura.terminal import replay_run

        replay_run(run, create_console())


def _write_html(run: Record, file: str) -> None:
    from mixtura.web import assets

    whole = assets.export_run(run)
    if file == "-":
        click.echo(whole)
        return
    try:
        Path(file).write_text(whole, encoding="utf-8")
    except OSError as error:
        raise cli.OutputLostError(error) from None


def _show_mixture(config: Config, name: str, *, as_json: bool) -> None:
    plan = config.mixture_spec(config.default_names.get(name, name))
    if as_json:
        echo_json(mixture_json(plan, config))
        return
    from mixtura.terminal import mixture_diagram, print_line

    console = create_console()
    console.print(mixture_diagram(plan, config.count_calls(plan), console.width))
    # Only where the machine chose: what a file says in full needs no reason.
    if name == AUTO or plan != config.registry.mixtures.get(name, plan):
        auto = config.registry.auto_defaults()
        print_line(console, f"\nThe models were chosen automatically: {auto.why}.", "dim")


def mixture_json(plan: MixtureSpec, config: Config) -> dict[str, Any]:
    """A plan as the documented JSON; *pattern* is there where it is not the paper's mixture."""
    kind = plan.pattern.kind
    row: dict[str, Any] = {} if kind == "mixture" else {"pattern": kind}
    return row | {
        "name": plan.name,
        "layers": [[s.model for s in layer for _ in range(s.samples)] for layer in plan.layers],
        "aggregator": plan.aggregator,
        "calls": config.count_calls(plan),
    }


def _list_mixtures(config: Config, as_json: bool) -> None:
    plans = [config.mixture_spec(name) for name in config.registry.mixtures]
    if as_json:
        echo_json([mixture_json(plan, config) for plan in plans])
        return
    rows = [
        (
            to_one_line(plan.name), str(plan.layer_count), str(config.count_calls(plan)),
            str(sum(seat.samples for layer in plan.layers for seat in layer)),
            to_one_line(plan.aggregator),
        )
        for plan in plans
    ]  # fmt: skip
    from mixtura.terminal import print_table

    headings = ("mixture", "layers", "calls", "proposals", "answer by")
    print_table(create_console(), headings, rows, right=headings[1:4])
