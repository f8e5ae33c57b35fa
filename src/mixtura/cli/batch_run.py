"""mixtura batch: what is asked, where it goes on, the run, and how it ended."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from mixtura import cli
from mixtura.batch.call_journal import CallJournal, open_journal
from mixtura.batch.input_rows import BatchInput
from mixtura.batch.journaled_models import JournaledModels
from mixtura.batch.kept_input import keep_standard_input
from mixtura.batch.outcome import BatchOutcome
from mixtura.batch.part_file import BatchFiles
from mixtura.batch.prompt_form import ImageReader, PromptForm
from mixtura.batch.provider_batches import ProviderBatches, check_open_batches
from mixtura.batch.records import Format, Source, find_source
from mixtura.batch.resume import Command, command_digest, find_resume_point
from mixtura.batch.row_lines import RowLines
from mixtura.batch.session import BatchSession
from mixtura.billing.spending_caps import RunCap, Spend
from mixtura.catalog.user_files import expand_home
from mixtura.cli.attachments import read_image
from mixtura.cli.batch_engine import (
    ClusterEngine,
    EngineOptions,
    LocalEngine,
    create_models,
    merge_left_calls,
    open_pool,
)
from mixtura.cli.batch_forecast import print_forecast
from mixtura.cli.batch_progress import print_notes, show_batch
from mixtura.cli.batch_report import report_outcome
from mixtura.cli.common import download_embedded, read_config
from mixtura.cli.mixture_options import print_choice_reason, spec_from_options
from mixtura.cli.output_file import check_writable
from mixtura.cluster.cluster_models import ClusterModels
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.config.plan_settings import json_default, plan_settings
from mixtura.core.errors import ConfigError, StoreError
from mixtura.core.types import ImagePart, Sampling

STANDARD_STREAM = "-"
GARBAGE_THRESHOLDS = (50_000, 20, 50)
WITHIN_SECONDS = 24 * 3600.0
OTHER_FORMATS = (".csv", ".tsv", ".parquet", ".txt")
"""Endings of an output's name that promise what it is not: it is JSON lines."""
TIME_IS_UP = (
    "the time of --within is up. Batches that are at their providers stay there: the same command"
    " with a longer --within continues with them"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions(EngineOptions):
    """The options as they were typed; None where one was not."""

    source: str
    output: str
    mixture: str | None
    proposers: tuple[str, ...]
    aggregator: str | None
    layers: int | None
    format: Format | None
    split: str
    subset: str | None
    column: str | None
    template: str | None
    image_column: str | None
    system: str | None
    limit: int | None
    sample: int | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    provider_batch: str | None
    within: float | None
    journal: str | None
    retry_failed: bool
    overwrite: bool
    dry_run: bool
    quiet: bool
    as_json: bool
    config_file: str | None

    @property
    def writes_stdout(self) -> bool:
        return self.output == STANDARD_STREAM

    @property
    def is_temporary(self) -> bool:
        """Whether nothing is left that the same command could go on from."""
        return self.writes_stdout and not self.journal

    @property
    def speaks_to_person(self) -> bool:
        """Whether a person is told more than errors."""
        return not (self.as_json or self.quiet)


def run_batch(options: BatchOptions) -> int:
    """Run it, show it, and return the exit code.

    Raises click.UsageError and ConfigError for what cannot be begun.
    """
    if options.column and options.template:
        raise click.UsageError("--column and --template each say what the prompt is: give one.")
    if options.provider_batch in (None, "off") and options.within is not None:
        raise click.UsageError("--within is for --provider-batch auto or only: give that, too.")
    if options.provider_batch not in (None, "off") and options.is_temporary:
        raise click.UsageError(
            "--provider-batch with - as OUT needs a --journal: a batch that goes on at its provider"
            " after this command would be paid, and never read."
        )
    with ExitStack() as stack:
        files = _find_files(options, stack)
        source = _find_source(options, files, stack)
        batch_input = _build_input(options, source)
        models = create_models(options, _provider_batches(options))
        keeps = None if options.dry_run else models  # without a journal
        config = read_config(options.config_file, keep_answers=keeps, waits_for_all=True)
        plan = spec_from_options(
            config, options.mixture, options.proposers, options.aggregator, options.layers
        )
        if options.speaks_to_person:
            print_choice_reason(
                config, plan, options.mixture, options.proposers, options.aggregator
            )
        if options.dry_run:
            return print_forecast(
                config, plan, batch_input,
                max_cost=options.max_cost,
                asks_in_batches=options.provider_batch == "only",
                as_json=options.as_json,
            )  # fmt: skip
        download_embedded(config, plan)
        try:
            outcome = _run(config, plan, models, batch_input, files, options, stack)
        except (StoreError, OSError) as error:
            # No mistake of a person's: a full disk. What was written down before is not lost.
            click.echo(f"mixtura: {_disk_error_text(error)}", err=True)
            click.echo(
                "Once that is fixed, the same command continues from what is kept.", err=True
            )
            return cli.NOT_WRITTEN
        return report_outcome(outcome, files, options)


# ---- where everything is


def _find_files(options: BatchOptions, stack: ExitStack) -> BatchFiles:
    """The output, its journal and what lies beside them. Raises ConfigError."""
    if options.journal:
        check_writable(expand_home(options.journal), "--journal")
    if not options.writes_stdout:
        output = expand_home(options.output)
        check_writable(output, "OUT")
        if output.exists() and not output.is_file():
            raise ConfigError(f"OUT: {output} is not an ordinary file (- is standard output)")
        if output.suffix.lower() in OTHER_FORMATS:
            right = output.with_suffix(".jsonl").name
            raise ConfigError(f"OUT: {output} would be JSON lines: name it {right}")
        journal = expand_home(options.journal) if options.journal else None
        return BatchFiles(output, journal or output.with_name(f"{output.name}.journal"))
    if options.journal:
        journal = expand_home(options.journal)
        return BatchFiles(journal.with_name(f"{journal.name}.output"), journal)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mixtura-batch-")))
    return BatchFiles(folder / "output.jsonl", folder / "journal")


def _find_source(options: BatchOptions, files: BatchFiles, stack: ExitStack) -> Source:
    """The input; standard input is kept in a file, since it is read more than once."""
    name, path = options.source, expand_home(options.source)
    if name == STANDARD_STREAM:
        if options.format == "dataset":
            raise click.UsageError("--format dataset is for a name or a folder, but IN is -.")
        if sys.stdin.isatty():
            raise click.UsageError("IN is -, and nothing is piped in.")
        path = stack.enter_context(keep_standard_input(sys.stdin.buffer, files.journal))
    files.check_apart_from(path)
    return find_source(
        path, name="standard input" if options.source == STANDARD_STREAM else name,
        format=options.format, split=options.split, subset=options.subset,
    )  # fmt: skip


def make_picture_reader(source: Source) -> ImageReader:
    """What reads the pictures that rows of *source* name."""

    def read_picture(name: str) -> ImagePart:
        inside = "://" in name or name.startswith("data:")
        part = read_image(name if inside else str(source.folder / expand_home(name))).part
        assert isinstance(part, ImagePart)
        return part

    return read_picture


def _build_input(options: BatchOptions, source: Source) -> BatchInput:
    sampling = Sampling(options.temperature, options.top_p, options.max_tokens, seed=options.seed)
    for name in ("column", "template", "system", "image_column"):
        if source.format == "openai" and getattr(options, name) is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} is not for {source.shown}: it is a batch file of"
                " OpenAI's API, whose rows hold whole requests"
            )
    form = PromptForm(
        options.column, options.template, options.system, options.image_column, sampling,
        make_picture_reader(source),
    )  # fmt: skip
    return BatchInput(
        source, form, options.limit, options.sample, options.seed, shares=options.dedupe
    )


