"""The command mixtura compare: whether a mixture is worth it, on one's own prompts."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.catalog.user_files import expand_home
from mixtura.cli.common import (
    SEED,
    config_option,
    count_option,
    create_console,
    deadline_option,
    download_embedded,
    echo_json,
    max_cost_option,
    name_callback,
    name_option,
    read_config,
    require_extra,
)
from mixtura.cli.completed_values import complete_name
from mixtura.cli.dry_run import check_evaluation, plans_of
from mixtura.cli.evaluation_options import (
    announce_preparation,
    connections_option,
    json_option,
    limit_option,
    logs_option,
    scoring_options,
)
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.output_file import check_writable, write_output
from mixtura.cli.progress import show_progress
from mixtura.core.text import pluralize_count, to_one_line

if TYPE_CHECKING:
    from mixtura.config.config import Config
    from mixtura.evals.comparison.forecast import ComparisonForecast
    from mixtura.evals.comparison.result import Comparison
    from mixtura.evals.comparison.settings import ComparisonSettings

# The word of `evals.tasks.jsonl`, which brings Inspect: that takes longer to import than a mistyped
# command should take to be refused.
NO_SCORING = "none"
"""How rows are scored that a judge compares."""


@click.command(
    name="compare",
    cls=MixturaCommand,
    examples=(
        "mixtura compare team --on prompts.jsonl --judge openai/gpt-5.4",
        "mixtura compare team --on test.jsonl --task gsm8k --limit 100 --html team.html",
    ),
)
@click.argument(
    "names", nargs=-1, metavar="MIXTURE…", callback=name_callback, shell_complete=complete_name
)
@scoring_options
@limit_option
@count_option(
    "--seed", "Seed of the answers and of the choice of prompts.",
    within=SEED, default=0, show_default=True,
)  # fmt: skip
@count_option("--epochs", "Answers to each prompt.", default=1)
@name_option("--html", "FILE", "Write the result as an HTML page, too.")
@json_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the calls, their maximum cost and the smallest visible difference; send nothing.",
)
@logs_option
@click.option(
    "--fresh", is_flag=True, help="Start over; with --no-cache every model is asked again."
)
@connections_option
@max_cost_option("Cost limit of the whole comparison, earlier runs included.")
@deadline_option
@click.option(
    "--cache/--no-cache", default=True, help="Share answers among contenders, or ask for each."
)
@config_option
def command(
    names: tuple[str, ...],
    html: str | None,
    as_json: bool,
    dry_run: bool,
    cache: bool,
    config_file: str | None,
    **options: Any,
) -> int:
    """Test whether a mixture beats its members, on your own prompts.

    Each MIXTURE answers every prompt, and so do its baselines: each of its members alone, its
    best member sampled as often (self), a choice among its own proposals (rank, vote), and its
    best member for the same money (money). The prompts, the seed and the proposals are the
    same for all.

    With --task, or with rows that have a `target`, answers are checked. With --judge, a model
    reads two answers at a time, in both orders. A run that was stopped resumes where it was.
    """
    if not names:
        raise click.UsageError("Which mixture? As in: mixtura compare team --on prompts.jsonl")
    config = read_config(config_file, cache=cache, waits_for_all=True)
    announce_preparation("comparison", quiet=as_json)
    terms = _build_terms(options)
    return _run_comparison(config, names, terms, as_json=as_json, dry_run=dry_run, html=html)


def _build_terms(options: dict[str, Any]) -> ComparisonSettings:
    """The settings of a comparison. Raises click.UsageError for what does not go together."""
    with require_extra("eval", "comparing"):
        from mixtura.evals.comparison.settings import ComparisonSettings
        from mixtura.evals.eval_request import EvalRequest
        from mixtura.evals.registry import find_task
    judge, task, scoring, data = (
        options.pop(name) for name in ("judge", "task", "scoring", "data")
    )
    if judge and (task or scoring):
        raise click.UsageError("--task checks answers, --judge compares them: give one of the two.")
    if scoring == NO_SCORING and not judge:
        raise click.UsageError("--scoring none scores nothing: give --judge NAME instead.")
    if task and (kind := find_task(task)) and kind.needs_judge:
        raise click.UsageError(f"{task} is for mixtura eval: --judge NAME compares open answers.")
    if data is None and task in (None, "jsonl"):
        raise click.UsageError("--on is missing: the file with the prompts.")
    request = EvalRequest(
        task=task or "jsonl", data=data, scoring=NO_SCORING if judge else scoring,
        **{name: options.pop(name) for name in ("limit", "seed", "epochs")},
    )  # fmt: skip
    return ComparisonSettings(asked=request, judge=judge, **options)


def _run_comparison(
    config: Config,
    names: tuple[str, ...],
    terms: ComparisonSettings,
    *,
    as_json: bool,
    dry_run: bool,
    html: str | None,
) -> int:
    from mixtura.evals.comparison.forecast import forecast_comparison
    from mixtura.evals.comparison.run import run_comparison

    write = _create_page_writer(html) if html else None

    # The download is neither timed nor counted: it must not come in the middle of a comparison.
    for name in (*names, *([terms.judge] if terms.judge else [])):
        if not dry_run:
            download_embedded(config, config.mixture_spec(name))
    before = forecast_comparison(config, names, terms)
    if not as_json:
        _print_forecast(before, dry_run=dry_run)
    if dry_run:
        plans = plans_of(config, names, terms.judge)
        found = check_evaluation(config, plans, before.max_cost_usd, terms.max_cost)
        if as_json:
            echo_json(before._asdict() | found.to_json())
        found.print_lines(quiet=as_json)
        return found.exit_code
    stderr = create_console(stderr=True)
    with show_progress(stderr, quiet=as_json) as progress:
        comparison = run_comparison(config, names, terms, watch=progress)
    if write:
        write(comparison)
    if as_json:
        echo_json(comparison.to_json())
    else:
        from mixtura.terminal.comparison import render_comparison

        create_console().print(render_comparison(comparison, create_console().width))
    if comparison.capped:
        return cli.CAPPED
    # Nothing to compare with is no success: a script must not read an empty result as a tie.
    return cli.ANSWERED if comparison.pairs else cli.NO_ANSWER


def _print_forecast(before: ComparisonForecast, *, dry_run: bool) -> None:
    """What it is going to take, and what it can show, before anything is paid for."""
    from mixtura.terminal import format_most_dollars, print_line

    stderr = create_console(stderr=not dry_run)
    price = format_most_dollars(before.max_cost_usd)
    if before.unknown_prices:
        price = f"no price is known for {', '.join(map(to_one_line, before.unknown_prices))}"
    prompts = pluralize_count(before.prompts, "prompt")
    print_line(stderr, f"{prompts}, about {pluralize_count(before.calls, 'call')}, {price}.")
    shows = f"a difference of about {100 * before.shows:.0f} points"
    if before.shows >= 1:
        shows = "no difference"
    print_line(
        stderr,
        f"With {prompts} {shows} can be seen; {before.for_two_points:,} would show two points.",
        "dim",
    )


def _create_page_writer(html: str) -> Callable[[Comparison], None]:
    """A function that writes the page. Raises ConfigError now for what it would lack then."""
    with require_extra("report", "a page"):
        from mixtura.reports.comparison_page import comparison_page
    file = expand_home(html)
    check_writable(file, "--html")

    def write_page(comparison: Comparison) -> None:
        write_output(file, comparison_page(comparison, _typed_command()))

    return write_page


def _typed_command() -> str:
    """The command as it was typed."""
    return shlex.join(["mixtura", *sys.argv[1:]])
