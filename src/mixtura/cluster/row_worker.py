"""RowWorker: answers rows of a batch in a process of a cluster, with a journal of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.journaled import CURRENT_ROW, RowCalls
from mixtura.batch.journaled_models import JournaledModels
from mixtura.billing.price import Pricer
from mixtura.cluster.dollar_leases import LeasedBudget, LeasedCap
from mixtura.cluster.lease_loop import LeasedLimiters, Owner
from mixtura.cluster.messages import KeptPart, RowAnswer, RowTask, WorkerReport, WorkerSetup
from mixtura.cluster.worker_journals import SUFFIX, read_part, remove_journal
from mixtura.cluster.worker_models import name_limiters, read_worker_config
from mixtura.config.config import Config
from mixtura.core.call_ledger import open_ledger
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.logs import install_log_redaction
from mixtura.core.model import Model
from mixtura.engine.endpoint_lease import Lease
from mixtura.models.wrappers.budget_queue import BudgetQueued, InFlight
from mixtura.models.wrappers.rate_limit import RateLimiter

REPORT_SECONDS = 0.5
"""After which a worker reports also where nothing happened."""
GATHER_SECONDS = 0.005
"""In which answers gather for one report."""
ROWS_REMEMBERED = 100_000
"""The last rows that came, so that one that is sent twice is asked once."""
LAST_STEPS = 20
"""Turns of the event loop in which a row whose last call was answered is finished."""


class WorkerCalls(CallJournal):
    """A worker's journal; what it has not, the owner of the batch may have."""

    def __init__(
        self,
        path: Path,
        pricer: Pricer,
        ask_owner: Callable[[bytes], Awaitable[bytes | None]],
        *,
        reuses: bool,
    ) -> None:
        super().__init__(path, pricer, reuses=reuses)
        self._ask_owner = ask_owner
        self.lookup_rows: Counter[bytes] = Counter()
        """The rows under way of which the owner may have calls: how many have each key."""

    @contextmanager
    def look_up(self, row: bytes, looks_up: bool) -> Generator[None]:
        """A block in which calls of the row with this key are looked up, where *looks_up*."""
        if not looks_up:
            yield
            return
        self.lookup_rows[row] += 1
        try:
            yield
        finally:  # equal rows that share answers have one key, and end one after another
            self.lookup_rows[row] -= 1
            if not self.lookup_rows[row]:
                del self.lookup_rows[row]

    def must_be_asked(self) -> bool:
        return super().must_be_asked() or bool(self.lookup_rows)

    async def find(self, key: bytes) -> bytes | None:
        row = CURRENT_ROW.get()
        if row is None or row.key not in self.lookup_rows:
            return await super().find(key)
        found = await self.writer.find_call(key)
        return await self._ask_owner(key) if found is None else found


