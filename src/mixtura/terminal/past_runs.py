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

from mixtura.core.text import strip_invisible, to_one_line
from mixtura.engine.trace import CallTrace
from mixtura.storage.run_record import (
    Record,
    last_user_question,
    parse_timestamp,
    restore_agreement,
    restore_trace,
)
from mixtura.terminal.agreement import print_agreement
from mixtura.terminal.live import ProposerCard, WordWrapper, card_panels
from mixtura.terminal.phrases import error_text, format_dollars, length_text, print_line, seat_name
from mixtura.terminal.tables import answer_notes, trace_summary

STATE_STYLES = {
    "failed": "red", "stopped": "yellow", "degraded": "yellow", "running": "blue",
    "unfinished": "yellow", "damaged": "red",
}  # fmt: skip
"""How a run is drawn that did not simply answer."""
_MIN_QUESTION = 10
"""Columns that a question takes at least: where there are fewer, it is not shown."""
_MIN_WITH_QUESTION = 24
"""Columns that a question should have before how long a run took, and its cost, are shown, too."""
_GAP = 2
_MAX_MODEL = (14, 32)
"""Columns of a model's name, where there is little room and where there is much."""


def runs_table(runs: Sequence[Record], width: int) -> Table:
    """One line a run: its id, when, what was asked of whom, how it ended if not well.

    An id is never cut. As the width shrinks, the cost and the seconds go, then the model and
    the time, then the question.
    """
    cells = [_run_cells(run, _MAX_MODEL[width >= 120]) for run in runs]
    widths = {name: max(map(cell_len, (name, *(row[name] for row in cells)))) for name in cells[0]}
    headings = next(
        names for names, question in _LAYOUTS
        if _needed_width(widths, names) + (question and _GAP + question) <= width or len(names) == 1
    )  # fmt: skip
    room = width - _needed_width(widths, headings) - _GAP
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        side = "right" if heading in ("seconds", "cost") else "left"
        table.add_column(
            heading, no_wrap=widths[heading] <= width, overflow="fold", justify=side,
            width=min(widths[heading], width),
        )  # fmt: skip
    if room >= _MIN_QUESTION:
        table.add_column("question", no_wrap=True, overflow="ellipsis", width=room)
    for run, row in zip(runs, cells, strict=True):
        question = Text(to_one_line(run["question"]))
        if run["state"] in STATE_STYLES:
            question = Text.assemble((f"{run['state']}: ", STATE_STYLES[run["state"]]), question)
        last = [question] if room >= _MIN_QUESTION else []
        table.add_row(*(Text(row[heading]) for heading in headings), *last)
    return table


_LAYOUTS = (
    (("run", "when", "model", "seconds", "cost"), _MIN_WITH_QUESTION),
    (("run", "when", "model"), _MIN_QUESTION),
    (("run", "when"), _MIN_QUESTION),
    (("run",), 0),
)
"""Columns from the most to the fewest, and what a question needs beside them."""


def _run_cells(run: Record, model_width: int) -> dict[str, str]:
    return {
        "run": run["id"],
        "when": format_when(run["started"]),
        "model": _truncate_text(to_one_line(run["model"]), model_width),
        "seconds": f"{run['seconds']:.1f}",
        "cost": format_dollars(run["cost_usd"]),
    }


def _needed_width(widths: Mapping[str, int], headings: Sequence[str]) -> int:
    return sum(widths[name] for name in headings) + _GAP * (len(headings) - 1)


def format_when(started: str) -> str:
    """A moment as a person here reads it, no longer than it must be."""
    then, now = parse_timestamp(started).astimezone(), datetime.now().astimezone()
    if then.date() == now.date():
        return f"today {then:%H:%M}"
    return f"{then.day} {then:%b %H:%M}" if then.year == now.year else f"{then:%Y-%m-%d}"


