"""Runs that were kept: a list of them, and one as it was when it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixtura.record import Record, moment, question, recalled
from mixtura.render.live import Card, Wrap, panels
from mixtura.render.tables import notes, summary
from mixtura.render.words import dollars, length, say, seat_name, why
from mixtura.text import one_line, visible
from mixtura.trace import Call

STYLES = {
    "failed": "red", "stopped": "yellow", "degraded": "yellow", "running": "blue",
    "unfinished": "yellow", "damaged": "red",
}  # fmt: skip
"""How a run is drawn that did not simply answer."""
_ROOMY = 96
_SHORTEST = 10
"""Columns that a question takes at least: where there are fewer, it is not shown."""


def listing(runs: Sequence[Record], width: int) -> Table:
    """One line a run: its id, when, what was asked of whom, how it ended if not well."""
    roomy = width >= _ROOMY
    room = max((cell_len(run["id"]) for run in runs), default=0)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("run", "when", "model", "seconds", "cost") if roomy else ("run", "when", "model")
    if width < 60:
        headings = ("run",)
    questions = width >= room + _SHORTEST
    for heading in headings:
        side = "right" if heading in ("seconds", "cost") else "left"
        if heading == "run":  # an id is of use whole, or not at all
            least = min(room, width)
            table.add_column(heading, no_wrap=questions, overflow="fold", min_width=least)
        else:
            table.add_column(heading, no_wrap=True, justify=side)
    if questions:
        table.add_column("question", no_wrap=True, overflow="ellipsis", ratio=1)
    for run in runs:
        cells = {
            "run": run["id"],
            "when": when(run["started"]),
            "model": _cut(one_line(run["model"]), 24 if roomy else 14),
            "seconds": f"{run['seconds']:.1f}",
            "cost": dollars(run["cost_usd"]),
        }
        asked = Text(one_line(run["question"]))
        if run["state"] in STYLES:
            asked = Text.assemble((f"{run['state']}: ", STYLES[run["state"]]), asked)
        row = [Text(cells[heading]) for heading in headings]
        table.add_row(*row, *([asked] if questions else []))
    return table


def when(started: str) -> str:
    """A moment as a person here reads it, no longer than it must be."""
    then, now = moment(started).astimezone(), datetime.now().astimezone()
    if then.date() == now.date():
        return f"today {then:%H:%M}"
    return f"{then.day} {then:%b %H:%M}" if then.year == now.year else f"{then:%Y-%m-%d}"


def _cut(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, room - 1) + "…"


def replayed(run: Mapping[str, Any], out: Console) -> None:
    """The run as it was seen: what was asked, its proposals, the answer, the table, the notes."""
    trace, pricer = recalled(run)
    said = f"run {run['id']}: {when(run['started'])}, {run['via']}, {one_line(run['model'])}"
    say(out, f"{said}, {run['state']}", STYLES.get(run["state"], "dim"))
    out.print()
    _text(out, question(run), "bold")
    proposers = [call for call in trace.calls if call.seat.role == "proposer"]
    for layer in sorted({call.seat.layer for call in proposers}):
        _layer(out, [call for call in proposers if call.seat.layer == layer])
    _answer(out, [call for call in trace.calls if call.seat.role == "aggregator"], run["answer"])
    out.print()
    if trace.calls:
        out.print(summary(trace, pricer, out.width))
    for note in notes(trace):
        say(out, note, "yellow")
    if run["error"]:
        say(out, f"No answer: {one_line(run['error'])}", "bold red")


def _layer(out: Console, calls: Sequence[Call]) -> None:
    if not out.is_terminal:
        for call in calls:
            say(out, f"\n[{seat_name(call.seat)}] {one_line(call.model)}", "bold green")
            _text(out, call.text)
            _told(out, call)
        return
    out.print()
    out.print(panels([_card(call) for call in calls], out.width))
    for call in calls:
        for notice in call.notices:
            say(out, f"{seat_name(call.seat)} {one_line(call.model)}: {one_line(notice)}", "yellow")


def _told(out: Console, call: Call) -> None:
    for notice in call.notices:
        say(out, f"({one_line(notice)})", "yellow")
    if call.error:
        say(out, f"(failed: {why(call.error)})", "red")
    elif call.completion is None:
        say(out, "(not done)", "yellow")
    elif call.completion.finish_reason == "length":
        say(out, f"({length(call.completion)})", "yellow")


def _card(call: Call) -> Card:
    card = Card(call.seat, one_line(call.model), 0.0, call.text)
    card.elapsed = 0.0 if call.ended is None else call.ended - call.started
    if call.error:
        card.state, card.note = "failed", why(call.error)
    elif call.completion is None:
        card.note = "not done"
    else:
        card.state, card.note = "done", length(call.completion)
    return card


def _answer(out: Console, calls: Sequence[Call], answer: str | None) -> None:
    for call in calls:
        name = one_line(call.model)
        together = f"{name} brings them together" if call.seat.layer > 1 else name
        said = together if out.is_terminal else f"[answer] {name}"
        say(out, f"\n{said}", "bold cyan")
        if call is not calls[-1] or answer is None:
            _text(out, call.text)
            _told(out, call)
    if answer is not None:
        _text(out, answer)


def _text(out: Console, text: str, style: str = "") -> None:
    """A text as it is; at a terminal broken between words."""
    shown = visible(text).strip("\n")
    if out.is_terminal:
        wrap = Wrap(out.width)
        shown = wrap(shown) + wrap.rest()
    if shown.strip():
        out.print(Text(shown, style), soft_wrap=True)
