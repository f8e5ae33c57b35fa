"""mixtura eval"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mixtura.cli.common import F, cap_options, config_option, named
from mixtura.evals.tasks import NAMES
from mixtura.text import one_line

ALPACA = "alpaca-eval"


def _task(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value in NAMES:
        return value
    exist = f"there is: {', '.join(NAMES)}."
    raise click.BadParameter(f"no task is called '{one_line(value)}'; {exist}", ctx, param)


def _path(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    name = named(ctx, param, value)
    return None if name is None else Path(str(name))


def _options(*options: Callable[[F], F]) -> Callable[[F], F]:
    def all_of_them(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return all_of_them


def _word(option: str, metavar: str, said: str) -> Callable[[F], F]:
    return click.option(option, callback=named, metavar=metavar, help=said)


def _file(option: str, said: str, metavar: str = "FILE") -> Callable[[F], F]:
    return click.option(option, callback=_path, metavar=metavar, help=said)


_who = _options(
    _word("--model", "NAME", "Who answers: a mixture or a model."),
    _word("--judge", "NAME", "Who judges: a mixture or a model that takes no part."),
    _word("--against", "NAME|FILE", "Whose answers stand beside: a model, or a file of them."),
    _word("--outputs", "FILE", "alpaca-eval: answers that are there (model_outputs.json)."),
)
_what = _options(
    _word("--data", "FILE", "Rows, or their address, instead of the task's public home."),
    click.option("--limit", type=click.IntRange(min=1), help="So many samples."),
    click.option("--seed", type=int, help="Draws the samples; goes to the models, too."),
    click.option("--epochs", type=click.IntRange(min=1), default=1, help="Answers to each."),
)
_how = _options(
    _word("--rubric", "TEXT", "jsonl: what the judge goes by, for rows without one."),
    _word("--scoring", "HOW", "jsonl: exact, includes, number or math."),
    _word("--references", "FILE", "mt-bench: reference answers."),
    _word("--skills", "FILE", "flask: the rubrics of the skills."),
    _word("--template", "FILE", "alpaca-eval: the judge's words."),
    _word("--labels", "FILE", "What people said of the same samples: agreement is measured."),
)
_alpaca = _options(
    _file("--annotations", "alpaca-eval: a judge's preferences that are there; no one is asked."),
    _file("--difficulty", "alpaca-eval: how hard each instruction is, for length control."),
    _file("--weights", "alpaca-eval: the leaderboard's weights; none are fitted then."),
    _file("--gamed", "alpaca-eval: the official regularisation set (df_gamed.csv)."),
)
_where = _options(
    click.option("--logs", type=Path, default=Path("logs"), metavar="DIR", help="Inspect's logs."),
    click.option("--fresh", is_flag=True, help="Ask anew what an earlier run has answered."),
    _file("--write", "alpaca-eval: where model_outputs.json and annotations.json go.", "DIR"),
    _file("--figure", "flask: a radar of the skills (SVG)."),
    click.option("--dry-run", is_flag=True, help="Say what it would take; ask nothing."),
    click.option("--json", "as_json", is_flag=True, help="One JSON object."),
)


@click.command(name="eval")
@click.argument("task", callback=_task)
@_who
@_what
@_how
@_alpaca
@_where
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
        from mixtura.cli import annotated

        files = {name: given[name] for name in annotated.Given._fields if name in given}
        annotated.scored(annotated.Given(**files, as_json=as_json))
        return None
    for name in ("annotations", "weights"):
        if given.pop(name) is not None:
            raise click.UsageError(f"--{name} goes with alpaca-eval alone, without a model.")
    from mixtura.cli import evaluating

    return evaluating.evaluated(evaluating.Given(task=task, as_json=as_json, **given))
