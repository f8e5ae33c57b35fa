"""What came of an evaluation, for a person: the score, how sure, what is missing, what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.terminal.layout import print_indented
from mixtura.terminal.phrases import format_dollars, print_line

if TYPE_CHECKING:
    from mixtura.evals.agreement_figures import AgreementFigures
    from mixtura.evals.findings import JudgeBias, TableRow
    from mixtura.evals.result import EvalResult
    from mixtura.evals.statistics.intervals import IntervalEstimate

MAX_REASONS = 5
"""Reasons shown; the JSON has them all."""


def print_result(console: Console, result: EvalResult) -> None:
    """Print all of it."""
    judge = f", judged by {to_one_line(result.judge)}" if result.judge else ""
    print_line(console, f"{result.task}: {to_one_line(result.model)}{judge}", "bold")
    console.print(_score_table(result))
    if result.agreement:
        console.print()
        print_line(console, _agreement_line(result.agreement))
        for reason, count in result.agreement.without.items():
            answers = pluralize_count(count, "answer")
            print_indented(console, f"{answers} without a number: {reason}", "yellow")
    for name, lines in result.tables.items():
        console.print()
        console.print(_breakdown_table(name, lines))
    # A judge in both orders has these figures only where some pair was judged twice.
    if result.bias and (lines_of_bias := list(_judge_bias_lines(result.bias))):
        console.print()
        print_line(console, "The judge", "bold")
        for line in lines_of_bias:
            print_line(console, line)
    if result.missing:
        console.print()
        _print_missing(console, result)
    for note in result.notes:
        print_line(console, f"Note: {to_one_line(note)}.", "yellow")
    console.print()
    print_line(console, _usage_line(result), "dim")
    print_line(console, f"Log: {result.log}", "dim")


def _score_table(result: EvalResult) -> Table:
    table = _borderless_table()
    of = f"{result.n:,} of {pluralize_count(result.samples, 'sample')}"
    between = ""
    if result.low is not None and result.high is not None:
        between = (
            f"{_format_score(result.low, result)} to {_format_score(result.high, result)} (95 %)"
        )
    score = "none" if result.score is None else _format_score(result.score, result)
    name = "score" if result.most in (1, 100) else f"score (of {result.most:g})"
    table.add_row(name, score, between, of)
    for name, figure in result.figures.items():
        table.add_row(name.replace("_", " "), _format_figure(figure, result), "", "")
    return table


def _format_figure(figure: float, result: EvalResult) -> str:
    if isinstance(figure, int):  # a count
        return f"{figure:,}"
    return f"{figure if result.most != 1 else 100 * figure:,.{_decimal_places(result)}f}"


def _format_score(share: float, result: EvalResult) -> str:
    """A score in the task's own scale; in percent where it has none."""
    if result.most in (1, 100):
        return f"{100 * share:.1f} %"
    return f"{share * result.most:.2f}"


def _decimal_places(result: EvalResult) -> int:
    return 1 if result.most in (1, 100) else 2


def _breakdown_table(name: str, lines: Sequence[TableRow]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(name)
    table.add_column("score", justify="right")
    table.add_column("samples", justify="right")
    for line in lines:
        value = "none" if line.value is None else f"{line.value:.2f}"
        table.add_row(to_one_line(line.name), value, f"{line.n:,}")
    return table


def _borderless_table() -> Table:
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    return table


def _agreement_line(found: AgreementFigures) -> str:
    """How far the proposals agree, and whether that tells right answers from wrong ones."""
    if found.mean is None:
        return "Agreement: too few answers have a number."
    between = ""
    if found.low is not None and found.high is not None:
        between = f" ({100 * found.low:.0f} to {100 * found.high:.0f}, 95 %)"
    mean = f"Agreement {100 * found.mean:.0f} %{between} over {pluralize_count(found.n, 'answer')}"
    if found.auroc is None:
        return f"{mean}; whether it tells right answers from wrong ones takes some of both."
    area = f"{found.auroc:.2f}"
    if found.auroc_low is not None and found.auroc_high is not None:
        area += f" ({found.auroc_low:.2f} to {found.auroc_high:.2f})"
    return f"{mean}; AUROC {area}: how well it tells right answers from wrong ones, 0.5 is chance."


# ---- how far the judge can be trusted


def _judge_bias_lines(bias: JudgeBias) -> Iterator[str]:
    if figure := bias.position:
        yield (
            f"same verdict in both orders: {_format_percent(figure.consistent)}; prefers the answer"
            f" in first place: {_format_percent(figure.first)},"
            f" in second place: {_format_percent(figure.second)}"
        )
    if figure := bias.first_place:
        yield f"prefers the answer in first place: {_format_share_interval(figure)} (50 % is fair)"
    # Answers of one length say nothing about length: then there is no slope.
    if (figure := bias.length) and figure.slope:
        yield f"gain of a much longer answer: {_format_points(figure.slope)}"
    if figure := bias.own_family:
        yield f"gain of its own family: {_format_points(figure)}"
    if figure := bias.agreement:
        kappa = f", kappa {figure.kappa.value:.2f}" if figure.kappa else ""
        yield f"agrees with people: {_format_share_interval(figure.accuracy)}{kappa}"


def _format_percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _format_share_interval(interval: IntervalEstimate) -> str:
    return f"{100 * interval.value:.0f} % ({100 * interval.low:.0f} to {100 * interval.high:.0f})"


def _format_points(interval: IntervalEstimate) -> str:
    value, low, high = (f"{round(100 * one):+d}" for one in interval[:3])
    return f"{value} points ({low} to {high})"


# ---- what is missing, and what it took


def _print_missing(console: Console, result: EvalResult) -> None:
    reasons: Mapping[str, int] = Counter(to_one_line(one.error)[:200] for one in result.missing)
    print_line(
        console, f"{pluralize_count(len(result.missing), 'sample')} without a score:", "yellow"
    )
    ranked = sorted(reasons.items(), key=lambda item: -item[1])
    for reason, count in ranked[:MAX_REASONS]:
        print_indented(console, f"{count:,} × {reason}", "yellow")
    if len(ranked) > MAX_REASONS:
        print_line(
            console,
            f"  and {pluralize_count(len(ranked) - MAX_REASONS, 'more reason')}: --json",
            "yellow",
        )


def _usage_line(result: EvalResult) -> str:
    parts = [
        format_dollars(result.cost_usd) if result.cost_usd is not None else "cost unknown",
        f"{result.prompt_tokens:,} tokens read, {result.completion_tokens:,} written",
        pluralize_count(result.calls, "call")
        + (f" and {result.refused} refused" if result.refused else ""),
        f"{result.seconds:,.1f} s",
    ]
    if result.reused:
        parts.append(f"{pluralize_count(result.reused, 'sample')} answered before")
    if result.degraded:
        parts.append(f"{pluralize_count(result.degraded, 'answer')} of less than the whole mixture")
    return "; ".join(parts) + "."
