"""The command mixtura batch: every row of an input, answered by one mixture."""

from __future__ import annotations

from typing import Any

import click

from mixtura.batch.records import DEFAULT_SPLIT, FORMATS
from mixtura.cli.common import (
    BATCH_ROWS,
    config_option,
    count_option,
    engine_options,
    name_callback,
    name_option,
)
from mixtura.cli.common import batch_cap_options as cap_options
from mixtura.cli.completed_values import complete_file
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.mixture_options import sampling_options, team_options
from mixtura.cli.question import system_option, text_or_file_callback
from mixtura.core.quantities import parse_duration


def duration_callback(
    context: click.Context,  # noqa: ARG001
    parameter: click.Parameter,  # noqa: ARG001
    text: str | None,
) -> float | None:
    """Seconds of a duration such as 6h."""
    if text is None:
        return None
    seconds = parse_duration(text)
    if not seconds:
        raise click.BadParameter(f"'{text}' is not a duration: write it like 6h, 90m or 45s.")
    return seconds


@click.command(
    name="batch",
    cls=MixturaCommand,
    examples=(
        "mixtura batch prompts.jsonl answers.jsonl -m team",
        'mixtura batch reviews.csv labels.jsonl -m lite --template "Is this positive? {review}"',
        "mixtura batch prompts.jsonl answers.jsonl -m team --max-cost 20 --dry-run",
        "mixtura batch answers.parquet out.jsonl -m team --column question --sample 100",
        "mixtura batch prompts.jsonl answers.jsonl -m team --provider-batch auto --within 6h",
        "mixtura batch tatsu-lab/alpaca_eval out.jsonl -m team --split eval",
        "mixtura batch prompts.jsonl answers.jsonl -m team --engine ray --address auto",
    ),
)
@click.argument("source", metavar="IN", callback=name_callback, shell_complete=complete_file)
@click.argument("output", metavar="OUT", callback=name_callback, shell_complete=complete_file)
@team_options
@click.option(
    "--format", "format", type=click.Choice(FORMATS), metavar="FORMAT",
    help="Format of IN: jsonl, csv, tsv, text (a prompt a line), parquet, openai, dataset;"
    " by default by its name.",
)  # fmt: skip
@click.option(
    "--split", default=DEFAULT_SPLIT, metavar="NAME", show_default=True, callback=name_callback,
    help="Split of a data set.",
)  # fmt: skip
@click.option("--subset", metavar="NAME", callback=name_callback, help="Subset of a data set.")
@click.option("--column", metavar="NAME", callback=name_callback, help="Field with the prompt.")
@click.option(
    "--template", metavar="TEXT|@FILE", callback=text_or_file_callback,
    help="Prompt with the row's fields in it, as {question}; @FILE reads it from a file.",
)  # fmt: skip
@click.option(
    "--image-column", metavar="NAME", callback=name_callback,
    help="Field with a picture's path or web address, or a list of them; by default image, images.",
)  # fmt: skip
@system_option
@count_option("--limit", "First N rows only.", within=BATCH_ROWS)
@count_option("--sample", "N rows drawn at random, the same for the same --seed.")
@click.option(
    "--dedupe", is_flag=True, help="Ask equal rows once, and give all of them the same answer."
)
@sampling_options
@count_option(
    "--concurrency",
    "Calls at once at each endpoint whose configuration has no `limits.concurrency`; fewer while"
    " it answers 429.",
    within=click.IntRange(1, 2048), default=32, show_default=True,
)  # fmt: skip
@click.option(
    "--provider-batch", type=click.Choice(("auto", "off", "only")), metavar="MODE",
    help="Send calls as the provider's batches, at a lower price: off (the default); auto (calls"
    " not answered within --within are made live); only (never live).",
)  # fmt: skip
@click.option(
    "--within", metavar="DURATION", callback=duration_callback,
    help="Time for provider batches, such as 6h or 90m, counted from the first run; by default"
    " 24h.",
)  # fmt: skip
@engine_options("What answers the rows: local (this process), or ray (workers of a Ray cluster).")
@count_option(
    "--workers",
    "Workers of --engine ray; by default one for each core of the cluster, or for each"
    " --worker-cores if a model runs in the workers.",
    within=click.IntRange(1, 1024),
)
@count_option(
    "--worker-cores",
    "Cores of each worker; by default 1, or 4 if a model runs in the workers.",
    within=click.IntRange(1, 256),
)
@click.option(
    "--start-vllm",
    is_flag=True,
    help="Serve the mixture's models of provider vllm on the GPUs of the cluster, with Ray Serve.",
)
@click.option(
    "--worker-folder", metavar="FOLDER", callback=name_callback,
    help="Where each machine keeps its workers' journals; by default beside --journal.",
)  # fmt: skip
@cap_options
@name_option("--journal", "FILE", "Where finished calls are kept; by default OUT.journal.")
@click.option(
    "--retry-failed", is_flag=True, help="Ask the rows that failed again, whatever the cause."
)
@click.option("--overwrite", is_flag=True, help="Replace OUT, even if another command made it.")
@click.option("--dry-run", is_flag=True, help="Show the calls and their maximum cost, and stop.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@click.option(
    "--json", "as_json", is_flag=True,
    help="Print progress and the outcome as JSON lines (to standard error if OUT is -).",
)  # fmt: skip
@config_option
def command(**options: Any) -> int:
    """Answer every row of IN with a mixture and write the answers to OUT, in the same order.

    IN is JSON lines, CSV, text, Parquet, a batch file of OpenAI's API, the name of a data set of
    the Hugging Face hub (OWNER/NAME), or - for JSON lines from standard input. OUT has a JSON
    object a line: custom_id, answer, usage, cost_usd, degraded. Rows without an answer go to
    OUT's name with .errors.jsonl.

    Every finished call is kept in a journal. If the batch was killed, interrupted or stopped by
    --max-cost, the same command continues where it stopped; only the calls that were under way are
    made again. Ctrl-C waits for the calls under way and stops; a second Ctrl-C stops at once.

    Exit codes: 0 all rows are answered, 3 some failed, 4 stopped by a cap, 130 interrupted.
    """
    from mixtura.cli.batch_run import BatchOptions, run_batch

    return run_batch(BatchOptions(**options))
