"""mixtura compare"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import (
    DOLLARS,
    POSITIVE_SECONDS,
    config_option,
    create_console,
    download_embedded,
    echo_json,
    name_callback,
    read_config,
    require_extra,
    text_callback,
)
from mixtura.cli.progress import show_progress
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line

if TYPE_CHECKING:
    from mixtura.config.config import Config
    from mixtura.evals.comparison.estimate import ComparisonEstimate
    from mixtura.evals.comparison.result import Comparison
    from mixtura.evals.comparison.settings import ComparisonSettings

NO_SCORING = "none"
"""How rows are scored that a judge compares."""


@click.command(name="compare")
@click.argument("names", nargs=-1, metavar="MIXTURE…", callback=name_callback)
@click.option(
    "--on", "data", metavar="FILE", callback=text_callback, help="The prompts: JSON lines."
)
@click.option(
    "--task", metavar="TASK", callback=name_callback, help="What they are: gsm8k, math, ifeval, …"
)
@click.option(
    "--judge",
    metavar="NAME",
    callback=name_callback,
    help="Who says which of two answers is better, where no task checks them.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the draws and the prompts."
)
@click.option("--epochs", type=click.IntRange(min=1), default=1, help="Answers to each prompt.")
@click.option(
    "--scoring", metavar="HOW", callback=name_callback, help="Of the task jsonl: exact, number, …"
)
@click.option(
    "--html", metavar="FILE", callback=name_callback, help="Also one page with all of it."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option("--dry-run", is_flag=True, help="Say what it would take and could show; ask no one.")
@click.option("--logs", type=click.Path(file_okay=False, path_type=Path), default=Path("logs"),
              metavar="DIR", show_default=True, help="Where answers are kept.")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Begin anew; with --no-cache everything is asked anew.")
@click.option("--connections", type=click.IntRange(min=1), default=10, show_default=True,
              help="Prompts under way at once.")  # fmt: skip
@click.option("--max-cost", type=DOLLARS, metavar="DOLLARS",
              help="For everything, earlier runs included.")  # fmt: skip
@click.option("--deadline", type=POSITIVE_SECONDS, metavar="SECONDS",
              help="No answer takes longer.")  # fmt: skip
@click.option("--cache/--no-cache", default=True, help="Share answers among contenders, or not.")
@config_option
def command(
    names: tuple[str, ...],
    html: str | None,
    as_json: bool,
    dry_run: bool,
    cache: bool,
    config_file: str | None,
    **given: Any,
) -> int:
    """Say whether a mixture is worth it, on your own prompts.

    Each MIXTURE answers every prompt, and so does what it has to beat: each of its members
    alone, its best member drawn as often (self), its own proposals merely chosen from (rank,
    vote), and its best member for the same money (money). The prompts, the seed and the
    proposals are the same for all.

    With --task, or with rows that have a `target`, answers are checked. With --judge a model
    reads two answers at a time, in both orders. A run that was stopped goes on where it was.

    \b
      mixtura compare team --on prompts.jsonl --judge openai/gpt-5.4
      mixtura compare team --on test.jsonl --task gsm8k --limit 100 --html team.html
    """
    if not names:
        raise click.UsageError("Which mixture? As in: mixtura compare team --on prompts.jsonl")
    config = read_config(config_file, cache=cache)
    terms = _build_terms(given)
    return _run_comparison(config, names, terms, as_json=as_json, dry_run=dry_run, html=html)


def _build_terms(given: dict[str, Any]) -> ComparisonSettings:
    """What was asked for. Raises ConfigError for what does not go together."""
    with require_extra("eval", "comparing"):
        from mixtura.evals.comparison.settings import ComparisonSettings
        from mixtura.evals.eval_request import EvalRequest
        from mixtura.evals.registry import TASK_SPECS
    judge, task, scoring, data = (given.pop(name) for name in ("judge", "task", "scoring", "data"))
    if judge and (task or scoring):
        raise click.UsageError("--task checks answers, --judge compares them: give one of the two.")
    if scoring == NO_SCORING and not judge:
        raise click.UsageError("--scoring none scores nothing: give --judge NAME instead.")
    if task in TASK_SPECS and TASK_SPECS[task].judged:
        raise click.UsageError(f"{task} is for mixtura eval: --judge NAME compares open answers.")
    if data is None and task in (None, "jsonl"):
        raise click.UsageError("--on is missing: the file with the prompts.")
    asked = EvalRequest(
        task=task or "jsonl", data=data, scoring=NO_SCORING if judge else scoring,
        **{name: given.pop(name) for name in ("limit", "seed", "epochs")},
    )  # fmt: skip
    return ComparisonSettings(asked=asked, judge=judge, **given)


def _run_comparison(
    config: Config,
    names: tuple[str, ...],
    terms: ComparisonSettings,
    *,
    as_json: bool,
    dry_run: bool,
    html: str | None,
) -> int:
    from mixtura.evals.comparison.estimate import estimate_comparison
    from mixtura.evals.comparison.run import run_comparison

    write = _create_page_writer(html) if html else None

    for name in (*names, *([terms.judge] if terms.judge else [])):
        if not dry_run:
            download_embedded(config, config.mixture_spec(name))
    before = estimate_comparison(config, names, terms)
    if dry_run and as_json:
        echo_json(before._asdict())
        return cli.ANSWERED
    if not as_json:
        _print_estimate(before, dry_run=dry_run)
    if dry_run:
        return cli.ANSWERED
    aside = create_console(aside=True)
    with show_progress(aside, quiet=as_json) as shown:
        found = run_comparison(config, names, terms, watch=shown)
    if write:
        write(found)
    if as_json:
        echo_json(found.to_json())
    else:
        from mixtura.terminal.comparison import render_comparison

        create_console().print(render_comparison(found, create_console().width))
    return cli.ANSWERED if found.pairs else cli.NO_ANSWER


def _print_estimate(before: ComparisonEstimate, *, dry_run: bool) -> None:
    """What it is going to take, and what it can show, before anything is paid for."""
    from mixtura.terminal import format_dollars, print_line

    aside = create_console(aside=not dry_run)
    price = f"at most {format_dollars(before.max_cost_usd)}"
    if before.unknown_prices:
        price = f"no price is known for {', '.join(map(to_one_line, before.unknown_prices))}"
    prompts = pluralize_count(before.prompts, "prompt")
    print_line(aside, f"{prompts}, about {pluralize_count(before.calls, 'call')}, {price}.")
    shows = f"a difference of about {100 * before.shows:.0f} points"
    if before.shows >= 1:
        shows = "no difference"
    print_line(
        aside,
        f"With {prompts} {shows} can be seen; {before.for_two_points:,} would show two points.",
        "dim",
    )


def _create_page_writer(html: str) -> Callable[[Comparison], None]:
    """Writes the page; what it needs is found missing before anything is asked."""
    with require_extra("report", "a page"):
        from mixtura.reports.comparison_page import comparison_page
    file = Path(html)
    if not file.parent.is_dir():
        raise ConfigError(f"--html: there is no folder {file.parent}")
    if file.is_dir():
        raise ConfigError(f"--html: {file} is a folder: name the file for the page")

    def write_page(found: Comparison) -> None:
        try:
            file.write_text(comparison_page(found, _typed_command()), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None

    return write_page


def _typed_command() -> str:
    """The command as it was typed."""
    return shlex.join(["mixtura", *sys.argv[1:]])
