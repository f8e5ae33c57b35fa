"""One process's part of a batch: taken up where its journal is, asked, retried, made whole."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import KW_ONLY, dataclass
from functools import partial

from mixtura.batch import part_file
from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import BatchInput, BatchRow
from mixtura.batch.journaled_models import JournaledModels
from mixtura.batch.ordered_output import BYTES, FinishedRow, OrderedOutput, RetriedRows
from mixtura.batch.outcome import BatchOutcome, BatchProgress, Ending
from mixtura.batch.resume import FINISHED, STATE, ResumePoint
from mixtura.batch.row_lines import RowLines, find_common_failure
from mixtura.batch.runner import CLEAR_ROWS, BatchRunner, OutputSink
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.text import pluralize_count

TICK_SECONDS = 0.5
OnProgress = Callable[[BatchProgress], None]


@dataclass(eq=False)
class BatchSession:
    """
    Answers the rows of *batch_input* from where *start* is.

    *retries_all*: also rows that failed in an earlier process, for whatever reason.
    """

    model: Model
    models: JournaledModels
    calls: CallJournal
    batch_input: BatchInput
    files: part_file.BatchFiles
    lines: RowLines
    start: ResumePoint
    _: KW_ONLY
    retries_all: bool = False
    on_progress: OnProgress | None = None

    def __post_init__(self) -> None:
        self._runner: BatchRunner | None = None
        self._output: OrderedOutput | None = None
        self._interrupted = False
        self._common_failure: str | None = None
        self._began = time.monotonic()
        self._dollars_before = self.calls.dollars
        self.progress = BatchProgress(self.start.total)

    async def run(self) -> BatchOutcome:
        """Raises ConfigError (StoreError among them) where it cannot go on."""
        # Held to the end: no other process cuts it off or deletes it.
        with closing(part_file.PartFile(self.files.part, self.start.size)) as part:
            return await self._run(part)

    async def _run(self, part: part_file.PartFile) -> BatchOutcome:
        ticking = asyncio.create_task(self._tick())
        try:
            await self._answer_rows(part)
            if self._runner is None or not self._ended_early:
                await self._retry_rows()
            ending: Ending = "done"
            if self._ended_early:
                ending = "interrupted" if self._interrupted else "capped"
            else:
                self._check_all_read()
                await self.calls.writer.run_job(partial(self._finish, part))
        finally:
            ticking.cancel()
            if self.models.provider_batches is not None:
                self._report()
                await self.models.provider_batches.drop_tasks()
            with suppress(asyncio.CancelledError):
                await ticking
        self._report()
        return self._build_outcome(ending)

    def describe_finished(self) -> BatchOutcome:
        """How a batch ended that an earlier process has finished."""
        start = self.start
        self.progress.earlier = start.rows
        self.progress.done, self.progress.failed = start.rows - start.failed, start.failed
        failed = self.calls.journal.read_failed() if start.failed else ()
        self._common_failure = find_common_failure(one.body for one in failed)
        self._report()
        return self._build_outcome("done")

    async def describe_interrupted(self) -> BatchOutcome:
        """How a batch stands that ``run`` did not come to the end of: it was called off."""
        self._interrupted = True
        if self._output is None:  # before the first row: while a cluster's workers start
            self._count_earlier_rows()
        self._report()
        return self._build_outcome("interrupted")

    async def collect_paid_rows(self) -> list[FinishedRow]:
        """
        Rows that are over and stand behind one that is not, for a batch that will not go on: those
        of this process, and those of earlier ones that the journal answers. Raises ConfigError.
        """
        first = self._output.next_line if self._output else self.start.rows
        found = {one.row.line: one for one in self.rows_ahead}
        window = self.models.window
        near = set(range(first, first + window * CLEAR_ROWS)) - found.keys()
        self.calls.refuse_new_calls()
        # What was kept a moment ago is found only once it is written.
        await self.calls.writer.run_job(lambda: None)
        runner = BatchRunner(self.model, self.calls, self.lines, window=window)
        rows = _Collected()
        with closing(self.batch_input.rows(first, near)) as chunks:
            await runner.answer_rows(_chunks_until(chunks, max(near, default=first)), rows)
        again = {one.row.line: one for one in rows.found if not one.failed}
        self.progress.done += len(again)
        self._report()
        found |= again
        return [found[line] for line in sorted(found)]

    @property
    def rows_ahead(self) -> list[FinishedRow]:
        """Rows of this process that are over and stand behind one that is not."""
        return self._output.rows_ahead if self._output else []

    async def keep_paid_rows(self, paid: Sequence[FinishedRow]) -> None:
        """
        Write what is in no file yet, of a batch that will not go on: *paid* rows behind those that
        are in order, failed ones into the file of errors. Raises ConfigError (StoreError).
        """
        await self.calls.writer.run_job(partial(self._write_paid_rows, paid))

    def drain(self) -> None:
        """Begin no further call; ``run`` returns once those under way are kept."""
        self._interrupted = self.progress.draining = True
        if self._runner is not None:
            self._runner.drain()
        self._report()

    def end_early(self, reason: str) -> None:
        """End as at a cap, for *reason*."""
        if self._runner is not None and not self._runner.draining:
            self._runner.end_early(reason)

    @property
    def _ended_early(self) -> bool:
        runner = self._runner
        return self._interrupted or (runner is not None and runner.cap is not None)

    def _count_earlier_rows(self) -> None:
        answered = self.calls.journal.recovered_lines()
        failed = sum(one.line not in answered for one in self.calls.journal.read_failed())
        self.progress.earlier = self.start.rows
        self.progress.done, self.progress.failed = self.start.rows - failed, failed

    async def _answer_rows(self, part: part_file.PartFile) -> None:
        self._count_earlier_rows()
        output = OrderedOutput(self.calls, part, first=self.start.rows, digest=self.start.digest)
        self._output = output
        if self.start.rows < self.start.total:
            await self._ask(self.start.rows, None, _Counted(output, self.progress))

    async def _retry_rows(self) -> None:
        """Ask the failed rows once more, at the end."""
        answered = self.calls.journal.recovered_lines()
        failed = [one for one in self.calls.journal.read_failed() if one.line not in answered]
        again = {one.line for one in failed if self.retries_all or not one.lasting}
        if again:
            self.calls.reuse_own_calls()
            await self._ask(0, again, RetriedRows(self.calls, failed, self.progress))

    async def _ask(self, first: int, only: set[int] | None, output: OutputSink) -> None:
        self._runner = BatchRunner(
            self.model, self.calls, self.lines, self.models.limiters,
            window=self.models.window,
        )  # fmt: skip
        if self._interrupted:
            return
        chunks = self.batch_input.rows(first, only)
        with closing(chunks):
            await self._runner.answer_rows(chunks, output)

    def _check_all_read(self) -> None:
        """Raise ConfigError where there were not as many rows as were counted at first."""
        read, counted = self.progress.done + self.progress.failed, self.progress.total
        if read != counted:
            raise ConfigError(
                f"{self.batch_input.source.shown} changed while it was read: it had"
                f" {pluralize_count(counted, 'row')}, of which {read:,} were processed. Run the"
                " same command again to continue with its present content"
            )

    def _finish(self, part: part_file.PartFile) -> None:
        """The output is made whole, and the file of errors; in the journal's thread."""
        journal, files = self.calls.journal, self.files
        left = part_file.build_output(
            files.part, files.output, journal.read_failed(), journal.read_recovered
        )
        part_file.write_lines(files.errors, (one.body for one in left))
        self._common_failure = find_common_failure(one.body for one in left)
        size = files.output.stat().st_size
        journal.settle_rows(left, {STATE: FINISHED, BYTES: str(size)})
        part.remove()

    def _write_paid_rows(self, paid: Sequence[FinishedRow]) -> None:
        """In the journal's thread."""
        journal, files = self.calls.journal, self.files
        lines = {one.row.line: one.data for one in paid if not one.failed}
        # Failed at first, and answered when they were asked once more.
        for number in journal.recovered_lines():
            lines[number] = journal.read_recovered(number) or b""
        in_order = self._output.unwritten_lines if self._output else b""
        # Behind the last whole line, and once: a process that was killed here begins again.
        size = int(journal.read_settings()[BYTES])
        with closing(part_file.PartFile(files.part, size)) as part:
            part.append(in_order + b"".join(lines[number] for number in sorted(lines)))
        failed = [one.body for one in journal.read_failed() if one.line not in lines]
        part_file.write_lines(files.errors, [*failed, *(one.data for one in paid if one.failed)])

    async def _tick(self) -> None:
        while True:
            self._report()
            await asyncio.sleep(TICK_SECONDS)

    def _report(self) -> None:
        now, spent = self.progress, self.calls.spent_by_kind.values()
        now.seconds = time.monotonic() - self._began
        now.tokens = sum(one.tokens for one in spent)
        now.unpriced = sum(one.unpriced for one in spent)
        now.dollars = self.calls.dollars
        now.dollars_now = now.dollars - self._dollars_before
        now.endpoints = self.models.endpoints()
        batches = self.models.provider_batches
        if batches is not None and not batches.dropped:
            now.provider_batches, now.batched_calls = batches.count_waiting()
        if self.on_progress:
            self.on_progress(now)

    def _build_outcome(self, ending: Ending) -> BatchOutcome:
        now, spent = self.progress, self.calls.spent_by_kind
        lost = spent["lost"]
        failed = now.failed
        whole = ending == "done"
        cap = self._runner.cap if self._runner else None
        return BatchOutcome(
            ending=ending,
            rows=now.total,
            done=now.done,
            failed=failed,
            calls=self.calls.sent,
            reused=self.calls.used_again,
            lost=lost.calls,
            tokens=now.tokens,
            cost_usd=None if now.unpriced else round(math.fsum((now.dollars,)), 9),
            lost_cost_usd=None if lost.unpriced else round(max(0.0, lost.dollars), 9),
            seconds=now.seconds,
            output=str(self.files.output if whole else self.files.part),
            errors=str(self.files.errors) if whole and failed else None,
            journal=str(self.files.journal),
            reason=cap.describe_for("the next row") if cap and not self._interrupted else None,
            failure=self._common_failure,
            notes=self._batch_notes(whole=whole),
            prompt_tokens=sum(one.prompt_tokens for one in spent.values()),
            completion_tokens=sum(one.completion_tokens for one in spent.values()),
            unanswered=max(0, self.calls.sent - self.calls.made),
            all_calls=sum(one.calls for one in spent.values()),
        )

    def _batch_notes(self, *, whole: bool) -> tuple[str, ...]:
        """What goes on at providers after a batch that did not come to its end."""
        if whole or not self.progress.provider_batches:
            return ()
        number = self.progress.provider_batches
        said = f"Provider batches under way: {number}. The providers continue them;"
        return (f"{said} run the same command again to download their answers.",)


class _Collected:
    """Takes rows that are over."""

    next_line = None

    def __init__(self) -> None:
        self.found: list[FinishedRow] = []

    async def add(self, done: FinishedRow) -> None:
        self.found.append(done)

    async def flush(self) -> None:
        """Nothing is written."""


def _chunks_until(chunks: Iterator[list[BatchRow]], last: int) -> Iterator[list[BatchRow]]:
    """The chunks as far as row *last*: the rest of a long input is not read."""
    for chunk in chunks:
        yield chunk
        if chunk[-1].line >= last:
            return


class _Counted:
    """An output whose rows are counted."""

    def __init__(self, output: OrderedOutput, progress: BatchProgress) -> None:
        self._output = output
        self._progress = progress

    @property
    def next_line(self) -> int | None:
        return self._output.next_line

    async def add(self, done: FinishedRow) -> None:
        if done.failed:
            self._progress.failed += 1
        else:
            self._progress.done += 1
        await self._output.add(done)

    async def flush(self) -> None:
        await self._output.flush()