def _truncate_text(text: str, room: int) -> str:
    return text if cell_len(text) <= room else set_cell_size(text, room - 1) + "…"


def replay_run(run: Mapping[str, Any], out: Console) -> None:
    """The run as it was seen: what was asked, its proposals, the answer, the table, the notes."""
    trace, pricer = restore_trace(run)
    heading = (
        f"run {run['id']}: {format_when(run['started'])}, {run['via']}, {to_one_line(run['model'])}"
    )
    print_line(out, f"{heading}, {run['state']}", STATE_STYLES.get(run["state"], "dim"))
    out.print()
    _print_text(out, last_user_question(run), "bold")
    proposers = [call for call in trace.calls if call.seat.role == "proposer"]
    for layer in sorted({call.seat.layer for call in proposers}):
        _print_layer(out, [call for call in proposers if call.seat.layer == layer])
    _print_answer(
        out, [call for call in trace.calls if call.seat.role == "aggregator"], run["answer"]
    )
    out.print()
    # A run that was stopped before its first call has no table.
    if trace.calls:
        out.print(trace_summary(trace, pricer, out.width))
    for note in answer_notes(trace):
        print_line(out, note, "yellow")
    # Of a run that failed, too: proposals can be compared without an answer.
    if (agreement := restore_agreement(run.get("agreement"))) is not None:
        print_agreement(out, agreement)
    if run["error"]:
        print_line(out, f"No answer: {to_one_line(run['error'])}", "bold red")


def _print_layer(out: Console, calls: Sequence[CallTrace]) -> None:
    if not out.is_terminal:
        for call in calls:
            print_line(out, f"\n[{seat_name(call.seat)}] {to_one_line(call.model)}", "bold green")
            _print_text(out, call.text)
            _print_notices(out, call)
        return
    # In columns a notice would widen one card or be cut: they stand below, each with its place.
    out.print()
    out.print(card_panels([_recorded_card(call) for call in calls], out.width))
    for call in calls:
        for notice in call.notices:
            print_line(
                out,
                f"{seat_name(call.seat)} {to_one_line(call.model)}: {to_one_line(notice)}",
                "yellow",
            )


def _print_notices(out: Console, call: CallTrace) -> None:
    for notice in call.notices:
        print_line(out, f"({to_one_line(notice)})", "yellow")
    if call.error:
        print_line(out, f"(failed: {error_text(call.error)})", "red")
    elif call.completion is None:
        print_line(out, "(not done)", "yellow")
    elif call.completion.finish_reason == "length":
        print_line(out, f"({length_text(call.completion)})", "yellow")


def _recorded_card(call: CallTrace) -> ProposerCard:
    card = ProposerCard(call.seat, to_one_line(call.model), 0.0, call.text)
    card.elapsed = 0.0 if call.ended is None else call.ended - call.started
    if call.error:
        card.state, card.note = "failed", error_text(call.error)
    elif call.completion is None:
        card.note = "not done"
    else:
        card.state, card.note = "done", length_text(call.completion)
    return card


def _print_answer(out: Console, calls: Sequence[CallTrace], answer: str | None) -> None:
    for call in calls:
        name = to_one_line(call.model)
        together = f"Answer by {name}" if call.seat.layer > 1 else name
        heading = together if out.is_terminal else f"[answer] {name}"
        print_line(out, f"\n{heading}", "bold cyan")
        # The last one's text is the answer, which the record has as it was given out.
        if call is not calls[-1] or answer is None:
            _print_text(out, call.text)
            _print_notices(out, call)
    if answer is not None:
        _print_text(out, answer)


def _print_text(out: Console, text: str, style: str = "") -> None:
    """A text as it is; at a terminal broken between words."""
    shown = strip_invisible(text).strip("\n")
    if out.is_terminal:
        wrap = WordWrapper(out.width)
        shown = wrap(shown) + wrap.flush_word()
    if shown.strip():
        out.print(Text(shown, style), soft_wrap=True)