def _describe_command(
    config: Config, plan: MixtureSpec, models: JournaledModels, source: Source, opts: BatchOptions
) -> Command:
    """What decides the output. The number of rows does not: more may be asked for later."""
    settings = json.loads(json.dumps(plan_settings(config, plan), default=json_default))
    return {
        "IN": opts.source,
        "-m": plan.name,
        "the mixture's definition": command_digest([settings, sorted(models.identities)]),
        "--format": source.format,
        "--split": opts.split,
        "--subset": opts.subset,
        "--column": opts.column,
        "--template": opts.template,
        "--image-column": opts.image_column,
        "--system": opts.system,
        "--sample": opts.sample,
        "--seed": opts.seed,
        "--temperature": opts.temperature,
        "--top-p": opts.top_p,
        "--max-tokens": opts.max_tokens,
        "--dedupe": opts.dedupe or None,
    }


# ---- the run


def _provider_batches(options: BatchOptions) -> ProviderBatches | None:
    mode = options.provider_batch
    if mode in (None, "off"):
        return None
    within = WITHIN_SECONDS if options.within is None else options.within
    return ProviderBatches("only" if mode == "only" else "auto", within)


def _check_batches(calls: CallJournal, options: BatchOptions) -> None:
    print_notes(check_open_batches(calls, options.provider_batch), quiet=False)


