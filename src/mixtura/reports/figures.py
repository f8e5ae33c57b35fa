"""The report's figures: from plain rows to charts, one function a figure."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import altair as alt

from mixtura.reports.quality import ONE
from mixtura.reports.rows import Row

INK, SOFT, DIM, LINE, WAIT = "#18181a", "#48484d", "#6a6a70", "#e7e6e3", "#c9c8c4"
HUES = (
    "#2f5fd6", "#ab5208", "#0a7653", "#b32a77", "#7a4fd8", "#0b6f88", "#616b06", "#945236",
)  # fmt: skip
"""The house's voices: apart in lightness or beside a shape of their own, never by hue alone."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
WIDTH = 440
_STEP = 56
_MOST_BARS = 12
"""So many bars are drawn, the longest; the table has all."""
_GAP = 18.0
"""Pixels between two labels at the end of lines."""

Chart = alt.LayerChart
Choice = Sequence[tuple[str, str, str, str]]
"""What stands beside each other in a row: a column, what it is called, colour, shape."""


# ---- dots: some figures of each of several things, with their intervals


def collaborativeness(rows: Sequence[Row], headline: str) -> Chart:
    """Each model alone and after reading the others."""
    named_ = [row | {"label": f"{row['model']} reads {row['others']}"} for row in rows]
    choice = (
        ("alone", "alone", DIM, SHAPES[0]),
        ("with_others", "after reading the others", HUES[0], SHAPES[1]),
    )
    return _dots(named_, choice, headline, "score", ".0%")


def roles(rows: Sequence[Row], headline: str) -> Chart:
    """Each model alone, as a proposer, as an aggregator."""
    choice = (
        ("alone", "alone", DIM, SHAPES[0]),
        ("as_proposer", "proposes", HUES[1], SHAPES[2]),
        ("as_aggregator", "writes the answer", HUES[0], SHAPES[1]),
    )
    return _dots([row | {"label": row["model"]} for row in rows], choice, headline, "score", ".0%")


def following(rows: Sequence[Row], headline: str) -> Chart:
    """How likeness to a proposal goes with its score, for the mixture and for the control."""
    choice = (
        ("control_rho", "control: read nothing", DIM, SHAPES[0]),
        ("rho", "mixture", HUES[0], SHAPES[1]),
    )
    return _dots(rows, choice, headline, "rank correlation of likeness and score", "+.2f")


def differences(rows: Sequence[Row], headline: str) -> Chart:
    """How much better one is than each of several others: right of the line is better."""
    choice = (("difference", "better by", HUES[0], SHAPES[0]),)
    return _dots(rows, choice, headline, "better by, in points", "+.0f", zero=True)


def _dots(
    rows: Sequence[Row], choice: Choice, headline: str, said: str, form: str, *, zero: bool = False
) -> Chart:
    long = [
        {"label": row["label"], "which": called, "value": row[column], "low": row[f"{column}_low"],
         "high": row[f"{column}_high"]}
        for row in rows
        for column, called, _, _ in choice
        if row.get(column) is not None
    ]  # fmt: skip
    order = [row["label"] for row in rows]
    names, colours, shapes = ([one[i] for one in choice] for i in (1, 2, 3))
    base = alt.Chart(alt.Data(values=long))
    y = alt.Y("label:N", sort=order, axis=None)
    offset = alt.YOffset("which:N", sort=names, scale=alt.Scale(range=[14, 42]))
    colour = alt.Color(
        "which:N",
        scale=alt.Scale(domain=names, range=colours),
        legend=_legend(1 if len("".join(names)) > 45 else 3) if len(names) > 1 else None,
    )
    axis = alt.Axis(format=form, tickCount=5)
    x = alt.X("low:Q", title=said, axis=axis, scale=alt.Scale(zero=False, nice=True))
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
    parts = [*([_nothing()] if zero else []), spans, points, _heads(order)]
    return _titled(parts, headline, len(order) * _STEP)


def _nothing() -> alt.Chart:
    """A line where there is no difference."""
    mark = alt.Chart(alt.Data(values=[{"at": 0}])).mark_rule(color=DIM, strokeDash=[4, 3])
    return mark.encode(x=alt.X("at:Q"))


