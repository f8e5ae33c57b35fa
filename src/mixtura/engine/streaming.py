"""A run with its events as they happen; leaving its block cancels it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from mixtura.core.arguments import check_function, check_kind
from mixtura.core.events import Emit, Event
from mixtura.core.model import Model, ask_model, check_model
from mixtura.core.types import Completion, Request
from mixtura.engine.trace import TimedEvent, Trace, TraceBuilder


class Recorder:
    """
    Keeps every event with the seconds since the start; *then* is called with each, too. Raises
    TypeError where *then* is no function.
    """

    def __init__(
        self, then: Emit | None = None, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if then is not None:
            check_function("then", then, "a function of an event")
        self._then = then
        self._clock = clock
        self._start = clock()
        self._fold = TraceBuilder()
        self.events: list[TimedEvent] = []

    def __call__(self, event: Event) -> None:
        seconds = self._clock() - self._start
        self.events.append(TimedEvent(seconds, event))
        self._fold.add_event(seconds, event)
        if self._then:
            self._then(event)

    def build_trace(self) -> Trace:
        """What is known by now, also of a run that failed or was left."""
        return self._fold.build_trace(self._clock() - self._start)


class Run:
    """
    A completion under way: iterate its events, then wait for its answer. Either raises what the
    run raised, and RuntimeError for a run that was cancelled, as by leaving its block.

    Each event is given once: several loops over one run share them.
    """

    def __init__(self, task: asyncio.Task[Completion], queue: asyncio.Queue[Event | None]) -> None:
        self._task = task
        self._queue = queue

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event
        self._queue.put_nowait(None)  # for another loop, which would else wait for ever
        await self.wait_for_answer()  # a run that failed fails here too

    async def wait_for_answer(self) -> Completion:
        """
        The whole answer. Raises what the run raised, and RuntimeError where it was cancelled.
        """
        if self._task.done() and self._task.cancelled():
            # Not CancelledError: whoever asks was not cancelled, and a task group would hide it.
            raise RuntimeError(
                "the run was cancelled before it had answered: its events and its answer are read"
                " within `async with streamed(…)`"
            )
        return await self._task


def streamed(model: Model, request: Request) -> AbstractAsyncContextManager[Run]:
    """
    Run *model* and watch: ``async with streamed(m, r) as run: async for event in run: ...``

    Leaving the block early cancels every call in flight. Raises what the run raises, where its
    events or its answer are read; TypeError at once for what is no model or no request.
    """
    check_model("model", model)
    check_kind("request", request, Request, 'a Request, as in ask("Why?")')
    return _watch_run(model, request)


@asynccontextmanager
async def _watch_run(model: Model, request: Request) -> AsyncGenerator[Run, None]:
    queue: asyncio.Queue[Event | None] = asyncio.Queue()
    task = asyncio.create_task(ask_model(model, request, queue.put_nowait))
    # Also when it fails: whoever iterates must not wait for ever.
    task.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        yield Run(task, queue)
    finally:
        task.cancel()
        # Until its calls have really ended: none may outlive the block.
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # retrieved: asyncio would else log that no one did
