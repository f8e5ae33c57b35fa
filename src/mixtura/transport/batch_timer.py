"""Times the ends of batches of many connections together."""

from __future__ import annotations

import asyncio
from typing import Protocol

TICK_SECONDS = 0.02
"""Batches that end within the same so many seconds end together."""


class Batch(Protocol):
    """Data of a connection that is held back for a short time."""

    def flush_batch(self) -> None:
        """Hand on what was held back."""
        ...


class BatchTimer:
    """Ends the batches of connections, those within one tick at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, list[Batch]] = {}

    def schedule_flush(self, seconds: float, batch: Batch) -> None:
        """Flush *batch* in *seconds*, or up to a tick later."""
        tick = int((self._loop.time() + seconds) / TICK_SECONDS) + 1
        if tick not in self._due:
            self._due[tick] = []
            self._loop.call_at(tick * TICK_SECONDS, self._flush_due, tick)
        self._due[tick].append(batch)

    def _flush_due(self, tick: int) -> None:
        for batch in self._due.pop(tick):
            batch.flush_batch()