def _heads(labels: Sequence[str]) -> alt.Chart:
    """The rows' names, each above its row: they may be as long as the figure is wide."""
    data = alt.Data(values=[{"label": label} for label in labels])
    text = alt.Chart(data).mark_text(
        align="left", baseline="top", dy=-_STEP // 2 + 1, fontSize=15, color=INK, limit=WIDTH
    )
    return text.encode(x=alt.value(0), y=alt.Y("label:N", sort=list(labels)), text="label:N")


# ---- lines: a score as something grows


def layers(rows: Sequence[Row], headline: str) -> Chart:
    """The score after each layer, a line for each aggregator; the ranker's is dashed."""
    points = [row | {"x": row["layer"], "series": row["aggregator"]} for row in rows]
    dashed = {row["aggregator"] for row in rows if row["picks"]}
    return _lines(points, headline, "layers (1: the model alone)", dashed)


def proposers(rows: Sequence[Row], headline: str) -> Chart:
    """The score as proposals become more: of several models, and of one model."""
    points = [row | {"x": row["proposals"], "series": f"of {row['kind']}"} for row in rows]
    return _lines(points, headline, "proposals", {f"of {ONE}"})


def _lines(rows: Sequence[Row], headline: str, said: str, dashed: Iterable[str]) -> Chart:
    series = list(dict.fromkeys(row["series"] for row in rows))
    hues = dict(zip(series, _cycle(HUES, len(series)), strict=True))
    dashes = {name: [5, 4] if name in dashed else [1, 0] for name in series}
    known = [row for row in rows if row["score"] is not None]
    base = alt.Chart(alt.Data(values=list(known)))
    x = alt.X(
        "x:Q",
        title=said,
        axis=alt.Axis(values=sorted({row["x"] for row in known}), format="d", grid=False),
        scale=alt.Scale(zero=False, nice=False, padding=16),
    )
    score = alt.Axis(format=".0%", tickCount=5)
    y = alt.Y("score:Q", title="score", axis=score, scale=alt.Scale(zero=False))
    colour = alt.Color("series:N", scale=_scale(hues), legend=None)
    shape = alt.Shape(
        "series:N", scale=_scale(dict(zip(series, _cycle(SHAPES, len(series)), strict=True))),
        legend=None,
    )  # fmt: skip
    dash = alt.StrokeDash("series:N", scale=_scale(dashes), legend=None)
    spans = base.mark_rule(opacity=0.4, strokeWidth=1.5).encode(
        x=x, y=alt.Y("score_low:Q"), y2="score_high:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash)
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, y=y, color=colour, shape=shape
    )
    return _titled([spans, line, points, _ends(known, hues)], headline, 280, WIDTH - 170)


def _ends(rows: Sequence[Row], hues: Mapping[str, str]) -> alt.Chart:
    """Each line's name at its end, moved apart where two would lie on each other."""
    last: dict[str, Row] = {row["series"]: row for row in sorted(rows, key=lambda row: row["x"])}
    bounds = [row[key] for row in rows for key in ("score_low", "score_high", "score")]
    seen = [value for value in bounds if value is not None]
    pixel = (max(seen) - min(seen) or 1.0) / 280
    ordered = sorted(last.values(), key=lambda row: row["score"])
    places = spaced([row["score"] for row in ordered], _GAP * pixel)
    labels = [
        {"series": row["series"], "x": row["x"], "at": at}
        for row, at in zip(ordered, places, strict=True)
    ]
    text = alt.Chart(alt.Data(values=labels)).mark_text(align="left", dx=10, fontSize=14, limit=170)
    return text.encode(
        x="x:Q",
        y="at:Q",
        text="series:N",
        color=alt.Color("series:N", scale=_scale(hues), legend=None),
    )


