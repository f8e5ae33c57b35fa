"""Charts as SVG and PNG: drawn here, without a browser or a network."""

from __future__ import annotations

from typing import Any

import vl_convert

from mixtura.reports.figures import DIM, HUES, INK, LINE, SOFT, WAIT, Chart

_FONT = "Geist, Helvetica, Arial, 'Liberation Sans', sans-serif"
_TEXT = {"labelFont": _FONT, "titleFont": _FONT, "labelFontSize": 12, "titleFontSize": 12}
_THEME: dict[str, Any] = {
    "font": _FONT,
    "background": None,
    "view": {"stroke": None},
    "title": {"font": _FONT, "fontSize": 15, "fontWeight": 600, "color": INK, "lineHeight": 20},
    "axis": _TEXT | {
        "labelColor": SOFT, "titleColor": DIM, "titleFontWeight": 400, "gridColor": LINE,
        "domainColor": LINE, "tickColor": LINE, "titlePadding": 10,
    },
    "legend": _TEXT | {"labelColor": INK, "symbolSize": 90, "labelLimit": 400},
}  # fmt: skip

_VARIABLES = {INK: "--ink", SOFT: "--soft", DIM: "--dim", LINE: "--line", WAIT: "--wait"} | {
    hue: f"--c{i}" for i, hue in enumerate(HUES)
}


def svg(chart: Chart) -> str:
    """A picture of its own, on white."""
    return vl_convert.vegalite_to_svg(_spec(chart, "white"))


def png(chart: Chart) -> bytes:
    """The same in pixels, two for each of the drawing's."""
    return vl_convert.vegalite_to_png(_spec(chart, "white"), scale=2)


def inline(chart: Chart) -> str:
    """For a page that has the house's colours: it follows its light and dark."""
    drawn = vl_convert.vegalite_to_svg(_spec(chart, None))
    for colour, variable in _VARIABLES.items():
        drawn = drawn.replace(f'"{colour}"', f'"var({variable})"')
    return drawn


def _spec(chart: Chart, background: str | None) -> dict[str, Any]:
    return chart.to_dict() | {"config": _THEME | {"background": background}, "padding": 8}
