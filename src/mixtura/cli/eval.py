"""The command mixtura eval: how good a model is, by published benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mixtura.catalog.entry_points import find_entry_points
from mixtura.cli.common import (
    SEED,
    combine_options,
    config_option,
    count_option,
    evaluation_cap_options,
    name_option,
)
from mixtura.cli.completed_values import complete_task
from mixtura.cli.evaluation_options import connections_option, file_option, json_option
from mixtura.cli.help_layout import MixturaCommand
from mixtura.core.text import to_one_line
from mixtura.evals.tasks import TASK_NAMES

ALPACA = "alpaca-eval"


def _parse_task(ctx: click.Context, param: click.Parameter, value: str) -> str:
    # The names alone: the tasks themselves bring Inspect, which --help must not wait for.
    others = sorted(name for name in find_entry_points("mixtura.tasks") if name not in TASK_NAMES)
    if value in (*TASK_NAMES, *others):
        return value
    exist = f"the tasks are {', '.join((*TASK_NAMES, *others))}."
    raise click.BadParameter(f"no task is called '{to_one_line(value)}'; {exist}", ctx, param)


_model_options = combine_options(
    name_option("--model", "NAME", "Mixture or model to score."),
    name_option("--judge", "NAME", "Model that judges; it should not take part itself."),
    name_option("--against", "NAME|FILE", "Answers to compare with: a model's, or a file of them."),
    name_option("--outputs", "FILE", "alpaca-eval: existing answers (model_outputs.json)."),
)
_data_options = combine_options(
    name_option("--data", "FILE", "Data set, as a file or web address, instead of the public one."),
    count_option("--limit", "Number of samples to use."),
    count_option("--seed", "Seed for the choice of samples and for the models.", within=SEED),
    count_option("--epochs", "Answers to each sample.", default=1),
    click.option(
        "--agreement",
        is_flag=True,
        help="Also report where the proposals of each answer agree: one more call.",
    ),
)
_scoring_options = combine_options(
    name_option("--rubric", "TEXT", "jsonl: the judge's criteria, for rows without their own."),
    name_option(
        "--scoring", "HOW", "jsonl: how answers are checked: exact, includes, number or math."
    ),
    name_option("--references", "FILE", "mt-bench: reference answers."),
    name_option("--skills", "FILE", "flask: rubrics of the skills."),
    name_option("--template", "FILE", "alpaca-eval: the judge's prompt."),
    name_option("--labels", "FILE", "Human labels of the same samples, to measure agreement."),
)
_alpaca_options = combine_options(
    file_option(
        "--annotations", "alpaca-eval: existing preferences of a judge; no model is asked."
    ),
    file_option("--difficulty", "alpaca-eval: difficulty of each instruction, for length control."),
    file_option("--weights", "alpaca-eval: the leaderboard's weights, instead of fitting them."),
    file_option("--gamed", "alpaca-eval: official regularisation set (df_gamed.csv)."),
)
_log_options = combine_options(
    click.option(
        "--logs", type=Path, default=Path("logs"), metavar="DIR", help="Folder of the Inspect logs."
    ),
    connections_option,
    click.option("--fresh", is_flag=True, help="Ask again what an earlier run has answered."),
    file_option(
        "--write", "alpaca-eval: folder for model_outputs.json and annotations.json.", "DIR"
    ),
    file_option("--figure", "flask: write a radar chart of the skills (SVG)."),
    click.option(
        "--dry-run", is_flag=True, help="Show the calls and their maximum cost, and send nothing."
    ),
    json_option,
)


@click.command(
    name="eval",
    cls=MixturaCommand,
    examples=(
        "mixtura eval gsm8k --model team --limit 100",
        "mixtura eval mt-bench --model team --judge openai/gpt-5.4",
        "mixtura eval jsonl --data my-prompts.jsonl --scoring number --model team",
        "mixtura eval alpaca-eval --annotations annotations.json",
    ),
)
@click.argument("task", callback=_parse_task, shell_complete=complete_task)
@_model_options
@_data_options
@_scoring_options
@_alpaca_options
@_log_options
@config_option
@evaluation_cap_options
def command(task: str, as_json: bool, **options: Any) -> int | None:
    """Score a model or mixture on a benchmark.

    TASK is gsm8k, math, ifeval, humaneval, jsonl, mt-bench, flask, alpaca-eval or arena-hard.

    Answers are kept: the same command resumes where it was stopped. alpaca-eval with
    --annotations scores existing annotations, as its leaderboard does; with --weights and
    --difficulty alone, it lists every model that has weights.
    """
    calls_models = options["model"] or options["outputs"] or options["judge"]
    if task == ALPACA and not calls_models:
        from mixtura.cli import alpaca_annotations

        files = {
            name: options[name]
            for name in alpaca_annotations.AnnotationOptions._fields
            if name in options
        }
        alpaca_annotations.print_scores(
            alpaca_annotations.AnnotationOptions(**files, as_json=as_json)
        )
        return None
    for name in ("annotations", "weights"):
        if options.pop(name) is not None:
            raise click.UsageError(f"--{name} goes with alpaca-eval alone, without a model.")
    from mixtura.cli import eval_model

    return eval_model.run_evaluation(eval_model.EvalOptions(task=task, as_json=as_json, **options))
