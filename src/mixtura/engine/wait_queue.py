"""
Callers that wait for their turn: the one queue under rate limits, the server's runs and caps.

A ``WaitQueue`` knows the order of the waiting and how a turn is handed over, nothing of what they
wait for: its owner counts places, tokens or money and says who goes in. What else is called a
queue here holds work, not callers: the records and settlements of ``storage``, which a thread
takes, the events of ``engine.streaming`` and the calls of a local model's process.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Waiter(Generic[T]):
    """A caller in a queue: whose it is, and what the queue's owner knows *about* it."""

    __slots__ = ("about", "key", "turn")

    def __init__(self, key: str, about: T, turn: asyncio.Future[None]) -> None:
        self.key = key
        self.about = about
        self.turn = turn


class WaitQueue(Generic[T]):
    """
    Keys take turns; within a key those go first that came first.

    A caller is let in or refused once, or it leaves. *give_back* is called with what is known
    about one that was let in and called off in the same moment: what it was given is free again.
    """

    def __init__(self, give_back: Callable[[T], None]) -> None:
        self._give_back = give_back
        self._lines: OrderedDict[str, deque[Waiter[T]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __iter__(self) -> Iterator[Waiter[T]]:
        """Who waits, key by key; whoever was called off just now does not."""
        return (one for line in self._lines.values() for one in line if not one.turn.done())

    def count_per_key(self) -> dict[str, int]:
        return {key: len(line) for key, line in self._lines.items()}

    def join(self, key: str, about: T) -> Waiter[T]:
        """Stand at the end of the line of *key*; `wait` has to follow at once."""
        one = Waiter(key, about, asyncio.get_running_loop().create_future())
        self._lines.setdefault(key, deque()).append(one)
        return one

    async def wait(self, one: Waiter[T]) -> None:
        """Return once *one* is let in. Raises the error with which it is refused."""
        try:
            await one.turn
        except asyncio.CancelledError:
            self._remove(one)
            if one.turn.done() and not one.turn.cancelled() and one.turn.exception() is None:
                self._give_back(one.about)
            raise

    def next_in_turn(self) -> Waiter[T] | None:
        """The first of the key that has waited longest since its last turn."""
        return next(iter(self), None)

    def last_of(self, key: str) -> Waiter[T]:
        """The last in the line of *key*. Raises KeyError where no one is in it."""
        return self._lines[key][-1]

    def let_in(self, one: Waiter[T]) -> None:
        """It is its turn; other keys come before its own is next again."""
        self._remove(one)
        if one.key in self._lines:
            self._lines.move_to_end(one.key)
        if not one.turn.done():
            one.turn.set_result(None)

    def refuse(self, one: Waiter[T], error: Exception) -> None:
        """It waits no longer: *error* is raised where it does."""
        self._remove(one)
        if not one.turn.done():
            one.turn.set_exception(error)

    def _remove(self, one: Waiter[T]) -> None:
        line = self._lines.get(one.key)
        if line is not None and one in line:
            line.remove(one)
            if not line:
                del self._lines[one.key]
