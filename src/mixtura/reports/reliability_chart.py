"""The reliability diagram: the share of right answers at each confidence, beside the diagonal."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from mixtura.reports import chart_style as style
from mixtura.reports.rows import Row


def reliability_chart(rows: Sequence[Row], headline: str) -> style.Chart:
    """A point for each bin of answers with its interval; on the line confidence is what it says."""
    series = list(dict.fromkeys(row["who"] for row in rows))
    hues = dict(zip(series, style.cycle_values(style.HUES, len(series)), strict=True))
    shapes = dict(zip(series, style.cycle_values(style.SHAPES, len(series)), strict=True))
    base = alt.Chart(alt.Data(values=list(rows)))
    whole = alt.Scale(domain=[0, 1], nice=False)
    axis = alt.Axis(format=".0%", tickCount=5)
    x = alt.X("confidence:Q", title="confidence", axis=axis, scale=whole)
    y = alt.Y("right:Q", title="right", axis=axis, scale=whole)
    colour = alt.Color("who:N", scale=style.color_scale(hues), legend=style.top_legend(1))
    shape = alt.Shape("who:N", scale=style.color_scale(shapes), legend=style.top_legend(1))
    ends = alt.Data(values=[{"confidence": 0.0, "right": 0.0}, {"confidence": 1.0, "right": 1.0}])
    diagonal = alt.Chart(ends).mark_line(color=style.DIM, strokeDash=[3, 3], strokeWidth=1.2)
    spans = base.mark_rule(opacity=0.4, strokeWidth=1.5).encode(
        x=x, y=alt.Y("right_low:Q"), y2="right_high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape
    )
    layers = [diagonal.encode(x=x, y=y), spans, points]
    return style.with_title(layers, headline, 300, style.WIDTH - 60)
