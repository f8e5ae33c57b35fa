"""A selection at a terminal: the team, why each member is in, what is simpler, what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mixtura.core.text import pluralize_count, to_one_line
from mixtura.terminal.layout import indent_line, plain_table
from mixtura.terminal.phrases import format_dollars

if TYPE_CHECKING:
    from mixtura.selection.outcome import ChosenTeam, HeldOutComparison, SelectionResult, TriedTeam
    from mixtura.selection.roles import ModelRoles, RoleScore

MAX_ROWS = 15
"""Teams shown; the JSON has them all."""
_WIDE_COLUMNS = 100


def render_selection(selection: SelectionResult, width: int) -> RenderableType:
    """All of it, the team first."""
    parts: list[RenderableType] = [
        _team_text(selection),
        *_warning_texts(selection),
        Text("\nWhy each is in", "bold"),
    ]
    parts += [
        indent_line(f"{to_one_line(one.model)}: {to_one_line(one.why)}")
        for one in selection.best.why
    ]
    parts += [Text("\nOn the held-out prompts", "bold"), *map(_baseline_text, selection.against)]
    parts += [Text("\nRoles", "bold"), _roles_table(selection.roles)]
    parts += [Text("\nDifferent from each other", "bold"), *_diversity_texts(selection)]
    parts += [
        Text("\nTried, the Pareto front first", "bold"),
        _candidates_table(selection.tried, width),
        _cost_text(selection),
    ]
    return Group(*parts)


def _team_text(selection: SelectionResult) -> Text:
    best = selection.best
    text = Text(to_one_line(best.name), "bold")
    text.append(f"\n{selection.summary_line}. ", "not bold")
    text.append(
        f"On the {pluralize_count(selection.prompts.search, 'prompt')} that it was chosen by:"
        f" {_format_score(best.search_score)}.", "not bold",
    )  # fmt: skip
    return text


def _warning_texts(selection: SelectionResult) -> list[Text]:
    warnings = [to_one_line(one) for one in selection.warnings]
    # First of all: the score below is too high if this holds.
    if selection.overfit:
        warnings.insert(0, _overfit_warning(selection.best))
    return [Text(f"{one}.", "yellow") for one in warnings]


def _overfit_warning(best: ChosenTeam) -> str:
    return (
        f"Overfitted: {_format_score(best.search_score)} on the prompts it was chosen by is above"
        f" all that the held-out ones allow ({_format_score(best.low)} to"
        f" {_format_score(best.high)}). More prompts help"
    )


def _baseline_text(row: HeldOutComparison) -> Padding:
    what = {"alone": "the best model alone", "single-proposer": "the best draws of one model"}
    return indent_line(f"against {to_one_line(row.name)}, {what[row.kind]}: {row.verdict}")


# ---- tables


def _roles_table(rows: Sequence[ModelRoles]) -> Table:
    table = plain_table("model", "alone", "as the only proposer", "as the aggregator")
    for row in rows:
        parts = map(_format_part, (row.alone, row.as_proposer, row.as_aggregator))
        table.add_row(to_one_line(row.model), *parts)
    return table


def _format_part(part: RoleScore | None) -> str:
    return "" if part is None else f"{_format_score(part.score)} ({part.prompts:,})"


def _diversity_texts(selection: SelectionResult) -> list[Padding]:
    known = selection.diversity
    lines: list[str] = []
    if known.vendi is not None:
        lines.append(f"as different as {known.vendi:.1f} answers with nothing in common (Vendi)")
    if known.agreement is not None and known.entropy is not None:
        lines.append(f"{known.agreement:.0%} agree on the answer, entropy {known.entropy:.2f} bits")
    if known.oracle is not None:
        lines.append(f"the best draft of each prompt scores {_format_score(known.oracle)}")
    if known.ceiling is not None:
        top = known.ceiling
        lines.append(
            f"some candidate is right on {top.value:.0%} ({top.low:.0%} to {top.high:.0%}):"
            " no choice among drafts does better"
        )
    return [indent_line(one) for one in lines]


def _candidates_table(rows: Sequence[TriedTeam], width: int) -> Table:
    table = plain_table("", f"{'score':>5}", "", "prompts", "cost", "seconds")
    ahead = [row for row in rows if row.front]
    others = [row for row in rows if not row.front]
    wide = width >= _WIDE_COLUMNS
    # The front is shown whole, however long: cutting it would hide a choice.
    for row in (*ahead, *others)[: max(MAX_ROWS, len(ahead))]:
        sure = "" if row.low is None or row.high is None or not wide else _format_bounds(row)
        name = to_one_line(row.name) + ("  alone" if row.aggregator is None else "")
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        table.add_row(
            Text(name, "bold" if row.front else ""),
            _format_score(row.score), sure, f"{row.n:,}", format_dollars(row.cost_usd), seconds,
        )  # fmt: skip
    return table


def _format_bounds(row: TriedTeam) -> str:
    return f"{_format_score(row.low)} to {_format_score(row.high)}"


def _cost_text(selection: SelectionResult) -> Text:
    hidden = len(selection.tried) - MAX_ROWS
    more = f"{pluralize_count(hidden, 'row')} more with --json. " if hidden > 0 else ""
    paid = f", paid {format_dollars(selection.spent_usd)}" if selection.spent_usd else ""
    every = selection.exhaustive_calls
    saved = f"; every team on every prompt takes {every:,}" if every > selection.calls else ""
    return Text(f"\n{more}{pluralize_count(selection.calls, 'call')}{paid}{saved}.", "dim")


def _format_score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
