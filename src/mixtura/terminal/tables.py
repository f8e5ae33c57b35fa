"""A run once it is over, in a table and in notes; a mixture as a drawing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.align import Align
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mixtura.billing.price import Pricer, total_cost
from mixtura.core.events import PositionPath
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.engine.trace import CallTrace, Trace
from mixtura.terminal.phrases import format_dollars, format_tokens, length_text, seat_path

if TYPE_CHECKING:
    from mixtura.config.plan import MemberSpec, MixtureSpec
    from mixtura.engine.pattern import Pattern

_HEADINGS = ("", "model", "read", "wrote", "first token", "seconds", "tokens/s", "cost")
_MODEL_COLUMN = _HEADINGS.index("model")
_DROP_ORDER = ("tokens/s", "first token", "read")
_NARROW_WIDTH = 60
"""Columns of a terminal from which on a table has room between its columns, and for all of them."""
_WIDE_WIDTH = 100
_MIN_NAME_WIDTH = 12


def trace_summary(
    trace: Trace, pricer: Pricer, width: int, *, run: str | None = None
) -> RenderableType:
    """
    Who said how many tokens, how long, what it cost, who failed; only names are broken.

    *run*: the id that it is kept under, told in the last line, or below it.
    """
    calls = list(_leaf_calls(trace.calls))
    rows = [_call_row(at, call, pricer) for at, call in calls]
    rows.append(_total_row(trace, pricer))
    kept, room, most = _fit_columns(rows, width)
    named = f"run {run}" if run else ""
    gap = 1 if width >= _NARROW_WIDTH else 0
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap, 0, 0))
    for column in kept:
        heading = Align(Text(_column_heading(column, width)), vertical="bottom")
        if column <= _MODEL_COLUMN:
            table.add_column(heading, no_wrap=True)
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    styles = ["red" if call.error else None for _, call in calls]
    for row, style in zip(rows, [*styles, "bold"], strict=True):
        if style == "bold":
            table.add_section()
        cells = [Text(fold_name(row[c], room) if c == _MODEL_COLUMN else row[c]) for c in kept]
        if style == "bold" and len(named) <= most:
            cells[_MODEL_COLUMN] = Text(named, "dim not bold")
        table.add_row(*cells, style=style)
    return table if len(named) <= most else Group(table, Text(named, "dim"))


def _leaf_calls(
    calls: Sequence[CallTrace], above: PositionPath = ()
) -> Iterator[tuple[PositionPath, CallTrace]]:
    """Every call to a model that is not itself a mixture, and where it sits in the whole."""
    for call in calls:
        at = (*above, call.seat)
        if call.calls:
            yield from _leaf_calls(call.calls, at)
        else:
            yield at, call


def _fit_columns(rows: Sequence[Sequence[str]], width: int) -> tuple[list[int], int, int]:
    """The columns that fit, the room that the models' names need, and the room there is."""
    headings = [_column_heading(column, width).split("\n") for column in range(len(_HEADINGS))]
    sizes = [
        max(map(cell_len, (*heading, *cells)))
        for heading, *cells in zip(headings, *rows, strict=True)
    ]
    gap = 2 if width >= _NARROW_WIDTH else 1
    kept, room, most = list(range(len(_HEADINGS))), 0, 0
    # In a narrow terminal two columns go in any case: one cell between columns is hard to read.
    for dropped in range(0 if width >= _NARROW_WIDTH else 2, len(_DROP_ORDER) + 1):
        gone = _DROP_ORDER[:dropped]
        kept = [c for c, heading in enumerate(_HEADINGS) if heading not in gone]
        numbers = sum(sizes[c] for c in kept if c != _MODEL_COLUMN)
        most = width - numbers - gap * (len(kept) - 1)
        room = max(1, min(sizes[_MODEL_COLUMN], most))
        if room >= min(sizes[_MODEL_COLUMN], _MIN_NAME_WIDTH):
            break
    return kept, room, most


def _column_heading(column: int, width: int) -> str:
    return _HEADINGS[column] if width >= _WIDE_WIDTH else _HEADINGS[column].replace(" ", "\n")


def fold_name(name: str, width: int) -> str:
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


def _call_row(at: PositionPath, call: CallTrace, pricer: Pricer) -> tuple[str, ...]:
    usage = call.usage
    seconds = None if call.ended is None else call.ended - call.started
    begun = call.first_token
    if begun is not None and call.error and call.ended is not None and begun > call.ended:
        begun = None  # another model's words stand in for its answer
    first = None if begun is None else begun - call.started
    pace = ""
    if seconds is not None and first is not None and usage.completion_tokens > 1:
        writing = seconds - first
        # The first token ended the waiting: the rate is of those after it.
        pace = f"{(usage.completion_tokens - 1) / writing:.1f}" if writing > 0.001 else ""
    ended = " failed" if call.error else " not done" if call.ended is None else ""
    # What was never sent read nothing: a 0 would look like a measurement.
    counts = (usage.prompt_tokens, usage.completion_tokens) if call.charges else ()
    read, wrote = [format_tokens(n, usage.estimated) for n in counts] or ("", "")
    return (
        seat_path(at),
        to_one_line(call.model) + ended,
        read,
        wrote,
        "" if first is None else f"{first:.2f}",
        "" if seconds is None else f"{seconds:.1f}",
        pace,
        format_dollars(total_cost(call.charges, pricer)) if call.charges else "",
    )


