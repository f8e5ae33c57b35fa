"""What --dry-run finds: what is missing here for the run, and which cap it would pass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import click

from mixtura import cli
from mixtura.billing.spending_caps import RunCap
from mixtura.cli.common import is_embedded, needed_models
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import BudgetExceededError, ConfigError
from mixtura.core.text import to_one_line
from mixtura.core.types import Request


class DryRunFindings(NamedTuple):
    """Why the run would not begin, or not end, as it is asked for; empty where it would."""

    missing: tuple[str, ...] = ()
    """What it needs and is not here: a key, an address, a downloaded model."""
    over_cap: str | None = None
    """Which cap its highest cost is over."""

    @property
    def exit_code(self) -> int:
        """That of the command without --dry-run."""
        if self.missing:
            return cli.WRONG_USE
        return cli.CAPPED if self.over_cap else cli.ANSWERED

    def to_json(self) -> dict[str, object]:
        return {"missing": list(self.missing), "over_cap": self.over_cap}

    def print_lines(self, *, quiet: bool = False) -> None:
        """A line each, on standard error, unless *quiet*."""
        if quiet:
            return
        for need in self.missing:
            click.echo(f"Cannot run: {to_one_line(need)}.", err=True)
        if self.over_cap:
            click.echo(f"Over the cap: {to_one_line(self.over_cap)}.", err=True)


def check_question(
    config: Config, plan: MixtureSpec, request: Request, max_cost: float | None
) -> DryRunFindings:
    """The findings for one question. Nothing is sent or spent.

    Raises ConfigError where a cap in dollars meets an unknown price, and StoreError.
    """
    missing, over_cap = find_missing(config, [plan]), None
    try:
        if left_out := asyncio.run(config.check_affordable(plan, request, max_cost=max_cost)):
            click.echo(f"The answer would lack something: {to_one_line(left_out)}.", err=True)
    except BudgetExceededError as error:
        over_cap = error.describe_for("this run")
    return DryRunFindings(missing, over_cap)


def check_rows(
    config: Config, plan: MixtureSpec, cheapest: Request, dearest: Request, max_cost: float | None
) -> DryRunFindings:
    """
    The findings for a batch whose rows cost between *cheapest* and *dearest*, and all of them
    *max_cost* dollars at most. Raises as ``check_question``.
    """
    over_cap, left_out = None, ""
    rows = (
        ("the cheapest row", cheapest, "no row would be asked"),
        ("the most expensive row", dearest, "the batch would stop without it"),
    )
    for row, request, then in rows:
        caps = () if max_cost is None else (RunCap("the batch", max_cost),)
        try:
            left_out = asyncio.run(config.check_affordable(plan, request, caps=caps))
        except BudgetExceededError as error:
            over_cap = f"{error.describe_for(row)}: {then}"
            break
    if over_cap is None and left_out:
        click.echo(f"Answers would lack something: {to_one_line(left_out)}.", err=True)
    return DryRunFindings(find_missing(config, [plan]), over_cap)


def check_evaluation(
    config: Config, plans: Sequence[MixtureSpec], dollars: float | None, max_cost: float | None
) -> DryRunFindings:
    """The findings for many questions, which cost *dollars* at most; None: no one knows.

    Raises ConfigError where a cap in dollars meets an unknown price.
    """
    over_cap = None
    if max_cost is not None:
        from mixtura.evals.forecast import check_priced

        check_priced(config, plans)
        if dollars is not None and dollars > max_cost:
            most = f"it could cost up to ${dollars:,.4f}"
            over_cap = f"{most} and would stop at --max-cost {max_cost:g}"
    return DryRunFindings(find_missing(config, plans), over_cap)


def find_missing(config: Config, plans: Iterable[MixtureSpec]) -> tuple[str, ...]:
    """What the models of *plans* lack on this machine, each thing once."""
    lacking: dict[str, None] = {}
    for plan in plans:
        for _, _, name in needed_models(config, plan):
            if is_embedded(config, name):  # it comes by itself
                continue
            try:
                # Not where it is a member: that would say the same of every place.
                config.model(name)
            except ConfigError as error:
                lacking |= dict.fromkeys(map(str, error.mistakes or (error,)))
    return tuple(lacking)


def plans_of(config: Config, names: Sequence[str], judge: str | None) -> list[MixtureSpec]:
    """The plans of *names* and of the judge."""
    return [config.mixture_spec(name) for name in (*names, *([judge] if judge else []))]
