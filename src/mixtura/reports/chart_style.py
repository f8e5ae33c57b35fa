"""What all charts share: colours, sizes, legends, row labels and the title."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

INK, SOFT, DIM, LINE, WAIT = "#18181a", "#48484d", "#6a6a70", "#e7e6e3", "#c9c8c4"
HUES = (
    "#2f5fd6", "#ab5208", "#0a7653", "#b32a77", "#7a4fd8", "#0b6f88", "#616b06", "#945236",
)  # fmt: skip
"""Series colours: they differ in lightness or come with a shape, never in hue alone."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
WIDTH = 440
ROW_HEIGHT = 56
Chart = alt.LayerChart


def row_labels(labels: Sequence[str]) -> alt.Chart:
    """The labels of rows, each above its row, so that they may be as wide as the chart."""
    data = alt.Data(values=[{"label": label} for label in labels])
    text = alt.Chart(data).mark_text(
        align="left", baseline="top", dy=-ROW_HEIGHT // 2 + 1, fontSize=15, color=INK, limit=WIDTH
    )
    return text.encode(x=alt.value(0), y=alt.Y("label:N", sort=list(labels)), text="label:N")


def color_scale(values: Mapping[str, Any]) -> alt.Scale:
    return alt.Scale(domain=list(values), range=list(values.values()))


def top_legend(columns: int) -> alt.Legend:
    return alt.Legend(orient="top", title=None, columns=columns)


def cycle_values(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def with_title(parts: Sequence[alt.Chart], headline: str, height: int, width: int = WIDTH) -> Chart:
    head = alt.TitleParams(_wrap_headline(headline), anchor="start", frame="group", offset=14)
    return alt.LayerChart(layer=list(parts), width=width, height=height, title=head)


def _wrap_headline(headline: str, most: int = 50) -> list[str]:
    return textwrap.wrap(headline, most)
