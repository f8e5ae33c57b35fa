"""The thread that writes a batch's journal: what comes together is committed together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from mixtura.core.errors import StoreError
from mixtura.storage.batch_journal import BatchJournal, SpentAmount, SpentTotals

T = TypeVar("T")
Call = TypeVar("Call")

GROUP_SECONDS = 0.008
"""Seconds in which answers gather for one commit, at the least: where commits take longer, the
next group gathers until the last one is written. Longer waits cost more than the commits that they
save, since nothing of a call is in the processor's cache any more once it goes on."""
FULL_CALLS = 500
"""So many are enough for a commit: they wait no longer."""
PACKED_TOGETHER = 32
"""So many calls are made into rows at once: one by one, between all else that a process does, each
took three times as long, since nothing of it was in the processor's cache any more."""

Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


CallRow = tuple[bytes, bytes, SpentAmount]
"""A call as it is written: its key, its body, what it cost."""


@dataclass(slots=True)
class _Group:
    """What is given to the thread at once."""

    lookups: list[tuple[bytes, asyncio.Future[bytes | None]]] = field(
        default_factory=list[tuple[bytes, asyncio.Future[bytes | None]]]
    )
    calls: list[bytes] = field(default_factory=list[bytes])
    """Keys and bodies in turn, as they are handed to SQLite: no object for each call."""
    kept: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])
    """What is done once each of the calls is committed."""
    spent: dict[tuple[str, str], SpentTotals] = field(
        default_factory=dict[tuple[str, str], SpentTotals]
    )
    """By kind and model."""
    jobs: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = field(
        default_factory=list[tuple[Callable[[], Any], asyncio.Future[Any]]]
    )

    def __bool__(self) -> bool:
        return bool(self.lookups or self.kept or self.spent or self.jobs)

    def add_spent(self, amount: SpentAmount) -> None:
        place = (amount.kind, amount.model)
        totals = self.spent.get(place)
        if totals is None:
            totals = self.spent[place] = SpentTotals()
        totals.add(amount)

    @property
    def amounts(self) -> list[SpentAmount]:
        """One for each kind and model."""
        return [totals.as_amount(*place) for place, totals in self.spent.items()]


class GroupWriter(Generic[Call]):
    """
    Does all that touches *journal* in one thread, for one event loop. Calls gather in the loop, are
    made into rows by *pack*, many at once, and are handed to the thread as one group; the next one
    gathers until that is committed, at the least.

    Once something could not be done nothing more is: every later call raises the same error,
    a StoreError unless it is a mistake of ours, so that what counts is never ahead of what is
    kept.
    """

    def __init__(self, journal: BatchJournal, pack: Callable[[Call], CallRow]) -> None:
        self._journal = journal
        self._pack = pack
        self._loop = asyncio.get_running_loop()
        self._calls: list[tuple[Call, asyncio.Future[None]]] = []
        """Calls that are no rows yet."""
        self._group = _Group()
        self._lookups: list[tuple[bytes, asyncio.Future[bytes | None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        """When the group is handed over."""
        self._is_writing = False
        """The thread has a group."""
        self._waits = False
        """The next one is handed over as soon as that is done."""
        self._work: SimpleQueue[_Group | None] = SimpleQueue()
        self.error: Exception | None = None
        """Why nothing more is written."""
        self.commits = 0
        self._thread = threading.Thread(target=self._do_groups, name="mixtura-journal", daemon=True)
        self._thread.start()

    async def find_call(self, key: bytes) -> bytes | None:
        """The body of a call that is kept."""
        self._check_usable()
        future = self._loop.create_future()
        self._lookups.append((key, future))
        if len(self._lookups) == 1:  # whoever else looks one up in this turn of the loop
            self._loop.call_soon(self._hand_lookups_over)
        return await future

    def keep_call(self, call: Call) -> asyncio.Future[None]:
        """Write a call down; what is returned is done once it is committed."""
        self._check_usable()
        future: asyncio.Future[None] = self._loop.create_future()
        calls = self._calls
        calls.append((call, future))
        if self._timer is None:
            self._start_timer()
        if len(calls) >= PACKED_TOGETHER:
            self.pack_calls()
            if len(self._group.kept) >= FULL_CALLS:
                self._hand_over()
        return future

    def pack_calls(self) -> None:
        """Make rows of all calls that were given."""
        calls, self._calls = self._calls, []
        group = self._group
        for call, future in calls:
            try:
                key, body, spent = self._pack(call)
            except Exception as error:  # noqa: BLE001 - whoever waits for it is told
                if not future.done():
                    future.set_exception(error)
            else:
                group.calls += (key, body)
                group.kept.append(future)
                group.add_spent(spent)

    def add_spent(self, spent: SpentAmount) -> None:
        """Write down an amount, soon."""
        if self.error is None:
            self._group.add_spent(spent)
            if self._timer is None:
                self._start_timer()

    async def run_job(self, job: Callable[[], T]) -> T:
        """What *job* returns, called in the thread after all that was given before."""
        self._check_usable()
        future: asyncio.Future[T] = self._loop.create_future()
        self._group.jobs.append((job, future))
        if self._timer is None:
            self._start_timer()
        return await future

    def close(self) -> None:
        """Write what waits, and end the thread. The journal is left open."""
        self.pack_calls()
        if self._timer is not None:
            self._timer.cancel()
        for group in (_Group(self._lookups), self._group, None):
            self._work.put(group)
        self._thread.join()

    def _check_usable(self) -> None:
        if self.error is not None:
            raise self.error

    # ---- in the loop

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(GROUP_SECONDS, self._hand_over)

    def _hand_lookups_over(self) -> None:
        lookups, self._lookups = self._lookups, []
        self._work.put(_Group(lookups))

    def _hand_over(self) -> None:
        if self._is_writing:
            self._waits = True
            return
        self.pack_calls()
        if self._timer is not None:
            self._timer.cancel()
        group, self._group, self._timer = self._group, _Group(), None
        self._is_writing, self._waits = True, False
        self._work.put(group)

    def _settle_group(self, group: _Group, kept: bool, outcomes: list[Outcome]) -> None:
        for future in group.kept if kept else ():
            if not future.done():
                future.set_result(None)
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        if not group.lookups:
            self._is_writing = False
            if self._waits:
                self._hand_over()

    # ---- in the thread

    def _do_groups(self) -> None:
        while (group := self._work.get()) is not None:
            self._do_group(group)

    def _do_group(self, group: _Group) -> None:
        outcomes: list[Outcome] = []
        kept = False
        try:
            self._check_usable()
            if group.lookups:
                self._journal.index_calls()
                found = self._journal.find_calls([key for key, _ in group.lookups])
                outcomes += [(future, found.get(key), None) for key, future in group.lookups]
            if group.kept or group.spent:
                self._journal.keep_calls(group.calls, group.amounts)
                self.commits += 1
                kept = True
            for job, future in group.jobs:
                outcomes.append((future, job(), None))
        except StoreError as error:
            self.error = error
        except OSError as error:
            self.error = StoreError(f"{error.filename or 'a file'}: {error.strerror}")
        # Whatever it is: who waits for this thread is told, or would wait for ever.
        except Exception as error:  # noqa: BLE001
            self.error = error
        if self.error is not None:
            done = {id(future) for future, _, _ in outcomes}
            every = [
                *(future for _, future in group.lookups),
                *(() if kept else group.kept),
                *(future for _, future in group.jobs),
            ]
            outcomes += [(future, None, self.error) for future in every if id(future) not in done]
        # A loop that has ended has no one left who waits; what was given is written all the same.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._settle_group, group, kept, outcomes)