def spaced(values: Sequence[float], gap: float) -> list[float]:
    """Rising *values* moved as little as needed for *gap* between each two."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _low(groups[-1], gap) - _high(groups[-2], gap) < gap:
            groups[-2:] = [[*groups[-2], *groups[-1]]]
    return [_low(group, gap) + i * gap for group in groups for i in range(len(group))]


def _low(group: Sequence[float], gap: float) -> float:
    return sum(group) / len(group) - gap * (len(group) - 1) / 2


def _high(group: Sequence[float], gap: float) -> float:
    return _low(group, gap) + gap * (len(group) - 1)


# ---- budget

_AXES = {
    "cost_usd": ("dollars for an answer", "$~g"),
    "tokens": ("tokens for an answer, read and written", "~s"),
}


def budget(rows: Sequence[Row], headline: str, axis: str) -> Chart:
    """Quality against what it takes; what nothing cheaper beats is joined and named."""
    known = [row for row in rows if row[axis] is not None]
    base = alt.Chart(alt.Data(values=list(known)))
    said, form = _AXES[axis]
    x = alt.X(f"{axis}:Q", title=said, axis=alt.Axis(tickCount=5, format=form))
    y = alt.Y("score:Q", title="score", axis=alt.Axis(format=".0%", tickCount=5))
    low = alt.Y("score_low:Q", scale=alt.Scale(zero=False))
    colour = alt.condition("datum.front", alt.value(HUES[0]), alt.value(DIM))
    spans = base.mark_rule(opacity=0.35, strokeWidth=1.5).encode(
        x=x, y=low, y2="score_high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=80, opacity=1).encode(
        x=x, y=y, color=colour,
        shape=alt.condition("datum.front", alt.value("circle"), alt.value("diamond")),
    )  # fmt: skip
    front = [row for row in known if row["front"]]
    joined = alt.Chart(alt.Data(values=front)).mark_line(
        interpolate="step-after", color=HUES[0], strokeWidth=1.5, strokeDash=[4, 3]
    )
    return _titled(
        [spans, joined.encode(x=x, y=y), points, *_fronts(front, known, axis)], headline, 300
    )


def _fronts(front: Sequence[Row], rows: Sequence[Row], axis: str) -> list[alt.Chart]:
    """Names of the front: to the right in the left half, to the left in the right half."""
    middle = max((row[axis] for row in rows), default=0) / 2
    bounds = [row[key] for row in rows for key in ("score_low", "score_high", "score") if row[key]]
    pixel = (max(bounds, default=1.0) - min(bounds, default=0.0)) / 300
    ordered = sorted(front, key=lambda row: row["score"])
    places = spaced([row["score"] + 9 * pixel for row in ordered], _GAP * pixel)
    named_ = [row | {"at": at} for row, at in zip(ordered, places, strict=True)]
    sides: tuple[tuple[Literal["left", "right"], int], ...] = (("left", 8), ("right", -8))
    made: list[alt.Chart] = []
    for align, dx in sides:
        data = [row for row in named_ if (row[axis] > middle) is (align == "right")]
        text = alt.Chart(alt.Data(values=data)).mark_text(
            align=align, dx=dx, fontSize=13, color=INK, limit=WIDTH * 2 // 3
        )
        made.append(text.encode(x=f"{axis}:Q", y="at:Q", text="who:N"))
    return made


def work(rows: Sequence[Row], headline: str) -> Chart:
    """Work one after another: as the paper counts it, and with what is read."""
    known = [row | {"label": row["who"]} for row in rows if row["tflops_paper"] is not None]
    choice = (
        ("tflops_paper", "tokens written, as the paper counts", DIM, SHAPES[0]),
        ("tflops_with_prefill", "tokens read and written", HUES[1], SHAPES[1]),
    )
    return _dots(known, choice, headline, "TFLOPs on the critical path", "~s")


# ---- bars: what adds up


def tokens(rows: Sequence[Row], headline: str) -> Chart:
    """Tokens of an answer, layer by layer."""
    parts = [
        {"label": row["who"], "part": f"layer {row['layer']}", "order": row["layer"],
         "value": row["read"] + row["written"]}
        for row in rows
    ]  # fmt: skip
    hues = dict(zip(dict.fromkeys(p["part"] for p in parts), _cycle(HUES, 99), strict=False))
    return _bars(parts, hues, headline, "tokens of an answer, read and written", "~s")


def latency(rows: Sequence[Row], headline: str) -> Chart:
    """Seconds of an answer, layer by layer; the wait for a layer's last member apart."""
    parts: list[Row] = []
    hues: dict[str, str] = {}
    for row in rows:
        name = f"layer {row['layer']}"
        hues[name] = HUES[(row["layer"] - 1) % len(HUES)]
        waited = row["straggler"] or 0.0
        parts.append(
            {"label": row["who"], "part": name, "order": 2 * row["layer"],
             "value": row["seconds"] - waited}
        )  # fmt: skip
        if waited:
            parts.append(
                {"label": row["who"], "part": _WAIT, "order": 2 * row["layer"] + 1, "value": waited}
            )
    return _bars(parts, hues | {_WAIT: WAIT}, headline, "seconds of an answer", "~s")


