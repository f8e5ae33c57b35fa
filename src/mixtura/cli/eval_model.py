"""mixtura eval, of a model: the price, the run, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import (
    create_console,
    download_embedded,
    echo_json,
    read_config,
    require_extra,
)
from mixtura.cli.progress import show_progress
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line

if TYPE_CHECKING:
    from mixtura.evals.eval_request import EvalRequest
    from mixtura.evals.prepare import PreparedEval
    from mixtura.evals.result import EvalResult


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalOptions:
    """What was said on the command line."""

    task: str
    model: str | None
    judge: str | None
    against: str | None
    outputs: str | None
    data: str | None
    limit: int | None
    seed: int | None
    epochs: int
    rubric: str | None
    scoring: str | None
    references: str | None
    skills: str | None
    template: str | None
    labels: str | None
    difficulty: Path | None
    gamed: Path | None
    logs: Path
    fresh: bool
    write: Path | None
    figure: Path | None
    dry_run: bool
    as_json: bool
    config_file: str | None
    max_cost: float | None
    deadline: float | None
    cache: bool | None


def run_evaluation(given: EvalOptions) -> int:
    """Run it, print what came of it, and give the exit code. Raises ConfigError."""
    with require_extra("eval", "evaluation"):
        from mixtura.evals.prepare import prepare_eval

    _check_options(given)
    config = read_config(given.config_file, cache=given.cache)
    plan = config.mixture_spec(given.model) if given.model else None
    ready = prepare_eval(
        config, plan, _build_request(given), logs=given.logs, capped=given.max_cost is not None,
        fresh=given.fresh,
    )  # fmt: skip
    if given.dry_run:
        return _print_expected(ready, as_json=given.as_json)
    _print_price(ready)
    _download_models(config, ready.players.all_plans)
    result = _run_with_progress(ready, given)
    _write_files(result, ready, given)
    if given.as_json:
        echo_json(result.to_json())
    else:
        from mixtura.terminal.scores import print_result

        print_result(create_console(), result)
    return _exit_code(result)


def _check_options(given: EvalOptions) -> None:
    """What no evaluation could make up for, before it is begun."""
    if given.model is None and given.outputs is None:
        raise click.UsageError(f"{given.task} needs --model NAME.")
    for option, task in (("write", "alpaca-eval"), ("figure", "flask")):
        where: Path | None = getattr(given, option)
        if where is None:
            continue
        if given.task != task:
            raise click.UsageError(f"--{option} is for {task}, not for {given.task}.")
        folder = where if option == "write" else where.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--{option}: {folder}: {error.strerror}") from None


def _build_request(given: EvalOptions) -> EvalRequest:
    from mixtura.evals.eval_request import EvalRequest

    words: dict[str, Any] = {
        field.name: str(value) if isinstance(value := getattr(given, field.name), Path) else value
        for field in fields(EvalRequest)
    }
    return EvalRequest(**words)


def _exit_code(result: EvalResult) -> int:
    if result.capped:
        return cli.CAPPED
    return cli.ANSWERED if result.n else cli.NO_ANSWER


def _download_models(config: Config, plans: tuple[MixtureSpec, ...]) -> None:
    for plan in plans:
        download_embedded(config, plan)


# ---- the price


def _print_expected(ready: PreparedEval, *, as_json: bool) -> int:
    if as_json:
        found = ready.forecast_remaining()
        echo_json({
            "samples": found.samples, "calls": found.calls, "max_cost_usd": found.dollars,
            "max_tokens": found.tokens, "unknown_prices": list(found.unknown),
        })  # fmt: skip
    else:
        click.echo(_price_line(ready))
    return cli.ANSWERED


def _print_price(ready: PreparedEval) -> None:
    from mixtura.terminal import print_line

    aside = create_console(aside=True)
    print_line(aside, _price_line(ready), "dim")
    for warning in ready.kinship.warnings:
        print_line(aside, f"Note: {warning}.", "yellow")


def _price_line(ready: PreparedEval) -> str:
    """What is still to be asked and its price at most, in a line."""
    from mixtura.terminal import format_dollars

    found = ready.forecast_remaining()
    kept = f" ({len(ready.kept):,} answered before)" if ready.kept else ""
    said = (
        f"{pluralize_count(found.samples, 'sample')}{kept}, {pluralize_count(found.calls, 'call')}"
    )
    if found.unknown:
        names = ", ".join(map(to_one_line, found.unknown))
        return f"{said}; no price is known for {names}."
    return f"{said}, at most {format_dollars(found.dollars)}."


# ---- the run


def _run_with_progress(ready: PreparedEval, given: EvalOptions) -> EvalResult:
    from mixtura.evals.run import execute

    aside = create_console(aside=True)
    try:
        with show_progress(aside, quiet=given.as_json) as shown:
            watch = partial(shown, ready.name) if shown else None
            return execute(ready, max_cost=given.max_cost, deadline=given.deadline, watch=watch)
    except KeyboardInterrupt:
        from mixtura.terminal import print_line

        print_line(
            aside, "Interrupted. What was answered is kept: the same command goes on from there."
        )
        raise


# ---- what is written besides


def _write_files(result: EvalResult, ready: PreparedEval, given: EvalOptions) -> None:
    """The files that were asked for."""
    if given.figure:
        from mixtura.evals.radar import radar_svg

        title = f"{result.model}: FLASK, judged by {result.judge}"
        given.figure.write_text(radar_svg(title, result.tables["skill"], 1, 5), encoding="utf-8")
    if given.write:
        from inspect_ai.log import read_eval_log

        from mixtura.evals import alpaca_leaderboard
        from mixtura.evals.tasks import alpaca_eval as task

        told = read_eval_log(result.log).samples or []
        if answers := task.model_outputs(told, ready.judge_context):
            alpaca_leaderboard.write_outputs(given.write / "model_outputs.json", answers)
        if verdicts := task.verdict_annotations(told, ready.judge_context):
            alpaca_leaderboard.write_annotations(given.write / "annotations.json", verdicts)
