"""How far an evaluation is: a bar for everyone who answers, or a line in a log."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from mixtura.core.text import pluralize_count, to_one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class ProgressCounts(Protocol):
    """So many are done of so many, so many of them without an answer."""

    @property
    def done(self) -> int: ...
    @property
    def total(self) -> int: ...
    @property
    def failed(self) -> int: ...


class ProgressDisplay:
    """Shows progress by name: bars at a terminal, in a log a line when someone is done."""

    def __init__(self, console: Console, bars: Bars | None) -> None:
        self._console = console
        self._bars = bars
        self._rows: dict[str, TaskID] = {}
        self._said: set[str] = set()

    def __call__(self, name: str, progress: ProgressCounts) -> None:
        name = to_one_line(name)
        if self._bars is None:
            # A log cannot be redrawn: one line each, at the end.
            if progress.done >= progress.total and name not in self._said:
                self._said.add(name)
                self._console.print(
                    f"{name}: {pluralize_count(progress.total, 'prompt')} done", soft_wrap=True
                )
            return
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(name, total=progress.total, failed="")
        failed = f"{progress.failed} failed" if progress.failed else ""
        self._bars.update(
            self._rows[name], completed=progress.done, total=progress.total, failed=failed
        )


@contextmanager
def show_progress(console: Console, *, quiet: bool = False) -> Generator[ProgressDisplay | None]:
    """Bars for the length of a block; *quiet*: nothing is shown."""
    if quiet:
        yield None
        return
    if not console.is_terminal:
        yield ProgressDisplay(console, None)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[failed]}", style="red", markup=False),
    )
    # Gone at the end: the result that follows says the same.
    with Progress(*columns, console=console, transient=True) as bars:
        yield ProgressDisplay(console, bars)
