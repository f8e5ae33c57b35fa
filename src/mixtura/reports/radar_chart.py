"""A radar chart of skills, a line for each model or mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import altair as alt

from mixtura.reports.chart_style import (
    DIM,
    HUES,
    LINE,
    SOFT,
    WIDTH,
    Chart,
    color_scale,
    cycle_values,
    top_legend,
    with_title,
)
from mixtura.reports.rows import Row


def skills_chart(rows: Sequence[Row], headline: str) -> Chart:
    """A radar from 1 in the middle to 5: a line for each model or mixture."""
    names = list(dict.fromkeys(row["skill"] for row in rows))
    who = list(dict.fromkeys(row["who"] for row in rows))
    turn = {name: 2 * math.pi * i / len(names) for i, name in enumerate(names)}
    known = {(row["who"], row["skill"]): row["score"] for row in rows}
    drawn = [
        {"who": one, "order": i}
        # One more than there are skills: the line comes back to where it began. A grade of 1 is the
        # centre.
        | _polar_point(turn[names[i % len(names)]], known[one, names[i % len(names)]] - 1)
        for one in who
        for i in range(len(names) + 1)
        if (one, names[i % len(names)]) in known
    ]
    hues = dict(zip(who, cycle_values(HUES, len(who)), strict=True))
    # Beyond 5 for the names around the outermost ring.
    scale = alt.Scale(domain=[-5.6, 5.6])
    x, y = alt.X("x:Q", scale=scale, axis=None), alt.Y("y:Q", scale=scale, axis=None)
    line = alt.Chart(alt.Data(values=drawn)).mark_line(strokeWidth=2, point=True)
    lines = line.encode(
        x=x, y=y, order="order:Q",
        color=alt.Color("who:N", scale=color_scale(hues), legend=top_legend(1)),
        strokeDash=alt.StrokeDash("who:N", legend=None),
    )  # fmt: skip
    return with_title([*_radar_grid(turn, x, y), lines], headline, WIDTH)


def _polar_point(angle: float, radius: float) -> Row:
    return {"x": radius * math.sin(angle), "y": radius * math.cos(angle)}


def _radar_grid(turn: Mapping[str, float], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    around = [*turn.values(), 2 * math.pi]
    rings = [
        {"ring": ring, "order": i} | _polar_point(angle, ring)
        for ring in range(1, 5)
        for i, angle in enumerate(around)
    ]
    made = alt.Chart(alt.Data(values=rings)).mark_line(color=LINE, strokeWidth=1)
    # Outside of the ring of the full grade.
    names = [{"skill": name} | _polar_point(angle, 4.7) for name, angle in turn.items()]
    text = alt.Chart(alt.Data(values=names)).mark_text(fontSize=13, color=SOFT)
    marks = [{"said": str(ring + 1)} | _polar_point(0.0, float(ring)) for ring in range(5)]
    numbers = alt.Chart(alt.Data(values=marks)).mark_text(fontSize=11, color=DIM, dx=-9)
    return [
        made.encode(x=x, y=y, detail="ring:N", order="order:Q"),
        text.encode(x=x, y=y, text="skill:N"),
        numbers.encode(x=x, y=y, text="said:N"),
    ]
