"""The analyses as parts of a page: what was asked, what is seen, the figures, the table."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from mixtura.reports import (
    aggregator_influence,
    bar_charts,
    confidence,
    cost_chart,
    dot_charts,
    headlines,
    line_charts,
    quality,
    radar_chart,
    reliability_chart,
    run_costs,
)
from mixtura.reports.chart_style import Chart
from mixtura.reports.charts import RenderedChart
from mixtura.reports.rows import Row
from mixtura.reports.runs import TaskRuns
from mixtura.reports.text_similarity import MEASURES

ValueFormat = Literal[
    "text",
    "percent",
    "percent_tenths",
    "points",
    "points_tenths",
    "margin",
    "signed",
    "dollars",
    "count",
    "number",
    "decimal",
    "yes",
]
CHECKED_TASKS = ("gsm8k", "math", "ifeval", "humaneval")
"""Tasks that a program checks."""


class PaperFindings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the paper found, for comparison; its *source* there."""

    said: str
    source: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class SectionWords(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the report says of an analysis, whatever came of it."""

    title: str
    asked: str
    reading: str
    missing: str
    columns: tuple[tuple[str, str, ValueFormat], ...]
    """A column of the rows, what it is called, how it is written."""
    command: str = "mixtura report collect --models A B C --task gsm8k"
    """What would bring the runs that are missing."""
    paper: PaperFindings | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """An analysis: the rows of its table, and its figures by name. Without rows it is missing."""

    key: str
    words: SectionWords
    rows: Sequence[Row]
    figures: Mapping[str, RenderedChart]
    more: Mapping[str, Sequence[Row]]
    """Rows that only stand behind figures, by name."""

    def figure_titles(self) -> list[str]:
        """What one sees, a sentence for each figure; the question, where there is none."""
        return [drawing.title for drawing in self.figures.values()] or (
            [self.words.title] if self.rows else []
        )


@cache
def load_section_words() -> Mapping[str, SectionWords]:
    """The words of every analysis, in the order of the page, from ``texts/report.toml``."""
    text = (resources.files("mixtura") / "texts" / "report.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), dict[str, SectionWords])


def build_sections(runs: TaskRuns) -> list[Section]:
    """Every analysis, in the order of the page."""
    return [
        _build_section(key, words, _ROW_FUNCTIONS[key](runs), runs)
        for key, words in load_section_words().items()
    ]


def _build_section(key: str, words: SectionWords, rows: Sequence[Row], runs: TaskRuns) -> Section:
    charts = dict(_CHART_FUNCTIONS[key](rows)) if rows and key in _CHART_FUNCTIONS else {}
    more: dict[str, Sequence[Row]] = {}
    if key == "budget" and rows:
        more["tokens"] = run_costs.tokens_by_layer(runs)
        charts["tokens"] = bar_charts.tokens_chart(
            more["tokens"], headlines.tokens_headline(more["tokens"])
        )
    if key == "confidence" and rows:
        more["reliability"] = confidence.reliability_rows(runs)
        if more["reliability"]:
            charts["reliability"] = reliability_chart.reliability_chart(
                more["reliability"], headlines.confidence_headline(rows)
            )
    drawn = {name: RenderedChart(chart) for name, chart in charts.items()}
    return Section(key, words, rows, drawn, more)


# ---- rows


def _influence_rows(runs: TaskRuns) -> list[Row]:
    return [
        row | {"label": MEASURES[row["measure"]]}
        for row in aggregator_influence.influence_rows(runs)
    ]


def _accuracy_rows(runs: TaskRuns) -> list[Row]:
    """The layers as columns; only of what a program checks, and of whoever has a second one."""
    # A task of which there are two files is numbered: "gsm8k 2".
    if runs.task.partition(" ")[0] not in CHECKED_TASKS:
        return []
    table: dict[str, Row] = {}
    for row in quality.layer_rows(runs):
        one = table.setdefault(row["aggregator"], {"aggregator": row["aggregator"], "prompts": 0})
        one["prompts"] = max(one["prompts"], row["prompts"])
        for end in ("", "_low", "_high"):
            one[f"layer_{row['layer']}{end}"] = row[f"score{end}"]
    return list(table.values())


_ROW_FUNCTIONS: Mapping[str, Callable[[TaskRuns], Sequence[Row]]] = {
    "best_model": quality.best_model_rows,
    "collaborativeness": quality.collaborativeness_rows,
    "layers": quality.layer_rows,
    "following": _influence_rows,
    "proposers": quality.proposer_rows,
    "roles": quality.role_rows,
    "budget": run_costs.cost_rows,
    "skills": run_costs.skill_rows,
    "accuracy": _accuracy_rows,
    "latency": run_costs.latency_rows,
    "confidence": confidence.confidence_rows,
}


# ---- figures


def _cost_charts(rows: Sequence[Row]) -> Mapping[str, Chart]:
    axis = run_costs.price_axis(rows)
    made = {"budget": cost_chart.cost_chart(rows, headlines.cost_headline(rows), axis)}
    if any(row["tflops_paper"] for row in rows):
        made["work"] = dot_charts.work_chart(rows, headlines.work_headline(rows))
    return made


def _single_chart(
    name: str,
    draw: Callable[[Sequence[Row], str], Chart],
    headline: Callable[[Sequence[Row]], str],
) -> Callable[[Sequence[Row]], Mapping[str, Chart]]:
    return lambda rows: {name: draw(rows, headline(rows))}


def _influence_chart(rows: Sequence[Row]) -> Mapping[str, Chart]:
    shown = aggregator_influence.widest_mixture_rows(rows)
    return {"following": dot_charts.influence_chart(shown, headlines.influence_headline(shown))}


def _best_model_chart(rows: Sequence[Row]) -> Mapping[str, Chart]:
    compared = [row | {"label": row["who"]} for row in rows if "gain" in row]
    headline = headlines.best_model_headline(compared)
    return {"best_model": dot_charts.gains_chart(compared, headline)}


_CHART_FUNCTIONS: Mapping[str, Callable[[Sequence[Row]], Mapping[str, Chart]]] = {
    "best_model": _best_model_chart,
    "collaborativeness": _single_chart(
        "collaborativeness",
        dot_charts.collaborativeness_chart,
        headlines.collaborativeness_headline,
    ),
    "layers": _single_chart("layers", line_charts.layers_chart, headlines.layers_headline),
    "following": _influence_chart,
    "proposers": _single_chart(
        "proposers", line_charts.proposers_chart, headlines.proposers_headline
    ),
    "roles": _single_chart("roles", dot_charts.roles_chart, headlines.roles_headline),
    "budget": _cost_charts,
    "skills": _single_chart("skills", radar_chart.skills_chart, headlines.skills_headline),
    "latency": _single_chart("latency", bar_charts.latency_chart, headlines.latency_headline),
}
