"""A queue that runs so many calls at once and serves its clients in turn."""

from __future__ import annotations

from mixtura.engine.wait_queue import WaitQueue
from mixtura.server.apis.base import ApiError

RETRY_SECONDS = 5.0
"""Seconds after which a client that was turned away may try again."""


class FairQueue:
    """
    A queue of runs: *at_once* go on together, *waiting* more may wait.

    Turns go round by client, not by who asks most. When the queue is full, the client with the
    most in it makes room for one with fewer.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._room = waiting
        self._queue = WaitQueue[None](lambda _: self.release_slot())
        self.inside = 0

    @property
    def waiting_count(self) -> int:
        return len(self._queue)

    def hold_slot(self, who: str) -> Slot:
        """
        Wait for a turn and hold it in a block. Raises ApiError (503) when too many wait already.
        """
        return Slot(self, who)

    async def acquire_slot(self, who: str) -> None:
        """Return when it is *who*'s turn. Raises ApiError (503) when too many wait already."""
        if self.inside < self._at_once:
            self.inside += 1
            return
        if self.waiting_count >= self._room:
            self._make_room(who)
        await self._queue.wait(self._queue.join(who, None))

    def release_slot(self) -> None:
        """Hand the turn to the client that has waited longest since its last one."""
        if (one := self._queue.next_in_turn()) is not None:
            self._queue.let_in(one)
        else:
            self.inside -= 1

    def _make_room(self, who: str) -> None:
        """The last in the longest line goes, if that is not *who*'s own. Raises ApiError."""
        lengths = self._queue.count_per_key()
        longest = max(lengths, key=lambda name: lengths[name], default=who)
        if longest == who or lengths[longest] <= lengths.get(who, 0) + 1:
            raise _queue_full_error()
        self._queue.refuse(self._queue.last_of(longest), _queue_full_error())


class Slot:
    """A turn that is held in a block."""

    def __init__(self, queue: FairQueue, who: str) -> None:
        self._queue = queue
        self._who = who

    async def __aenter__(self) -> None:
        await self._queue.acquire_slot(self._who)

    async def __aexit__(self, *_: object) -> None:
        self._queue.release_slot()


def _queue_full_error() -> ApiError:
    said = "too many requests are waiting already"
    return ApiError(
        503, said, kind="overloaded_error", code="overloaded", retry_after=RETRY_SECONDS
    )
