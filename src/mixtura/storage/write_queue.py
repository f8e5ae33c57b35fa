"""A thread that writes records into the store: a bounded queue, what waits in one transaction."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple, Protocol

from mixtura.core.redaction import NO_SECRETS, Redactor
from mixtura.engine.background_work import LARGE_BYTES, collection_paused
from mixtura.storage.run_record import Record

MAX_RECORDS = 1000
MAX_BYTES = 32 * 1024**2
"""What may wait to be written; a record beyond it is dropped, and counted."""
MAX_TOGETHER = 64
"""Records of one transaction."""
PAUSE_SECONDS = 0.1
"""Seconds between two transactions: what comes meanwhile is written together."""


class RecordStore(Protocol):
    """What writes records of one kind into the store."""

    def pack_record(self, record: Record, redactor: Redactor) -> Any | None:
        """A record as it is written; None where it is too large, and that is told."""
        ...

    def write_records(self, packed: Sequence[Any], /) -> bool:
        """Write all in one transaction; whether that was done, and if not, it is told."""
        ...

    def report_problem(self, problem: str) -> None:
        """Say, once, why a record could not be kept."""
        ...


class _QueuedRecord(NamedTuple):
    id: str
    size: int
    make: Callable[[], Record]
    redactor: Redactor
    begins: bool


class StoreWriter:
    """
    Writes records into *store* without holding up whoever made them.

    At most *most_records* wait, and at most *most_bytes* by the sizes that are told. What a store
    does not take is dropped; ``dropped`` counts by reason: ``queue_full``, ``store``.
    """

    def __init__(
        self,
        store: RecordStore,
        *,
        most_records: int = MAX_RECORDS,
        most_bytes: int = MAX_BYTES,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        self._store = store
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._pause = pause
        self._queue: deque[_QueuedRecord] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._writing = 0
        self._hurry = 0
        self._closed = False
        self._last = 0.0
        """When it was last written."""
        self.bytes = 0
        """Bytes that wait, by the sizes that were told."""
        self.written = 0
        self.dropped = {"queue_full": 0, "store": 0}

    @property
    def waiting_count(self) -> int:
        """Records that are not written yet."""
        return len(self._queue) + self._writing

    def queue_start(
        self,
        id: str,  # noqa: A002
        size: int,
        make: Callable[[], Record],
        redactor: Redactor = NO_SECRETS,
    ) -> None:
        """
        A run has begun; *make* gives what is known of it. *size*: as of `queue_finish`; a run may
        be over, and its request be kept for this alone, long before a slow store takes it.
        """
        self._enqueue_record(_QueuedRecord(id, size, make, redactor, begins=True))

    def queue_finish(
        self,
        id: str,  # noqa: A002
        size: int,
        make: Callable[[], Record],
        redactor: Redactor = NO_SECRETS,
    ) -> bool:
        """
        A run is over; *make* gives its record and is called in the writer's thread. *size*:
        about how many bytes are kept until then. What *redactor* knows is not written. False
        when it was dropped.
        """
        return self._enqueue_record(_QueuedRecord(id, size, make, redactor, begins=False))

    def flush(self, seconds: float) -> bool:
        """Return when all that waited is written; whether that was so after *seconds*."""
        with self._changed:
            self._hurry += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self.waiting_count, seconds)
            finally:
                self._hurry -= 1

    def close(self) -> None:
        """Write all that waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _enqueue_record(self, one: _QueuedRecord) -> bool:
        with self._changed:
            room = self._most_records // 2 if one.begins else self._most_records
            full = self.waiting_count >= room or (
                self.bytes + one.size > self._most_bytes and self.waiting_count > 0
            )
            if full or self._closed:
                self.dropped["queue_full"] += not one.begins
                return False
            self._queue.append(one)
            self.bytes += one.size
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_queue, name="mixtura-writes", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
            return True

    def _write_queue(self) -> None:
        while records := self._next_records():
            kept = self._pack_records(records)
            done = bool(kept) and self._store.write_records([packed for packed, _ in kept])
            lost = sum(not begins for _, begins in kept) if not done else 0
            with self._changed:
                self.written += sum(not begins for _, begins in kept) - lost
                self.dropped["store"] += lost
                self.bytes -= sum(one.size for one in records)
                self._writing = 0
                self._last = time.monotonic()
                if self._closed and not done and kept:  # it would wait for the store each time
                    self.dropped["store"] += sum(not one.begins for one in self._queue)
                    self._queue.clear()
                self._changed.notify_all()

    def _next_records(self) -> list[_QueuedRecord]:
        """What is to be written together; nothing when it is all over."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            until = self._last + self._pause
            self._changed.wait_for(
                lambda: self._hurry or self._closed or len(self._queue) >= MAX_TOGETHER,
                max(until - time.monotonic(), 0.0),
            )
            records = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_TOGETHER))]
            self._writing = len(records)
            return records

    def _pack_records(self, records: list[_QueuedRecord]) -> list[tuple[Any, bool]]:
        """As they are written; of a run that is over not that it had begun."""
        over = {one.id for one in records if not one.begins}
        kept: list[tuple[Any, bool]] = []
        for one in records:
            if one.begins and one.id in over:
                continue
            try:
                with collection_paused() if one.size >= LARGE_BYTES else nullcontext():
                    packed = self._store.pack_record(one.make(), one.redactor)
            except Exception as error:  # noqa: BLE001 - one record that cannot be told loses no other
                self._store.report_problem(f"{type(error).__name__}: {error}")
                packed = None
            if packed is not None:
                kept.append((packed, one.begins))
            else:
                self.dropped["store"] += not one.begins
        return kept
