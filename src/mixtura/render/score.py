"""What came of an evaluation, for a person: the score, how sure, what is missing, what it took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table

from mixtura.render.words import dollars, say
from mixtura.text import one_line, plural

if TYPE_CHECKING:
    from mixtura.evals.findings import Bias, Line
    from mixtura.evals.result import Result
    from mixtura.evals.stats import Estimate

MOST_REASONS = 5


def show(console: Console, result: Result) -> None:
    """Print all of it."""
    judge = f", judged by {one_line(result.judge)}" if result.judge else ""
    say(console, f"{result.task}: {one_line(result.model)}{judge}", "bold")
    console.print(_scores(result))
    for name, lines in result.tables.items():
        console.print()
        console.print(_table(name, lines))
    if result.bias and (said := list(_trust(result.bias))):
        console.print()
        say(console, "The judge", "bold")
        for line in said:
            say(console, line)
    if result.missing:
        console.print()
        _missing(console, result)
    for note in result.notes:
        say(console, f"Note: {one_line(note)}.", "yellow")
    console.print()
    say(console, _took(result), "dim")
    say(console, f"Log: {result.log}", "dim")


def _scores(result: Result) -> Table:
    table = _plain()
    of = f"{result.n:,} of {plural(result.samples, 'sample')}"
    between = ""
    if result.low is not None and result.high is not None:
        between = f"{_told(result.low, result)} to {_told(result.high, result)} (95 %)"
    score = "none" if result.score is None else _told(result.score, result)
    name = "score" if result.most in (1, 100) else f"score (of {result.most:g})"
    table.add_row(name, score, between, of)
    for name, figure in result.figures.items():
        table.add_row(name.replace("_", " "), _figure(figure, result), "", "")
    return table


def _figure(figure: float, result: Result) -> str:
    if isinstance(figure, int):  # a count
        return f"{figure:,}"
    return f"{figure if result.most != 1 else 100 * figure:,.{_digits(result)}f}"


def _told(share: float, result: Result) -> str:
    """A score in the task's own scale; in percent where it has none."""
    if result.most in (1, 100):
        return f"{100 * share:.1f} %"
    return f"{share * result.most:.2f}"


def _digits(result: Result) -> int:
    return 1 if result.most in (1, 100) else 2


def _table(name: str, lines: Sequence[Line]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(name)
    table.add_column("score", justify="right")
    table.add_column("samples", justify="right")
    for line in lines:
        value = "none" if line.value is None else f"{line.value:.2f}"
        table.add_row(one_line(line.name), value, f"{line.n:,}")
    return table


def _plain() -> Table:
    table = Table(box=box.SIMPLE, show_header=False, show_edge=False, pad_edge=False)
    for justify in ("left", "right", "left", "left"):
        table.add_column(justify=justify)
    return table


# ---- how far the judge can be trusted


def _trust(bias: Bias) -> Iterator[str]:
    if found := bias.position:
        yield (
            f"the same verdict in both orders: {_percent(found.consistent)}; leans to what stands"
            f" first: {_percent(found.first)}, second: {_percent(found.second)}"
        )
    if found := bias.first_place:
        yield f"prefers what stands first: {_sure(found)} (50 % is fair)"
    if (found := bias.length) and found.slope:
        yield f"gives for far greater length: {_points(found.slope)}"
    if found := bias.own_family:
        yield f"gives its own family: {_points(found)}"
    if found := bias.agreement:
        kappa = f", kappa {found.kappa.value:.2f}" if found.kappa else ""
        yield f"says what people say: {_sure(found.accuracy)}{kappa}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _sure(found: Estimate) -> str:
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def _points(found: Estimate) -> str:
    value, low, high = (f"{round(100 * one):+d}" for one in found[:3])
    return f"{value} points ({low} to {high})"


# ---- what is missing, and what it took


def _missing(console: Console, result: Result) -> None:
    reasons: Mapping[str, int] = Counter(one_line(one.error)[:200] for one in result.missing)
    say(console, f"{plural(len(result.missing), 'sample')} without a score:", "yellow")
    ranked = sorted(reasons.items(), key=lambda item: -item[1])
    for reason, count in ranked[:MOST_REASONS]:
        say(console, f"  {count:,} × {reason}", "yellow")
    if len(ranked) > MOST_REASONS:
        say(console, f"  and {plural(len(ranked) - MOST_REASONS, 'more reason')}: --json", "yellow")


def _took(result: Result) -> str:
    parts = [
        dollars(result.cost_usd) if result.cost_usd is not None else "cost unknown",
        f"{result.prompt_tokens:,} tokens read, {result.completion_tokens:,} written",
        plural(result.calls, "call") + (f" and {result.refused} refused" if result.refused else ""),
        f"{result.seconds:,.1f} s",
    ]
    if result.reused:
        parts.append(f"{plural(result.reused, 'sample')} answered before")
    if result.degraded:
        parts.append(f"{plural(result.degraded, 'answer')} of less than the whole mixture")
    return "; ".join(parts) + "."
