"""Connections belong to an event loop: made in it when they are needed, closed with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")


class PerLoop(Generic[T]):
    """One *T* for each event loop that asks for it; *close* is called when the loop ends."""

    def __init__(self, create: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._create = create
        self._close = close
        self._made: WeakKeyDictionary[asyncio.AbstractEventLoop, T] = WeakKeyDictionary()
        self._holders: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[T, None]] = (
            WeakKeyDictionary()
        )

    async def get(self) -> T:
        """The running loop's own."""
        loop = asyncio.get_running_loop()
        if (found := self._made.get(loop)) is None:
            # asyncio.run closes the async generators of its loop: this one holds what was made.
            holder = self._hold_until_closed(loop)
            found = await anext(holder)
            self._holders[loop] = holder
        return found

    async def close(self) -> None:
        """Close the running loop's own, if there is one; the next ``get`` makes another."""
        if (holder := self._holders.get(asyncio.get_running_loop())) is not None:
            await holder.aclose()

    async def _hold_until_closed(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[T, None]:
        made = self._made[loop] = self._create()
        try:
            yield made
        finally:
            self._made.pop(loop, None)
            self._holders.pop(loop, None)
            await self._close(made)
