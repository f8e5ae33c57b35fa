"""A selection at a terminal: the team, why each member is in, what is simpler, what was tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixtura.render.words import dollars
from mixtura.text import one_line, plural

if TYPE_CHECKING:
    from mixtura.selection.outcome import Against, Best, Selection, Tried
    from mixtura.selection.roles import Part, Role

MOST_ROWS = 15
"""Teams shown; the JSON has them all."""
_WIDE = 100


def selected(found: Selection, width: int) -> RenderableType:
    """All of it, the team first."""
    parts: list[RenderableType] = [_team(found), *_doubts(found), Text("\nWhy each is in", "bold")]
    parts += [Text(f"  {one_line(one.model)}: {one_line(one.why)}") for one in found.best.why]
    parts += [Text("\nOn the held-out prompts", "bold"), *map(_against, found.against)]
    parts += [Text("\nRoles", "bold"), _roles(found.roles)]
    parts += [Text("\nDifferent from each other", "bold"), *_different(found)]
    parts += [Text("\nTried, the front first", "bold"), _tried(found.tried, width), _taken(found)]
    return Group(*parts)


def _team(found: Selection) -> Text:
    best = found.best
    said = Text(one_line(best.name), "bold")
    said.append(f"\n{found.told}. ", "not bold")
    said.append(
        f"On the {plural(found.prompts.search, 'prompt')} that it was chosen by:"
        f" {_score(best.search_score)}.", "not bold",
    )  # fmt: skip
    return said


def _doubts(found: Selection) -> list[Text]:
    said = [one_line(one) for one in found.warnings]
    if found.overfit:
        said.insert(0, _overfit(found.best))
    return [Text(f"{one}.", "yellow") for one in said]


def _overfit(best: Best) -> str:
    return (
        f"Overfitted: {_score(best.search_score)} on the prompts it was chosen by is above all that"
        f" the held-out ones allow ({_score(best.low)} to {_score(best.high)}). More prompts help"
    )


def _against(row: Against) -> Text:
    what = {"alone": "the best model alone", "single-proposer": "the best draws of one model"}
    return Text(f"  against {one_line(row.name)}, {what[row.kind]}: {row.verdict}")


# ---- tables


def _roles(rows: Sequence[Role]) -> Table:
    table = _plain_table("model", "alone", "as the only proposer", "as the aggregator")
    for row in rows:
        parts = map(_part, (row.alone, row.as_proposer, row.as_aggregator))
        table.add_row(one_line(row.model), *parts)
    return table


def _part(part: Part | None) -> str:
    return "" if part is None else f"{_score(part.score)} ({part.prompts:,})"


def _different(found: Selection) -> list[Text]:
    known = found.diversity
    said: list[str] = []
    if known.vendi is not None:
        said.append(f"as different as {known.vendi:.1f} answers with nothing in common (Vendi)")
    if known.agreement is not None and known.entropy is not None:
        said.append(f"{known.agreement:.0%} agree on the answer, entropy {known.entropy:.2f} bits")
    if known.oracle is not None:
        said.append(f"the best draft of each prompt scores {_score(known.oracle)}")
    if known.ceiling is not None:
        top = known.ceiling
        said.append(
            f"some candidate is right on {top.value:.0%} ({top.low:.0%} to {top.high:.0%}):"
            " no choice among drafts does better"
        )
    return [Text(f"  {one}") for one in said]


def _tried(rows: Sequence[Tried], width: int) -> Table:
    table = _plain_table("", f"{'score':>5}", "", "prompts", "cost", "seconds")
    ahead = [row for row in rows if row.front]
    others = [row for row in rows if not row.front]
    wide = width >= _WIDE
    for row in (*ahead, *others)[: max(MOST_ROWS, len(ahead))]:
        sure = "" if row.low is None or row.high is None or not wide else _bounds(row)
        name = one_line(row.name) + ("  alone" if row.aggregator is None else "")
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        table.add_row(
            Text(name, "bold" if row.front else ""),
            _score(row.score), sure, f"{row.n:,}", dollars(row.cost_usd), seconds,
        )  # fmt: skip
    return table


def _bounds(row: Tried) -> str:
    return f"{_score(row.low)} to {_score(row.high)}"


def _plain_table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    first, *others = headings
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _taken(found: Selection) -> Text:
    hidden = len(found.tried) - MOST_ROWS
    more = f"{plural(hidden, 'row')} more with --json. " if hidden > 0 else ""
    paid = f", paid {dollars(found.spent_usd)}" if found.spent_usd else ""
    every = found.exhaustive_calls
    saved = f"; every team on every prompt takes {every:,}" if every > found.calls else ""
    return Text(f"\n{more}{plural(found.calls, 'call')}{paid}{saved}.", "dim")


def _score(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
