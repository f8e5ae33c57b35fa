"""A tuning at a terminal: what is written, its proof, the members' roles, what was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.terminal.layout import indent_line, plain_table
from mixtura.terminal.phrases import format_dollars

if TYPE_CHECKING:
    from mixtura.selection.tuned import TuneResult

MAX_ROWS = 10
"""Mixtures shown; the JSON has them all."""


def render_tuning(found: TuneResult) -> RenderableType:
    """All of it, what is written first."""
    name = to_one_line(found.plan_to_write.name)
    kind = "" if found.is_mixture else " alone: no mixture is proved"
    parts: list[RenderableType] = [Text(f"{name}{kind}", "bold")]
    parts += [indent_line(line) for line in found.proof_lines()]
    parts += [Text(f"{to_one_line(one)}.", "yellow") for one in found.warnings]
    parts += [Text("\nMembers", "bold"), _roles_table(found)]
    parts += [Text("\nTried, by the score on the prompts that chose", "bold"), _tried_table(found)]
    hidden = len(found.tried) - MAX_ROWS
    more = f"{pluralize_count(hidden, 'row')} more with --json. " if hidden > 0 else ""
    paid = f", paid {format_dollars(found.spent_usd)}" if found.spent_usd else ""
    parts.append(Text(f"\n{more}{pluralize_count(found.calls, 'call')}{paid}.", "dim"))
    return Group(*parts)


def _roles_table(found: TuneResult) -> Table:
    table = plain_table("model", "role", "score", "")
    table.columns[1].justify = "left"
    for one in found.roles:
        sure = "" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
        table.add_row(to_one_line(one.model), one.role, f"{one.score:.3f}", sure)
    return table


def _tried_table(found: TuneResult) -> Table:
    table = plain_table("", "score")
    ranked = sorted(found.tried.items(), key=lambda row: -row[1])
    for name, score in ranked[:MAX_ROWS]:
        style = "bold" if name == found.chosen.name else ""
        table.add_row(Text(to_one_line(name), style), f"{score:.3f}")
    return table
