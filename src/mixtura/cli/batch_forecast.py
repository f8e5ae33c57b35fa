"""mixtura batch --dry-run: what a batch takes, live and as provider batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

import click

from mixtura.batch.input_rows import BatchInput, BatchRow
from mixtura.billing.forecast import ExpectedCall, forecast_calls, worst_case_spend
from mixtura.billing.spending_caps import Spend
from mixtura.cli.common import echo_json
from mixtura.cli.dry_run import check_rows
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS
from mixtura.core.types import Request
from mixtura.storage.occurrence_counter import OccurrenceCounter
from mixtura.terminal import format_dollars, format_most_dollars


class _Forecast(NamedTuple):
    """What a batch takes at most. *most*, *least*: dollars, live and in provider batches."""

    rows: int
    distinct: int
    calls: int
    tokens: int
    most: float | None
    least: float | None
    unknown: tuple[str, ...]
    """Models without a known price."""
    cheapest: Request
    dearest: Request
    """The rows that cost least and most."""


def print_forecast(
    config: Config,
    plan: MixtureSpec,
    batch_input: BatchInput,
    *,
    max_cost: float | None,
    asks_in_batches: bool,
    as_json: bool,
) -> int:
    """
    Ask nothing: how many rows and calls there are, and what they may cost at most.
    *asks_in_batches*: no call is made live. Raises as ``check_rows``.
    """
    whole = _forecast_batch(config, plan, batch_input)
    config.asks_in_batches = asks_in_batches
    found = check_rows(config, plan, whole.cheapest, whole.dearest, max_cost)
    if as_json:
        echo_json({
            "event": "forecast", "rows": whole.rows, "asked_rows": whole.distinct,
            "calls": whole.calls, "max_tokens": whole.tokens, "max_cost_usd": whole.most,
            "max_batch_cost_usd": whole.least, "unknown_prices": list(whole.unknown),
            **found.to_json(),
        })  # fmt: skip
        return found.exit_code
    repeats = whole.rows - whole.distinct
    repeated = f" ({repeats:,} repeat an earlier one)" if repeats else ""
    click.echo(
        f"{pluralize_count(whole.rows, 'row')}{repeated}, {pluralize_count(whole.calls, 'call')},"
        f" at most {pluralize_count(whole.tokens, 'token')}, {format_most_dollars(whole.most)}."
    )
    assumed = f"Without --max-tokens, {DEFAULT_ANSWER_TOKENS:,} tokens per answer are assumed. "
    click.echo(
        ("" if batch_input.form.sampling.max_tokens else assumed)
        + "Calls already in the journal, retries and fallbacks are not taken into account."
    )
    if found.over_cap is None:
        _warn_of_cap(whole.least if asks_in_batches else whole.most, max_cost)
    _print_prices(whole)
    found.print_lines()
    return found.exit_code


def _print_prices(whole: _Forecast) -> None:
    """What provider batches would save, and which prices are unknown."""
    most, least = whole.most, whole.least
    if most is not None and least is not None and least < most:
        click.echo(
            f"{format_dollars(most)} now, {format_dollars(least)} as provider batches"
            " (--provider-batch auto, within 24 hours)."
        )
    if whole.unknown:
        click.echo(f"No price is known for {', '.join(map(to_one_line, whole.unknown))}.")


def _forecast_batch(config: Config, plan: MixtureSpec, batch_input: BatchInput) -> _Forecast:
    outline = config.builder.build_outline(plan)
    rows = batch_input.check().rows
    calls, distinct, batched = 0, 0, 0.0
    worst, unknown = Spend(), dict[str, None]()
    extremes: list[tuple[Spend, Request]] = []
    for chunk in _distinct_rows(batch_input):
        distinct += len(chunk)
        for row in chunk:
            expected = forecast_calls(outline, row.request)
            spend, names = worst_case_spend(expected, config.usage_cost)
            calls += len(expected)
            batched += sum(_batch_cost(config, one) or 0.0 for one in expected)
            worst = worst.sum_with(spend)
            extremes = _keep_extremes(extremes, (spend, row.request))
            unknown |= dict.fromkeys(names)
    most, least = (None, None) if unknown else (worst.dollars, batched)
    (_, cheapest), (_, dearest) = extremes[0], extremes[-1]
    return _Forecast(
        rows, distinct, calls, worst.tokens, most, least, tuple(unknown), cheapest, dearest
    )


def _keep_extremes(
    known: list[tuple[Spend, Request]], one: tuple[Spend, Request]
) -> list[tuple[Spend, Request]]:
    """Of rows and what each can cost: the one that costs least, and the one that costs most."""
    rows = sorted((*known, one), key=lambda row: row[0])
    return rows if len(rows) < 3 else [rows[0], rows[-1]]


def _distinct_rows(batch_input: BatchInput) -> Iterator[list[BatchRow]]:
    """The rows, some at a time; where equal ones share an answer, the first of these alone."""
    with closing(OccurrenceCounter()) as counter:
        for chunk in batch_input.rows():
            if not batch_input.shares:
                yield chunk
                continue
            earlier = counter.count_earlier([row.key for row in chunk])
            yield [row for row, times in zip(chunk, earlier, strict=True) if not times]


def _warn_of_cap(most: float | None, max_cost: float | None) -> None:
    if max_cost is not None and most is not None and most > max_cost:
        click.echo(
            f"That is more than --max-cost {format_dollars(max_cost)}: the batch stops if it comes"
            " to that."
        )


def _batch_cost(config: Config, call: ExpectedCall) -> float | None:
    """What a call costs in its provider's batches, or live where there are none."""
    batched = config.usage_cost(call.model, replace(call.usage, batched=True))
    return config.usage_cost(call.model, call.usage) if batched is None else batched
