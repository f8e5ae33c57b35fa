"""The command mixtura export: kept runs, or batches, as data that models are trained on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from mixtura import cli
from mixtura.catalog.user_files import expand_home, file_problem, write_whole
from mixtura.cli.common import config_option, name_callback, name_option, read_config
from mixtura.cli.completed_values import complete_file
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.output_file import check_writable
from mixtura.config.config import Config
from mixtura.core.credentials import mask_key_forms, mask_keys
from mixtura.core.errors import ConfigError
from mixtura.core.redaction import process_redactor
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.training.examples import (
    FORMS,
    ExampleFilter,
    Form,
    TrainingExample,
    build_training_lines,
)

STANDARD_STREAM = "-"


def _read_date(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        said = (
            f"'{to_one_line(value)}' is not a date: write it like 2026-11-30 or 2026-11-30T18:00."
        )
        raise click.BadParameter(said, ctx, param) from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


@click.command(
    name="export",
    cls=MixturaCommand,
    examples=(
        "mixtura export train.jsonl",
        "mixtura export train.jsonl --mixture team --since 2026-11-01",
        "mixtura export train.jsonl --batch answers.jsonl",
        "mixtura export pairs.jsonl --format preferences",
    ),
)
@click.argument("output", metavar="OUT", callback=name_callback, shell_complete=complete_file)
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="sft", metavar="FORMAT",
    show_default=True,
    help="Conversations (sft), or pairs of answers, a better one and a worse one (preferences).",
)  # fmt: skip
@name_option(
    "--batch", "FILE",
    "The OUT of a finished `mixtura batch`, in place of the kept runs; repeatable.",
    "batches", multiple=True,
)  # fmt: skip
@name_option("--journal", "FILE", "The batch's journal; by default its OUT.journal.")
@name_option("--input", "FILE", "The batch's IN, if it has been moved.", "source")
@name_option(
    "-m", "NAME", "Only answers of this mixture or model; repeatable.",
    "--mixture", "mixtures", multiple=True,
)  # fmt: skip
@click.option(
    "--since", metavar="DATE", callback=_read_date,
    help="Only runs that began on this date or later (UTC), such as 2026-11-30.",
)  # fmt: skip
@click.option(
    "--degraded/--not-degraded", default=False, show_default=True,
    help="Include answers for which something failed, or leave them out.",
)  # fmt: skip
@click.option("--incomplete", is_flag=True, help="Include answers that were cut off.")
@config_option
def command(
    output: str,
    form: Form,
    batches: tuple[str, ...],
    journal: str | None,
    source: str | None,
    mixtures: tuple[str, ...],
    since: datetime | None,
    degraded: bool,
    incomplete: bool,
    config_file: str | None,
) -> int:
    """Write kept runs, or the answers of batches, to OUT as training data.

    OUT (- for standard output) gets JSON lines in the form that the trainers of TRL read; the
    field provenance says where each line comes from. Answers that are degraded or cut off, and
    conversations with tools, pictures or files, are left out. No secret is written. The same runs
    give the same file.
    """
    if (journal or source) and len(batches) != 1:
        raise click.UsageError("--journal and --input belong to one --batch.")
    if batches and form == "preferences":
        raise click.UsageError(
            "--format preferences reads kept runs: a batch's output does not say what was not"
            " chosen."
        )
    path = None if output == STANDARD_STREAM else expand_home(output)
    if path is not None:
        check_writable(path, "OUT")
        named = [file for one in batches for file in _batch_files(one, journal)]
        _check_batch_kept(path, [*named, *([expand_home(source)] if source else [])])
    config = read_config(config_file)
    chosen = ExampleFilter(mixtures, since, degraded, incomplete, form == "preferences")
    damaged: list[str] = []
    examples = (
        _batch_examples(batches, journal, source) if batches else _run_examples(config, damaged)
    )
    lines = _redacted_lines(chosen.select(examples), form, config)
    count = _write_lines(lines, path)
    _report(count, form, path, chosen, damaged)
    if not (count or batches or chosen.left_out or damaged):
        click.echo(_explain_nothing(chosen), err=True)
    return cli.ANSWERED


def _run_examples(config: Config, damaged: list[str]) -> Iterator[TrainingExample]:
    from mixtura.training.run_examples import read_run_examples

    return read_run_examples(config.runs, damaged)


def _batch_files(name: str, journal: str | None) -> tuple[Path, Path]:
    """The output and the journal of a batch. Raises ConfigError for what is no file."""
    output = expand_home(name)
    kept = expand_home(journal) if journal else output.parent / f"{output.name}.journal"
    if problem := file_problem(output):
        raise ConfigError(f"{problem}: give --batch the OUT of a batch")
    return output, kept


def _check_batch_kept(path: Path, files: Iterable[Path]) -> None:
    """Raises ConfigError where the export would be written over what it is made of."""
    for file in files:
        if path.exists() and file.exists() and path.samefile(file):
            raise ConfigError(f"OUT: {to_one_line(path)} is a file of the batch: name another")


def _batch_examples(
    outputs: tuple[str, ...], journal: str | None, source: str | None
) -> Iterator[TrainingExample]:
    from mixtura.cli.batch_run import make_picture_reader
    from mixtura.training.batch_examples import FinishedBatch

    for name in outputs:
        output, kept = _batch_files(name, journal)
        batch = FinishedBatch(output, kept, expand_home(source) if source else None)
        yield from batch.read_examples(make_picture_reader)


def _redacted_lines(
    examples: Iterator[TrainingExample], form: Form, config: Config
) -> Iterator[bytes]:
    for example in examples:
        for line in build_training_lines(example, form):
            safe: Any = config.runs.redact_run(line, process_redactor())
            text = json.dumps(mask_key_forms(safe), ensure_ascii=False)
            yield text.encode("utf-8", "replace") + b"\n"


def _write_lines(lines: Iterator[bytes], path: Path | None) -> int:
    """Write them, whole or not at all, and return how many there are."""
    count = 0

    def write_to(file: BinaryIO) -> None:
        nonlocal count
        for line in lines:
            file.write(line)
            count += 1

    if path is None:
        for line in lines:
            click.echo(line.decode(), nl=False)
            count += 1
        return count
    try:
        write_whole(path, write_to)
    except OSError as error:
        raise cli.OutputLostError(error) from None
    return count


def _explain_nothing(chosen: ExampleFilter) -> str:
    mixtures = mask_keys(", ".join(map(to_one_line, chosen.mixtures)), names=True)
    wanted = [f"of {mixtures}"] if mixtures else []
    wanted += [f"since {chosen.since:%Y-%m-%d}"] if chosen.since else []
    such = f" {' '.join(wanted)}" if wanted else ""
    return f"No answer{such} is kept: `mixtura runs` lists the runs."


def _report(
    count: int, form: Form, path: Path | None, chosen: ExampleFilter, damaged: list[str]
) -> None:
    """Say on standard error what was written and what was not."""
    what = pluralize_count(count, "conversation" if form == "sft" else "pair")
    where = f" to {to_one_line(path)}" if path is not None else ""
    click.echo(f"{what} written{where}.", err=True)
    left = [f"{number:,} {problem}" for problem, number in sorted(chosen.left_out.items())]
    if left:
        click.echo(f"Left out: {', '.join(left)}.", err=True)
    if damaged:
        click.echo(
            f"{pluralize_count(len(damaged), 'run')} cannot be read:"
            f" {', '.join(damaged[:5])}{', …' if len(damaged) > 5 else ''}.",
            err=True,
        )
