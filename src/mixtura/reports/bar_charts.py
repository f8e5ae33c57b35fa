"""Bar charts: the tokens and the seconds of an answer, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from mixtura.reports.chart_style import (
    HUES,
    ROW_HEIGHT,
    WAIT,
    Chart,
    color_scale,
    cycle_values,
    row_labels,
    top_legend,
    with_title,
)
from mixtura.reports.rows import Row

_MAX_BARS = 12
"""Bars drawn at most, the longest ones; the table has all."""


def tokens_chart(rows: Sequence[Row], headline: str) -> Chart:
    """Tokens of an answer, layer by layer."""
    parts = [
        {"label": row["who"], "part": f"layer {row['layer']}", "order": row["layer"],
         "value": row["read"] + row["written"]}
        for row in rows
    ]  # fmt: skip
    hues = dict(zip(dict.fromkeys(p["part"] for p in parts), cycle_values(HUES, 99), strict=False))
    return _bar_chart(parts, hues, headline, "tokens per answer, read and written", "~s")


def latency_chart(rows: Sequence[Row], headline: str) -> Chart:
    """Seconds of an answer, layer by layer; the wait for a layer's last member apart."""
    parts: list[Row] = []
    hues: dict[str, str] = {}
    for row in rows:
        name = f"layer {row['layer']}"
        hues[name] = HUES[(row["layer"] - 1) % len(HUES)]
        waited = row["straggler"] or 0.0
        # Twice the layer: the wait for its last member has the place behind it.
        parts.append(
            {"label": row["who"], "part": name, "order": 2 * row["layer"],
             "value": row["seconds"] - waited}
        )  # fmt: skip
        if waited:
            parts.append(
                {
                    "label": row["who"],
                    "part": _WAIT_LABEL,
                    "order": 2 * row["layer"] + 1,
                    "value": waited,
                }
            )
    return _bar_chart(parts, hues | {_WAIT_LABEL: WAIT}, headline, "seconds per answer", "~s")


_WAIT_LABEL = "waiting for the slowest member"


def _bar_chart(
    parts: Sequence[Row],
    hues: Mapping[str, str],
    headline: str,
    axis_title: str,
    number_format: str,
) -> Chart:
    totals: dict[str, float] = {}
    for part in parts:
        totals[part["label"]] = totals.get(part["label"], 0.0) + part["value"]
    order = sorted(totals, key=lambda label: totals[label])[-_MAX_BARS:]
    shown = [part for part in parts if part["label"] in order]
    bars = alt.Chart(alt.Data(values=shown)).mark_bar(height=14, yOffset=6)
    made = bars.encode(
        x=alt.X("value:Q", title=axis_title, axis=alt.Axis(format=number_format, tickCount=5)),
        y=alt.Y("label:N", sort=order, axis=None),
        color=alt.Color("part:N", scale=color_scale(hues), legend=top_legend(4)),
        order=alt.Order("order:Q"),
    )
    return with_title([made, row_labels(order)], headline, len(order) * ROW_HEIGHT)
