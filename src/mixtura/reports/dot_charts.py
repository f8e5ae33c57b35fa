"""Dot charts: some figures of each of several things, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from mixtura.reports.chart_style import (
    DIM,
    HUES,
    ROW_HEIGHT,
    SHAPES,
    Chart,
    row_labels,
    top_legend,
    with_title,
)
from mixtura.reports.rows import Row

ColumnStyles = Sequence[tuple[str, str, str, str]]
"""The points of a row: column, label, colour and shape of each."""


def collaborativeness_chart(rows: Sequence[Row], headline: str) -> Chart:
    """Each model alone and after reading the others."""
    labelled = [row | {"label": f"{row['model']} reads {row['others']}"} for row in rows]
    choice = (
        ("alone", "alone", DIM, SHAPES[0]),
        ("with_others", "after reading the others", HUES[0], SHAPES[1]),
    )
    return _dot_chart(labelled, choice, headline, "score", ".0%")


def roles_chart(rows: Sequence[Row], headline: str) -> Chart:
    """Each model alone, as a proposer, as an aggregator."""
    choice = (
        ("alone", "alone", DIM, SHAPES[0]),
        ("as_proposer", "proposes", HUES[1], SHAPES[2]),
        ("as_aggregator", "writes the answer", HUES[0], SHAPES[1]),
    )
    return _dot_chart(
        [row | {"label": row["model"]} for row in rows], choice, headline, "score", ".0%"
    )


def influence_chart(rows: Sequence[Row], headline: str) -> Chart:
    """Correlation of similarity to a proposal with its score: mixture and control."""
    choice = (
        ("control_rho", "control: read no proposals", DIM, SHAPES[0]),
        ("rho", "mixture", HUES[0], SHAPES[1]),
    )
    return _dot_chart(rows, choice, headline, "rank correlation of similarity and score", "+.2f")


def differences_chart(rows: Sequence[Row], headline: str) -> Chart:
    """How much better one is than each of several others: right of the line is better."""
    choice = (("difference", "better by", HUES[0], SHAPES[0]),)
    return _dot_chart(rows, choice, headline, "better by, in points", "+.0f", zero=True)


def gains_chart(rows: Sequence[Row], headline: str) -> Chart:
    """How much better each mixture is than the best model alone."""
    choice = (("gain", "better by", HUES[0], SHAPES[0]),)
    title = "better than the best model, by this share of answers"
    return _dot_chart(rows, choice, headline, title, "+.0%", zero=True)


def _dot_chart(
    rows: Sequence[Row],
    choice: ColumnStyles,
    headline: str,
    axis_title: str,
    number_format: str,
    *,
    zero: bool = False,
) -> Chart:
    long = [
        {"label": row["label"], "which": label, "value": row[column], "low": row[f"{column}_low"],
         "high": row[f"{column}_high"]}
        for row in rows
        for column, label, _, _ in choice
        if row.get(column) is not None
    ]  # fmt: skip
    order = [row["label"] for row in rows]
    names, colours, shapes = ([one[i] for one in choice] for i in (1, 2, 3))
    base = alt.Chart(alt.Data(values=long))
    y = alt.Y("label:N", sort=order, axis=None)
    # Both within a row of ROW_HEIGHT, below its label.
    offset = alt.YOffset("which:N", sort=names, scale=alt.Scale(range=[14, 42]))
    colour = alt.Color(
        "which:N",
        scale=alt.Scale(domain=names, range=colours),
        legend=top_legend(1 if len("".join(names)) > 45 else 3) if len(names) > 1 else None,
    )
    axis = alt.Axis(format=number_format, tickCount=5)
    # Differences are read, not lengths: an axis from zero would push them together.
    x = alt.X("low:Q", title=axis_title, axis=axis, scale=alt.Scale(zero=False, nice=True))
    spans = base.mark_rule(strokeWidth=2, opacity=0.45).encode(
        x=x, x2="high:Q", y=y, yOffset=offset, color=colour
    )
    points = base.mark_point(filled=True, size=90, opacity=1).encode(
        x=alt.X("value:Q"),
        y=y,
        yOffset=offset,
        color=colour,
        shape=alt.Shape("which:N", scale=alt.Scale(domain=names, range=shapes)),
    )
    parts = [*([_zero_line()] if zero else []), spans, points, row_labels(order)]
    return with_title(parts, headline, len(order) * ROW_HEIGHT)


def _zero_line() -> alt.Chart:
    """A vertical line at a difference of zero."""
    mark = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(color=DIM, strokeDash=[4, 3])
    return mark.encode(x=alt.X("at:Q"))


def work_chart(rows: Sequence[Row], headline: str) -> Chart:
    """TFLOPs on the critical path: as the paper counts, and with tokens read."""
    known = [row | {"label": row["who"]} for row in rows if row["tflops_paper"] is not None]
    choice = (
        ("tflops_paper", "tokens written, as the paper counts", DIM, SHAPES[0]),
        ("tflops_with_prefill", "tokens read and written", HUES[1], SHAPES[1]),
    )
    return _dot_chart(known, choice, headline, "TFLOPs on the critical path", "~s")
