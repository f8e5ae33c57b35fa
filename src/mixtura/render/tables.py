"""A run once it is over, in a table and in notes; a mixture as a drawing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.align import Align
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixtura.events import Place
from mixtura.price import Pricer, cost
from mixtura.render.words import count, dollars, length, path
from mixtura.text import one_line, plural
from mixtura.trace import Call, Trace

if TYPE_CHECKING:
    from mixtura.config import Plan

_HEADINGS = ("", "model", "read", "wrote", "first token", "seconds", "tokens/s", "cost")
_MODEL = _HEADINGS.index("model")
_FIRST_TO_GO = ("tokens/s", "first token", "read")
_USUAL = 60
"""From here on a table has room between its columns, and for all of them."""
_WIDE_ENOUGH = 100
_LEGIBLE = 12


def summary(trace: Trace, pricer: Pricer, width: int, *, run: str | None = None) -> RenderableType:
    """
    Who said how many tokens, how long, what it cost, who failed; only names are broken.

    *run*: the id that it is kept under, told in the last line, or below it.
    """
    calls = list(_leaves(trace.calls))
    rows = [_row(at, call, pricer) for at, call in calls]
    rows.append(_total(trace, pricer))
    kept, room, most = _fitting(rows, width)
    named = f"run {run}" if run else ""
    gap = 1 if width >= _USUAL else 0
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))
    for column in kept:
        heading = Align(Text(_heading(column, width)), vertical="bottom")
        if column <= _MODEL:
            table.add_column(heading, no_wrap=True)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    styles = ["red" if call.error else None for _, call in calls]
    for row, style in zip(rows, [*styles, "bold"], strict=True):
        if style == "bold":
            table.add_section()
        cells = [Text(folded(row[c], room) if c == _MODEL else row[c]) for c in kept]
        if style == "bold" and len(named) <= most:
            cells[_MODEL] = Text(named, "dim not bold")
        table.add_row(*cells, style=style)
    return table if len(named) <= most else Group(table, Text(named, "dim"))


def _leaves(calls: Sequence[Call], above: Place = ()) -> Iterator[tuple[Place, Call]]:
    """Every call to a model that is not itself a mixture, and where it sits in the whole."""
    for call in calls:
        at = (*above, call.seat)
        if call.calls:
            yield from _leaves(call.calls, at)
        else:
            yield at, call


def _fitting(rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], int, int]:
    """The columns that fit, the room that the models' names need, and the room there is."""
    headings = [_heading(column, width).split("\n") for column in range(len(_HEADINGS))]
    sizes = [
        max(map(cell_len, (*heading, *cells)))
        for heading, *cells in zip(headings, *rows, strict=True)
    ]
    gap = 2 if width >= _USUAL else 1
    kept, room, most = list(range(len(_HEADINGS))), 0, 0
    for dropped in range(0 if width >= _USUAL else 2, len(_FIRST_TO_GO) + 1):
        gone = _FIRST_TO_GO[:dropped]
        kept = [c for c, heading in enumerate(_HEADINGS) if heading not in gone]
        numbers = sum(sizes[c] for c in kept if c != _MODEL)
        most = width - numbers - gap * (len(kept) - 1)
        room = max(1, min(sizes[_MODEL], most))
        if room >= min(sizes[_MODEL], _LEGIBLE):
            break
    return kept, room, most


def _heading(column: int, width: int) -> str:
    return _HEADINGS[column] if width >= _WIDE_ENOUGH else _HEADINGS[column].replace(" ", "\n")


