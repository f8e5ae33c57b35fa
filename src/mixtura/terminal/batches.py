"""A batch while it runs, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mixtura.batch.outcome import BatchOutcome, BatchProgress, EndpointProgress
from mixtura.core.text import format_duration, pluralize_count, to_one_line
from mixtura.terminal.phrases import format_dollars, format_estimated_dollars

MAX_ENDPOINTS = 8
BAR_WIDTH = 30


def render_progress(name: str, progress: BatchProgress, width: int) -> RenderableType:
    """A bar, the figures, and a line for each endpoint."""
    over = progress.done + progress.failed
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text(name, no_wrap=True, overflow="ellipsis"),
        ProgressBar(progress.total, over, width=min(BAR_WIDTH, max(width - 50, 5))),
        Text(f"{over:,} of {progress.total:,}"),
        Text(f"{progress.failed:,} failed" if progress.failed else "", "red"),
    )
    lines: list[RenderableType] = [bar, Text(" · ".join(_progress_figures(progress)), "dim")]
    if said := provider_batch_text(progress):
        lines.append(Text(f"  {said}", "dim"))
    lines += [Text(f"  {_endpoint_text(one)}", "dim") for one in progress.endpoints[:MAX_ENDPOINTS]]
    if (more := len(progress.endpoints) - MAX_ENDPOINTS) > 0:
        lines.append(Text(f"  and {pluralize_count(more, 'more endpoint')}", "dim"))
    if progress.draining:
        lines.append(Text(drain_line(), "yellow"))
    return Group(*lines)


def drain_line() -> str:
    """What is said when a person has asked to stop."""
    return "Stopping: the calls under way are awaited and kept. Ctrl-C again stops at once."


def provider_batch_text(progress: BatchProgress) -> str:
    """What is at providers; empty for nothing."""
    if not progress.provider_batches:
        return ""
    number = progress.provider_batches
    batches = f"{number:,} provider batch{'' if number == 1 else 'es'}"
    return f"{batches} under way with {pluralize_count(progress.batched_calls, 'call')}"


def money_text(progress: BatchProgress) -> str:
    """Dollars so far, and in all if the rest costs as much."""
    if progress.unpriced:
        return "cost unknown"
    spent, expected = format_dollars(progress.dollars), progress.dollars_expected
    return spent if expected is None else f"{spent} of {format_estimated_dollars(expected)}"


def outcome_lines(outcome: BatchOutcome) -> Iterator[tuple[str, str, bool]]:
    """Lines with their styles, and whether each tells of something wrong."""
    over = outcome.done + outcome.failed
    rows = pluralize_count(outcome.rows, "row")
    took = format_duration(outcome.seconds)
    if outcome.ending == "done":
        answered = f"{outcome.done:,} of {rows}" if outcome.failed else rows
        where = outcome.output or "standard output"
        yield f"{answered} answered in {took}: {where}", "", False
    else:
        why = f"Stopped: {outcome.reason}" if outcome.reason else "Interrupted"
        yield f"{why.rstrip('.')}.", "bold red", True
        yield f"{over:,} of {rows} are done.", "", False
        if outcome.journal is None:
            yield "To continue such a batch, give it a --journal.", "", False
        else:
            capped = outcome.ending == "capped" and "--within" not in (outcome.reason or "")
            more = " (with more money)" if capped else ""
            yield f"The same command{more} continues from there.", "", False
    for note in outcome.notes:
        yield note, "", False
    if outcome.failed:
        failed = f"{pluralize_count(outcome.failed, 'row')} failed"
        yield f"{failed}: {outcome.errors}" if outcome.errors else f"{failed}.", "bold red", True
        if outcome.failure:
            why = "The reason" if outcome.failed == 1 else "The most frequent reason"
            yield f"{why}: {to_one_line(outcome.failure)}", "", True
        if outcome.errors:
            yield "To ask them again: the same command with --retry-failed", "dim", False
    yield _spent_line(outcome), "dim", False
    if outcome.lost:
        calls = pluralize_count(outcome.lost, "call")
        cost = format_estimated_dollars(outcome.lost_cost_usd)
        yield f"Lost when earlier processes were killed: {calls}, {cost}.", "dim", False
    elif outcome.lost_cost_usd:
        cost = format_estimated_dollars(outcome.lost_cost_usd)
        yield f"Counted as spent on machines that are gone: {cost}.", "dim", False


def _progress_figures(progress: BatchProgress) -> Iterator[str]:
    yield f"{progress.rate:.1f} rows/s"
    if (left := progress.seconds_left) is not None:
        yield f"{format_duration(left)} left"
    yield pluralize_count(progress.tokens, "token")
    yield money_text(progress)


def _endpoint_text(one: EndpointProgress) -> str:
    of = "" if one.allowed is None else f" of {one.allowed:,}"
    text = f"{one.name}: {one.in_flight:,}{of} in flight, {one.waiting:,} waiting"
    return f"{text}, {one.rate_limited:,} × 429" if one.rate_limited else text


def _spent_line(outcome: BatchOutcome) -> str:
    calls = pluralize_count(outcome.calls, "call")
    if outcome.unanswered:
        calls += f" ({outcome.unanswered:,} without an answer)"
    again = f", {outcome.reused:,} from the journal" if outcome.reused else ""
    whole = f"{pluralize_count(outcome.tokens, 'token')} and {format_dollars(outcome.cost_usd)}"
    if outcome.all_calls > outcome.calls:
        whole = f"{pluralize_count(outcome.all_calls, 'call')}, {whole}"
    return f"{calls}{again}; {whole} in all."
