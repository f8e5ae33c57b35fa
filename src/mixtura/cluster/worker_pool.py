"""WorkerPool: the owner of a batch: gives rows to workers, and merges what they have kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.outcome import EndpointProgress
from mixtura.cluster.deliveries import Deliveries
from mixtura.cluster.left_journals import LeftJournals
from mixtura.cluster.messages import RowAnswer, RowTask, WorkerReport, WorkerSetup
from mixtura.cluster.owner import LeaseOwner
from mixtura.cluster.ray_cluster import RayCluster
from mixtura.cluster.ray_worker import RayRowWorker
from mixtura.cluster.worker_journals import MergedJournal, known_folders
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.core.types import Request

_LOG = logging.getLogger("mixtura.cluster")
START_SECONDS = 180.0
"""That a worker may take to start, with its models."""
START_LOOKS = 36
"""Times in these seconds that is looked whether the cluster still has room for it."""
FINISH_SECONDS = 60.0
DEATHS_IN_A_ROW = 5
"""Deaths of a worker, with no row answered between them, after which the batch ends."""


class _NoRoomError(ConfigError):
    """The cluster has no room for a worker."""


@dataclass(slots=True, eq=False)
class _Slot:
    """A worker, and the rows that it was given. A dead one is replaced in its slot."""

    actor: Any = None
    name: str = ""
    node: str = ""
    rows: dict[int, tuple[RowTask, asyncio.Future[RowAnswer]]] = field(
        default_factory=dict[int, tuple[RowTask, asyncio.Future[RowAnswer]]]
    )
    unsent: list[RowTask] = field(default_factory=list[RowTask])
    taken: int = 0
    used_again: int = 0
    deaths: int = 0
    endpoints: tuple[EndpointProgress, ...] = ()

    def count_death(self, error: Exception) -> None:
        """Raise ConfigError where it happens again and again."""
        self.deaths += 1
        where = f" on the machine {self.node[:8]}" if self.node else ""
        _LOG.warning("a worker%s died and is replaced: its unfinished rows are sent again", where)
        if self.deaths > DEATHS_IN_A_ROW:
            said = to_one_line(error)[:300]
            raise ConfigError(
                f"a worker of the cluster died {self.deaths} times without answering a row: {said}"
            )

    def fail_rows(self, error: Exception) -> None:
        """Who waits for a row is told *error*."""
        for _, waiting in self.rows.values():
            if not waiting.done():
                waiting.set_exception(error)


class WorkerPool:
    """
    So many *workers* of a cluster, each with *cores*, which answer rows for the batch of *calls*.

    Every call that a worker keeps is merged before the answer that it is for is handed out. A
    worker that dies is replaced: what its journal holds is merged before its rows are asked anew.
    Where the cluster has lost a machine, and with it the room, the others take its rows.
    """

    def __init__(
        self, cluster: RayCluster, calls: CallJournal, setup: WorkerSetup, workers: int, cores: int
    ) -> None:
        self._cluster = cluster
        self._calls = calls
        self._setup = setup
        self._cores = cores
        self._merged = MergedJournal(calls)
        self._left = LeftJournals(cluster, setup, self._merged, known_folders(calls))
        self._slots = [_Slot() for _ in range(workers)]
        self._first_slots = tuple(self._slots)
        self._slot_of: dict[int, _Slot] = {}
        """Which one has a row, by its number."""
        self._tasks: list[asyncio.Task[None]] = []
        self._deliveries = Deliveries(cluster, self._fail)
        self._owner: Any = None
        self._count, self._draining = 0, False
        self._error: Exception | None = None
        self.replaced = 0
        """Workers that died."""

    @property
    def worker_count(self) -> int:
        return len(self._slots)

    async def start(self) -> None:
        """
        Merge what earlier workers left, and start new ones. Raises ConfigError where the models
        cannot be built there, or the cluster fails.
        """
        try:
            await self._start_all()
        except Exception as error:
            if self._cluster.is_ray_error(error):
                raise _cluster_error(error) from None
            raise

    async def _start_all(self) -> None:
        for node in self._cluster.nodes():
            await self._left.merge_earlier(node)
        most = self._setup.max_cost
        self._owner = self._cluster.start_actor(
            LeaseOwner,
            None if most is None else most - self._calls.dollars,
            cores=0,
            node=self._cluster.own_node,
            # One that begins anew does not know what it has lent, and would lend it twice.
            max_restarts=-1 if most is None else 0,
            max_task_retries=-1,
        )
        await asyncio.gather(*map(self._start_worker, self._slots))
        self._tasks = [asyncio.create_task(self._follow(slot)) for slot in self._slots]

    async def answer_row(self, key: bytes, request: Request) -> RowAnswer:
        """What a worker makes of a row. Raises ConfigError (StoreError) where none can go on."""
        if self._error is not None:
            raise self._error
        self._count += 1
        number = self._count
        task = RowTask(number, key, request, self._calls.looks_up)
        answer: asyncio.Future[RowAnswer] = asyncio.get_running_loop().create_future()
        self._give_row(task, answer)
        self._calls.open_requests += 1
        self._calls.idle.clear()
        try:
            return await answer
        finally:
            self._slot_of.pop(number).rows.pop(number, None)
            self._calls.end_request()

    def drain(self) -> None:
        """Begin no further call; what is under way is awaited and kept, other rows are given up."""
        self._draining = True
        for slot in self._slots:
            if slot.actor is not None:
                self._deliveries.deliver(slot.actor.drain.remote)

    def endpoints(self) -> tuple[EndpointProgress, ...]:
        """How busy the endpoints are, with the calls of all workers."""
        return _sum_by_endpoint(one for slot in self._slots for one in slot.endpoints)

    async def finish(self) -> None:
        """Take what the workers have kept, and end them. Raises StoreError."""
        await self._stop_following()
        await asyncio.gather(*map(self._finish_worker, self._slots))
        if self.replaced:  # some may have died before they said their names
            for node in self._cluster.nodes():
                await self._left.merge_left(node)

    async def end(self) -> None:
        """End the workers at once; what they have kept is merged by the next run."""
        await self._stop_following()
        for slot in self._slots:
            self._cluster.end_actor(slot.actor)

    # ---- workers

    async def _start_worker(self, slot: _Slot) -> None:
        """Start one; where it dies at once, another. Raises ConfigError."""
        while True:
            slot.actor = self._cluster.start_actor(
                RayRowWorker, self._setup, self._owner, cores=self._cores
            )
            slot.taken = slot.used_again = 0
            try:
                name, node = await _await_start(slot.actor, self._cores, self._has_room)
                break
            except _NoRoomError:
                self._cluster.end_actor(slot.actor)
                raise
            except Exception as error:
                if not self._cluster.is_dead(error):
                    raise
                self.replaced += 1
                slot.count_death(error)
        if isinstance(name, MixturaError):
            raise ConfigError(f"a worker of the cluster cannot start: {name}")
        slot.name, slot.node = name, node

    def _has_room(self) -> bool:
        return len(self._slots) <= max(1, self._cluster.count_places(self._cores))

    async def _follow(self, slot: _Slot) -> None:
        """Take the reports of a worker, and of those that take its place."""
        while True:
            try:
                try:
                    merged = self._merged.merged_number(slot.name)
                    report = await slot.actor.take_report.remote(slot.taken, merged)
                except Exception as error:
                    if self._cluster.is_passing(error):
                        await asyncio.sleep(0.2)
                    elif not self._cluster.is_dead(error):
                        raise
                    elif not await self._replace_worker(slot, error):
                        return
                    continue
                await self._take_report(slot, report)
            except Exception as error:  # noqa: BLE001 - who waits is told, or would wait for ever
                self._fail(error)
                return

    async def _take_report(self, slot: _Slot, report: WorkerReport) -> None:
        await self._merged.merge(report.part)
        if report.lookups:
            bodies = await asyncio.gather(*map(self._calls.writer.find_call, report.lookups))
            found = dict(zip(report.lookups, bodies, strict=True))
            slot.actor.give_found.remote(found)
        self._calls.used_again += report.used_again - slot.used_again
        slot.used_again, slot.taken = report.used_again, report.number
        slot.endpoints = report.endpoints
        for answer in report.answers:
            _, waiting = slot.rows.get(answer.number, (None, None))
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
                slot.deaths = 0
        if report.error is not None:
            raise report.error

    async def _replace_worker(self, slot: _Slot, error: Exception) -> bool:
        """False where nothing takes its place: its rows are the others' then."""
        self.replaced += 1
        slot.count_death(error)
        dead, slot.name = slot.name, ""
        is_read = await self._left.merge_left(slot.node, (dead,))
        # Of a machine that is gone it is not known: all that was lent may be spent.
        spent = self._merged.merged_dollars(dead) if is_read else None
        counted = await self._owner.forget_worker.remote(dead, spent)
        if not is_read:
            await self._merged.count_unread(dead, counted)
        rows = [(task._replace(looks_up=True), one) for task, one in slot.rows.values()]
        slot.rows = {task.number: (task, one) for task, one in rows}
        slot.unsent.clear()
        try:
            await self._start_worker(slot)
        except _NoRoomError:
            if len(self._slots) == 1:
                raise
            self._give_up(slot)
            return False
        if self._draining:
            self._deliveries.deliver(slot.actor.drain.remote)
        # Those that came meanwhile wait as unsent: nothing else would send them.
        slot.unsent[:0] = [task for task, _ in rows]
        self._send(slot)
        return True

    def _give_up(self, slot: _Slot) -> None:
        """It is not replaced: the others get its rows."""
        _LOG.warning("the cluster has no room for that worker any more: the others take its rows")
        self._slots.remove(slot)
        for task, waiting in slot.rows.values():
            self._give_row(task, waiting)

    async def _finish_worker(self, slot: _Slot) -> None:
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                merged = self._merged.merged_number(slot.name)
                part = await slot.actor.finish.remote(merged)
                await self._merged.merge(part)
                await slot.actor.remove_journal.remote()
        except Exception as error:
            if not (isinstance(error, TimeoutError) or self._cluster.is_ray_error(error)):
                raise
            self.replaced += 1  # its journal is left
        finally:
            self._cluster.end_actor(slot.actor)

    # ---- rows

    def _give_row(self, task: RowTask, waiting: asyncio.Future[RowAnswer]) -> None:
        slot = _choose_slot(self._slots, self._first_slots, task.key, shares=self._setup.reuses)
        slot.rows[task.number] = (task, waiting)
        self._slot_of[task.number] = slot
        self._send_rows(slot, [task])

    def _send_rows(self, slot: _Slot, tasks: Iterable[RowTask]) -> None:
        """Send rows to a worker, those of one turn of the event loop together."""
        if not slot.unsent:
            asyncio.get_running_loop().call_soon(self._send, slot)
        slot.unsent += tasks

    def _send(self, slot: _Slot) -> None:
        if slot.name and slot.unsent:
            rows, slot.unsent = slot.unsent, []
            self._deliveries.deliver(partial(slot.actor.add_rows.remote, rows))

    def _fail(self, error: Exception) -> None:
        if self._cluster.is_ray_error(error):
            error = _cluster_error(error)
        self._error = self._error or error
        for slot in self._slots:
            slot.fail_rows(error)

    async def _stop_following(self) -> None:
        tasks = [*self._tasks, *self._deliveries.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []


async def _await_start(
    actor: Any, cores: int, has_room: Callable[[], bool]
) -> tuple[str | MixturaError, str]:
    """What a worker says once it has started. Raises _NoRoomError."""
    starting = asyncio.ensure_future(actor.start_on_node.remote())
    try:
        for _ in range(START_LOOKS):
            await asyncio.wait({starting}, timeout=START_SECONDS / START_LOOKS)
            if starting.done():
                return starting.result()
            if not has_room():
                break
    finally:
        starting.cancel()
    raise _NoRoomError(
        "a worker did not start: the cluster has no room for one more with"
        f" {pluralize_count(cores, 'core')}, or is not reachable"
    )


def _choose_slot(
    slots: Sequence[_Slot], first: Sequence[_Slot], key: bytes, *, shares: bool
) -> _Slot:
    """The worker for a row with this key. *first*: all that there were; *shares*: equal rows do."""
    if not shares:
        return min(slots, key=lambda one: len(one.rows))
    # Equal rows meet in one worker, which asks once; of one that is given up, in one other.
    usual = first[int.from_bytes(key[:8], "big") % len(first)]
    return usual if usual in slots else max(slots, key=lambda one: hash((one, key)))


def _cluster_error(error: Exception) -> ConfigError:
    return ConfigError(f"the cluster failed: {to_one_line(error)[:500]}")


def _sum_by_endpoint(every: Iterable[EndpointProgress]) -> tuple[EndpointProgress, ...]:
    sums: dict[str, EndpointProgress] = {}
    for one in every:
        before = sums.get(one.name)
        sums[one.name] = one if before is None else _sum_progress(before, one)
    return tuple(sums.values())


def _sum_progress(one: EndpointProgress, other: EndpointProgress) -> EndpointProgress:
    """How busy an endpoint is, with the calls of two workers."""
    allowed = None if None in (one.allowed, other.allowed) else one.allowed + other.allowed  # type: ignore[operator]
    return EndpointProgress(
        one.name,
        one.in_flight + other.in_flight,
        one.waiting + other.waiting,
        allowed,
        one.rate_limited + other.rate_limited,
    )