class RowWorker:
    """
    One worker. What it is asked and what it says are the values of ``messages``; nothing that it
    is asked raises: an error is a part of its report.
    """

    def __init__(self, setup: WorkerSetup, owner: Owner) -> None:
        self._setup = setup
        self._owner = owner
        self._folder = Path(setup.journals)
        self.name = f"{secrets.token_hex(8)}{SUFFIX}"
        """That of its journal, too."""
        self._calls: WorkerCalls | None = None
        self._model: Model | None = None
        self._limiters: dict[str, RateLimiter] = {}
        self._models: JournaledModels | None = None
        self._tasks: dict[asyncio.Task[None], int] = {}
        self._known: dict[int, None] = {}
        self._cap: LeasedCap | None = None
        self._leasing: asyncio.Task[None] | None = None
        self._draining = False
        self._changed = asyncio.Event()
        self._reports = 0
        self._answers: list[tuple[int, RowAnswer]] = []
        self._lookups: dict[bytes, asyncio.Future[bytes | None]] = {}
        self._error: MixturaError | None = None

    async def start(self) -> str | MixturaError:
        """Build the models and open the journal; the worker's name, or why that cannot be."""
        install_log_redaction()  # what it logs stands in files of Ray's
        try:
            models = self._models = JournaledModels(self._setup.concurrency)
            config = read_worker_config(self._setup, models)
            self._calls = models.calls = WorkerCalls(
                self._folder / self.name,
                config.usage_cost,
                self._ask_owner,
                reuses=self._setup.reuses,
            )
            self._model = self._build_model(config)
            self._limiters = name_limiters(models)
            for limiter in self._limiters.values():
                limiter.apply_lease(Lease(concurrency=0, requests=0, tokens=0))
            self._leasing = asyncio.create_task(self._run(self._renew_leases()))
        except MixturaError as error:
            return error
        except OSError as error:
            return ConfigError(f"{error.filename or self._folder}: {error.strerror or error}")
        return self.name

    async def add_rows(self, rows: Sequence[RowTask]) -> None:
        for row in rows:
            if not self._remember(row.number):
                continue
            if self._draining:
                self._add_answer(RowAnswer(row.number, None, None, (), held_back=True))
                continue
            task = asyncio.create_task(self._run(self._answer_row(row)))
            self._tasks[task] = row.number
            task.add_done_callback(self._tasks.pop)

    def _remember(self, number: int) -> bool:
        """Whether a row is new: what could not be told to have come is sent again."""
        is_new = number not in self._known
        self._known[number] = None
        if len(self._known) > ROWS_REMEMBERED:
            del self._known[next(iter(self._known))]
        return is_new

    async def give_found(self, found: Mapping[bytes, bytes | None]) -> None:
        """What the owner has of the calls that it was asked for."""
        for key, body in found.items():
            future = self._lookups.pop(key, None)
            if future is not None and not future.done():
                future.set_result(body)

    async def take_report(self, taken: int, merged: int) -> WorkerReport:
        """
        What happened; waits for something to happen. *taken*: the last report that came in;
        *merged*: the last call of the journal that the owner has.
        """
        self._answers = [(number, one) for number, one in self._answers if number > taken]
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), REPORT_SECONDS)
            await asyncio.sleep(GATHER_SECONDS)
        return await self._make_report(merged)

    async def drain(self) -> None:
        """Begin no further call; the rows that are not over then are held back."""
        self._draining = True
        assert self._calls is not None
        assert self._models is not None
        self._calls.holds_back = True
        for limiter in self._models.limiters:
            limiter.hold_back()
        await self._calls.idle.wait()
        for _ in range(LAST_STEPS):
            await asyncio.sleep(0)
        for task, number in [*self._tasks.items()]:
            if not task.done():
                task.cancel()
                self._add_answer(RowAnswer(number, None, None, (), held_back=True))

    async def finish(self, merged: int) -> KeptPart:
        """End, and say what the journal has more than the owner."""
        if self._leasing is not None:
            self._leasing.cancel()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        assert self._calls is not None
        part = await self._read_part(merged)
        await asyncio.to_thread(self._calls.close)
        return part

    async def remove_journal(self) -> None:
        """The owner has all of it."""
        await asyncio.to_thread(remove_journal, self._folder, self.name)

    def _build_model(self, config: Config) -> Model:
        """The mixture, under the batch's cap where it has one."""
        setup, caps = self._setup, list[LeasedCap]()
        if setup.max_cost is not None:
            self._cap = LeasedCap("the batch", setup.max_cost)
            caps.append(self._cap)
        model = config.build_runnable(setup.plan, deadline=setup.deadline, caps=caps)
        if self._cap is not None:
            model = LeasedBudget(model, self._cap)
        return BudgetQueued(model, InFlight())

    # ---- rows

    async def _answer_row(self, task: RowTask) -> None:
        assert self._model is not None
        assert self._calls is not None
        own = RowCalls(task.key, self._calls)
        CURRENT_ROW.set(own)
        completion, error = None, None
        with open_ledger() as ledger, self._calls.look_up(task.key, task.looks_up):
            try:
                completion = own.add_sources(await self._model.complete(task.request))
            except MixturaError as failure:
                error = failure
            charges = (*ledger.charges, *own.replayed)
        if not self._draining or not own.held_back:
            self._add_answer(RowAnswer(task.number, completion, error, charges, own.held_back))

    def _add_answer(self, answer: RowAnswer) -> None:
        self._answers.append((self._reports + 1, answer))
        self._changed.set()

    async def _ask_owner(self, key: bytes) -> bytes | None:
        future = self._lookups.get(key)
        if future is None:
            future = self._lookups[key] = asyncio.get_running_loop().create_future()
            self._changed.set()
        return await asyncio.shield(future)

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it; what it did not foresee ends the worker's part of the batch."""
        try:
            await work
        except MixturaError as error:
            self._error = self._error or error
        except Exception as error:  # noqa: BLE001 - the owner is told, or would wait for ever
            said = f"a worker failed: {type(error).__name__}: {error}"
            self._error = self._error or ConfigError(said)
        if self._error is not None:
            self._changed.set()

    # ---- reports

    async def _make_report(self, merged: int) -> WorkerReport:
        self._changed.clear()
        self._reports += 1
        answers = [one for _, one in self._answers]
        assert self._calls is not None
        assert self._models is not None
        part = KeptPart(self.name, [], [])
        try:
            # Read after the answers are taken: all calls of these are in it.
            part = await self._read_part(merged)
        except MixturaError as error:
            self._error = self._error or error
        return WorkerReport(
            self._reports,
            answers,
            part,
            [*self._lookups],
            self._calls.used_again,
            self._models.endpoints(),
            self._error,
        )

    async def _read_part(self, merged: int) -> KeptPart:
        assert self._calls is not None
        read = partial(read_part, self._calls.journal, self.name, merged)
        return await self._calls.writer.run_job(read)

    # ---- limits

    async def _renew_leases(self) -> None:
        leased = LeasedLimiters(self.name, self._owner)
        while True:
            if self._cap is None:
                await leased.renew(self._limiters)
                await asyncio.sleep(self._setup.lease_seconds)
                continue
            self._cap.apply_lease(await leased.renew(self._limiters, self._cap.current_use()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._cap.asks.wait(), self._setup.lease_seconds)
            self._cap.asks.clear()
