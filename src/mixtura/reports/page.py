"""The report as one file of HTML that makes no request, and as files of figures and numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.reports.html import details_html, figure_html, html_page, table_html
from mixtura.reports.rows import Row
from mixtura.reports.runs import TaskRuns
from mixtura.reports.sections import PaperFindings, Section, ValueFormat, build_sections


class WrittenReport(NamedTuple):
    """The page, and what is on it, by task."""

    file: Path
    tasks: Mapping[str, Sequence[Section]]

    def to_json(self) -> Row:
        """The rows of every analysis, by task; an empty list where runs are missing."""
        return {
            task: {section.key: list(section.rows) for section in made}
            for task, made in self.tasks.items()
        }


def write_report(every: Sequence[TaskRuns], folder: Path) -> WrittenReport:
    """
    ``report.html``, and beside it each figure as SVG and PNG, each table as CSV. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [(runs, build_sections(runs)) for runs in every]
    for runs, made in drawn:
        # Two tasks have the same analyses: without a prefix one would overwrite the other's files.
        prefix = f"{_safe_file_name(runs.task)}-" if len(every) > 1 else ""
        for section in made:
            _write_files(section, folder, prefix)
    page = folder / "report.html"
    page.write_text(report_html(drawn), encoding="utf-8")
    return WrittenReport(page, {runs.task: made for runs, made in drawn})


def _safe_file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)


def _write_files(section: Section, folder: Path, prefix: str) -> None:
    for name, drawing in section.figures.items():
        (folder / f"{prefix}{name}.svg").write_text(drawing.svg, encoding="utf-8")
        (folder / f"{prefix}{name}.png").write_bytes(drawing.png)
    for name, rows in {section.key: section.rows, **section.more}.items():
        if rows:
            (folder / f"{prefix}{name}.csv").write_text(_to_csv(rows), encoding="utf-8")


