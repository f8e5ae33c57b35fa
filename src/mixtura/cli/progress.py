"""How far something is that takes long: a bar with the time left at a terminal, lines in a log.

The one place for evaluations, comparisons, selections and reports; `downloads` counts bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mixtura.core.text import format_duration, pluralize_count, to_one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LOG_STEPS = 10
"""Lines that a log gets of one thing at most: at every tenth of it."""
MIN_LOG_SECONDS = 5.0
"""Seconds between two of them at least: what is quick needs its end alone."""
Clock = Callable[[], float]


class ProgressCounts(Protocol):
    """So many are done of so many, so many of them without an answer."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def failed(self) -> int: ...


class LineTracker:
    """When a log gets a line of one thing, and how long the rest of it may take."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None
        self._begun_at = 0
        self._said_at = 0.0
        self._step = 0
        self._ended = False

    def line_due(self, done: int, total: int | None) -> str | None:
        """What is to be added to a line now, ``, about 3 min left``; None where none is due."""
        now = self._clock()
        if self._began is None:
            self._began = self._said_at = now
            # What an earlier run has done says nothing about how long the rest takes.
            self._begun_at = done
        if not total or self._ended:
            return None
        if done >= total:
            self._ended = True
            return f" in {format_duration(now - self._began)}"
        step = LOG_STEPS * done // total
        if step <= self._step or now - self._said_at < MIN_LOG_SECONDS:
            return None
        self._step, self._said_at = step, now
        fresh = done - self._begun_at
        left = (now - self._began) / fresh * (total - done) if fresh > 0 else 0.0
        return f", about {format_duration(left)} left" if left else ""


# ---- evaluations


class ProgressDisplay:
    """Shows progress by name: bars at a terminal; in a log a line now and then, and at the end."""

    def __init__(self, console: Console, bars: Bars | None, clock: Clock = time.monotonic) -> None:
        self._console = console
        self._bars = bars
        self._clock = clock
        self._rows: dict[str, TaskID] = {}
        self._lines: dict[str, LineTracker] = {}

    def __call__(self, name: str, progress: ProgressCounts) -> None:
        name = to_one_line(name)
        if self._bars is None:
            self._print_line(name, progress)
            return
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(name, total=progress.total, failed="")
        failed = f"{progress.failed} failed" if progress.failed else ""
        self._bars.update(
            self._rows[name], completed=progress.done, total=progress.total, failed=failed
        )

    def _print_line(self, name: str, progress: ProgressCounts) -> None:
        tracker = self._lines.setdefault(name, LineTracker(self._clock))
        said = tracker.line_due(progress.done, progress.total)
        if said is None:
            return
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        if progress.done >= progress.total:
            count = f"{pluralize_count(progress.total, 'prompt')} done"
        else:
            count = f"{progress.done:,} of {pluralize_count(progress.total, 'prompt')}"
        self._console.print(f"{name}: {count}{said}{failed}", soft_wrap=True)


@contextmanager
def show_progress(console: Console, *, quiet: bool = False) -> Generator[ProgressDisplay | None]:
    """Bars for the length of a block; *quiet*: nothing is shown."""
    if quiet:
        yield None
        return
    # A bar that is redrawn fills a log with copies of itself.
    if not console.is_terminal:
        yield ProgressDisplay(console, None)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None if console.width < 100 else 30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left", style="dim"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}", style="red", markup=False),
    )
    # Gone at the end: the result that follows says the same.
    with Progress(*columns, console=console, transient=True) as bars:
        yield ProgressDisplay(console, bars)
