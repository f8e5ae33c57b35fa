"""Where the proposals behind an answer agree and differ, at a terminal; and its confidence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from mixtura.core.agreement import Agreement, Support
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.terminal.phrases import print_line

_MIN_WIDTH = 30


def print_agreement(console: Console, agreement: Agreement) -> None:
    """The number, then what all agree on, what is disputed and by whom, and the rest."""
    console.print()
    report = agreement.report
    if report is None:
        print_line(console, f"No agreement report: {to_one_line(agreement.reason)}.", "yellow")
        return
    print_line(console, _agreement_headline(agreement, report), "bold")
    for heading, lines in _report_sections(report):
        print_line(console, heading, "bold cyan")
        for depth, line in lines:
            _print_item(console, line, depth)


def print_confidence(
    console: Console, confidence: float | None, support: Support | None, why: str
) -> None:
    """The confidence, or what is missing for one; *why*: what is, where the support is known."""
    if confidence is not None:
        print_line(console, f"Confidence {confidence:.0%}, as calibrated on recorded answers.")
    elif support is None:
        print_line(console, "No confidence: nothing was counted for this answer.", "dim")
    else:
        print_line(console, f"No confidence: {to_one_line(why)}.", "dim")


def _agreement_headline(agreement: Agreement, report: Mapping[str, Any]) -> str:
    answers = pluralize_count(len(report["members"]), "proposal")
    by = f"({answers}, compared by {to_one_line(report['by'])})"
    if agreement.number is None:
        return f"Agreement: no number, as {to_one_line(agreement.reason)} {by}"
    several = len(report["agreed"]) + len(report["disputed"])
    agreed = f"{len(report['agreed'])} of {pluralize_count(several, 'shared claim')}"
    return f"Agreement {agreement.number:.0%}: {agreed} undisputed {by}"


def _report_sections(report: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    disputed: list[tuple[int, str]] = []
    for point in report["disputed"]:
        disputed.append((1, to_one_line(point["topic"])))
        disputed += [
            (2, f"{_join_names(row)}: {to_one_line(row['claim'])}") for row in point["stances"]
        ]
    sections = (
        ("Agreed", [(1, line) for line in _claim_lines(report["agreed"])]),
        ("Disputed", disputed),
        ("Only one says", [(1, line) for line in _claim_lines(report["only_one"])]),
        ("Not covered", [(1, to_one_line(text)) for text in report["not_covered"]]),
    )
    return ((heading, lines) for heading, lines in sections if lines)


def _claim_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (f"{to_one_line(row['claim'])} ({_join_names(row)})" for row in rows)


def _join_names(row: Mapping[str, Any]) -> str:
    return ", ".join(map(to_one_line, row["who"]))


def _print_item(console: Console, line: str, depth: int) -> None:
    first = "  " * depth + "- "
    if not console.is_terminal:
        console.print(Text(first + line), soft_wrap=True)
        return
    lines = textwrap.wrap(
        line, max(console.width, _MIN_WIDTH), initial_indent=first,
        subsequent_indent=" " * len(first), break_on_hyphens=False,
    )  # fmt: skip
    console.print(Text("\n".join(lines)), soft_wrap=True)