def _to_csv(rows: Sequence[Row]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    written = csv.DictWriter(out, names, lineterminator="\n")
    written.writeheader()
    written.writerows(rows)
    return out.getvalue()


# ---- the page


def report_html(drawn: Sequence[tuple[TaskRuns, Sequence[Section]]]) -> str:
    """Every analysis on one page."""
    parts = [
        "<h1>What a mixture is worth</h1>",
        *_opening_parts(drawn),
        *(_task_html(runs, made, named=len(drawn) > 1) for runs, made in drawn),
    ]
    return html_page("What a mixture is worth: a report by Mixtura", parts)


def _opening_parts(drawn: Sequence[tuple[TaskRuns, Sequence[Section]]]) -> Iterator[str]:
    for runs, _ in drawn:
        models = ", ".join(escape(to_one_line(name)) for name in runs.single_models) or "none"
        prompts_of_each = [{answer.sample for answer in one.answers} for one in runs.contenders]
        prompts = set[str]().union(*prompts_of_each)
        notes = [f"{len(runs.contenders):,} mixtures and models. Evaluated alone: {models}."]
        if any(one != prompts for one in prompts_of_each):
            notes.append(
                f"Only {len(prompts.intersection(*prompts_of_each)):,} of the prompts are in all"
                " evaluations."
            )
        if runs.unscored:
            notes.append(
                f"Without any score: {escape(', '.join(map(to_one_line, runs.unscored)))}."
            )
        yield (
            f'<p class="asked">Task <b>{escape(runs.task)}</b>:'
            f" {pluralize_count(len(prompts), 'prompt')}, {' '.join(notes)}</p>"
        )
    yield (
        "<p>In a mixture of agents, several models (the proposers) answer in parallel, and another"
        " one (the aggregator) reads their answers and writes the final answer; further layers of"
        " proposers that read the previous answers may be in between. Every score here is a mean"
        " over prompts; the numbers in brackets and the lines in the figures are its 95 %"
        " confidence interval, from a bootstrap over prompts.</p>"
    )
    yield _table_of_contents(drawn)


def _table_of_contents(drawn: Sequence[tuple[TaskRuns, Sequence[Section]]]) -> str:
    """Where every analysis stands, under the name of its task where there are several."""
    lines: list[str] = []
    for runs, made in drawn:
        if len(drawn) > 1:
            lines.append(f"<b>Task {escape(runs.task)}</b>")
        lines += [
            f'<a href="#{_section_anchor(runs, section)}"{"" if section.rows else " class=dim"}>'
            f"{escape(section.words.title)}{'' if section.rows else ' (no runs)'}</a>"
            for section in made
        ]
    return f'<nav aria-label="Analyses">{"".join(lines)}</nav>'


def _section_anchor(runs: TaskRuns, section: Section) -> str:
    return f"{_safe_file_name(runs.task)}-{section.key}"


def _task_html(runs: TaskRuns, made: Iterable[Section], *, named: bool) -> str:
    head = f'<h2 class="task">Task {escape(runs.task)}</h2>' if named else ""
    return head + "".join(
        _section_html(_section_anchor(runs, section), section) for section in made
    )


def _section_html(anchor: str, section: Section) -> str:
    words = section.words
    parts = [f"<h2>{escape(words.title)}</h2>", f'<p class="asked">{escape(words.asked)}</p>']
    if section.rows:
        parts += [figure_html(drawing) for drawing in section.figures.values()]
        parts += [f"<p>{escape(words.reading)}</p>", _numbers_table(section)]
    else:
        brings = f"This command makes the runs: <code>{escape(words.command)}</code>"
        parts.append(f'<p class="none">{escape(words.missing)} {brings}</p>')
    paper = _paper_findings(words.paper) if words.paper else ""
    return f'<section id="{anchor}">{"".join(parts)}{paper}</section>'


def _numbers_table(section: Section) -> str:
    columns = [
        column
        for column in section.words.columns
        if any(row.get(column[0]) is not None for row in section.rows)
    ]
    heads = [(escape(heading), value_format == "text") for _, heading, value_format in columns]
    rows = [
        [_format_cell(row, key, value_format) for key, _, value_format in columns]
        for row in section.rows
    ]
    # A long table is folded away: the figures come first.
    return details_html("The numbers", table_html(heads, rows), opened=len(rows) <= 8)


def _format_cell(row: Row, key: str, value_format: ValueFormat) -> str:
    value, low, high = (row.get(f"{key}{end}") for end in ("", "_low", "_high"))
    if value is None:
        return ""
    span = ""
    if low is not None and high is not None:
        bounds = (format_value(bound, value_format) for bound in (low, high))
        span = f" <small>({' to '.join(bounds)})</small>"
    return escape(format_value(value, value_format)) + span


def format_value(value: object, value_format: ValueFormat) -> str:
    """A value of a table as a person reads it."""
    if not isinstance(value, int | float):
        return to_one_line(value)
    match value_format:
        case "dollars":
            return f"{value:.4f}" if value >= 0.01 else f"{value:.2g}"
        case "number":
            return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
        case "yes":
            return "yes" if value else ""
        case _:
            return _NUMBER_TEMPLATES[value_format].format(value, 100 * value)


_NUMBER_TEMPLATES: Mapping[ValueFormat, str] = {
    "percent": "{1:.0f} %",
    "percent_tenths": "{1:.1f} %",
    "points": "{1:+.0f}",
    "points_tenths": "{1:+.1f}",
    "margin": "±{1:.1f}",
    "signed": "{0:+.2f}",
    "decimal": "{0:.2f}",
    "count": "{0:,.0f}",
    "text": "{0:,.0f}",
}
"""Of a value, and of 100 times it."""


def _paper_findings(paper: PaperFindings) -> str:
    heads = [(escape(head), i == 0) for i, head in enumerate(paper.heads)]
    rows = [[escape(value) for value in row] for row in paper.rows]
    body = f"<p>{escape(paper.said)}</p>{table_html(heads, rows) if rows else ''}"
    return details_html(f"What the paper found ({escape(paper.source)})", body, opened=False)
