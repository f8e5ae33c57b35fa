"""Downloads of local models as a person sees them: one bar for all of them, or lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mixtura.catalog import downloads
from mixtura.catalog.local_models import KnownModel
from mixtura.catalog.model_needs import bytes_to_download
from mixtura.core.text import format_bytes, format_duration

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[str, int, int], None]
"""Called with what is downloaded now, the bytes that are done in all, and the bytes of all."""

FIRST_LINE_SECONDS, LINE_SECONDS = 5.0, 30.0
"""Seconds until a log has its first line of progress, with a speed; and between its lines."""


def download_each(
    models: Sequence[KnownModel], folder: Path, console: Console
) -> Generator[tuple[KnownModel, Path], None, None]:
    """
    Download *models* one by one, and give each with its file as soon as it is here.

    Raises ConfigError.
    """
    sizes = [bytes_to_download(model, folder) for model in models]
    done = 0
    with _open_display(console) as show:
        for number, (model, size) in enumerate(zip(models, sizes, strict=True), start=1):
            of_all = f" ({number} of {len(models)})" if len(models) > 1 else ""
            meter = _Meter(show, f"{model.name}{of_all}", done, size, sum(sizes))
            yield model, downloads.download_model(model, folder, meter if size else None)
            done += size


class _Meter:
    """Makes of one file's progress that of all files: what was here before does not count."""

    def __init__(self, show: Show, label: str, before: int, size: int, total: int) -> None:
        self._show, self._label = show, label
        self._before, self._size, self._total = before, size, total

    def __call__(self, done: int, whole: int | None) -> None:
        here_already = max((whole or self._size) - self._size, 0)
        own = min(max(done - here_already, 0), self._size)
        self._show(self._label, self._before + own, self._total)


@contextmanager
def _open_display(console: Console) -> Generator[Show]:
    # A bar that is redrawn fills a log with copies of itself.
    if not console.is_terminal:
        yield ProgressLines(console, time.monotonic)
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    narrow = console.width < 80
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=8 if narrow else 20),
        DownloadColumn(),
        *(() if narrow else (TransferSpeedColumn(),)),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("", total=None, visible=False)

        def show(label: str, done: int, total: int) -> None:
            bars.update(bar, description=label, completed=done, total=total, visible=True)

        yield show


class ProgressLines:
    """For a log: a line after the first seconds, when there is a speed, and then now and then."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console, self._clock = console, clock
        self._begun: tuple[float, int] | None = None
        self._next = 0.0

    def __call__(self, label: str, done: int, total: int) -> None:
        now = self._clock()
        if self._begun is None:
            self._begun, self._next = (now, done), now + FIRST_LINE_SECONDS
            return
        if now < self._next or done >= total:
            return
        self._next = now + LINE_SECONDS
        begun, first = self._begun
        speed = (done - first) / (now - begun)
        left = f", about {format_duration((total - done) / speed)} left" if speed > 0 else ""
        self._console.print(
            f"{label}: {format_bytes(done)} of {format_bytes(total)},"
            f" {format_bytes(speed)}/s{left}",
            soft_wrap=True,
        )
