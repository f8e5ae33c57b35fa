"""Ends the work of a request when its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from starlette.types import Receive


def call_after_current_step(then: Callable[[], None]) -> None:
    """Call *then* after the first step of every task that is about to begin."""
    loop = asyncio.get_running_loop()
    # Twice: the first round of the loop starts those tasks, the second is behind them.
    loop.call_soon(loop.call_soon, then)


class CancelOnDisconnect:
    """
    A block that is cancelled when the client disconnects; its task goes on behind the block.

    Watching begins after the first step of the block: its calls to models go out before that.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._task: asyncio.Task[Any] | None = None
        self._watch: asyncio.Future[None] | None = None
        self._disconnected = self._over = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        call_after_current_step(self._start_watching)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._over = True
        if self._watch is not None:
            self._watch.cancel()
        if not self._disconnected or not isinstance(error, asyncio.CancelledError):
            return False
        # Ours, and it ends here, even if something else cancelled the task too.
        assert self._task is not None
        self._task.uncancel()
        return True

    def _start_watching(self) -> None:
        if not self._over:
            self._watch = asyncio.ensure_future(self._wait_for_disconnect())
            self._watch.add_done_callback(self._cancel_block)

    def _cancel_block(self, _: asyncio.Future[None]) -> None:
        # The block may have ended in the same step of the loop.
        if not self._over:
            assert self._task is not None
            self._disconnected = True
            self._task.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