_WAIT = "waiting for its slowest"


def _bars(
    parts: Sequence[Row], hues: Mapping[str, str], headline: str, said: str, form: str
) -> Chart:
    totals: dict[str, float] = {}
    for part in parts:
        totals[part["label"]] = totals.get(part["label"], 0.0) + part["value"]
    order = sorted(totals, key=lambda label: totals[label])[-_MOST_BARS:]
    shown = [part for part in parts if part["label"] in order]
    bars = alt.Chart(alt.Data(values=shown)).mark_bar(height=14, yOffset=6)
    made = bars.encode(
        x=alt.X("value:Q", title=said, axis=alt.Axis(format=form, tickCount=5)),
        y=alt.Y("label:N", sort=order, axis=None),
        color=alt.Color("part:N", scale=_scale(hues), legend=_legend(4)),
        order=alt.Order("order:Q"),
    )
    return _titled([made, _heads(order)], headline, len(order) * _STEP)


# ---- skills


def skills(rows: Sequence[Row], headline: str) -> Chart:
    """A radar from 1 in the middle to 5: a line for each model or mixture."""
    names = list(dict.fromkeys(row["skill"] for row in rows))
    who = list(dict.fromkeys(row["who"] for row in rows))
    turn = {name: 2 * math.pi * i / len(names) for i, name in enumerate(names)}
    known = {(row["who"], row["skill"]): row["score"] for row in rows}
    drawn = [
        {"who": one, "order": i}
        | _polar(turn[names[i % len(names)]], known[one, names[i % len(names)]] - 1)
        for one in who
        for i in range(len(names) + 1)
        if (one, names[i % len(names)]) in known
    ]
    hues = dict(zip(who, _cycle(HUES, len(who)), strict=True))
    scale = alt.Scale(domain=[-5.6, 5.6])
    x, y = alt.X("x:Q", scale=scale, axis=None), alt.Y("y:Q", scale=scale, axis=None)
    line = alt.Chart(alt.Data(values=drawn)).mark_line(strokeWidth=2, point=True)
    lines = line.encode(
        x=x, y=y, order="order:Q",
        color=alt.Color("who:N", scale=_scale(hues), legend=_legend(1)),
        strokeDash=alt.StrokeDash("who:N", legend=None),
    )  # fmt: skip
    return _titled([*_web(turn, x, y), lines], headline, WIDTH)


def _polar(angle: float, radius: float) -> Row:
    return {"x": radius * math.sin(angle), "y": radius * math.cos(angle)}


def _web(turn: Mapping[str, float], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    around = [*turn.values(), 2 * math.pi]
    rings = [
        {"ring": ring, "order": i} | _polar(angle, ring)
        for ring in range(1, 5)
        for i, angle in enumerate(around)
    ]
    made = alt.Chart(alt.Data(values=rings)).mark_line(color=LINE, strokeWidth=1)
    names = [{"skill": name} | _polar(angle, 4.7) for name, angle in turn.items()]
    text = alt.Chart(alt.Data(values=names)).mark_text(fontSize=13, color=SOFT)
    marks = [{"said": str(ring + 1)} | _polar(0.0, float(ring)) for ring in range(5)]
    numbers = alt.Chart(alt.Data(values=marks)).mark_text(fontSize=11, color=DIM, dx=-9)
    return [
        made.encode(x=x, y=y, detail="ring:N", order="order:Q"),
        text.encode(x=x, y=y, text="skill:N"),
        numbers.encode(x=x, y=y, text="said:N"),
    ]


# ---- what all have


def _scale(values: Mapping[str, Any]) -> alt.Scale:
    return alt.Scale(domain=list(values), range=list(values.values()))


def _legend(columns: int) -> alt.Legend:
    return alt.Legend(orient="top", title=None, columns=columns)


def _cycle(values: Sequence[str], count: int) -> list[str]:
    return [values[i % len(values)] for i in range(count)]


def _titled(parts: Sequence[alt.Chart], headline: str, height: int, width: int = WIDTH) -> Chart:
    head = alt.TitleParams(_wrapped(headline), anchor="start", frame="group", offset=14)
    return alt.LayerChart(layer=list(parts), width=width, height=height, title=head)


def _wrapped(headline: str, most: int = 50) -> list[str]:
    return textwrap.wrap(headline, most)