def _run(
    config: Config,
    plan: MixtureSpec,
    models: JournaledModels,
    batch_input: BatchInput,
    files: BatchFiles,
    options: BatchOptions,
    stack: ExitStack,
) -> BatchOutcome:
    calls = models.calls = stack.enter_context(
        open_journal(files.journal, config.usage_cost, reuses=options.dedupe, part=files.part)
    )
    merge_left_calls(config, calls, files, options)  # first: the cap counts what they have cost
    caps: list[RunCap] = []
    if options.max_cost is not None:
        cap = RunCap("the batch", options.max_cost, spent=Spend(calls.dollars))
        caps.append(cap)
    config.asks_in_batches = options.provider_batch == "only"
    model = config.build_runnable(plan, deadline=options.deadline, caps=caps)
    source = batch_input.source
    command = _describe_command(config, plan, models, source, options)
    start = find_resume_point(
        calls, batch_input, files, command,
        overwrite=options.overwrite, retry_failed=options.retry_failed,
        before_asking=partial(_check_batches, calls, options),
    )  # fmt: skip
    print_notes(start.notes, quiet=options.quiet)
    # A batch has thousands of tasks under way, which the collector would visit again and again:
    # that took a quarter of the processor's time. What is loaded by now is never garbage.
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    lines = RowLines(config.usage_cost, source.format == "openai", plan.name, start.created)
    finished = start.finished and not (options.retry_failed and start.failed)
    if isinstance(models, ClusterModels) and not finished:
        engine = stack.enter_context(open_pool(config, plan, models, calls, files, options))
    else:
        engine = LocalEngine(model)
    with show_batch(source.shown, options) as show, asyncio.Runner() as runner:
        session = BatchSession(
            engine.model, models, calls, batch_input, files, lines, start,
            retries_all=options.retry_failed, on_progress=show,
        )  # fmt: skip
        if models.provider_batches is not None:
            models.provider_batches.on_time_up = partial(session.end_early, TIME_IS_UP)
        if finished:
            return runner.run(_describe(session))
        return _run_session(runner, engine, session, options)


def _run_session(
    runner: asyncio.Runner,
    engine: LocalEngine | ClusterEngine,
    session: BatchSession,
    options: BatchOptions,
) -> BatchOutcome:
    try:
        outcome = runner.run(engine.run(_run_until_signal(session)))
    except KeyboardInterrupt:
        outcome = runner.run(session.describe_interrupted())
    if options.is_temporary and outcome.ending != "done":  # nothing else is left of them
        runner.run(session.keep_paid_rows(session.rows_ahead))
    return outcome


async def _describe(session: BatchSession) -> BatchOutcome:
    return session.describe_finished()


async def _run_until_signal(session: BatchSession) -> BatchOutcome:
    """Run it; a first signal waits for what is under way, a second one ends it."""
    task = asyncio.create_task(session.run())
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            session.drain()
        else:
            task.cancel()

    with _handle(on_signal):
        try:
            return await task
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


@contextmanager
def _handle(on_signal: Any) -> Generator[None]:
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    with suppress(NotImplementedError):  # Windows
        for number in numbers:
            loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in numbers:
                loop.remove_signal_handler(number)


# ---- what is said


def _disk_error_text(error: StoreError | OSError) -> str:
    if isinstance(error, StoreError):
        return str(error)
    return f"{error.filename or 'a file'} cannot be written: {error.strerror or error}"
