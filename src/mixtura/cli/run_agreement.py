"""The report of where the proposals agree, for a run that is over: made once, then kept."""

from __future__ import annotations

import asyncio

import click

from mixtura.billing.forecast import forecast_calls, worst_case_spend
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Completion, Request
from mixtura.engine.streaming import Recorder
from mixtura.patterns.agreement import AgreementReporter
from mixtura.storage.run_record import (
    Record,
    recorded_proposals,
    restore_agreement,
    restore_request,
    with_agreement,
)


def add_agreement(config: Config, run: Record, *, max_cost: float | None, dry_run: bool) -> Record:
    """
    The run with its agreement: as it was kept, else made now and kept, its price told first.

    *dry_run*: the price alone. Raises ConfigError for a run without several proposals, and
    MixturaError where the model fails or a cap is reached.
    """
    kept = restore_agreement(run.get("agreement"))
    if kept is not None and kept.report is not None:
        if dry_run:
            click.echo("The report is kept with the run: no call.")
        return run
    proposals = recorded_proposals(run)
    request = restore_request(run["request"])
    if len(proposals) < 2 or request is None:
        raise ConfigError(
            f"the run {run['id']} has fewer than two proposals: there is nothing to compare"
        )
    name = _reporter_name(config, run, proposals)
    reporter, model = config.build_reporter(name, proposals, max_cost=max_cost)
    with asyncio.Runner() as runner:
        asked = runner.run(reporter.show_proposals(request))
        _print_price(config, reporter, asked, dry_run=dry_run)
        if dry_run:
            return run
        recorder = Recorder()
        runner.run(model.complete(asked, recorder))
    trace = recorder.build_trace()
    whole = config.runs.redact_run(with_agreement(run, trace, config.usage_cost))
    if not config.runs.save_run(whole):
        click.echo("The report is not kept: runs are not recorded here.", err=True)
    return whole


def _reporter_name(config: Config, run: Record, proposals: list[Completion]) -> str:
    """As configured, else who wrote the run's answer, else its first member."""
    if config.settings.agreement.model is not None:
        return config.settings.agreement.model
    last = [row["model"] for row in run["calls"] if row["role"] == "aggregator"]
    # The last step of a vote is no model.
    names = [*reversed(last), *(proposal.model for proposal in proposals)]
    named = [name for name in names if config.registry.name_exists(name)]
    known = next((name for name in named if name not in config.registry.mixtures), None)
    if known is None:
        raise ConfigError(
            f"none of the run's models is known any more ({', '.join(dict.fromkeys(names))}):"
            " name one that is to compare the proposals, `model` in [agreement]"
        )
    return known


def _print_price(
    config: Config, reporter: AgreementReporter, asked: Request, *, dry_run: bool
) -> None:
    """What the report can cost: to standard output where that is all that was asked for."""
    from mixtura.terminal import format_dollars

    calls = forecast_calls(reporter, asked)
    worst, unknown = worst_case_spend(calls, config.usage_cost)
    most = format_dollars(None if unknown else worst.dollars)
    tokens = pluralize_count(worst.tokens, "token")
    many = pluralize_count(len(calls), "call")
    text = f"{many} of {to_one_line(reporter.name)}, at most {tokens}, at most {most}."
    click.echo(text, err=not dry_run)
