"""The command mixtura ask: one question, typed or piped in, and its answer."""

from __future__ import annotations

import asyncio
import os
import select
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

import click

from mixtura import cli
from mixtura.cli.common import (
    EMBEDDED_NOTE,
    TEMPERATURE,
    cap_options,
    config_option,
    create_console,
    download_embedded,
    echo_json,
    is_embedded,
    keep_option,
    read_config,
    text_callback,
)
from mixtura.cli.mixture_options import print_choice_reason, spec_from_options, team_options
from mixtura.cli.run import FinishedRun, RunContext, format_spent, run_and_show
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Request, Sampling
from mixtura.core.types import ask as one_question
from mixtura.engine.trace import Trace, trace_json

if TYPE_CHECKING:
    from mixtura.terminal import AnswerView

PIPE_WAIT_SECONDS = 0.5
"""Seconds that a pipe has to say something when the question stands in the command already."""


@click.command(name="ask")
@click.argument("question", nargs=-1, callback=text_callback)
@team_options
@click.option(
    "--system", metavar="TEXT", callback=text_callback, help="A system prompt: every model sees it."
)
@click.option("--temperature", type=TEMPERATURE, help="Of the answer.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Of the answer.")
@click.option("--seed", type=int, help="Makes draws repeatable, where models can.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object: answer, calls, usage.")
@click.option("--quiet", is_flag=True, help="Only the answer.")
@click.option("--dry-run", is_flag=True, help="Say what would be called and at most spent.")
@keep_option
@cap_options
@config_option
def command(
    question: tuple[str, ...],
    mixture: str | None,
    proposers: tuple[str, ...],
    aggregator: str | None,
    layers: int | None,
    system: str | None,
    temperature: float | None,
    max_tokens: int | None,
    seed: int | None,
    as_json: bool,
    quiet: bool,
    dry_run: bool,
    max_cost: float | None,
    deadline: float | None,
    cache: bool | None,
    keep: bool | None,
    config_file: str | None,
) -> int:
    """Ask a question; a mixture of models answers.

    With nothing configured it uses what this machine has: a provider's key in the
    environment, else Ollama, else a very small model that comes along.

    Text that is piped in comes before the QUESTION, or is the question. `-` as the first or
    the last word waits for it. In a loop that reads its own lines from standard input, put
    `< /dev/null` behind the command, or the first question takes them all.
    """
    text = _read_question(question, note=not (as_json or quiet))
    config = read_config(config_file, cache=cache, keep=keep)
    plan = spec_from_options(config, mixture, proposers, aggregator, layers)
    sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
    request = one_question(text, system=system, sampling=sampling)
    if not (as_json or quiet):
        print_choice_reason(config, plan, mixture, proposers, aggregator)
    if dry_run:
        return _print_forecast(config, plan, request, as_json=as_json)
    download_embedded(config, plan)
    model = config.build_runnable(plan, max_cost=max_cost, deadline=deadline)
    asking = RunContext(config, model, plan.name, "ask")
    return _run_and_report(asking, request, as_json=as_json, quiet=quiet)


# ---- the question


def _read_question(words: tuple[str, ...], *, note: bool) -> str:
    """What was asked: the arguments, what is piped in, or both."""
    # A dash asks for standard input by hand: then it is waited for, terminal or not.
    dash = "-" in (words[:1] + words[-1:])
    if dash:
        words = words[1:] if words[0] == "-" else words[:-1]
    typed = " ".join(words).strip()
    if not typed and not dash and sys.stdin.isatty():
        raise click.UsageError('What is the question? As in: mixtura ask "Why is the sky blue?"')
    piped = _read_stdin() if dash or not typed or _is_piped(note=note) else ""
    text = "\n\n".join(part for part in (piped, typed) if part)
    if not text:
        raise click.UsageError("The question is empty.")
    return text


def _read_stdin() -> str:
    """Standard input to its end, whatever the locale: UTF-8."""
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise click.UsageError("What was piped in is not text (UTF-8).") from None
    except OSError as error:
        raise click.UsageError(f"Standard input cannot be read: {error.strerror}.") from None


