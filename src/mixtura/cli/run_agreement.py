"""The report of where the proposals agree, for a run that is over: made once, then kept."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext

import click

from mixtura.billing.forecast import worst_case_spend
from mixtura.config.agreement_reports import (
    PlannedReport,
    has_agreement_report,
    make_agreement_report,
    prepare_agreement_report,
)
from mixtura.config.config import Config
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.storage.run_record import Record


def add_agreement(
    config: Config,
    run: Record,
    *,
    max_cost: float | None,
    dry_run: bool = False,
    runner: asyncio.Runner | None = None,
) -> Record:
    """
    The run with its agreement: as it was kept, else made now and kept, its price told first.

    *dry_run*: the price alone. *runner*: that of a conversation, else one of its own. Raises
    ConfigError for a run without several proposals, and MixturaError where the model fails or a
    cap is reached.
    """
    if has_agreement_report(run):
        if dry_run:
            click.echo("The report is kept with the run: no call.")
        return run
    with nullcontext(runner) if runner else asyncio.Runner() as runner:
        report = runner.run(prepare_agreement_report(config, run, max_cost=max_cost))
        _print_price(config, report, dry_run=dry_run)
        if dry_run:
            return run
        whole = runner.run(make_agreement_report(config, run, report))
    if not config.runs.save_run(whole):
        click.echo("The report is not kept: runs are not recorded here.", err=True)
    return whole


def _print_price(config: Config, report: PlannedReport, *, dry_run: bool) -> None:
    """What the report can cost: to standard output where that is all that was asked for."""
    from mixtura.terminal import format_most_dollars

    worst, unknown = worst_case_spend(report.calls, config.usage_cost)
    most = format_most_dollars(None if unknown else worst.dollars)
    tokens = pluralize_count(worst.tokens, "token")
    many = pluralize_count(len(report.calls), "call")
    text = f"{many} of {to_one_line(report.by)}, at most {tokens}, {most}."
    click.echo(text, err=not dry_run)
