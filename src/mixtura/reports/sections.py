"""The eight analyses as parts of a page: what was asked, what is seen, the figures, the table."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from mixtura.reports import expense, figures, headlines, quality, reading
from mixtura.reports.drawing import Drawing
from mixtura.reports.figures import Chart
from mixtura.reports.likeness import MEASURES
from mixtura.reports.rows import Row
from mixtura.reports.runs import Runs

Manner = Literal[
    "text", "percent", "points", "signed", "dollars", "count", "number", "decimal", "yes"
]
CHECKED = ("gsm8k", "math", "ifeval", "humaneval")
"""Tasks that a program checks."""


class Paper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the paper found, for comparison; its *source* there."""

    said: str
    source: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the report says of an analysis, whatever came of it."""

    title: str
    asked: str
    reading: str
    missing: str
    columns: tuple[tuple[str, str, Manner], ...]
    """A column of the rows, what it is called, how it is written."""
    command: str = "mixtura report collect --models A B C --task gsm8k"
    """What would bring the runs that are missing."""
    paper: Paper | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """An analysis: the rows of its table, and its figures by name. Without rows it is missing."""

    key: str
    words: Words
    rows: Sequence[Row]
    figures: Mapping[str, Drawing]
    more: Mapping[str, Sequence[Row]]
    """Rows that only stand behind figures, by name."""

    def titles(self) -> list[str]:
        """What one sees, a sentence for each figure; the question, where there is none."""
        return [drawing.title for drawing in self.figures.values()] or (
            [self.words.title] if self.rows else []
        )


@cache
def words() -> Mapping[str, Words]:
    text = (resources.files("mixtura") / "texts" / "report.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, Words])


def sections(runs: Runs) -> list[Section]:
    """Every analysis, in the order of the page."""
    return [_made(key, said, _ROWS[key](runs), runs) for key, said in words().items()]


def _made(key: str, said: Words, rows: Sequence[Row], runs: Runs) -> Section:
    charts = dict(_CHARTS[key](rows)) if rows and key in _CHARTS else {}
    more: dict[str, Sequence[Row]] = {}
    if key == "budget" and rows:
        more["tokens"] = expense.tokens_by_layer(runs)
        charts["tokens"] = figures.tokens(more["tokens"], headlines.tokens(more["tokens"]))
    drawn = {name: Drawing(chart) for name, chart in charts.items()}
    return Section(key, said, rows, drawn, more)


# ---- rows


def _following(runs: Runs) -> list[Row]:
    return [row | {"label": MEASURES[row["measure"]]} for row in reading.following(runs)]


def _accuracy(runs: Runs) -> list[Row]:
    """The layers as columns; only of what a program checks, and of whoever has a second one."""
    if runs.task.partition(" ")[0] not in CHECKED:
        return []
    table: dict[str, Row] = {}
    for row in quality.layers(runs):
        one = table.setdefault(row["aggregator"], {"aggregator": row["aggregator"], "prompts": 0})
        one["prompts"] = max(one["prompts"], row["prompts"])
        for end in ("", "_low", "_high"):
            one[f"layer_{row['layer']}{end}"] = row[f"score{end}"]
    return list(table.values())


_ROWS: Mapping[str, Callable[[Runs], Sequence[Row]]] = {
    "collaborativeness": quality.collaborativeness,
    "layers": quality.layers,
    "following": _following,
    "proposers": quality.proposers,
    "roles": quality.roles,
    "budget": expense.budgets,
    "skills": expense.skills,
    "accuracy": _accuracy,
    "latency": expense.latencies,
}


# ---- figures


def _budget(rows: Sequence[Row]) -> Mapping[str, Chart]:
    axis = expense.price_axis(rows)
    made = {"budget": figures.budget(rows, headlines.budget(rows), axis)}
    if any(row["tflops_paper"] for row in rows):
        made["work"] = figures.work(rows, headlines.work(rows))
    return made


def _one(
    name: str,
    draw: Callable[[Sequence[Row], str], Chart],
    headline: Callable[[Sequence[Row]], str],
) -> Callable[[Sequence[Row]], Mapping[str, Chart]]:
    return lambda rows: {name: draw(rows, headline(rows))}


def _widest(rows: Sequence[Row]) -> Mapping[str, Chart]:
    shown = reading.widest(rows)
    return {"following": figures.following(shown, headlines.following(shown))}


_CHARTS: Mapping[str, Callable[[Sequence[Row]], Mapping[str, Chart]]] = {
    "collaborativeness": _one(
        "collaborativeness", figures.collaborativeness, headlines.collaborativeness
    ),
    "layers": _one("layers", figures.layers, headlines.layers),
    "following": _widest,
    "proposers": _one("proposers", figures.proposers, headlines.proposers),
    "roles": _one("roles", figures.roles, headlines.roles),
    "budget": _budget,
    "skills": _one("skills", figures.skills, headlines.skills),
    "latency": _one("latency", figures.latency, headlines.latency),
}
