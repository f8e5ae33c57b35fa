"""mixtura eval, of a model: the price, the run, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mixtura import cli
from mixtura.cli.common import bring_embedded, console, echo_json, read_config
from mixtura.cli.progress import progress
from mixtura.config import Config, Plan
from mixtura.errors import ConfigError
from mixtura.text import one_line, plural

if TYPE_CHECKING:
    from mixtura.evals.result import Result
    from mixtura.evals.run import Asked, Ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
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


def evaluated(given: Given) -> int:
    """Run it, print what came of it, and give the exit code. Raises ConfigError."""
    from mixtura.evals.run import prepare

    _check(given)
    config = read_config(given.config_file, cache=given.cache)
    plan = config.plan(given.model) if given.model else None
    ready = prepare(
        config, plan, _asked(given), logs=given.logs, capped=given.max_cost is not None,
        fresh=given.fresh,
    )  # fmt: skip
    if given.dry_run:
        return _foretold(ready, as_json=given.as_json)
    _say_price(ready)
    _bring(config, ready.players.plans)
    result = _carried_out(ready, given)
    _keep(result, ready, given)
    if given.as_json:
        echo_json(result.json())
    else:
        from mixtura.render.score import show

        show(console(), result)
    return _code(result)


def _check(given: Given) -> None:
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


def _asked(given: Given) -> Asked:
    from mixtura.evals.run import Asked

    words: dict[str, Any] = {
        field.name: str(value) if isinstance(value := getattr(given, field.name), Path) else value
        for field in fields(Asked)
    }
    return Asked(**words)


def _code(result: Result) -> int:
    if result.capped:
        return cli.CAPPED
    return cli.ANSWERED if result.n else cli.NO_ANSWER


def _bring(config: Config, plans: tuple[Plan, ...]) -> None:
    for plan in plans:
        bring_embedded(config, plan)


# ---- the price


def _foretold(ready: Ready, *, as_json: bool) -> int:
    if as_json:
        found = ready.expected()
        echo_json({
            "samples": found.samples, "calls": found.calls, "max_cost_usd": found.dollars,
            "max_tokens": found.tokens, "unknown_prices": list(found.unknown),
        })  # fmt: skip
    else:
        click.echo(_price(ready))
    return cli.ANSWERED


def _say_price(ready: Ready) -> None:
    from mixtura.render import say

    aside = console(aside=True)
    say(aside, _price(ready), "dim")
    for warning in ready.kinship.warnings:
        say(aside, f"Note: {warning}.", "yellow")


def _price(ready: Ready) -> str:
    """What is still to be asked and its price at most, in a line."""
    from mixtura.render import dollars

    found = ready.expected()
    kept = f" ({len(ready.kept):,} answered before)" if ready.kept else ""
    said = f"{plural(found.samples, 'sample')}{kept}, {plural(found.calls, 'call')}"
    if found.unknown:
        names = ", ".join(map(one_line, found.unknown))
        return f"{said}; no price is known for {names}."
    return f"{said}, at most {dollars(found.dollars)}."


# ---- the run


def _carried_out(ready: Ready, given: Given) -> Result:
    from mixtura.evals.run import carry_out

    aside = console(aside=True)
    try:
        with progress(aside, quiet=given.as_json) as shown:
            watch = partial(shown, ready.name) if shown else None
            return carry_out(ready, max_cost=given.max_cost, deadline=given.deadline, watch=watch)
    except KeyboardInterrupt:
        from mixtura.render import say

        say(aside, "Interrupted. What was answered is kept: the same command goes on from there.")
        raise


# ---- what is written besides


def _keep(result: Result, ready: Ready, given: Given) -> None:
    """The files that were asked for."""
    if given.figure:
        from mixtura.evals.radar import svg

        title = f"{result.model}: FLASK, judged by {result.judge}"
        given.figure.write_text(svg(title, result.tables["skill"], 1, 5), encoding="utf-8")
    if given.write:
        from inspect_ai.log import read_eval_log

        from mixtura.evals import alpaca_eval
        from mixtura.evals.tasks import alpaca_eval as task

        told = read_eval_log(result.log).samples or []
        if answers := task.answers(told, ready.side):
            alpaca_eval.write_outputs(given.write / "model_outputs.json", answers)
        if verdicts := task.verdicts(told, ready.side):
            alpaca_eval.write_annotations(given.write / "annotations.json", verdicts)
