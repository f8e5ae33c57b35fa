"""mixtura eval"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mixtura.catalog.entry_points import find_entry_points
from mixtura.cli.common import F, cap_options, config_option, name_callback
from mixtura.core.text import to_one_line
from mixtura.evals.tasks import TASK_NAMES

ALPACA = "alpaca-eval"


def _parse_task(ctx: click.Context, param: click.Parameter, value: str) -> str:
    others = sorted(name for name in find_entry_points("mixtura.tasks") if name not in TASK_NAMES)
    if value in (*TASK_NAMES, *others):
        return value
    exist = f"there is: {', '.join((*TASK_NAMES, *others))}."
    raise click.BadParameter(f"no task is called '{to_one_line(value)}'; {exist}", ctx, param)


def _parse_path(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    name = name_callback(ctx, param, value)
    return None if name is None else Path(str(name))


def _combine_options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def add_options(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return add_options


def _text_option(option: str, metavar: str, said: str) -> Callable[[F], F]:
    return click.option(option, callback=name_callback, metavar=metavar, help=said)


def _file_option(option: str, said: str, metavar: str = "FILE") -> Callable[[F], F]:
    return click.option(option, callback=_parse_path, metavar=metavar, help=said)


_model_options = _combine_options(
    _text_option("--model", "NAME", "Who answers: a mixture or a model."),
    _text_option("--judge", "NAME", "Who judges: a mixture or a model that takes no part."),
    _text_option(
        "--against", "NAME|FILE", "Whose answers stand beside: a model, or a file of them."
    ),
    _text_option("--outputs", "FILE", "alpaca-eval: answers that are there (model_outputs.json)."),
)
_data_options = _combine_options(
    _text_option("--data", "FILE", "Rows, or their address, instead of the task's public home."),
    click.option("--limit", type=click.IntRange(min=1), help="So many samples."),
    click.option("--seed", type=int, help="Draws the samples; goes to the models, too."),
    click.option("--epochs", type=click.IntRange(min=1), default=1, help="Answers to each."),
)
_scoring_options = _combine_options(
    _text_option("--rubric", "TEXT", "jsonl: what the judge goes by, for rows without one."),
    _text_option("--scoring", "HOW", "jsonl: exact, includes, number or math."),
    _text_option("--references", "FILE", "mt-bench: reference answers."),
    _text_option("--skills", "FILE", "flask: the rubrics of the skills."),
    _text_option("--template", "FILE", "alpaca-eval: the judge's words."),
    _text_option(
        "--labels", "FILE", "What people said of the same samples: agreement is measured."
    ),
)
_alpaca_options = _combine_options(
    _file_option(
        "--annotations", "alpaca-eval: a judge's preferences that are there; no one is asked."
    ),
    _file_option("--difficulty", "alpaca-eval: how hard each instruction is, for length control."),
    _file_option("--weights", "alpaca-eval: the leaderboard's weights; none are fitted then."),
    _file_option("--gamed", "alpaca-eval: the official regularisation set (df_gamed.csv)."),
)
_log_options = _combine_options(
    click.option("--logs", type=Path, default=Path("logs"), metavar="DIR", help="Inspect's logs."),
    click.option("--fresh", is_flag=True, help="Ask anew what an earlier run has answered."),
    _file_option(
        "--write", "alpaca-eval: where model_outputs.json and annotations.json go.", "DIR"
    ),
    _file_option("--figure", "flask: a radar of the skills (SVG)."),
    click.option("--dry-run", is_flag=True, help="Say what it would take; ask nothing."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object."),
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
def command(task: str, as_json: bool, **given: Any) -> int | None:
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
    asked = given["model"] or given["outputs"] or given["judge"]
    if task == ALPACA and not asked:
        from mixtura.cli import alpaca_annotations

        files = {
            name: given[name]
            for name in alpaca_annotations.AnnotationOptions._fields
            if name in given
        }
        alpaca_annotations.print_scores(
            alpaca_annotations.AnnotationOptions(**files, as_json=as_json)
        )
        return None
    for name in ("annotations", "weights"):
        if given.pop(name) is not None:
            raise click.UsageError(f"--{name} goes with alpaca-eval alone, without a model.")
    from mixtura.cli import eval_model

    return eval_model.run_evaluation(eval_model.EvalOptions(task=task, as_json=as_json, **given))
