"""A comparison at a terminal: the verdict, who scored what at what price, where it was won."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.terminal.phrases import format_dollars

if TYPE_CHECKING:
    from mixtura.evals.comparison.result import (
        Comparison,
        ContenderRow,
        DecidedPrompt,
        PairedResult,
        PairwiseBias,
    )

ROLE_LABELS = {
    "mixture": "",
    "member": "member, alone",
    "self": "best member, same draws",
    "rank": "same proposals, one named",
    "vote": "same proposals, voted",
    "money": "best member, same money",
}
_WIDE_COLUMNS = 100
_NARROW_COLUMNS = 80
"""Columns of a terminal below which an interval stands under its figure."""
_MIN_NAME_WIDTH = 14
_MAX_NAME_WIDTH = 40
_OTHER_COLUMNS = 73
"""Columns that figures take with each interval beside its figure."""
_MAX_QUESTION = 90


def render_comparison(comparison: Comparison, width: int) -> RenderableType:
    """All of it, the verdict first."""
    how = f"{comparison.judge} judging in both orders" if comparison.judge else comparison.task
    parts: list[RenderableType] = [
        Text(f"{to_one_line(comparison.verdict)}.", "bold"),
        Text(f"{pluralize_count(comparison.prompts, 'prompt')}, {to_one_line(how)}", "dim"),
        Text(),
        _results_table(comparison, width),
    ]
    if comparison.bias:
        parts.append(Text(f"\n{judge_trust_text(comparison.bias)}", "dim"))
    parts += [Text(f"\n{to_one_line(warning)}", "yellow") for warning in comparison.warnings]
    if comparison.pairs:
        first = comparison.pairs[0]
        examples = [t for t in comparison.told if (t.ours, t.theirs) == (first.ours, first.theirs)]
        theirs = to_one_line(first.theirs)
        parts += _example_lines(
            [t for t in examples if t.by > 0], f"\nLargest wins against {theirs}"
        )
        parts += _example_lines([t for t in examples if t.by < 0], f"\nLargest losses to {theirs}")
    if comparison.spent_usd:
        parts.append(Text(f"\nTotal cost: {format_dollars(comparison.spent_usd)}.", "dim"))
    return Group(*parts)


def _results_table(comparison: Comparison, width: int) -> Table:
    wide = width >= _WIDE_COLUMNS
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    narrow = width < _NARROW_COLUMNS
    longest = min(max(len(to_one_line(row.name)) for row in comparison.contenders), _MAX_NAME_WIDTH)
    # A name is kept whole: intervals go below their figures before it is cut in two.
    stacked = narrow or longest > width - _OTHER_COLUMNS
    needed = _MIN_NAME_WIDTH if narrow else max(longest, _MIN_NAME_WIDTH)
    table.add_column("", overflow="fold", min_width=needed)
    table.add_column(comparison.measure, justify="right", no_wrap=True)
    mixtures = {pair.ours for pair in comparison.pairs}
    beats = f"{to_one_line(min(mixtures))} better by" if len(mixtures) == 1 else "mixture better by"
    table.add_column("better by" if narrow else beats, justify="right", no_wrap=not wide)
    if wide:
        table.add_column("won, lost", justify="right", no_wrap=True)
    for heading in ("cost", "tokens") if narrow else ("cost", "seconds", "tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    # Backwards, so that the first one stays: the verdict is about the first mixture.
    pairs = {pair.theirs: pair for pair in reversed(comparison.pairs)}
    for row in comparison.contenders:
        pair = pairs.get(row.name)
        between = "\n" if stacked else " "
        cells = [
            _name_cell(row, "\n" if stacked and not narrow else "  "),
            _score_cell(row, between),
            _difference_cell(pair, between),
        ]
        cells += [_wins_and_losses(pair)] if wide else []
        cells += [
            format_dollars(row.cost_usd),
            *([] if narrow else [_format_number(row.seconds, 1)]),
        ]
        table.add_row(*cells, _format_number(row.tokens))
    return table


def _name_cell(row: ContenderRow, between: str) -> Text:
    role = ROLE_LABELS[row.kind]
    named = Text(to_one_line(row.name), "bold" if row.kind == "mixture" else "")
    return named if not role else named.append(f"{between}{role}", "dim not bold")


def _score_cell(row: ContenderRow, between: str) -> Text:
    if row.score is None:
        return Text("none", "red")
    bounds = (
        ""
        if row.low is None or row.high is None
        else f"{between}{_format_range(row.low, row.high)}"
    )
    return Text(f"{100 * row.score:.1f}").append(bounds, "dim")


def _format_range(low: float, high: float) -> str:
    return f"({100 * low:.0f} to {100 * high:.0f})"


def _difference_cell(pair: PairedResult | None, between: str) -> Text:
    if pair is None:
        return Text("")
    style = "green" if pair.low > 0 else "red" if pair.high < 0 else ""
    return Text(f"{100 * pair.difference:+.1f}", style).append(
        f"{between}({100 * pair.low:+.0f} to {100 * pair.high:+.0f})", "dim"
    )


def _wins_and_losses(pair: PairedResult | None) -> str:
    return "" if pair is None else f"{pair.wins}, {pair.losses}"


def _format_number(value: float | None, digits: int = 0) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f}"


def _example_lines(examples: list[DecidedPrompt], heading: str) -> Iterator[RenderableType]:
    if examples:
        yield Text(heading, "bold")
    for one in examples:
        question = to_one_line(one.question)
        cut = question if len(question) <= _MAX_QUESTION else f"{question[: _MAX_QUESTION - 1]}…"
        yield Text(f"  {100 * one.by:+.0f}  {to_one_line(one.sample)}: {cut}")


def judge_trust_text(bias: PairwiseBias) -> str:
    """How far a judge can be trusted, in words."""
    text = (
        f"The judge said the same in both orders for {100 * bias.consistent:.0f} % of pairs;"
        f" {100 * bias.first:.0f} % went to the first place, {100 * bias.second:.0f} % to the"
        " second."
    )
    if bias.length_correlation is None:
        return text
    longer = f"{bias.length_correlation:+.2f}"
    return f"{text} Its preference and the length of answers correlate by {longer}."
