"""The command mixtura eval: how good a model is, by published benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mixtura.catalog.entry_points import find_entry_points
from mixtura.cli.common import cap_options, config_option
from mixtura.cli.evaluation_options import combine_options, file_option, json_option, name_option
from mixtura.core.text import to_one_line
from mixtura.evals.tasks import TASK_NAMES

ALPACA = "alpaca-eval"


def _parse_task(ctx: click.Context, param: click.Parameter, value: str) -> str:
    # The names alone: the tasks themselves bring Inspect, which --help must not wait for.
    others = sorted(name for name in find_entry_points("mixtura.tasks") if name not in TASK_NAMES)
    if value in (*TASK_NAMES, *others):
        return value
    exist = f"there is: {', '.join((*TASK_NAMES, *others))}."
    raise click.BadParameter(f"no task is called '{to_one_line(value)}'; {exist}", ctx, param)


_model_options = combine_options(
    name_option("--model", "NAME", "Who answers: a mixture or a model."),
    name_option("--judge", "NAME", "Who judges: a mixture or a model that takes no part."),
    name_option(
        "--against", "NAME|FILE", "Whose answers stand beside: a model, or a file of them."
    ),
    name_option("--outputs", "FILE", "alpaca-eval: answers that are there (model_outputs.json)."),
)
_data_options = combine_options(
    name_option("--data", "FILE", "Rows, or their address, instead of the task's public home."),
    click.option("--limit", type=click.IntRange(min=1), help="So many samples."),
    click.option("--seed", type=int, help="Draws the samples; goes to the models, too."),
    click.option("--epochs", type=click.IntRange(min=1), default=1, help="Answers to each."),
)
_scoring_options = combine_options(
    name_option("--rubric", "TEXT", "jsonl: what the judge goes by, for rows without one."),
    name_option("--scoring", "HOW", "jsonl: exact, includes, number or math."),
    name_option("--references", "FILE", "mt-bench: reference answers."),
    name_option("--skills", "FILE", "flask: the rubrics of the skills."),
    name_option("--template", "FILE", "alpaca-eval: the judge's words."),
    name_option("--labels", "FILE", "What people said of the same samples: agreement is measured."),
)
_alpaca_options = combine_options(
    file_option(
        "--annotations", "alpaca-eval: a judge's preferences that are there; no one is asked."
    ),
    file_option("--difficulty", "alpaca-eval: how hard each instruction is, for length control."),
    file_option("--weights", "alpaca-eval: the leaderboard's weights; none are fitted then."),
    file_option("--gamed", "alpaca-eval: the official regularisation set (df_gamed.csv)."),
)
_log_options = combine_options(
    click.option("--logs", type=Path, default=Path("logs"), metavar="DIR", help="Inspect's logs."),
    click.option("--fresh", is_flag=True, help="Ask anew what an earlier run has answered."),
    file_option("--write", "alpaca-eval: where model_outputs.json and annotations.json go.", "DIR"),
    file_option("--figure", "flask: a radar of the skills (SVG)."),
    click.option("--dry-run", is_flag=True, help="Say what it would take; ask nothing."),
    json_option,
)


@click.command(name="eval")
@click.argument("task", callback=_parse_task)
@_model_options
@_data_options
@_scoring_options
@_alpaca_options
@_log_options
@config_option
@cap_options
def command(task: str, as_json: bool, **options: Any) -> int | None:
    """Say how good a model is.

    TASK: gsm8k, math, ifeval, humaneval, jsonl, mt-bench, flask, alpaca-eval, arena-hard.

    \b
      mixtura eval gsm8k --model team --limit 100
      mixtura eval mt-bench --model team --judge openai/gpt-5.4
      mixtura eval alpaca-eval --annotations annotations.json

    What was answered is kept: the same command goes on where it was stopped. alpaca-eval with
    --annotations scores what is there, as its leaderboard does; with --weights and --difficulty
    alone, it lists every model that has weights.
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
