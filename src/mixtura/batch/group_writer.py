"""The thread that writes a batch's journal: what comes together is committed together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mixtura.core.errors import StoreError
from mixtura.storage.batch_journal import BatchJournal, SpentAmount, SpentTotals

T = TypeVar("T")

GROUP_SECONDS = 0.004
"""Seconds in which answers gather for one commit. They hold no place at their endpoint then."""
BUSY_CALLS, BUSY_SECONDS = 4, 0.08
"""Where so many came in the last group, the next one gathers longer: a commit takes the processor
for as long as some hundred calls do."""
FULL_CALLS = 500
"""So many are enough for a commit: they wait no longer."""

Outcome = tuple[asyncio.Future[Any], Any, BaseException | None]


@dataclass(slots=True)
class _Group:
    """What waits for the thread."""

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


class GroupWriter:
    """
    Does all that touches *journal* in one thread, for one event loop.

    Once something could not be done nothing more is: every later call raises the same error,
    a StoreError unless it is a mistake of ours, so that what counts is never ahead of what is
    kept.
    """

    def __init__(self, journal: BatchJournal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._group = _Group()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._closed = False
        self._last_calls = 0
        self._until: float | None = None
        """Until when the group gathers."""
        self.error: Exception | None = None
        """Why nothing more is written."""
        self.commits = 0
        self._thread = threading.Thread(
            target=self._commit_groups, name="mixtura-journal", daemon=True
        )
        self._thread.start()

    async def find_call(self, key: bytes) -> bytes | None:
        """The body of a call that is kept."""
        future = self._loop.create_future()
        with self._changed:
            self._check_usable()
            self._group.lookups.append((key, future))
            if len(self._group.lookups) == 1:
                self._changed.notify()
        return await future

    def keep_call(self, key: bytes, body: bytes, spent: SpentAmount) -> asyncio.Future[None]:
        """Write a call down; what is returned is done once it is committed."""
        future: asyncio.Future[None] = self._loop.create_future()
        with self._lock:
            self._check_usable()
            group = self._group
            group.calls += (key, body)
            group.kept.append(future)
            group.add_spent(spent)
            # Nothing changes for a thread that gathers: woken for each call, it took turns with
            # the loop each time.
            if len(group.kept) in (1, FULL_CALLS):
                self._changed.notify()
        return future

    def add_spent(self, spent: SpentAmount) -> None:
        """Write down an amount, soon."""
        with self._changed:
            if self.error is None:
                self._group.add_spent(spent)
                self._changed.notify()

    async def run_job(self, job: Callable[[], T]) -> T:
        """What *job* returns, called in the thread after all that was given before."""
        future: asyncio.Future[T] = self._loop.create_future()
        with self._changed:
            self._check_usable()
            self._group.jobs.append((job, future))
            self._changed.notify()
        return await future

    def close(self) -> None:
        """Write what waits, and end the thread. The journal is left open."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _check_usable(self) -> None:
        if self.error is not None:
            raise self.error

    def _commit_groups(self) -> None:
        while group := self._next_group():
            self._do_group(group)

    def _next_group(self) -> _Group | None:
        with self._changed:
            self._changed.wait_for(lambda: self._group or self._closed)
            if not self._group:
                return None
            now = time.monotonic()
            if self._until is None:
                busy = self._last_calls >= BUSY_CALLS
                self._until = now + (BUSY_SECONDS if busy else GROUP_SECONDS)
            if not self._changed.wait_for(self._is_urgent, self._until - now):
                return self._take_group()
            if not self._group.lookups or self._closed:
                return self._take_group()
            # Who looks a call up waits for no one, and what gathers goes on gathering.
            lookups, self._group.lookups = self._group.lookups, []
            return _Group(lookups)

    def _take_group(self) -> _Group:
        group, self._group, self._until = self._group, _Group(), None
        self._last_calls = len(group.kept)
        return group

    def _is_urgent(self) -> bool:
        group = self._group
        return self._closed or bool(group.lookups) or len(group.kept) >= FULL_CALLS

    def _do_group(self, group: _Group) -> None:
        outcomes: list[Outcome] = []
        kept: list[asyncio.Future[None]] = []
        try:
            self._check_usable()
            if group.lookups:
                self._journal.index_calls()
                found = self._journal.find_calls([key for key, _ in group.lookups])
                outcomes += [(future, found.get(key), None) for key, future in group.lookups]
            if group.kept or group.spent:
                self._journal.keep_calls(group.calls, group.amounts)
                self.commits += 1
                kept = group.kept
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
                *(group.kept if not kept else ()),
                *(future for _, future in group.jobs),
            ]
            outcomes += [(future, None, self.error) for future in every if id(future) not in done]
        # A loop that has ended has no one left who waits; what was given is written all the same.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(_settle, outcomes, kept)


def _settle(outcomes: list[Outcome], kept: list[asyncio.Future[None]]) -> None:
    for future in kept:
        if not future.done():
            future.set_result(None)
    for future, result, error in outcomes:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
