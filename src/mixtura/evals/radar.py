"""A table of grades as a radar: one SVG, an axis for each line."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from mixtura.evals.findings import TableRow

WIDTH, HEIGHT, REACH = 720, 560, 190
_STYLE = "text{font:13px sans-serif;fill:#333}.n{font-size:11px;fill:#888}"


def radar_svg(title: str, lines: Sequence[TableRow], least: float, most: float) -> str:
    """Grades between *least* and *most*; a line without one leaves a gap in the shape."""
    around = len(lines)
    spots = [_axis_point(number, around, 1.0) for number in range(around)]
    rings = [
        f'<polygon points="'
        f'{_format_points(_axis_point(n, around, ring / 4) for n in range(around))}"'
        ' fill="none" stroke="#ddd"/>'
        for ring in range(1, 5)
    ]
    axes = [f'<line x1="0" y1="0" x2="{x:.1f}" y2="{y:.1f}" stroke="#ddd"/>' for x, y in spots]
    known = [
        _axis_point(number, around, (line.value - least) / (most - least))
        for number, line in enumerate(lines)
        if line.value is not None
    ]
    shape = (
        f'<polygon points="{_format_points(known)}" fill="#2563eb" fill-opacity=".18"'
        ' stroke="#2563eb" stroke-width="2"/>'
    )
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#2563eb"/>' for x, y in known]
    names = [_axis_label(number, around, line) for number, line in enumerate(lines)]
    inside = "".join([*rings, *axes, shape, *dots, *names])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
        f'<text x="{WIDTH / 2}" y="28" text-anchor="middle">{escape(title)}</text>'
        f'<g transform="translate({WIDTH / 2} {HEIGHT / 2 + 16})">{inside}</g></svg>\n'
    )


def _axis_point(number: int, around: int, share: float) -> tuple[float, float]:
    angle = 2 * math.pi * number / around - math.pi / 2
    return REACH * share * math.cos(angle), REACH * share * math.sin(angle)


def _format_points(spots: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)


def _axis_label(number: int, around: int, line: TableRow) -> str:
    x, y = _axis_point(number, around, 1.09)
    anchor = "middle" if abs(x) < 30 else "start" if x > 0 else "end"
    score = "none" if line.value is None else f"{line.value:.2f}"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(line.name)}'
        f'<tspan class="n" x="{x:.1f}" dy="14">{score} of {line.n}</tspan></text>'
    )
