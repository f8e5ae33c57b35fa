"""A review at a terminal: what most members found first, each with its place and its evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.terminal.phrases import print_line

_STYLES = {"high": "bold red", "medium": "yellow", "low": "dim"}
_MIN_WIDTH = 30


def print_review(console: Console, review: Mapping[str, Any]) -> None:
    """Every finding, then how many there are."""
    findings: Sequence[Mapping[str, Any]] = review["findings"]
    members = len(review["members"])
    for one in findings:
        _print_finding(console, one)
    many = pluralize_count(len(findings), "finding") if findings else "No finding"
    several = sum(one["found_by"] > 1 for one in findings)
    by = f" by more than one of {pluralize_count(members, 'member')}"
    print_line(console, f"{many}; {several}{by}." if members > 1 else f"{many}.", "bold")


def _print_finding(console: Console, one: Mapping[str, Any]) -> None:
    head = Text.assemble(
        (_format_place(one), "bold"), "  ", (one["severity"], _STYLES[one["severity"]]),
        f"  found by {one['found_by']} of {one['of']}",
    )  # fmt: skip
    console.print(head, soft_wrap=True)
    _print_text(console, one["problem"])
    quotes = dict.fromkeys(to_one_line(row["quote"]) for row in one["evidence"] if row["quote"])
    for quote in quotes:
        _print_text(console, f"> {quote}", "cyan")
    if not one["quote_found"]:
        _print_text(
            console, "(none of the quoted lines occurs in the text: check by hand)", "yellow"
        )
    if one["suggestion"]:
        _print_text(console, f"Suggestion: {one['suggestion']}")
    _print_text(console, ", ".join(row["member"] for row in one["evidence"]), "dim")
    console.print()


def _format_place(one: Mapping[str, Any]) -> str:
    file = to_one_line(one["file"]) if one["file"] else ""
    if one["line"] is None:
        return file or "(no place)"
    return f"{file}:{one['line']}" if file else f"line {one['line']}"


def _print_text(console: Console, text: str, style: str = "") -> None:
    line = to_one_line(text)
    if console.is_terminal:
        line = "\n".join(
            textwrap.wrap(line, max(console.width, _MIN_WIDTH) - 2, break_on_hyphens=False)
        )
    console.print(Text(textwrap.indent(line, "  "), style), soft_wrap=True)
