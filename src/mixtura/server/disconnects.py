"""Runs the work of a request until its client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


def call_after_current_step(then: Callable[[], None]) -> None:
    """Call *then* after the first step of every task that is about to begin."""
    loop = asyncio.get_running_loop()
    # Twice: the first round of the loop starts those tasks, the second is behind them.
    loop.call_soon(loop.call_soon, then)


async def run_until_disconnect(run: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """
    The result of *run*; None when the client disconnected, and then *run* is cancelled.

    Watching begins after the first step of *run*: its calls to models go out before that.
    """
    task = asyncio.current_task()
    assert task is not None
    watch: asyncio.Future[None] | None = None
    left = over = False

    def on_disconnect(_: asyncio.Future[None]) -> None:
        nonlocal left
        # The run may have ended in the same step of the loop.
        if not over:
            left = True
            task.cancel()

    def start_watching() -> None:
        nonlocal watch
        if over:
            return
        watch = asyncio.ensure_future(_wait_for_disconnect(receive))
        watch.add_done_callback(on_disconnect)

    call_after_current_step(start_watching)
    try:
        return await run
    except asyncio.CancelledError:
        if not left:
            raise
        # The cancellation was ours, and ends here: the caller goes on.
        task.uncancel()
        return None  # even if something else cancelled it too
    finally:
        over = True
        if watch is not None:
            watch.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass
