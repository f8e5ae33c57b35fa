"""So many runs at once; those that wait go in turn by client, not by who asks most."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from mixtura.server.apis.base import ApiError

RETRY_SECONDS = 5.0
"""Seconds after which a client that was turned away may try again."""


class FairQueue:
    """
    *at_once* runs go on together, *waiting* more may stand in line.

    When the line is full, whoever has most in it makes room for who has fewer.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._room = waiting
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self.inside = 0

    @property
    def waiting_count(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def hold_slot(self, who: str) -> Slot:
        """Wait for a turn and hold it. Raises ApiError (503) when too many wait already."""
        return Slot(self, who)

    async def acquire_slot(self, who: str) -> None:
        """Return when it is *who*'s turn. Raises ApiError (503) when too many wait already."""
        await self._wait_for_slot(who)
        self.inside += 1

    def release_slot(self) -> None:
        self.inside -= 1
        self._pass_on_slot()

    async def _wait_for_slot(self, who: str) -> None:
        if self._free:
            self._free -= 1
            return
        if self.waiting_count >= self._room:
            self._make_room(who)
        place = asyncio.get_running_loop().create_future()
        self._lines.setdefault(who, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self._pass_on_slot()  # the turn had come just then: the next one has it
            else:
                self._remove_waiter(who, place)
            raise

    def _make_room(self, who: str) -> None:
        """The last in the longest line goes, if that is not *who*'s own. Raises ApiError."""
        mine = len(self._lines.get(who, ()))
        longest = max(self._lines, key=lambda name: len(self._lines[name]), default=who)
        if longest == who or len(self._lines[longest]) <= mine + 1:
            raise _queue_full_error()
        place = self._lines[longest][-1]
        self._remove_waiter(longest, place)
        if not place.done():
            place.set_exception(_queue_full_error())

    def _pass_on_slot(self) -> None:
        """Hand the turn to the client that has waited longest since its last one."""
        while self._lines:
            who, line = self._lines.popitem(last=False)
            place = line.popleft()
            if line:
                self._lines[who] = line  # at the end: others are served before it is again
            if not place.done():  # else its client left in this very moment
                place.set_result(None)
                return
        self._free += 1

    def _remove_waiter(self, who: str, place: asyncio.Future[None]) -> None:
        line = self._lines.get(who)
        if line is not None and place in line:
            line.remove(place)
            if not line:
                del self._lines[who]


class Slot:
    """A turn that is held in a block."""

    def __init__(self, turnstile: FairQueue, who: str) -> None:
        self._turnstile = turnstile
        self._who = who

    async def __aenter__(self) -> None:
        await self._turnstile.acquire_slot(self._who)

    async def __aexit__(self, *_: object) -> None:
        self._turnstile.release_slot()


def _queue_full_error() -> ApiError:
    said = "too many requests wait already"
    return ApiError(
        503, said, kind="overloaded_error", code="overloaded", retry_after=RETRY_SECONDS
    )