def folded(name: str, width: int) -> str:
    """A name in lines of *width*: broken behind a slash, else a dash, else anywhere."""
    lines = [""]
    for part in re.findall(r"[^\s/]*(?:/+|\s+|$)", name):
        fits = cell_len(part.rstrip()) <= width
        for piece in [part] if fits else re.findall(r"[^-:]+[-:]*|[-:]+", part):
            if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
                lines.append("")
            lines[-1] += piece
            while cell_len(lines[-1].rstrip()) > width:
                lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def _row(at: Place, call: Call, pricer: Pricer) -> tuple[str, ...]:
    usage = call.usage
    seconds = None if call.ended is None else call.ended - call.started
    begun = call.first_token
    if begun is not None and call.error and call.ended is not None and begun > call.ended:
        begun = None  # another model's words stand in for its answer
    first = None if begun is None else begun - call.started
    pace = ""
    if seconds is not None and first is not None and usage.completion_tokens > 1:
        writing = seconds - first
        pace = f"{(usage.completion_tokens - 1) / writing:.1f}" if writing > 0.001 else ""
    ended = " failed" if call.error else " not done" if call.ended is None else ""
    counts = (usage.prompt_tokens, usage.completion_tokens) if call.charges else ()
    read, wrote = [count(n, usage.estimated) for n in counts] or ("", "")
    return (
        path(at),
        one_line(call.model) + ended,
        read,
        wrote,
        "" if first is None else f"{first:.2f}",
        "" if seconds is None else f"{seconds:.1f}",
        pace,
        dollars(cost(call.charges, pricer)) if call.charges else "",
    )


def _total(trace: Trace, pricer: Pricer) -> tuple[str, ...]:
    usage = trace.usage
    return (
        "total",
        "",
        count(usage.prompt_tokens, usage.estimated),
        count(usage.completion_tokens, usage.estimated),
        "",
        f"{trace.elapsed:.1f}",
        "",
        dollars(cost(trace.charges, pricer)),
    )


def notes(trace: Trace) -> list[str]:
    """What is to be said of the answer itself and was not told as a failure on the way."""
    answer = trace.completion
    if answer is None:
        return []
    failed = [f"failed: {call.error}" for call in _all(trace.calls) if call.error]
    said = [note for note in answer.degraded if not note.endswith(tuple(failed))]
    told = [f"Degraded: {one_line(note)}" for note in said]
    if answer.finish_reason == "length":
        calls = [call.completion for _, call in _leaves(trace.calls) if call.completion]
        own = (c for c in calls if c.finish_reason == "length" and c.text == answer.text)
        told.append(f"The answer was {length(next(own, answer))}.")
    return told


def _all(calls: Sequence[Call]) -> Iterator[Call]:
    for call in calls:
        yield call
        yield from _all(call.calls)


def drawing(plan: Plan, calls: int, width: int) -> RenderableType:
    """A mixture as a picture: its layers from the question down to the answer."""
    rows: list[RenderableType] = [Text(one_line(plan.name), "bold"), Text("   question", "dim")]
    for number, layer in enumerate(plan.layers, start=1):
        rows.append(Text("      │", "dim"))
        rows.append(Text(f"   layer {number}", "bold green"))
        rows.extend(_branch("├─", "│", seat.model, seat.samples, width) for seat in layer)
        rows.append(Text("      │  every answer and the question", "dim"))
    first = len(plan.layers) + 1
    last = f"   layer {first}" if first == plan.depth else f"   layers {first} to {plan.depth}"
    rows.append(Text(last, "bold cyan") + Text(f" ({plan.ends})", "dim"))
    rows.append(_branch("└─", " ", plan.aggregator, 1, width))
    rows.append(Text("   answer", "dim"))
    rows.append(Text(f"{plural(plan.depth, 'layer')}, {plural(calls, 'call')} an answer", "bold"))
    return Group(*rows)


def _branch(twig: str, below: str, name: str, times: int, width: int) -> Text:
    first, *more = folded(one_line(name), max(width - 15, 10)).split("\n")
    branch = Text.assemble((f"      {twig} ", "dim"), first)
    for line in more:
        branch.append(f"\n      {below}    ", "dim").append(line)
    return branch.append(f"  × {times}", "bold") if times > 1 else branch
