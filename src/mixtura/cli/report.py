"""mixtura report"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixtura import cli
from mixtura.cli.common import (
    bring_embedded,
    cap_options,
    config_option,
    console,
    echo_json,
    named,
    needs,
    read_config,
)
from mixtura.cli.listed import Listing, ListingGroup
from mixtura.cli.progress import progress
from mixtura.cli.report_files import budget, diversity, json_option, similarity, table
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.text import one_line

if TYPE_CHECKING:
    from mixtura.evals.run import Asked
    from mixtura.plan import Plan
    from mixtura.reports.page import Written


@click.group(name="report", cls=ListingGroup, invoke_without_command=True)
@click.option(
    "--from", "folder", metavar="RUNS", callback=named,
    help="A folder of evaluations: what `mixtura eval` and its like have logged.",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", default="report", show_default=True, callback=named,
    help="Where report.html, the figures and the tables go.",
)  # fmt: skip
@json_option
@click.pass_context
def command(ctx: click.Context, folder: str | None, out: str, as_json: bool) -> None:
    """Redo the paper's analyses on your own data.

    With --from, all eight of them on recorded evaluations, as one page with its figures (SVG,
    PNG) and tables (CSV) beside it. The commands below work on files: FILE is a list of answers
    as AlpacaEval's model_outputs.json has it. Lists of files end at the next option.
    """
    if ctx.invoked_subcommand is not None:
        return
    if folder is None:
        raise click.UsageError("--from RUNS, or one of the commands, is missing.", ctx)
    with needs("report", "the report"):
        _report(Path(folder), Path(out), as_json=as_json)


def _report(folder: Path, out: Path, *, as_json: bool) -> None:
    from mixtura.evals import answers
    from mixtura.reports import page, runs

    every = runs.by_task(answers.read(folder))
    if not every:
        raise ConfigError(
            f"{folder}: no evaluation of a mixture or a model is in it; `mixtura report collect`"
            " brings what a report needs"
        )
    try:
        written = page.write(every, out)
    except OSError as error:
        raise cli.OutputLostError(error) from None
    if as_json:
        echo_json({"page": str(written.file), "tasks": written.json()})
    else:
        _tell(written)


def _tell(written: Written) -> None:
    from mixtura.render import say

    shown = console()
    for task, made in written.tasks.items():
        say(shown, f"Task {one_line(task)}", "bold")
        for section in made:
            for title in section.titles() or [f"not there: {section.words.missing}"]:
                say(shown, f"  {title}", "" if section.rows else "dim")
    say(shown, f"\n{written.file}", "bold")


for one in (similarity, diversity, budget):
    command.add_command(one)


# ---- the runs that it takes


@command.command(cls=Listing)
@click.option(
    "--models", metavar="MODEL…", required=True, multiple=True, callback=named,
    help="Who is compared; the first is the fixed aggregator.",
)  # fmt: skip
@click.option("--on", "data", metavar="FILE", callback=named, help="The prompts: JSON lines.")
@click.option("--task", metavar="TASK", callback=named, help="What they are: gsm8k, math, …")
@click.option("--judge", metavar="NAME", callback=named, help="Who grades what no task checks.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most.")
@click.option("--seed", type=int, metavar="N", help="Draws the prompts that a limit takes.")
@click.option("--from", "folder", metavar="RUNS", default="logs", show_default=True, callback=named,
              help="Where evaluations are kept: what is there is not asked again.")  # fmt: skip
@click.option("--out", metavar="DIR", default="report", show_default=True, callback=named,
              help="Where the report goes.")  # fmt: skip
@click.option("--connections", type=click.IntRange(min=1), default=10, show_default=True,
              help="Prompts under way at once.")  # fmt: skip
@click.option("--max-tokens", type=click.IntRange(min=1), metavar="N",
              help="Of every answer of every model.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List the mixtures and their calls; ask no one.")
@cap_options
@config_option
@json_option
def collect(
    models: tuple[str, ...],
    data: str | None,
    task: str | None,
    judge: str | None,
    limit: int | None,
    seed: int | None,
    folder: str,
    out: str,
    connections: int,
    max_tokens: int | None,
    dry_run: bool,
    max_cost: float | None,
    deadline: float | None,
    cache: bool | None,
    config_file: str | None,
    as_json: bool,
) -> None:
    """Run what the analyses need, then report.

    Each model alone; every model as the aggregator of all of them, at two and three layers; the
    ranker; each model as the only proposer; 1, 2, 3 and 6 proposals, of several models and of
    one. Drafts are shared among them. A run that was stopped goes on where it was.
    """
    config = read_config(config_file, cache=True if cache is None else cache)
    with needs("report", "the report"):
        from mixtura.evals.run import Asked
        from mixtura.reports.grid import grid

        plans = grid(models, max_tokens)
        for model in models:
            config.plan(model)
        if dry_run:
            return _tell_plans(config, plans)
        for model in models:
            bring_embedded(config, config.plan(model))
        asked = Asked(
            task=task or ("jsonl" if data else "gsm8k"), data=data, judge=judge, limit=limit,
            seed=seed,
        )  # fmt: skip
        _collect(
            config, plans, asked, Path(folder), connections=connections, max_cost=max_cost,
            deadline=deadline, quiet=as_json,
        )  # fmt: skip
        return _report(Path(folder), Path(out), as_json=as_json)


def _tell_plans(config: Config, plans: Iterable[Plan]) -> None:
    rows = [[one_line(plan.name), str(config.calls(plan))] for plan in plans]
    table(["mixture or model", "calls of an answer"], rows)


def _collect(
    config: Config,
    plans: Sequence[Plan],
    asked: Asked,
    folder: Path,
    *,
    connections: int,
    max_cost: float | None,
    deadline: float | None,
    quiet: bool,
) -> None:
    from mixtura.reports.grid import collect

    with progress(console(aside=True), quiet=quiet) as shown:
        collect(
            config, plans, asked, logs=folder, max_cost=max_cost, deadline=deadline,
            connections=connections, watch=shown,
        )  # fmt: skip
