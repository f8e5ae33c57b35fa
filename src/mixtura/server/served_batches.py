"""The batches of the server's clients: kept, run some at a time, taken up after a restart."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from asyncio import to_thread
from collections import Counter
from typing import Any

from mixtura.batch.journaled_models import SharedJournaledModels
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.core.text import to_one_line
from mixtura.core.types import Request
from mixtura.server.access import ApiClient, Authenticator
from mixtura.server.apis.base import ApiCall, ApiError
from mixtura.server.batch_object import new_batch, with_status
from mixtura.server.batch_run import BatchRun, BatchServices
from mixtura.server.metrics import BatchCounts
from mixtura.server.model_choice import MixtureChooser
from mixtura.server.uploads import UploadsUnderWay
from mixtura.storage.in_flight_file import JournalInUseError
from mixtura.storage.interfaces import DAY_SECONDS
from mixtura.storage.kept_batches import BatchStore, KeptBatch
from mixtura.storage.kept_files import FileStore

LOOK_SECONDS = 1.0
"""Between two looks at which batches are to be run or cancelled."""
RETRY_SECONDS = 30.0
"""After which a batch that could not go on is tried again."""
LEAVE_SECONDS = 5.0
"""That calls under way have when the server ends."""
MAX_FAULTS = 3
"""Times that a fault of ours may end a batch before it has failed."""
_LOG = logging.getLogger("mixtura.batches")


class ServedBatches:
    """
    Keeps and runs batches. Those whose folder is on this machine are run here, by one process at
    a time; every process that shares the store may answer for them.

    *max_cost*: dollars, and *deadline*: seconds that no answer passes.
    """

    def __init__(
        self,
        config: Config,
        authenticator: Authenticator,
        chooser: MixtureChooser,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self._table = config.serve.batches
        self._authenticator = authenticator
        self._chooser = chooser
        self._max_cost, self._deadline = max_cost, deadline
        self._folder = config.store_folder / "batches"
        self._source = config
        self._config: Config | None = None
        self._models = SharedJournaledModels(self._table.rows_at_once)
        self.batches = BatchStore(config.store)
        self.files = FileStore(config.store)
        self.uploads = UploadsUnderWay()
        self._running: dict[str, tuple[BatchRun, asyncio.Task[None]]] = {}
        self.counts = BatchCounts()
        self._shared = BatchServices(
            self.batches, self.files, self._models, config.usage_cost, self.counts,
            days=self._table.days, most_rows=self._table.rows,
            most_row_bytes=int(config.serve.largest_megabytes * 1024**2),
        )  # fmt: skip
        self._not_before: dict[str, float] = {}
        self._faults: Counter[str] = Counter()
        self._looking: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    # ---- what clients ask for

    async def create_batch(self, fields: dict[str, Any], client: ApiClient) -> dict[str, Any]:
        """A new batch. Raises ApiError (429) where its owner has too many."""
        number = f"batch_{secrets.token_hex(12)}"
        body = new_batch(number, fields)
        kept = KeptBatch(
            number, self._authenticator.owner_name(client), time.time(), body["status"], body
        )
        # Before it is kept: a batch without a folder is another machine's.
        await to_thread((self._folder / number).mkdir, 0o700, parents=True)
        most = self._table.unfinished
        if not await to_thread(self.batches.add_batch, kept, most=most):
            await to_thread((self._folder / number).rmdir)
            message = f"this key has {most} unfinished batches: wait for one, or cancel one"
            raise ApiError(
                429, message, kind="rate_limit_error", code="rate_limit_exceeded",
                retry_after=60.0,
            )  # fmt: skip
        self._wake.set()
        return body

    async def cancel_batch(self, id: str, client: ApiClient) -> dict[str, Any]:  # noqa: A002
        """The batch, cancelled as soon as it may be. Raises ApiError (404, 409)."""
        before = ("validating", "in_progress")
        while True:
            kept = await self.find_batch(id, client)
            if kept.status == "cancelling":
                return kept.body
            if kept.status not in before:
                message = f"Cannot cancel a batch with status '{kept.status}'."
                raise ApiError(409, message, code="batch_not_cancellable")
            body = with_status(kept.body, "cancelling")
            if await to_thread(self.batches.change_batch, id, body, before=(kept.status,)):
                self._wake.set()
                return body

    async def find_batch(self, id: str, client: ApiClient) -> KeptBatch:  # noqa: A002
        """The batch. Raises ApiError (404) where the client has none of that id."""
        owner = self._authenticator.owner_name(client)
        kept = await to_thread(self.batches.get_batch, id, owner)
        if kept is None:
            raise ApiError(404, f"No batch found with id '{id}'.", code="batch_not_found")
        if (running := self._running.get(id)) and kept.status == "in_progress":
            kept.body["request_counts"] = running[0].counts
        return kept

    # ---- running them

    def start(self) -> None:
        """Run what is to be run, from now on; in the event loop."""
        if self._table.keep:
            self._looking = asyncio.create_task(self._look_after_batches())

    async def close(self) -> None:
        """Leave what is not over to the next process."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        for run, _ in self._running.values():
            run.stop_for_restart()
        tasks = [task for _, task in self._running.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=LEAVE_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _look_after_batches(self) -> None:
        while True:
            try:
                await self._begin_waiting()
            except (ConfigError, OSError) as error:  # the store cannot be used now
                _LOG.warning("batches wait: %s", to_one_line(error))
            except Exception:  # noqa: BLE001 - what is wrong with one must not end the others
                _LOG.exception("batches wait")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _begin_waiting(self) -> None:
        for run, _ in tuple(self._running.values()):
            status = await run.write_counts()
            if status in ("cancelling", "cancelled"):
                run.end_as("cancelled")
            elif run.is_expired:
                run.end_as("expired")
        if not await to_thread(self._has_folders):
            return
        unfinished = await to_thread(self.batches.list_unfinished)
        now = time.monotonic()
        for kept in unfinished:
            if len(self._running) >= self._table.at_once:
                break
            waits = kept.id in self._running or self._not_before.get(kept.id, now) > now
            if not waits and await to_thread((self._folder / kept.id).is_dir):
                self._begin(kept)
        await to_thread(self._forget_old)

    def _begin(self, kept: KeptBatch) -> None:
        run = BatchRun(kept, self._folder / kept.id, self._shared)
        task = asyncio.create_task(self._carry_out(run, kept))
        self._running[kept.id] = run, task
        self.counts.running = len(self._running)

    async def _carry_out(self, run: BatchRun, kept: KeptBatch) -> None:
        try:
            await run.carry_out(lambda name: self._build_model(name, kept.who))
            self._not_before.pop(run.id, None)
            self._faults.pop(run.id, None)
            if not run.ended:
                self.counts.ended[run.status] += 1
                await to_thread(run.remove_folder)
        except JournalInUseError:  # another process of this machine runs it
            self._not_before[run.id] = time.monotonic() + RETRY_SECONDS
        except (ConfigError, OSError) as error:
            # A full disk, or another process that has it: what was written down is not lost.
            _LOG.warning("the batch %s waits: %s", run.id, to_one_line(error))
            await self._put_off(run, str(error))
        except Exception:  # noqa: BLE001 - one batch's fault ends no other
            _LOG.exception("the batch %s waits", run.id)
            self._faults[run.id] += 1
            await self._put_off(run, "an internal error: the server's log has the details")
        finally:
            self._running.pop(run.id, None)
            self.counts.running = len(self._running)
            self._wake.set()

    async def _put_off(self, run: BatchRun, why: str) -> None:
        """Try a batch again later, unless its time is over or it failed too often."""
        self._not_before[run.id] = time.monotonic() + RETRY_SECONDS
        if run.began_expired or self._faults[run.id] >= MAX_FAULTS:
            try:
                await run.record_failure(why)
            except ConfigError as error:
                _LOG.warning("the batch %s waits: %s", run.id, to_one_line(error))
                return
            self._not_before.pop(run.id, None)
            self._faults.pop(run.id, None)

    def _build_model(self, name: str, owner: str) -> Model:
        """The model *name* for the owner of a batch, under its caps. Raises ApiError."""
        client = self._authenticator.find_named_client(owner)
        if client is None:
            message = f"the key {owner} is no longer one of this server"
            raise ApiError(401, message, kind="authentication_error", code="invalid_api_key")
        choice = self._chooser.choose_mixture(ApiCall(name, Request(())), client)
        try:
            if self._config is None:
                self._config = self._source.copy_for_batches(self._models)
            return self._config.build_runnable(
                choice.plan, max_cost=self._max_cost, deadline=self._deadline, caps=client.caps
            )
        except ConfigError as error:
            raise ApiError(503, str(error), kind="api_error", code="model_not_ready") from None

    def _has_folders(self) -> bool:
        return self._folder.is_dir() and any(self._folder.iterdir())

    def _forget_old(self) -> None:
        self.batches.forget_old(time.time() - self._table.days * DAY_SECONDS)
