"""Line charts: a score as layers or proposals become more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import altair as alt

from mixtura.reports.chart_style import (
    HUES,
    SHAPES,
    WIDTH,
    Chart,
    color_scale,
    cycle_values,
    with_title,
)
from mixtura.reports.label_spacing import LABEL_GAP, space_apart
from mixtura.reports.quality import ONE
from mixtura.reports.rows import Row


def layers_chart(rows: Sequence[Row], headline: str) -> Chart:
    """The score after each layer, a line for each aggregator; the ranker's is dashed."""
    points = [row | {"x": row["layer"], "series": row["aggregator"]} for row in rows]
    dashed = {row["aggregator"] for row in rows if row["picks"]}
    return _line_chart(points, headline, "layers (1: the model alone)", dashed)


def proposers_chart(rows: Sequence[Row], headline: str) -> Chart:
    """The score as proposals become more: of several models, and of one model."""
    points = [row | {"x": row["proposals"], "series": f"of {row['kind']}"} for row in rows]
    return _line_chart(points, headline, "proposals", {f"of {ONE}"})


def _line_chart(
    rows: Sequence[Row], headline: str, axis_title: str, dashed: Iterable[str]
) -> Chart:
    series = list(dict.fromkeys(row["series"] for row in rows))
    hues = dict(zip(series, cycle_values(HUES, len(series)), strict=True))
    # Dashes, too, since eight colours are not enough and some readers do not see them.
    dashes = {name: [5, 4] if name in dashed else [1, 0] for name in series}
    known = [row for row in rows if row["score"] is not None]
    base = alt.Chart(alt.Data(values=list(known)))
    x = alt.X(
        "x:Q",
        title=axis_title,
        axis=alt.Axis(values=sorted({row["x"] for row in known}), format="d", grid=False),
        scale=alt.Scale(zero=False, nice=False, padding=16),
    )
    score = alt.Axis(format=".0%", tickCount=5)
    y = alt.Y("score:Q", title="score", axis=score, scale=alt.Scale(zero=False))
    colour = alt.Color("series:N", scale=color_scale(hues), legend=None)
    shape = alt.Shape(
        "series:N", legend=None,
        scale=color_scale(dict(zip(series, cycle_values(SHAPES, len(series)), strict=True))),
    )  # fmt: skip
    dash = alt.StrokeDash("series:N", scale=color_scale(dashes), legend=None)
    spans = base.mark_rule(opacity=0.4, strokeWidth=1.5).encode(
        x=x, y=alt.Y("score_low:Q"), y2="score_high:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape
    )
    return with_title(
        # The rest of the width is for the names at the ends of the lines.
        [spans, line, points, _line_end_labels(known, hues)],
        headline,
        280,
        WIDTH - 170,
    )


def _line_end_labels(rows: Sequence[Row], hues: Mapping[str, str]) -> alt.Chart:
    """Each line's name at its end, moved apart where two would overlap."""
    last: dict[str, Row] = {row["series"]: row for row in sorted(rows, key=lambda row: row["x"])}
    bounds = [row[key] for row in rows for key in ("score_low", "score_high", "score")]
    seen = [value for value in bounds if value is not None]
    # Where all scores are equal there is no unit, and any distance will do.
    pixel = (max(seen) - min(seen) or 1.0) / 280
    ordered = sorted(last.values(), key=lambda row: row["score"])
    places = space_apart([row["score"] for row in ordered], LABEL_GAP * pixel)
    labels = [
        {"series": row["series"], "x": row["x"], "at": at}
        for row, at in zip(ordered, places, strict=True)
    ]
    text = alt.Chart(alt.Data(values=labels)).mark_text(align="left", dx=10, fontSize=14, limit=170)
    return text.encode(
        x="x:Q",
        y="at:Q",
        text="series:N",
        color=alt.Color("series:N", scale=color_scale(hues), legend=None),
    )
