"""One batch of a client's: its rows checked, asked over a journal, and its files made."""

from __future__ import annotations

import shutil
import time
from asyncio import to_thread
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import BatchInput
from mixtura.batch.journaled_models import JournaledModels
from mixtura.batch.outcome import BatchOutcome, BatchProgress
from mixtura.batch.part_file import BatchFiles, write_lines
from mixtura.batch.prompt_form import PromptForm
from mixtura.batch.records import Source
from mixtura.batch.resume import find_resume_point
from mixtura.batch.row_lines import RowLines
from mixtura.batch.session import BatchSession
from mixtura.billing.price import Pricer
from mixtura.core.errors import ConfigError, RejectedError
from mixtura.core.events import Emit
from mixtura.core.model import Model
from mixtura.core.text import to_one_line
from mixtura.core.types import Completion, Request
from mixtura.models.wrappers.budget_queue import BudgetQueued, InFlight
from mixtura.server.apis.base import ApiError
from mixtura.server.batch_checks import CheckedRows, check_rows
from mixtura.server.batch_object import (
    add_unanswered,
    file_seconds,
    output_file,
    read_in_parts,
    usage_object,
    with_mistakes,
    with_status,
)
from mixtura.server.batch_rows import create_row_lines, find_row_reader
from mixtura.server.metrics import BatchCounts
from mixtura.storage.kept_batches import OVER, BatchStore, KeptBatch
from mixtura.storage.kept_files import FileStore

BuildModel = Callable[[str], Model]
"""The model of that name for the batch's owner. Raises ApiError."""
_UNANSWERED = {
    "cancelled": ("batch_cancelled", "the batch was cancelled before this request was answered"),
    "expired": ("batch_expired", "this request could not be executed before the batch expired"),
    "failed": ("budget_exceeded", "a cap ended the batch before this request was answered"),
}


NOT_READY = 503
"""The status of a refusal of a model that lacks something: a key, a file."""


class BatchServices(NamedTuple):
    """What all batches of a server share."""

    batches: BatchStore
    files: FileStore
    models: JournaledModels
    pricer: Pricer
    counts: BatchCounts
    """What they add to the metrics."""
    days: float
    """How long their files are kept."""
    most_rows: int
    most_row_bytes: int


