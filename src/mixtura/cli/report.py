"""mixtura report"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixtura import cli
from mixtura.cli.common import (
    cap_options,
    config_option,
    create_console,
    download_embedded,
    echo_json,
    name_callback,
    read_config,
    require_extra,
)
from mixtura.cli.list_options import ListOptionsCommand, ListOptionsGroup
from mixtura.cli.progress import show_progress
from mixtura.cli.report_files import budget, diversity, json_option, print_table, similarity
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

if TYPE_CHECKING:
    from mixtura.config.plan import MixtureSpec
    from mixtura.evals.eval_request import EvalRequest
    from mixtura.reports.page import WrittenReport


@click.group(name="report", cls=ListOptionsGroup, invoke_without_command=True)
@click.option(
    "--from", "folder", metavar="RUNS", callback=name_callback,
    help="A folder of evaluations: what `mixtura eval` and its like have logged.",
)  # fmt: skip
@click.option(
    "--out", metavar="DIR", default="report", show_default=True, callback=name_callback,
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
    with require_extra("report", "the report"):
        _write_report(Path(folder), Path(out), as_json=as_json)


def _write_report(folder: Path, out: Path, *, as_json: bool) -> None:
    from mixtura.evals import log_reader
    from mixtura.reports import page, runs

    every = runs.group_by_task(log_reader.read_logs(folder))
    if not every:
        raise ConfigError(
            f"{folder}: no evaluation of a mixture or a model is in it; `mixtura report collect`"
            " brings what a report needs"
        )
    try:
        written = page.write_report(every, out)
    except OSError as error:
        raise cli.OutputLostError(error) from None
    if as_json:
        echo_json({"page": str(written.file), "tasks": written.to_json()})
    else:
        _print_sections(written)


def _print_sections(written: WrittenReport) -> None:
    from mixtura.terminal import print_line

    shown = create_console()
    for task, made in written.tasks.items():
        print_line(shown, f"Task {to_one_line(task)}", "bold")
        for section in made:
            for title in section.figure_titles() or [f"not there: {section.words.missing}"]:
                print_line(shown, f"  {title}", "" if section.rows else "dim")
    print_line(shown, f"\n{written.file}", "bold")


for one in (similarity, diversity, budget):
    command.add_command(one)


# ---- the runs that it takes


@command.command(cls=ListOptionsCommand)
@click.option(
    "--models", metavar="MODEL…", required=True, multiple=True, callback=name_callback,
    help="Who is compared; the first is the fixed aggregator.",
)  # fmt: skip
@click.option(
    "--on", "data", metavar="FILE", callback=name_callback, help="The prompts: JSON lines."
)
@click.option(
    "--task", metavar="TASK", callback=name_callback, help="What they are: gsm8k, math, …"
)
@click.option(
    "--judge", metavar="NAME", callback=name_callback, help="Who grades what no task checks."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most.")
@click.option("--seed", type=int, metavar="N", help="Draws the prompts that a limit takes.")
@click.option("--from", "folder", metavar="RUNS", default="logs", show_default=True,
              callback=name_callback,
              help="Where evaluations are kept: what is there is not asked again.")  # fmt: skip
@click.option("--out", metavar="DIR", default="report", show_default=True, callback=name_callback,
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
    with require_extra("report", "the report"):
        from mixtura.evals.eval_request import EvalRequest
        from mixtura.reports.experiments import experiment_mixtures

        plans = experiment_mixtures(models, max_tokens)
        for model in models:
            config.mixture_spec(model)
        if dry_run:
            return _print_plans(config, plans)
        for model in models:
            download_embedded(config, config.mixture_spec(model))
        asked = EvalRequest(
            task=task or ("jsonl" if data else "gsm8k"), data=data, judge=judge, limit=limit,
            seed=seed,
        )  # fmt: skip
        _run_collection(
            config, plans, asked, Path(folder), connections=connections, max_cost=max_cost,
            deadline=deadline, quiet=as_json,
        )  # fmt: skip
        return _write_report(Path(folder), Path(out), as_json=as_json)


def _print_plans(config: Config, plans: Iterable[MixtureSpec]) -> None:
    rows = [[to_one_line(plan.name), str(config.count_calls(plan))] for plan in plans]
    print_table(["mixture or model", "calls of an answer"], rows)


def _run_collection(
    config: Config,
    plans: Sequence[MixtureSpec],
    asked: EvalRequest,
    folder: Path,
    *,
    connections: int,
    max_cost: float | None,
    deadline: float | None,
    quiet: bool,
) -> None:
    from mixtura.reports.experiments import run_experiments

    with show_progress(create_console(aside=True), quiet=quiet) as shown:
        run_experiments(
            config, plans, asked, logs=folder, max_cost=max_cost, deadline=deadline,
            connections=connections, watch=shown,
        )  # fmt: skip
