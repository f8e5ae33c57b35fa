"""Asks the rows of a batch: a bounded number under way, each call waiting at its own endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Protocol

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import BatchRow
from mixtura.batch.journaled import CURRENT_ROW, RowCalls
from mixtura.batch.ordered_output import FinishedRow
from mixtura.batch.row_lines import RowLines
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import (
    BudgetExceededError,
    ConfigError,
    ContentFilterError,
    DeadlineExceededError,
    MixturaError,
    RejectedError,
)
from mixtura.core.model import Model
from mixtura.core.types import Charge
from mixtura.models.wrappers.rate_limit import RateLimiter

Charges = tuple[Charge, ...]
LAST_STEPS = 20
"""Turns of the event loop in which a row whose last call was answered is finished."""
CLEAR_ROWS = 8
"""Rows that may be done ahead of the first that is not, for each row under way."""


class OutputSink(Protocol):
    """Takes rows that are over."""

    @property
    def next_line(self) -> int | None:
        """The first row that is not over yet; None where none waits for it."""
        ...

    async def add(self, done: FinishedRow) -> None: ...

    async def flush(self) -> None: ...


class BatchRunner:
    """
    Rows under way: at most *window*, and at most ``CLEAR_ROWS`` times as many done ahead of the
    first that is not. There is no barrier between rows or layers: every call waits for nothing
    but those that it reads and a place at its endpoint.
    """

    def __init__(
        self,
        model: Model,
        calls: CallJournal,
        lines: RowLines,
        limiters: Iterable[RateLimiter] = (),
        *,
        window: int,
    ) -> None:
        self._model = model
        self._calls = calls
        self._lines = lines
        self._limiters = tuple(limiters)
        self._window = window
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._done: list[FinishedRow] = []
        self._error: BaseException | None = None
        self.cap: BudgetExceededError | None = None
        """The cap that ended the batch."""
        self.draining = False

    async def answer_rows(self, chunks: Iterator[list[BatchRow]], output: OutputSink) -> None:
        """
        Ask the rows and give each that is over to *output*, until the input, a cap or ``drain``
        ends it. Raises ConfigError (StoreError among them) where it cannot go on.
        """
        rows: list[BatchRow] = []
        ended = False
        try:
            while True:
                if not (rows or ended or self._ends) and self._has_room(output):
                    chunk = await _read_chunk(chunks)
                    ended = chunk is None
                    rows = chunk[::-1] if chunk else []
                while rows and not self._ends and self._has_room(output, rows[-1].line):
                    self._start(rows.pop())
                await self._hand_over(output)
                if not self._tasks and ((ended and not rows) or self._ends):
                    break
                if self.draining and self._calls.idle.is_set():
                    await self._let_rows_finish()
                    await self._call_off()
                    continue
                # What was handed over may have made room, and nothing else would wake it.
                more = (rows or not ended) and not self._ends
                if more and self._has_room(output, *(row.line for row in rows[-1:])):
                    continue
                await self._changed.wait()
                self._changed.clear()
        finally:
            await self._call_off()
        await self._hand_over(output)
        await output.flush()

    def end_early(self, reason: str) -> None:
        """Begin no further call, as at a cap: what waits is called off."""
        self.cap = self.cap or BudgetExceededError(reason)
        self.drain()

    def drain(self) -> None:
        """Begin no further call; what is under way is awaited and kept."""
        self.draining = self._calls.holds_back = True
        for limiter in self._limiters:
            limiter.hold_back()
        asyncio.get_running_loop().create_task(self._wake_when_idle())
        self._changed.set()

    @property
    def _ends(self) -> bool:
        return self.draining or self.cap is not None

    def _has_room(self, output: OutputSink, line: int | None = None) -> bool:
        if len(self._tasks) >= self._window:
            return False
        first = output.next_line
        return line is None or first is None or line - first < self._window * CLEAR_ROWS

    def _start(self, row: BatchRow) -> None:
        task = asyncio.create_task(self._answer_row(row))
        self._tasks.add(task)
        task.add_done_callback(self._row_over)

    def _row_over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = self._error or error
        self._changed.set()

    async def _answer_row(self, row: BatchRow) -> None:
        own = RowCalls(row.key, self._calls)
        CURRENT_ROW.set(own)
        with open_ledger() as ledger:
            try:
                completion = await self._model.complete(row.request)
            except DeadlineExceededError as error:
                self._fail(row, error, own, ledger.charges)
            except BudgetExceededError as error:
                self.cap = self.cap or error
            except ConfigError:
                raise
            except MixturaError as error:
                self._fail(row, error, own, ledger.charges)
            else:
                if not own.held_back:
                    charges = (*ledger.charges, *own.replayed)
                    completion = own.add_sources(completion)
                    line = self._lines.answer_line(row, completion, charges)
                    self._done.append(FinishedRow(row, line))

    def _fail(self, row: BatchRow, error: MixturaError, own: RowCalls, charges: Charges) -> None:
        if own.held_back:
            return
        lasting = isinstance(error, RejectedError) and not isinstance(error, ContentFilterError)
        line = self._lines.error_line(row, error, (*charges, *own.replayed))
        self._done.append(FinishedRow(row, line, failed=True, lasting=lasting))

    async def _hand_over(self, output: OutputSink) -> None:
        if self._error is not None:
            raise self._error
        done, self._done = self._done, []
        for one in done:
            await output.add(one)

    async def _wake_when_idle(self) -> None:
        await self._calls.idle.wait()
        self._changed.set()

    async def _let_rows_finish(self) -> None:
        for _ in range(LAST_STEPS):
            await asyncio.sleep(0)

    async def _call_off(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read_chunk(chunks: Iterator[list[BatchRow]]) -> list[BatchRow] | None:
    """The next rows, read in a thread; called off only once they are: the input is closed then."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, chunks, None))
    try:
        return await asyncio.shield(reading)
    except asyncio.CancelledError:
        await asyncio.wait({reading})
        raise