class BatchRun:
    """Carries the batch *kept* to its end, in *folder*, from where an earlier process left it."""

    def __init__(self, kept: KeptBatch, folder: Path, shared: BatchServices) -> None:
        self.id = kept.id
        self._who = kept.who
        self._body = kept.body
        self._folder = folder
        self._shared = shared
        self._counted = (0, 0.0)
        """Rows and dollars that are in the metrics."""
        self._session: BatchSession | None = None
        self.began_expired = self.is_expired
        """Its window was over before this process took it up: it only keeps what is answered."""
        over = "expired" if self.began_expired else None
        self._ends_as: str | None = "cancelled" if kept.status == "cancelling" else over
        self._refusal: tuple[str, str] | None = None
        """The code and words of why its model may not be asked any more."""
        self.ended = False
        """The process ends: what is left goes on in the next one."""

    @property
    def _input(self) -> Path:
        return self._folder / "input.jsonl"

    @property
    def _output_files(self) -> BatchFiles:
        return BatchFiles(self._folder / "output.jsonl", self._folder / "journal")

    async def carry_out(self, build_model: BuildModel) -> None:
        """Raises ConfigError (StoreError among them) and OSError where it cannot go on now."""
        if self._body["status"] == "validating":
            await self._validate(build_model)
        if self._body["status"] in OVER:
            return
        outcome: BatchOutcome | None = None
        if self._body["status"] != "cancelling" or self._output_files.journal.exists():
            try:
                model = build_model(self._body["model"])
            except ApiError as refused:
                model = self._end_without_model(refused)
            outcome = await self._ask_rows(model)
        if not self.ended:
            await self._finish(outcome)

    def _end_without_model(self, refused: ApiError) -> Model:
        """
        What stands for a model that may not be asked: what is answered by now is kept.

        Raises ConfigError where the model may come back and is needed: what is paid is not lost.
        """
        needed = self._ends_as is None and self._body["status"] != "finalizing"
        if needed and refused.status == NOT_READY:
            raise ConfigError(refused.message)
        self._refusal = refused.code or "invalid_model", refused.message
        self._ends_as = self._ends_as or "failed"
        return RefusedModel(self._body["model"], refused.message)

    def end_as(self, status: str) -> None:
        """Begin no further row; it is *status* once those under way are kept."""
        self._ends_as = self._ends_as or status
        self._drain()

    def stop_for_restart(self) -> None:
        """Begin no further call: the next process goes on."""
        self.ended = True
        self._drain()

    async def record_failure(self, why: str) -> None:
        """Write down that it has failed. Raises StoreError."""
        said = {"code": "batch_failed", "line": None, "message": to_one_line(why), "param": None}
        await self._change(with_mistakes(self._body, [said]))

    @property
    def counts(self) -> dict[str, int]:
        """Rows that are over by now, as the API shows them."""
        return self._body["request_counts"]

    @property
    def status(self) -> str:
        return self._body["status"]

    @property
    def is_expired(self) -> bool:
        """Whether its window is over."""
        return time.time() > self._body["expires_at"]

    def _drain(self) -> None:
        if self._session is not None:
            self._session.drain()

    # ---- the steps

    async def _validate(self, build_model: BuildModel) -> None:
        source = await to_thread(
            self._shared.files.get_file, self._body["input_file_id"], self._who
        )
        found = CheckedRows()
        if source is None:
            found.add_mistake("file_not_found", "the input file is not there any more")
        else:
            parts = self._shared.files.read_parts(source.id)
            await to_thread(write_lines, self._input, parts)
            if self._input.stat().st_size != source.size:  # a part of it would be asked
                found.add_mistake("file_not_found", "the input file was deleted meanwhile")
            elif source.size:
                found = await to_thread(self._check_rows)
            else:
                found.add_mistake("empty_file", "the file has no requests")
        if found.model is not None and not found.mistakes:
            try:
                build_model(found.model)
            except ApiError as refused:
                code = refused.code or "invalid_model"
                found.add_mistake(code, refused.message, 1, "body.model")
        if found.mistakes:
            await self._change(with_mistakes(self._body, found.mistakes))
            return
        counts = {"total": found.rows, "completed": 0, "failed": 0}
        more = {"model": found.model, "request_counts": counts}
        await self._change(with_status(self._body, "in_progress", **more))

    def _check_rows(self) -> CheckedRows:
        shared, endpoint = self._shared, self._body["endpoint"]
        return check_rows(
            self._input, endpoint, most=shared.most_rows, most_bytes=shared.most_row_bytes
        )

    async def _ask_rows(self, model: Model) -> BatchOutcome:
        calls = await to_thread(CallJournal, self._output_files.journal, self._shared.pricer)
        try:
            source = Source(str(self._input), "the input file", "openai")
            endpoint = self._body["endpoint"]
            batch_input = BatchInput(source, PromptForm(), reads=find_row_reader(endpoint))
            # The same in every process: what is done stays done, whatever was configured since.
            command = {"batch": self.id}
            start = await to_thread(
                partial(
                    find_resume_point,
                    calls,
                    batch_input,
                    self._output_files,
                    command,
                    overwrite=True,
                )
            )
            lines = create_row_lines(
                endpoint, RowLines(self._shared.pricer, True, self._body["model"], start.created)
            )
            self._session = BatchSession(
                BudgetQueued(model, InFlight()), self._shared.models, calls, batch_input,
                self._output_files, lines, start, on_progress=self._count_progress,
            )  # fmt: skip
            if start.finished:
                return self._session.describe_finished()
            if self._ends_as or self.ended:
                self._session.drain()
            outcome = await self._session.run()
            if outcome.ending != "done" and not self.ended:
                paid = await self._session.collect_paid_rows()
                await self._session.keep_paid_rows(paid)
            return outcome
        finally:
            self._session = None
            await to_thread(calls.close)

    async def _finish(self, outcome: BatchOutcome | None) -> None:
        """Make the files and write the last state down."""
        whole = outcome is not None and outcome.ending == "done"
        if self._ends_as is None or whole:
            self._ends_as = "completed" if whole else "failed"
        status = self._ends_as
        if whole:
            await self._change(with_status(self._body, "finalizing"))
        output = self._output_files.output if whole else self._output_files.part
        errors = self._output_files.errors
        # One that was cancelled before its rows were checked has none.
        if not whole and self._body["model"] is not None:
            refusal = self._refusal if status == "failed" else None
            said = refusal or _UNANSWERED[status]
            await to_thread(add_unanswered, self._input, output, errors, *said)
        made: dict[str, Any] = {
            "output_file_id": await to_thread(self._keep_file, "output", output),
            "error_file_id": await to_thread(self._keep_file, "error", errors),
        }
        counts = {
            "total": self._body["request_counts"]["total"],
            "completed": await to_thread(_count_lines, output),
            "failed": await to_thread(_count_lines, errors) if whole else 0,
        }
        if outcome is not None:
            made["mixtura"] = {"cost_usd": outcome.cost_usd, "tokens": outcome.tokens}
            made["usage"] = usage_object(outcome.prompt_tokens, outcome.completion_tokens)
            counts["failed"] = outcome.failed
        if status == "failed" and outcome is not None:
            code, message = self._refusal or ("budget_exceeded", outcome.reason)
            told = {"code": code, "line": None, "message": message, "param": None}
            made["errors"] = {"object": "list", "data": [told]}
        await self._change(with_status(self._body, status, request_counts=counts, **made))

    def _keep_file(self, kind: str, path: Path) -> str | None:
        if not path.exists() or not path.stat().st_size:
            return None
        expires = time.time() + file_seconds(self._body, self._shared.days)
        file = output_file(self._body, self._who, kind, path, expires)
        self._shared.files.add_file(file, read_in_parts(path))
        return file.id

    def remove_folder(self) -> None:
        """Remove what a batch that is over has left."""
        with suppress(OSError):
            shutil.rmtree(self._folder)

    # ---- what others see

    def _count_progress(self, progress: BatchProgress) -> None:
        self._body["request_counts"] = {
            "total": progress.total, "completed": progress.done, "failed": progress.failed,
        }  # fmt: skip
        rows, dollars = self._counted
        self._shared.counts.rows += progress.fresh - rows
        self._shared.counts.dollars += progress.dollars_now - dollars
        self._counted = progress.fresh, progress.dollars_now

    async def write_counts(self) -> str:
        """Write down how far it is; returns the state that others have put it into."""
        shown: dict[str, Any] = self._body
        if shown["status"] == "in_progress":
            await to_thread(
                self._shared.batches.change_batch, self.id, shown, before=("in_progress",)
            )
        kept = await to_thread(self._shared.batches.get_batch, self.id)
        return "cancelled" if kept is None else kept.status

    async def _change(self, body: dict[str, Any]) -> None:
        """Write a new state down; a client that has cancelled it meanwhile comes first."""
        before = [self._body["status"]]
        if body["status"] in OVER or body["status"] == "finalizing":
            before += ["cancelling"]
        kept = await to_thread(self._shared.batches.get_batch, self.id)
        if kept is not None and kept.body["cancelling_at"] is not None:
            body["cancelling_at"] = kept.body["cancelling_at"]
        if await to_thread(self._shared.batches.change_batch, self.id, body, before=before):
            self._body = body
        elif kept is not None:
            kept = await to_thread(self._shared.batches.get_batch, self.id)
            assert kept is not None
            self._body = {**body, **kept.body}
            if kept.status in ("cancelling", "cancelled"):  # else another process was faster
                self._ends_as = "cancelled"


class RefusedModel:
    """In the place of a model that may not be asked: every call fails with *why*."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:  # noqa: ARG002
        """Raises RejectedError."""
        raise RejectedError(self._why)


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(1 for line in file if line.endswith(b"\n"))