def _total_row(trace: Trace, pricer: Pricer) -> tuple[str, ...]:
    usage = trace.usage
    return (
        "total",
        "",
        format_tokens(usage.prompt_tokens, usage.estimated),
        format_tokens(usage.completion_tokens, usage.estimated),
        "",
        f"{trace.elapsed:.1f}",
        "",
        format_dollars(total_cost(trace.charges, pricer)),
    )


def answer_notes(trace: Trace) -> list[str]:
    """What is to be said of the answer itself and was not told as a failure on the way."""
    answer = trace.completion
    if answer is None:
        return []
    # A degraded answer repeats the failures that were shown when they happened.
    failed = [f"failed: {call.error}" for call in _all_calls(trace.calls) if call.error]
    degradations = [note for note in answer.degraded if not note.endswith(tuple(failed))]
    notes = [f"Degraded: {to_one_line(note)}" for note in degradations]
    if answer.finish_reason == "length":
        calls = [call.completion for _, call in _leaf_calls(trace.calls) if call.completion]
        # The answer may stand in for another model's: the count is of the call that was cut.
        own = (c for c in calls if c.finish_reason == "length" and c.text == answer.text)
        notes.append(f"The answer was {length_text(next(own, answer))}.")
    return notes


_NO_CONNECTION = re.compile(r"no connection to (\S+) \(Connection refused\)")


def ollama_advice(trace: Trace) -> str | None:
    """What to do where a model of Ollama's could not be reached; None where that is not so."""
    for call in _all_calls(trace.calls):
        refused = _NO_CONNECTION.search(str(call.error)) if call.error else None
        if refused and call.model.startswith("ollama/"):
            return f"Ollama is not running at {refused[1]}: start it with `ollama serve`."
    return None


def _all_calls(calls: Sequence[CallTrace]) -> Iterator[CallTrace]:
    for call in calls:
        yield call
        yield from _all_calls(call.calls)


def mixture_diagram(plan: MixtureSpec, mixture: Pattern, width: int) -> RenderableType:
    """
    A mixture as a picture: its layers from the question down to the answer. *mixture* is that of
    *plan*, of whatever models.
    """
    calls, most = mixture.call_count, plan.pattern.stops_early
    size = mixture.layers[-1].call_count if mixture.layers else 0
    models_read = any(call.reads for call in mixture.final_calls(tuple(range(size))))
    rows: list[RenderableType] = [Text(to_one_line(plan.name), "bold"), Text("   question", "dim")]
    layers: Sequence[Sequence[MemberSpec]] = plan.layers
    if plan.pattern.spec.asks_in_turn:  # in the order of the pattern's own layers
        names = [layer.proposers[0].model.name for layer in mixture.layers]
        layers = [[seat for seat in plan.layers[0] if seat.model == name] for name in names]
    for number, layer in enumerate(layers, start=1):
        rows.append(Text("      │", "dim"))
        rows.append(Text(f"   layer {number}", "bold green"))
        rows.extend(_diagram_branch("├─", "│", seat.model, seat.samples, width) for seat in layer)
        read = (number < len(layers) and not plan.pattern.spec.asks_in_turn) or models_read
        rows.append(Text(f"      │  every answer{' and the question' if read else ''}", "dim"))
    first = len(layers) + 1
    last = (
        f"   layer {first}"
        if first == plan.layer_count
        else f"   layers {first} to {plan.layer_count}"
    )
    rows.append(_diagram_step(last, plan.final_step_text, width))
    rows.append(_diagram_branch("└─", " ", plan.aggregator, 1, width))
    rows.append(Text("   answer", "dim"))
    rows.append(
        Text(
            f"{pluralize_count(plan.layer_count, 'layer')},"
            f" {'at most ' if most else ''}{pluralize_count(calls, 'call')}"
            " per answer",
            "bold",
        )
    )
    return Group(*rows)


def _diagram_step(heading: str, text: str, width: int) -> Text:
    """What the last step is and does; what does not fit goes on under its heading."""
    lines = textwrap.wrap(f"{heading} ({text})", max(width - 1, 30), subsequent_indent=" " * 6)
    step = Text("\n".join(lines), "dim")
    step.stylize("not dim bold cyan", 0, len(heading))
    return step


def _diagram_branch(twig: str, below: str, name: str, times: int, width: int) -> Text:
    first, *more = fold_name(to_one_line(name), max(width - 15, 10)).split("\n")
    branch = Text.assemble((f"      {twig} ", "dim"), first)
    for line in more:
        branch.append(f"\n      {below}    ", "dim").append(line)
    return branch.append(f"  × {times}", "bold") if times > 1 else branch
