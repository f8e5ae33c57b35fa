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
    bring_embedded,
    config_option,
    console,
    echo_json,
    named,
    needs,
    read_config,
    words,
)
from mixtura.cli.progress import progress
from mixtura.errors import ConfigError
from mixtura.text import one_line, plural

if TYPE_CHECKING:
    from mixtura.config import Config
    from mixtura.evals.compare import Estimate, Terms
    from mixtura.evals.comparison import Comparison

OPEN = "none"
"""How rows are scored that a judge compares."""


@click.command(name="compare")
@click.argument("names", nargs=-1, metavar="MIXTURE…", callback=named)
@click.option("--on", "data", metavar="FILE", callback=words, help="The prompts: JSON lines.")
@click.option(
    "--task", metavar="TASK", callback=named, help="What they are: gsm8k, math, ifeval, …"
)
@click.option(
    "--judge",
    metavar="NAME",
    callback=named,
    help="Who says which of two answers is better, where no task checks them.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="So many prompts at most.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Of the draws and the prompts."
)
@click.option("--epochs", type=click.IntRange(min=1), default=1, help="Answers to each prompt.")
@click.option(
    "--scoring", metavar="HOW", callback=named, help="Of the task jsonl: exact, number, …"
)
@click.option("--html", metavar="FILE", callback=named, help="Also one page with all of it.")
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
    terms = _terms(given)
    return _compared(config, names, terms, as_json=as_json, dry_run=dry_run, html=html)


def _terms(given: dict[str, Any]) -> Terms:
    """What was asked for. Raises ConfigError for what does not go together."""
    with needs("eval", "comparing"):
        from mixtura.evals.compare import Terms
        from mixtura.evals.kinds import KINDS
        from mixtura.evals.run import Asked
    judge, task, scoring, data = (given.pop(name) for name in ("judge", "task", "scoring", "data"))
    if judge and (task or scoring):
        raise click.UsageError("--task checks answers, --judge compares them: give one of the two.")
    if scoring == OPEN and not judge:
        raise click.UsageError("--scoring none scores nothing: give --judge NAME instead.")
    if task in KINDS and KINDS[task].judged:
        raise click.UsageError(f"{task} is for mixtura eval: --judge NAME compares open answers.")
    if data is None and task in (None, "jsonl"):
        raise click.UsageError("--on is missing: the file with the prompts.")
    asked = Asked(
        task=task or "jsonl", data=data, scoring=OPEN if judge else scoring,
        **{name: given.pop(name) for name in ("limit", "seed", "epochs")},
    )  # fmt: skip
    return Terms(asked=asked, judge=judge, **given)


def _compared(
    config: Config,
    names: tuple[str, ...],
    terms: Terms,
    *,
    as_json: bool,
    dry_run: bool,
    html: str | None,
) -> int:
    from mixtura.evals.compare import compare, estimate

    write = _page_writer(html) if html else None

    for name in (*names, *([terms.judge] if terms.judge else [])):
        if not dry_run:
            bring_embedded(config, config.plan(name))
    before = estimate(config, names, terms)
    if dry_run and as_json:
        echo_json(before._asdict())
        return cli.ANSWERED
    if not as_json:
        _say_before(before, dry_run=dry_run)
    if dry_run:
        return cli.ANSWERED
    aside = console(aside=True)
    with progress(aside, quiet=as_json) as shown:
        found = compare(config, names, terms, watch=shown)
    if write:
        write(found)
    if as_json:
        echo_json(found.json())
    else:
        from mixtura.render.compared import compared

        console().print(compared(found, console().width))
    return cli.ANSWERED if found.pairs else cli.NO_ANSWER


def _say_before(before: Estimate, *, dry_run: bool) -> None:
    """What it is going to take, and what it can show, before anything is paid for."""
    from mixtura.render import dollars, say

    aside = console(aside=not dry_run)
    price = f"at most {dollars(before.max_cost_usd)}"
    if before.unknown_prices:
        price = f"no price is known for {', '.join(map(one_line, before.unknown_prices))}"
    prompts = plural(before.prompts, "prompt")
    say(aside, f"{prompts}, about {plural(before.calls, 'call')}, {price}.")
    shows = f"a difference of about {100 * before.shows:.0f} points"
    if before.shows >= 1:
        shows = "no difference"
    say(
        aside,
        f"With {prompts} {shows} can be seen; {before.for_two_points:,} would show two points.",
        "dim",
    )


def _page_writer(html: str) -> Callable[[Comparison], None]:
    """Writes the page; what it needs is found missing before anything is asked."""
    with needs("report", "a page"):
        from mixtura.reports.compared import page
    file = Path(html)
    if not file.parent.is_dir():
        raise ConfigError(f"--html: there is no folder {file.parent}")
    if file.is_dir():
        raise ConfigError(f"--html: {file} is a folder: name the file for the page")

    def write(found: Comparison) -> None:
        try:
            file.write_text(page(found, _typed()), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None

    return write


def _typed() -> str:
    """The command as it was typed."""
    return shlex.join(["mixtura", *sys.argv[1:]])
