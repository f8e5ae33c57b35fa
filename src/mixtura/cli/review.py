"""The command mixtura review: a diff or a text, and what several models find in it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from mixtura import cli
from mixtura.catalog.user_files import expand_home, path_kind, read_user_file
from mixtura.cli import common
from mixtura.cli.dry_run import check_question
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.mixture_options import print_choice_reason
from mixtura.cli.run import RunContext, run_and_show
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec, parse_member
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.text_encoding import decode_text
from mixtura.core.types import Request, ask
from mixtura.patterns.review import REVIEW_SCHEMA
from mixtura.patterns.review_findings import FILE_HEADING

MAX_MATERIAL_BYTES = 400_000
"""About 100,000 tokens: more fits into few windows, and costs every member."""
DEFAULT_QUESTION = "Review this."


@click.command(
    name="review",
    cls=MixturaCommand,
    examples=(
        "git diff | mixtura review",
        'git diff main | mixtura review "Is it safe with several threads?"',
        "mixtura review --file notes.md --file plan.md",
        "git diff | mixtura review --json > review.json",
    ),
)
@click.argument("question", nargs=-1, callback=common.text_callback)
@common.name_option(
    "--file", "FILE", "Review this file, in place of standard input; repeatable.",
    "files", multiple=True,
)  # fmt: skip
@common.name_option(
    "-m", "NAME", "Mixture whose pattern is `review`.", "--mixture",
    default="review", show_default=True,
)  # fmt: skip
@common.name_option(
    "-p", "MODEL",
    "Members of your own; repeatable. 'MODEL*3' (in quotes) asks it three times.",
    "--proposer", "proposers", multiple=True,
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the review as one JSON object.")
@click.option("--quiet", is_flag=True, help="Print the review only.")
@click.option("--schema", is_flag=True, help="Print the JSON schema of reviews, and exit.")
@common.dry_run_option
@common.run_options
def command(
    question: tuple[str, ...],
    files: tuple[str, ...],
    mixture: str,
    proposers: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    schema: bool,
    dry_run: bool,
    **options: Any,
) -> int:
    """Review a diff or a text with several models.

    Each member reviews it by itself. Findings that are the same are merged: those that most
    members found come first, each with its file and line, its severity, and the lines quoted as
    evidence. A quote that does not occur in the text is marked.

    The diff comes from standard input (`git diff | mixtura review`), or files from --file.
    QUESTION says what to look for.
    """
    if schema:
        click.echo(json.dumps(REVIEW_SCHEMA, indent=2))
        return cli.ANSWERED
    material = _read_files(files) if files else _read_piped(question)
    run = common.RunOptions(**options)
    config = run.read_config()
    plan = _review_plan(config, mixture, proposers)
    request = ask(f"{material}\n\n{' '.join(question).strip() or DEFAULT_QUESTION}")
    if dry_run:
        return _print_forecast(config, plan, request, run.max_cost, as_json=as_json)
    print_choice_reason(config, plan, mixture, proposers)
    common.download_embedded(config, plan)
    model = config.build_runnable(plan, max_cost=run.max_cost, deadline=run.deadline)
    if not (as_json or quiet):
        count = sum(seat.samples for seat in plan.layers[0])
        click.echo(f"Asking for {pluralize_count(count, 'review')} …", err=True)
    asking = RunContext(config, model, plan.name, "ask")
    return _run_review(asking, request, as_json=as_json, quiet=quiet)


# ---- what is reviewed


def _read_piped(question: Sequence[str]) -> str:
    # `mixtura review notes.md` means the file, and its name is no question.
    named = [one for one in question if path_kind(expand_home(one)) == "file"]
    meant = "".join(f" --file {to_one_line(one)}" for one in named)
    if sys.stdin is None or sys.stdin.isatty():  # pyright: ignore[reportUnnecessaryComparison]
        example = f"mixtura review{meant}" if named else "git diff | mixtura review"
        raise click.UsageError(f"What should be reviewed? As in: {example}")
    try:
        # One byte more than may be reviewed shows that there is more.
        raw = sys.stdin.buffer.read(MAX_MATERIAL_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"Standard input cannot be read: {error.strerror}.") from None
    text = _decode_material(raw, "What was piped in")
    if not text.strip():
        hint = f" A file is reviewed by: mixtura review{meant}" if named else ""
        raise click.UsageError(f"What was piped in is empty: there is no change to review.{hint}")
    return text


def _read_files(files: Sequence[str]) -> str:
    parts: list[str] = []
    for name in files:
        path = expand_home(name)
        try:
            raw = read_user_file(path, MAX_MATERIAL_BYTES)
        except ConfigError as error:
            raise click.UsageError(f"--file: {error}.") from None
        text = _decode_material(raw, to_one_line(name))
        if not text.strip():
            raise click.UsageError(f"{to_one_line(name)} is empty: there is nothing to review.")
        parts.append(text if _is_diff(text) else _under_heading(name, text))
    whole = "\n\n".join(parts)
    _decode_material(whole.encode(), "All files together")
    return whole


def _under_heading(name: str, text: str) -> str:
    return FILE_HEADING.format(name=to_one_line(Path(name).as_posix())) + f"\n{text}"


def _is_diff(text: str) -> bool:
    return "\n@@ -" in f"\n{text}" and "\n+++ " in f"\n{text}"


def _decode_material(raw: bytes, what: str) -> str:
    """Raises click.UsageError for what is no text, or too large."""
    if len(raw) > MAX_MATERIAL_BYTES:
        most = MAX_MATERIAL_BYTES // 1000
        raise click.UsageError(
            f"{what} is larger than {most} kB: review it in parts, as in git diff -- src"
        )
    try:
        text = decode_text(raw)
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise click.UsageError(f"{what} is not text (UTF-8): only text can be reviewed.")
    return text.rstrip("\n")


# ---- who reviews, and the run


def _review_plan(config: Config, mixture: str, members: Sequence[str]) -> MixtureSpec:
    plan = config.mixture_spec(mixture)
    if plan.pattern.kind != "review":
        raise ConfigError(
            f"-m: {mixture} is not a mixture for reviews: its pattern is '{plan.pattern.kind}', not"
            " 'review'; -p names other members"
        )
    if not members:
        return plan
    seats = tuple(parse_member(name) for name in members)
    for seat in seats:
        config.mixture_spec(seat.model)
    return replace(plan, layers=(seats,), quorum=1)


def _print_forecast(
    config: Config, plan: MixtureSpec, request: Request, max_cost: float | None, *, as_json: bool
) -> int:
    from mixtura.billing.forecast import forecast_calls, worst_case_spend
    from mixtura.terminal import format_most_dollars

    calls = forecast_calls(config.build_outline(plan), request)
    worst, unknown = worst_case_spend(calls, config.usage_cost)
    most = None if unknown else worst.dollars
    found = check_question(config, plan, request, max_cost)
    if as_json:
        whole = {"calls": len(calls), "max_cost_usd": most, "unknown_prices": list(unknown)}
        common.echo_json(whole | found.to_json())
    else:
        tokens = pluralize_count(worst.tokens, "token")
        many = pluralize_count(len(calls), "call")
        click.echo(f"{many}, at most {tokens}, {format_most_dollars(most)}.")
        found.print_lines()
    return found.exit_code


def _run_review(asking: RunContext, request: Request, *, as_json: bool, quiet: bool) -> int:
    from mixtura.terminal import answer_notes, print_line, print_review, trace_summary

    with asyncio.Runner() as runner:
        run = run_and_show(runner, asking, request, None)
    if isinstance(run.failure, ConfigError):
        raise run.failure
    stderr, answer = common.create_console(stderr=True), run.trace.completion
    if answer is not None:
        review = json.loads(answer.text)
        if as_json:
            common.echo_json(review)
        else:
            print_review(common.create_console(), review)
    if not (as_json or quiet) and run.trace.calls:
        stderr.print()
        stderr.print(trace_summary(run.trace, asking.config.usage_cost, stderr.width, run=run.run))
    for note in () if quiet else answer_notes(run.trace):
        print_line(stderr, note, "yellow")
    if run.failure:
        print_line(stderr, f"No review: {to_one_line(run.failure)}", "bold red")
    if run.interrupted:
        raise KeyboardInterrupt
    return run.exit_code
