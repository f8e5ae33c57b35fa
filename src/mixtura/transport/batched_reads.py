"""
Reads several pieces together, of one answer and of many connections: less to wake up for.

A saving and nothing else: the client works without it (``Http1Transport(batched_reads=False)``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from mixtura.transport.socket_poller import SocketPoller

TICK_SECONDS = 0.02
"""Batches that end within the same so many seconds end together."""
LARGEST_HELD, MOST_HELD = 4096, 8
"""
A piece of more bytes, or more pieces than these, end a batch early: what is held back is read when
the draft ends, and everyone waits for that.
"""
LAST_CHUNK = b"0\r\n\r\n"


class BatchedReads:
    """What the connections of one event loop share to read in batches."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.timer = BatchTimer(loop)
        self.poller = SocketPoller(loop) if SocketPoller.is_supported(loop) else None
        """Reads the sockets instead of the loop; None where the system has no such thing."""


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


class HeldPieces:
    """
    Holds back pieces of one answer until *seconds* are over, to *parse* them together.

    It ends, and holds back nothing more, when a piece contains one of *end_markers* or ends a
    chunked body.
    """

    def __init__(
        self,
        seconds: float,
        end_markers: Sequence[bytes],
        timer: BatchTimer,
        parse: Callable[[bytes], None],
    ) -> None:
        self._seconds = seconds
        self._end_markers = end_markers
        self._longest_marker = max(map(len, (LAST_CHUNK, *end_markers)))
        self._timer = timer
        self._parse = parse
        self._tail = b""
        self._held: list[bytes] = []
        self._holding = False
        self._over = False

    def add_piece(self, data: bytes) -> None:
        """Parse a piece, or hold it back until its batch ends."""
        if self._over:
            self._parse(data)
            return
        seen = self._tail + data  # the sign of the end may be cut in two
        self._tail = seen[1 - self._longest_marker :]
        if not self._holding:
            self._parse(data)
            return
        self._held.append(data)
        if seen.endswith(LAST_CHUNK) or any(mark in seen for mark in self._end_markers):
            self._over = True
        elif len(data) <= LARGEST_HELD and len(self._held) < MOST_HELD:
            return
        self.flush_batch()

    def start_batch(self) -> None:
        """A piece was handed on: what comes within the next seconds is held back."""
        if not self._over:
            self._holding = True
            self._timer.schedule_flush(self._seconds, self)

    def flush_batch(self) -> None:
        """Parse what was held back."""
        self._holding = False
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            self._parse(data)

    def discard(self) -> None:
        """Forget what was held back; what still comes is parsed at once."""
        self._held.clear()
        self._over = True
