"""The command mixtura report: the paper's analyses on one's own runs and files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mixtura import cli
from mixtura.catalog.user_files import expand_home, path_kind
from mixtura.cli import common
from mixtura.cli.dry_run import DryRunFindings, find_missing
from mixtura.cli.evaluation_options import (
    announce_preparation,
    connections_option,
    json_option,
    limit_option,
    prompts_option,
)
from mixtura.cli.list_options import ListOptionsCommand, ListOptionsGroup
from mixtura.cli.progress import show_progress
from mixtura.cli.report_files import budget, diversity, print_table, similarity
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

if TYPE_CHECKING:
    from mixtura.config.plan import MixtureSpec
    from mixtura.evals.eval_request import EvalRequest
    from mixtura.reports.page import WrittenReport


@click.group(
    name="report",
    cls=ListOptionsGroup,
    invoke_without_command=True,
    examples=(
        "mixtura report --from logs --out report",
        "mixtura report collect --models a b c --on prompts.jsonl --judge openai/gpt-5.4",
        "mixtura report diversity --answers a.json b.json",
    ),
)
@common.name_option(
    "--from", "RUNS", "Folder of evaluations, as `mixtura eval` writes them.",
    "folder",
)  # fmt: skip
@common.name_option(
    "--out", "DIR", "Folder for report.html, the figures and the tables.",
    default="report", show_default=True,
)  # fmt: skip
@json_option
@click.pass_context
def command(ctx: click.Context, folder: str | None, out: str, as_json: bool) -> None:
    """Run the paper's analyses on your own results.

    With --from, compare every recorded mixture with the best model alone, run the paper's
    analyses, and write one page, with its figures (SVG, PNG) and tables (CSV) beside it.
    `collect` runs the evaluations that they need. The other commands work on files of answers, in
    the format of AlpacaEval's model_outputs.json. A list of files ends at the next option.
    """
    if ctx.invoked_subcommand is not None:
        return
    if folder is None:
        raise click.UsageError("--from RUNS, or one of the commands, is missing.", ctx)
    if path_kind(expand_home(folder)) != "folder":
        raise ConfigError(f"--from: there is no folder {to_one_line(folder)}")
    with common.require_extra("report", "the report"):
        _write_report(expand_home(folder), expand_home(out), as_json=as_json)


def _write_report(folder: Path, out: Path, *, as_json: bool) -> None:
    from mixtura.evals import log_reader
    from mixtura.reports import page, runs

    every = runs.group_by_task(log_reader.read_logs(folder))
    if not every:
        raise ConfigError(
            f"{folder}: it has no evaluation of a mixture or a model; `mixtura report collect`"
            " runs the evaluations that a report needs"
        )
    try:
        written = page.write_report(every, out)
    except OSError as error:
        # The exit code for an output that cannot be written, whichever output it is.
        raise cli.OutputLostError(error) from None
    if as_json:
        common.echo_json({"page": str(written.file), "tasks": written.to_json()})
    else:
        _print_sections(written)


def _print_sections(written: WrittenReport) -> None:
    from mixtura.terminal import print_indented, print_line

    console = common.create_console()
    for task, made in written.tasks.items():
        print_line(console, f"Task {to_one_line(task)}", "bold")
        for section in made:
            missing = f"{section.words.title} Not included. {section.words.missing}"
            for title in section.figure_titles() or [missing]:
                print_indented(console, title, "" if section.rows else "dim")
    print_line(console, f"\n{written.file}", "bold")


for one in (similarity, diversity, budget):
    command.add_command(one)


# ---- the runs that it takes


@command.command(
    cls=ListOptionsCommand,
    examples=("mixtura report collect --models a b c --on prompts.jsonl --judge openai/gpt-5.4",),
)
@common.name_option(
    "--models", "MODEL…", "Models to compare; the first is the fixed aggregator.",
    required=True, multiple=True,
)  # fmt: skip
@prompts_option
@common.name_option("--task", "TASK", "Check answers as this benchmark does: gsm8k, math, …")
@common.name_option("--judge", "NAME", "Model that grades answers that no task checks.")
@limit_option
@click.option("--seed", type=common.SEED, metavar="N", help="Seed of the choice of prompts.")
@common.name_option(
    "--from", "RUNS", "Folder of evaluations; existing answers are not asked for again.", "folder",
    default="logs", show_default=True,
)  # fmt: skip
@common.name_option("--out", "DIR", "Folder for the report.", default="report", show_default=True)
@connections_option
@click.option("--max-tokens", type=common.ANSWER_TOKENS, metavar="N",
              help="Length limit of every answer, in tokens.")  # fmt: skip
@click.option(
    "--dry-run", is_flag=True, help="List the mixtures and their calls, and send nothing."
)
@common.cap_options
@common.config_option
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
) -> int:
    """Run the evaluations that the analyses need, then write the report.

    Each model alone; every model as the aggregator of all of them, at two and three layers; the
    ranker; each model as the only proposer; 1, 2, 3 and 6 proposals, from several models and
    from one. Proposals are shared among them. A run that was stopped resumes where it was.
    """
    # Cached unless refused: the mixtures share their drafts, which is most of the price.
    config = common.read_config(config_file, cache=cache is not False, waits_for_all=True)
    announce_preparation("evaluations", quiet=as_json)
    with common.require_extra("report", "the report"):
        from mixtura.evals.eval_request import EvalRequest
        from mixtura.reports.experiments import experiment_mixtures

        plans = experiment_mixtures(models, max_tokens)
        # Refuses an unknown name before any of the others is asked.
        for model in models:
            config.mixture_spec(model)
        if dry_run:
            return _print_plans(config, plans, [*models, *([judge] if judge else [])])
        for model in models:
            common.download_embedded(config, config.mixture_spec(model))
        request = EvalRequest(
            task=task or ("jsonl" if data else "gsm8k"), data=data, judge=judge, limit=limit,
            seed=seed,
        )  # fmt: skip
        capped = _run_collection(
            config, plans, request, Path(folder), connections=connections, max_cost=max_cost,
            deadline=deadline, quiet=as_json,
        )  # fmt: skip
        _write_report(Path(folder), Path(out), as_json=as_json)
        return cli.CAPPED if capped else cli.ANSWERED


def _print_plans(config: Config, plans: Iterable[MixtureSpec], models: Sequence[str]) -> int:
    rows = [[to_one_line(plan.name), str(config.count_calls(plan))] for plan in plans]
    print_table(["mixture or model", "calls of an answer"], rows)
    found = DryRunFindings(find_missing(config, map(config.mixture_spec, models)))
    found.print_lines()
    return found.exit_code


def _run_collection(
    config: Config,
    plans: Sequence[MixtureSpec],
    request: EvalRequest,
    folder: Path,
    *,
    connections: int,
    max_cost: float | None,
    deadline: float | None,
    quiet: bool,
) -> bool:
    """Whether the cap left something out."""
    from mixtura.reports.experiments import run_experiments

    with show_progress(common.create_console(stderr=True), quiet=quiet) as progress:
        results = run_experiments(
            config, plans, request, logs=folder, max_cost=max_cost, deadline=deadline,
            connections=connections, watch=progress,
        )  # fmt: skip
    return any(result.capped for result in results)
