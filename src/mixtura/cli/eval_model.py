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
from mixtura.cli.dry_run import check_evaluation
from mixtura.cli.evaluation_options import announce_preparation
from mixtura.cli.output_file import write_output
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
    """The options of the command."""

    task: str
    model: str | None
    judge: str | None
    against: str | None
    outputs: str | None
    data: str | None
    limit: int | None
    seed: int | None
    epochs: int
    agreement: bool
    rubric: str | None
    scoring: str | None
    references: str | None
    skills: str | None
    template: str | None
    labels: str | None
    difficulty: Path | None
    gamed: Path | None
    logs: Path
    connections: int
    fresh: bool
    write: Path | None
    figure: Path | None
    dry_run: bool
    as_json: bool
    config_file: str | None
    max_cost: float | None
    deadline: float | None
    cache: bool | None


def run_evaluation(options: EvalOptions) -> int:
    """Run it, print what came of it, and return the exit code.

    Raises click.UsageError and ConfigError for wrong options, and what `execute` raises.
    """
    _check_options(options)
    announce_preparation("evaluation", quiet=options.as_json)
    with require_extra("eval", "evaluation"):
        from mixtura.evals.prepare import prepare_eval

    config = read_config(options.config_file, cache=options.cache, waits_for_all=True)
    plan = config.mixture_spec(options.model) if options.model else None
    ready = prepare_eval(
        config,
        plan,
        _build_request(options),
        logs=options.logs,
        capped=options.max_cost is not None,
        fresh=options.fresh,
    )
    if options.dry_run:
        return _print_expected(ready, options)
    _print_price(ready)
    # After the price: who reads it may stop the command before a large file is fetched.
    _download_models(config, ready.players.all_plans)
    result = _run_with_progress(ready, options)
    _write_files(result, ready, options)
    if options.as_json:
        echo_json(result.to_json())
    else:
        from mixtura.terminal.scores import print_result

        print_result(create_console(), result)
    return _exit_code(result)


def _check_options(options: EvalOptions) -> None:
    """Refuse what no evaluation could make up for, before it is begun."""
    if options.model is None and options.outputs is None:
        raise click.UsageError(f"{options.task} needs --model NAME.")
    for option, task in (("write", "alpaca-eval"), ("figure", "flask")):
        where: Path | None = getattr(options, option)
        if where is None:
            continue
        if options.task != task:
            raise click.UsageError(f"--{option} is for {task}, not for {options.task}.")
        folder = where if option == "write" else where.parent
        try:
            # Made now: a folder that cannot be written must not be noticed after all is paid.
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--{option}: {folder}: {error.strerror}") from None


def _build_request(options: EvalOptions) -> EvalRequest:
    from mixtura.evals.eval_request import EvalRequest

    words: dict[str, Any] = {
        field.name: str(value) if isinstance(value := getattr(options, field.name), Path) else value
        for field in fields(EvalRequest)
    }
    return EvalRequest(**words)


def _exit_code(result: EvalResult) -> int:
    if result.capped:
        # A capped run has results, too, but whoever reads the exit code must not take them for all.
        return cli.CAPPED
    return cli.ANSWERED if result.n else cli.NO_ANSWER


def _download_models(config: Config, plans: tuple[MixtureSpec, ...]) -> None:
    for plan in plans:
        download_embedded(config, plan)


# ---- the price


def _print_expected(ready: PreparedEval, options: EvalOptions) -> int:
    forecast = ready.forecast_remaining()
    # The cap is for earlier runs, too.
    whole = None if forecast.dollars is None else forecast.dollars + ready.earlier_cost_usd
    found = check_evaluation(ready.config, ready.players.all_plans, whole, options.max_cost)
    if options.as_json:
        echo_json({
            "samples": forecast.samples, "calls": forecast.calls, "max_cost_usd": forecast.dollars,
            "max_tokens": forecast.tokens, "unknown_prices": list(forecast.unknown),
            **found.to_json(),
        })  # fmt: skip
    else:
        click.echo(_price_line(ready))
        found.print_lines()
    return found.exit_code


def _print_price(ready: PreparedEval) -> None:
    from mixtura.terminal import print_line

    stderr = create_console(stderr=True)
    print_line(stderr, _price_line(ready), "dim")
    for warning in ready.kinship.warnings:
        print_line(stderr, f"Note: {warning}.", "yellow")


def _price_line(ready: PreparedEval) -> str:
    """What is still to be asked and its price at most, in a line."""
    from mixtura.terminal import format_most_dollars

    forecast = ready.forecast_remaining()
    kept = f" ({len(ready.kept):,} answered before)" if ready.kept else ""
    samples = pluralize_count(forecast.samples, "sample")
    summary = f"{samples}{kept}, {pluralize_count(forecast.calls, 'call')}"
    if forecast.unknown:
        names = ", ".join(map(to_one_line, forecast.unknown))
        return f"{summary}; no price is known for {names}."
    return f"{summary}, {format_most_dollars(forecast.dollars)}."


# ---- the run


def _run_with_progress(ready: PreparedEval, options: EvalOptions) -> EvalResult:
    from mixtura.evals.run import execute

    stderr = create_console(stderr=True)
    try:
        with show_progress(stderr, quiet=options.as_json) as progress:
            watch = partial(progress, ready.name) if progress else None
            return execute(
                ready, max_cost=options.max_cost, deadline=options.deadline,
                connections=options.connections, watch=watch,
            )  # fmt: skip
    except KeyboardInterrupt:
        from mixtura.terminal import print_line

        print_line(
            stderr, "Interrupted. What was answered is kept: the same command continues from there."
        )
        raise


# ---- what is written besides


def _write_files(result: EvalResult, ready: PreparedEval, options: EvalOptions) -> None:
    """The files that were asked for."""
    if options.figure:
        from mixtura.evals.radar import radar_svg

        title = f"{result.model}: FLASK, judged by {result.judge}"
        write_output(options.figure, radar_svg(title, result.tables["skill"], 1, 5))
    if options.write:
        from inspect_ai.log import read_eval_log

        from mixtura.evals import alpaca_leaderboard
        from mixtura.evals.tasks import alpaca_eval as task

        samples = read_eval_log(result.log).samples or []
        if answers := task.model_outputs(samples, ready.judge_context):
            alpaca_leaderboard.write_outputs(options.write / "model_outputs.json", answers)
            click.echo(f"Written to {to_one_line(options.write / 'model_outputs.json')}.", err=True)
        if verdicts := task.verdict_annotations(samples, ready.judge_context):
            alpaca_leaderboard.write_annotations(options.write / "annotations.json", verdicts)
            click.echo(f"Written to {to_one_line(options.write / 'annotations.json')}.", err=True)