def _is_piped(*, note: bool) -> bool:
    """
    Whether someone sends text along with a question that stands in the command.

    A pipe from a parent that never writes and never closes it must not stop us: one that
    stays silent for a moment is left alone.
    """
    with suppress(OSError, ValueError):
        # A file ends by itself; only a pipe may stay open and silent for good.
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if not stat.S_ISFIFO(mode):
            return stat.S_ISREG(mode)
        if select.select([sys.stdin], [], [], PIPE_WAIT_SECONDS)[0]:
            return True
        if note:
            notice = (
                f"Standard input said nothing for {PIPE_WAIT_SECONDS} s: left alone"
                " (`-` waits for it)."
            )
            click.echo(notice, err=True)
    return False


# ---- the run


def _print_forecast(config: Config, plan: MixtureSpec, request: Request, *, as_json: bool) -> int:
    """Ask nothing: say which calls it would take and what they may cost at most."""
    from mixtura.billing.forecast import forecast_calls, worst_case_spend
    from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS
    from mixtura.terminal import format_dollars

    calls = forecast_calls(config.builder.build_outline(plan), request)
    worst, unknown = worst_case_spend(calls, config.usage_cost)
    most = None if unknown else worst.dollars
    if as_json:
        echo_json({"calls": len(calls), "max_cost_usd": most, "unknown_prices": list(unknown)})
        return cli.ANSWERED
    tokens = pluralize_count(worst.tokens, "token")
    click.echo(
        f"{pluralize_count(len(calls), 'call')}, at most {tokens}, at most {format_dollars(most)}."
    )
    click.echo(
        f"Where no one says how long an answer may be, {DEFAULT_ANSWER_TOKENS:,} tokens are taken:"
        " under a cap that is sent as the limit. Retries, fallbacks and second copies come on top."
    )
    if unknown:
        click.echo(f"No price is known for {', '.join(map(to_one_line, unknown))}.")
    return cli.ANSWERED


def _run_and_report(asking: RunContext, request: Request, *, as_json: bool, quiet: bool) -> int:
    """Run it, show it, and say how it ended."""
    with asyncio.Runner() as runner:
        run = run_and_show(runner, asking, request, _create_view(as_json=as_json, quiet=quiet))
    # Found out while running, as a model file that has gone: still a configuration to be mended,
    # and its exit code says so.
    if isinstance(run.failure, ConfigError):
        raise run.failure
    if as_json:
        reason = run.record["error"]
        echo_json(
            trace_json(run.trace, asking.config.usage_cost) | {"error": reason, "run": run.run}
        )
    else:
        _print_summary(run, asking.config, table=not quiet)
    if run.interrupted:
        _exit_interrupted(run.trace, asking.config)
    return run.exit_code


def _create_view(*, as_json: bool, quiet: bool) -> AnswerView | None:
    if as_json:
        return None
    from mixtura.terminal import AnswerView, LiveView, PlainLogView

    if quiet:
        return AnswerView(sys.stdout)
    aside = create_console(aside=True)
    if aside.is_terminal and sys.stdout.isatty() and not aside.is_dumb_terminal:
        return LiveView(sys.stdout, aside)
    return PlainLogView(sys.stdout, aside)


def _print_summary(run: FinishedRun, config: Config, *, table: bool) -> None:
    """The table and what is left to say, below the answer; all of it to standard error."""
    from mixtura.terminal import answer_notes, print_line, trace_summary

    aside = create_console(aside=True)
    trace, failure = run.trace, run.failure
    if table and trace.calls:
        aside.print()
        aside.print(trace_summary(trace, config.usage_cost, aside.width, run=run.run))
    for answer_note in answer_notes(trace) if table else ():
        print_line(aside, answer_note, "yellow")
    if failure:
        print_line(aside, f"No answer: {to_one_line(failure)}", "bold red")
    elif table and any(
        c.seat.role == "aggregator" and is_embedded(config, c.model) for c in trace.leaf_calls()
    ):
        print_line(aside, EMBEDDED_NOTE, "dim")


def _exit_interrupted(trace: Trace, config: Config) -> NoReturn:
    # Imported late, like all of rich: a plain answer in a pipe is there without it.
    from mixtura.terminal import print_line

    print_line(
        create_console(aside=True), f"Interrupted. Spent until now: {format_spent(trace, config)}."
    )
    raise KeyboardInterrupt
