"""Lines of answered rows, written in the order of the input, with how far that is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import BatchRow, fold
from mixtura.batch.outcome import BatchProgress
from mixtura.batch.part_file import PartFile
from mixtura.core.types import Request
from mixtura.storage.batch_journal import FailedRow

ROWS, BYTES, DIGEST = "rows_written", "bytes_written", "rows_digest"
"""Settings of a journal: how far its output is, and the digest of the rows by then."""
FLUSH_BYTES = 256 * 1024
FLUSH_SECONDS = 1.0
_NO_REQUEST = Request(())


@dataclass(frozen=True, slots=True)
class FinishedRow:
    """A row that is over: *data* is its line of the output, or of the errors where it failed."""

    row: BatchRow
    data: bytes
    failed: bool = False
    lasting: bool = False

    def without_request(self) -> FinishedRow:
        """The same for who waits with it for an earlier row: a conversation may be large."""
        return replace(self, row=self.row._replace(request=_NO_REQUEST, source=None))


class OrderedOutput:
    """
    Takes rows in any order and writes them in the input's. A failed row leaves its place free.

    *written*: rows whose lines, or failures, are on the disk.
    """

    def __init__(
        self,
        calls: CallJournal,
        part: PartFile,
        *,
        first: int,
        digest: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._part = part
        self._digest = digest
        self._clock = clock
        self._ahead: dict[int, FinishedRow] = {}
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._failed: list[FailedRow] = []
        self._place = part.size
        self._next = first
        self._last = clock()
        self._lock = asyncio.Lock()
        self.written = first

    @property
    def next_line(self) -> int:
        """The first row that is not over yet."""
        return self._next

    @property
    def rows_ahead(self) -> list[FinishedRow]:
        """Rows that are over behind one that is not, in the order of the input."""
        return [self._ahead[line] for line in sorted(self._ahead)]

    @property
    def unwritten_lines(self) -> bytes:
        """The lines in order that are not in the file yet: of a batch that was called off."""
        return b"".join(self._buffer)

    async def add(self, done: FinishedRow) -> None:
        """A row is over. Raises StoreError where it cannot be written."""
        self._ahead[done.row.line] = done.without_request()
        while (one := self._ahead.pop(self._next, None)) is not None:
            self._next += 1
            self._digest = fold(self._digest, one.row.custom_id, one.row.key)
            if one.failed:
                self._failed.append(FailedRow(one.row.line, self._place, one.lasting, one.data))
            else:
                self._buffer.append(one.data)
                self._buffered += len(one.data)
                self._place += len(one.data)
        late = self._clock() - self._last >= FLUSH_SECONDS
        if (self._buffered >= FLUSH_BYTES or late) and not self._lock.locked():
            await self.flush()

    async def flush(self) -> None:
        """Write what is in order by now. Raises StoreError."""
        async with self._lock:
            data, self._buffer, self._buffered = b"".join(self._buffer), [], 0
            failed, self._failed = self._failed, []
            rows, size, digest = self._next, self._place, self._digest
            self._last = self._clock()
            if rows == self.written:
                return

            def commit() -> None:
                # The lines first: the journal never tells of more than there is.
                if not self._part.append(data):
                    return
                now = {ROWS: str(rows), BYTES: str(size), DIGEST: digest.hex()}
                self._calls.journal.write(settings=now, failed=failed)

            await self._calls.writer.run_job(commit)
            self.written = rows


class RetriedRows:
    """
    Takes rows that failed at first, in any order; their lines are put in their places later.

    What comes within a second is written together: the answers themselves are kept already.
    """

    next_line = None
    """No row waits for another."""

    def __init__(
        self,
        calls: CallJournal,
        failed: Iterable[FailedRow],
        progress: BatchProgress,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._rows = {one.line: one for one in failed}
        self._progress = progress
        self._clock = clock
        self._last = clock()
        self._failed: list[FailedRow] = []
        self._recovered: list[tuple[int, bytes]] = []
        self._buffered = 0

    async def add(self, done: FinishedRow) -> None:
        """A row is over. Raises StoreError where it cannot be written."""
        row = self._rows.pop(done.row.line)
        if done.failed:
            self._failed.append(row._replace(lasting=done.lasting, body=done.data))
        else:
            self._recovered.append((row.line, done.data))
            self._progress.failed -= 1
            self._progress.done += 1
        self._buffered += len(done.data)
        if self._buffered >= FLUSH_BYTES or self._clock() - self._last >= FLUSH_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Write what came by now. Raises StoreError."""
        self._last = self._clock()
        if not self._failed and not self._recovered:
            return
        failed, self._failed = self._failed, []
        recovered, self._recovered = self._recovered, []
        self._buffered = 0
        write = partial(self._calls.journal.write, failed=failed, recovered=recovered)
        await self._calls.writer.run_job(write)
