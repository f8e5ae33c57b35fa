"""How far a batch is: a live display at a terminal, lines in a log, or JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from mixtura.batch.outcome import BatchOutcome, BatchProgress
from mixtura.cli.common import create_console
from mixtura.cli.progress import LineTracker
from mixtura.core.text import escape_json, to_one_line

if TYPE_CHECKING:
    from rich.console import Console

JSON_SECONDS = 5.0
"""Seconds between two JSON lines."""
OnProgress = Callable[[BatchProgress], None]


class ShowOptions(Protocol):
    """How it is to be shown."""

    @property
    def quiet(self) -> bool: ...
    @property
    def as_json(self) -> bool: ...
    @property
    def writes_stdout(self) -> bool: ...


@contextmanager
def show_batch(name: str, options: ShowOptions) -> Generator[OnProgress | None]:
    """In this block, what is given is shown as the options say."""
    if options.as_json:
        yield _JsonLines(to_stderr=options.writes_stdout)
        return
    if options.quiet:
        yield None
        return
    console = create_console(stderr=True)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _LogLines(console, to_one_line(name))
        return
    from rich.live import Live

    from mixtura.terminal.batches import render_progress

    # Gone at the end: the outcome that follows says the same.
    with Live(console=console, transient=True, auto_refresh=False) as live:
        yield lambda progress: live.update(
            render_progress(to_one_line(name), progress, console.width), refresh=True
        )


class _JsonLines:
    def __init__(self, *, to_stderr: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._to_stderr = to_stderr
        self._clock = clock
        self._last = float("-inf")

    def __call__(self, progress: BatchProgress) -> None:
        if self._clock() - self._last < JSON_SECONDS:
            return
        self._last = self._clock()
        click.echo(escape_json(json.dumps(progress.to_json())), err=self._to_stderr)
        if not self._to_stderr:
            sys.stdout.flush()


class _LogLines:
    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._tracker = LineTracker()
        self._drains = False
        self._batches = ""

    def __call__(self, progress: BatchProgress) -> None:
        from mixtura.terminal.batches import drain_line, money_text, provider_batch_text

        if progress.draining and not self._drains:
            self._drains = True
            self._console.print(drain_line(), soft_wrap=True)
        if (said := provider_batch_text(progress)) != self._batches:
            self._batches = said
            if said:
                self._console.print(f"{self._name}: {said}", soft_wrap=True)
        over = progress.done + progress.failed
        if over >= progress.total:  # the outcome says the rest
            return
        said = self._tracker.line_due(over, progress.total)
        if said is None:
            return
        failed = f", {progress.failed:,} failed" if progress.failed else ""
        self._console.print(
            f"{self._name}: {over:,} of {progress.total:,} rows{said}{failed},"
            f" {money_text(progress)}",
            soft_wrap=True,
        )


def print_notes(notes: Iterable[str], *, quiet: bool) -> None:
    """What a person should know before it goes on."""
    from mixtura.terminal import print_line

    for note in () if quiet else notes:
        print_line(create_console(stderr=True), note, "yellow")


def print_outcome(outcome: BatchOutcome, *, quiet: bool) -> None:
    """What came of it, for a person; *quiet*: only what went wrong."""
    from mixtura.terminal import print_line
    from mixtura.terminal.batches import outcome_lines

    stderr = create_console(stderr=True)
    for text, style, wrong in outcome_lines(outcome):
        if wrong or not quiet:
            print_line(stderr, text, style)
