"""Quality against cost, with the front that nothing cheaper beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import altair as alt

from mixtura.reports.chart_style import (
    DIM,
    HUES,
    INK,
    WIDTH,
    Chart,
    with_title,
)
from mixtura.reports.label_spacing import LABEL_GAP, space_apart
from mixtura.reports.rows import Row

_COST_AXES = {
    "cost_usd": ("dollars per answer", "$~g"),
    "tokens": ("tokens per answer, read and written", "~s"),
}


def cost_chart(rows: Sequence[Row], headline: str, axis: str) -> Chart:
    """Score against cost, the Pareto front joined (figure 5a of Wang et al. 2024, 2406.04692)."""
    known = [row for row in rows if row[axis] is not None]
    base = alt.Chart(alt.Data(values=list(known)))
    title, number_format = _COST_AXES[axis]
    x = alt.X(f"{axis}:Q", title=title, axis=alt.Axis(tickCount=5, format=number_format))
    y = alt.Y("score:Q", title="score", axis=alt.Axis(format=".0%", tickCount=5))
    low = alt.Y("score_low:Q", scale=alt.Scale(zero=False))
    # A circle and a diamond, too: colour alone would be lost in print and on some eyes.
    colour = alt.condition("datum.front", alt.value(HUES[0]), alt.value(DIM))
    spans = base.mark_rule(opacity=0.35, strokeWidth=1.5).encode(
        x=x, y=low, y2="score_high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, y=y, color=colour,
        shape=alt.condition("datum.front", alt.value("circle"), alt.value("diamond")),
    )  # fmt: skip
    front = [row for row in known if row["front"]]
    # A step: up to the next point of the front, the cheaper one is the best that its money buys.
    joined = alt.Chart(alt.Data(values=front)).mark_line(
        interpolate="step-after", color=HUES[0], strokeWidth=1.5, strokeDash=[4, 3]
    )
    return with_title(
        [spans, joined.encode(x=x, y=y), points, *_front_labels(front, known, axis)], headline, 300
    )


def _front_labels(front: Sequence[Row], rows: Sequence[Row], axis: str) -> list[alt.Chart]:
    """Labels of the front: right of the points in the left half, left of them in the right."""
    middle = max((row[axis] for row in rows), default=0) / 2
    bounds = [row[key] for row in rows for key in ("score_low", "score_high", "score") if row[key]]
    # A pixel, in units of the score: the drawing is 300 high.
    pixel = (max(bounds, default=1.0) - min(bounds, default=0.0)) / 300
    ordered = sorted(front, key=lambda row: row["score"])
    places = space_apart([row["score"] + 9 * pixel for row in ordered], LABEL_GAP * pixel)
    labelled = [row | {"at": at} for row, at in zip(ordered, places, strict=True)]
    sides: tuple[tuple[Literal["left", "right"], int], ...] = (("left", 8), ("right", -8))
    made: list[alt.Chart] = []
    for align, dx in sides:
        data = [row for row in labelled if (row[axis] > middle) is (align == "right")]
        text = alt.Chart(alt.Data(values=data)).mark_text(
            align=align, dx=dx, fontSize=13, color=INK, limit=WIDTH * 2 // 3
        )
        made.append(text.encode(x=f"{axis}:Q", y="at:Q", text="who:N"))
    return made
