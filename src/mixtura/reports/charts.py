"""Charts as SVG and PNG: drawn here, without a browser or a network."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import vl_convert

from mixtura.reports.chart_style import DIM, HUES, INK, LINE, SOFT, WAIT, Chart

_PAPER = "white"
_FONT = "Geist, Helvetica, Arial, 'Liberation Sans', sans-serif"
_TEXT = {"labelFont": _FONT, "titleFont": _FONT, "labelFontSize": 14, "titleFontSize": 14}
_THEME: dict[str, Any] = {
    "font": _FONT,
    "background": _PAPER,
    "view": {"stroke": None},
    "title": {"font": _FONT, "fontSize": 17, "fontWeight": 600, "color": INK, "lineHeight": 22},
    "axis": _TEXT | {
        "labelColor": SOFT, "titleColor": DIM, "titleFontWeight": 400, "gridColor": LINE,
        "domainColor": LINE, "tickColor": LINE, "titlePadding": 10,
    },
    "legend": _TEXT | {"labelColor": INK, "symbolSize": 90, "labelLimit": 400},
}  # fmt: skip

_COLOR_VARIABLES = {INK: "--ink", SOFT: "--soft", DIM: "--dim", LINE: "--line", WAIT: "--wait"} | {
    hue: f"--c{i}" for i, hue in enumerate(HUES)
}


class RenderedChart:
    """A chart that is drawn once, when it is looked at."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart

    @property
    def title(self) -> str:
        """What one sees in it, in one line."""
        return " ".join(self.chart.to_dict()["title"]["text"])

    @cached_property
    def svg(self) -> str:
        """A picture of its own, on white."""
        spec = self.chart.to_dict() | {"config": _THEME, "padding": 8}
        # In this process: a chart needs neither a browser nor the network.
        return vl_convert.vegalite_to_svg(spec)

    @property
    def png(self) -> bytes:
        """The same in pixels, two for each of the drawing's."""
        return vl_convert.svg_to_png(self.svg, scale=2)

    @property
    def inline_svg(self) -> str:
        """For a page that has the house's colours: it follows its light and dark."""
        # Once: the first white is the background, any other belongs to a mark.
        drawn = self.svg.replace(f'fill="{_PAPER}"', 'fill="none"', 1)
        for colour, variable in _COLOR_VARIABLES.items():
            drawn = drawn.replace(f'"{colour}"', f'"var({variable})"')
        return drawn
