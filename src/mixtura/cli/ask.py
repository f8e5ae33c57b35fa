"""The command mixtura ask: one question, typed or piped in, and its answer."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from mixtura import cli
from mixtura.catalog.user_files import expand_home
from mixtura.cli.answer_output import (
    PreparedQuestion,
    checked_data,
    prepared_json,
    write_answer,
    write_json,
)
from mixtura.cli.answer_schema import AnswerSchema, read_schema
from mixtura.cli.attachments import (
    Attachment,
    attachment_options,
    message_content,
    read_attachments,
)
from mixtura.cli.command_offer import offer_commands
from mixtura.cli.common import (
    RunOptions,
    create_console,
    download_embedded,
    dry_run_option,
    echo_json,
    name_option,
    run_options,
    text_callback,
)
from mixtura.cli.completed_values import complete_run
from mixtura.cli.continued_run import (
    ContinueCommand,
    EarlierConversation,
    continued_line,
    find_conversation,
)
from mixtura.cli.dry_run import check_question
from mixtura.cli.mixture_options import (
    print_choice_reason,
    sampling_options,
    spec_from_options,
    team_options,
)
from mixtura.cli.output_file import check_writable
from mixtura.cli.question import read_question, system_option
from mixtura.cli.run import FinishedRun, RunContext, format_spent, run_and_show
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.agreement import Agreement
from mixtura.core.errors import AnswerMismatchError, ConfigError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Message, Request, Sampling
from mixtura.engine.trace import Trace, trace_json

if TYPE_CHECKING:
    from mixtura.terminal import AnswerView


@click.command(
    name="ask",
    cls=ContinueCommand,
    examples=(
        'mixtura ask "Why is the sky blue?"',
        'mixtura ask --attach report.pdf "What are the three main findings?"',
        'mixtura ask --continue "And the fourth?"',
        'mixtura ask -m analyse --agreement "Is it safe to eat raw eggs?"',
        'mixtura ask --schema person.json --output ada.json "Who was Ada Lovelace?"',
        'git diff | mixtura ask "Write a commit message."',
    ),
)
@click.argument("question", nargs=-1, callback=text_callback)
@attachment_options
@system_option
@click.option(
    "-c", "--continue", "continued", metavar="[RUN]", callback=text_callback,
    shell_complete=complete_run,
    help="Continue your last conversation, or the run with this id (its beginning is enough).",
)  # fmt: skip
@team_options
@sampling_options
@name_option(
    "--schema", "FILE",
    "Ask for JSON that matches this JSON schema; exit code 3 if the answer does not match.",
)  # fmt: skip
@name_option("--output", "FILE", "Write the answer to a file, instead of standard output.")
@click.option(
    "--agreement",
    is_flag=True,
    help="Report where the proposals agree and differ: one more call, two if it is unreadable.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: answer, calls, usage."
)
@click.option("--quiet", is_flag=True, help="Print the answer only.")
@dry_run_option
@run_options
def command(question: tuple[str, ...], **options: Any) -> int:
    """Ask a question and get the answer of a mixture of models.

    Without a configuration file it uses the first of these that this machine has: the providers
    whose API keys are set; command-line tools that you are logged in to (if you agree), together
    with Ollama, LM Studio and llama.cpp; the downloaded starter models; a very small built-in
    model.

    Text that is piped in is put before QUESTION, or is the question. `-` as the first or last
    word waits for it. In a shell loop that reads lines from standard input, add `< /dev/null`,
    or the first question takes all of them.

    The answer goes to standard output, everything else to standard error.
    """
    return _ask_question(question, AskOptions(**options))


@dataclass(frozen=True, slots=True, kw_only=True)
class AskOptions(RunOptions):
    """The options as they were typed; None where one was not."""

    mixture: str | None
    proposers: tuple[str, ...]
    aggregator: str | None
    layers: int | None
    files: tuple[str, ...]
    images: tuple[str, ...]
    system: str | None
    continued: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    schema: str | None
    output: str | None
    agreement: bool
    as_json: bool
    quiet: bool
    dry_run: bool

    @property
    def speaks_to_person(self) -> bool:
        """Whether a person is told more than the answer."""
        return not (self.as_json or self.quiet)

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_p, self.max_tokens, seed=self.seed)


def _ask_question(words: tuple[str, ...], options: AskOptions) -> int:
    attached = read_attachments(options.files, options.images)
    schema = read_schema(options.schema) if options.schema else None
    output = expand_home(options.output) if options.output else None
    if output:
        check_writable(output, "--output")
    text = read_question(words, note=options.speaks_to_person, attached=bool(attached))
    config = options.read_config()
    if options.speaks_to_person and not (options.mixture or options.proposers or options.continued):
        offer_commands(config)
    earlier = find_conversation(config, options.continued) if options.continued else None
    mixture = options.mixture
    if earlier and not (mixture or options.proposers):
        mixture = earlier.model
    plan = spec_from_options(config, mixture, options.proposers, options.aggregator, options.layers)
    request = _build_request(text, attached, earlier, schema, options)
    if options.speaks_to_person:
        _print_preparation(config, plan, mixture, earlier, attached, options)
    prepared = PreparedQuestion(request, attached, earlier and earlier.run, schema, output)
    if options.dry_run:
        return _print_forecast(config, plan, prepared, options)
    download_embedded(config, plan)
    model = config.build_runnable(
        plan, max_cost=options.max_cost, deadline=options.deadline, agreement=options.agreement
    )
    asking = RunContext(config, model, plan.name, "ask", earlier.run if earlier else "")
    return _run_and_report(asking, prepared, options)


def _build_request(
    text: str,
    attached: Sequence[Attachment],
    earlier: EarlierConversation | None,
    schema: AnswerSchema | None,
    options: AskOptions,
) -> Request:
    question = Message("user", message_content(text, attached))
    if earlier:
        messages = earlier.with_question(question, options.system)
    else:
        opening = (Message("system", options.system),) if options.system else ()
        messages = (*opening, question)
    form = schema.response_format if schema else None
    return Request(messages, options.sampling, response_format=form)


def _print_preparation(
    config: Config,
    plan: MixtureSpec,
    mixture: str | None,
    earlier: EarlierConversation | None,
    attached: Sequence[Attachment],
    options: AskOptions,
) -> None:
    """What was chosen, found and read for the person, a line each."""
    from mixtura.terminal import print_line

    stderr = create_console(stderr=True)
    if earlier:
        print_line(stderr, continued_line(earlier), "dim")
    for one in attached:
        print_line(stderr, f"Attached {one.name} ({one.description}).", "dim")
    print_choice_reason(config, plan, mixture, options.proposers, options.aggregator)


# ---- the run


def _print_forecast(
    config: Config, plan: MixtureSpec, prepared: PreparedQuestion, options: AskOptions
) -> int:
    """Ask nothing: say which calls it would take, what they may cost, and what it would lack."""
    from mixtura.billing.forecast import forecast_calls, worst_case_spend
    from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS
    from mixtura.terminal import format_most_dollars

    outline = config.build_outline(plan, agreement=options.agreement)
    calls = forecast_calls(outline, prepared.request)
    worst, unknown = worst_case_spend(calls, config.usage_cost)
    most = None if unknown else worst.dollars
    found = check_question(config, plan, prepared.request, options.max_cost)
    if options.as_json:
        whole = {"calls": len(calls), "max_cost_usd": most, "unknown_prices": list(unknown)}
        echo_json(whole | found.to_json() | prepared_json(prepared))
        return found.exit_code
    tokens = pluralize_count(worst.tokens, "token")
    click.echo(
        f"{pluralize_count(len(calls), 'call')}, at most {tokens}, {format_most_dollars(most)}."
    )
    click.echo(
        f"Without max_tokens, {DEFAULT_ANSWER_TOKENS:,} tokens per answer are assumed."
        " Retries, fallbacks and hedged calls are not included."
    )
    if unknown:
        click.echo(f"No price is known for {', '.join(map(to_one_line, unknown))}.")
    if prepared.schema:
        click.echo(f"The answer would be checked against {to_one_line(prepared.schema.file)}.")
    if prepared.output:
        click.echo(f"It would be written to {to_one_line(prepared.output)}.")
    found.print_lines()
    return found.exit_code


def _run_and_report(asking: RunContext, prepared: PreparedQuestion, options: AskOptions) -> int:
    """Run it, show it, and say how it ended."""
    schema = prepared.schema
    # What must be whole, or has to match, is not shown before it is.
    held = io.StringIO() if schema or prepared.output else None
    view = _create_view(held or sys.stdout, as_json=options.as_json, quiet=options.quiet)
    with asyncio.Runner() as runner:
        run = run_and_show(
            runner, asking, prepared.request, view, check=schema and schema.answer_error
        )
    # Found out while running, as a model file that has gone: still a configuration to be mended,
    # and its exit code says so.
    if isinstance(run.failure, ConfigError):
        raise run.failure
    if options.as_json:
        whole = trace_json(run.trace, asking.config.usage_cost) | prepared_json(prepared)
        whole |= {"error": run.record["error"], "run": run.run}
        if options.agreement and not run.trace.completion:
            whole["agreement"] = Agreement(None, None, "there is no answer").to_json()
        if schema:
            whole["data"] = checked_data(schema, run)
        write_json(whole, prepared.output, note=not options.quiet)
    else:
        if held is not None and run.exit_code == cli.ANSWERED:
            write_answer(run, prepared, note=options.speaks_to_person)
        _print_summary(run, asking.config, table=not options.quiet)
        if options.agreement and not options.quiet:
            _print_support(run, asking)
    if run.interrupted:
        _exit_interrupted(run.trace, asking.config)
    return run.exit_code


def _create_view(out: TextIO, *, as_json: bool, quiet: bool) -> AnswerView | None:
    if as_json:
        return None
    from mixtura.terminal import AnswerView, LiveView, PlainLogView

    if quiet:
        return AnswerView(out)
    stderr = create_console(stderr=True)
    watched = out is not sys.stdout or sys.stdout.isatty()
    if stderr.is_terminal and watched and not stderr.is_dumb_terminal:
        return LiveView(out, stderr)
    return PlainLogView(out, stderr)


def _print_summary(run: FinishedRun, config: Config, *, table: bool) -> None:
    """The table and what is left to say, below the answer; all of it to standard error."""
    from mixtura.terminal import answer_notes, ollama_advice, print_line, trace_summary

    stderr = create_console(stderr=True)
    trace, failure = run.trace, run.failure
    if table and trace.calls:
        stderr.print()
        stderr.print(trace_summary(trace, config.usage_cost, stderr.width, run=run.run))
    for answer_note in answer_notes(trace) if table else ():
        print_line(stderr, answer_note, "yellow")
    if isinstance(failure, AnswerMismatchError):
        print_line(stderr, f"T{to_one_line(failure)[1:]}.", "bold red")
        if run.run:
            print_line(stderr, f"The answer as it came: mixtura show {run.run}", "dim")
    elif failure:
        print_line(stderr, f"No answer: {to_one_line(failure)}", "bold red")
    if advice := ollama_advice(trace):
        print_line(stderr, advice, "yellow")


def _print_support(run: FinishedRun, asking: RunContext) -> None:
    """Where the proposals agree, and how sure the answer is, below the table."""
    from mixtura.terminal import print_agreement, print_confidence

    answer, stderr = run.trace.completion, create_console(stderr=True)
    if answer is None or answer.agreement is None:
        return
    print_agreement(stderr, answer.agreement)
    missing = asking.config.missing_calibration_reason(asking.name)
    print_confidence(stderr, answer.confidence, answer.support, missing)


def _exit_interrupted(trace: Trace, config: Config) -> NoReturn:
    # Imported late, like all of rich: a plain answer in a pipe is there without it.
    from mixtura.terminal import print_line

    print_line(
        create_console(stderr=True), f"Interrupted. Spent until now: {format_spent(trace, config)}."
    )
    raise KeyboardInterrupt
