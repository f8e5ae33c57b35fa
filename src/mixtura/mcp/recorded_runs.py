"""Runs a mixture for a tool: its progress told, its run kept, its end as data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from mixtura.billing.price import total_cost
from mixtura.config.config import Config
from mixtura.core.errors import MixturaError
from mixtura.core.events import CallStarted, Event, Failure, Proposal, RunStarted
from mixtura.core.model import Model
from mixtura.core.redaction import current_redactor
from mixtura.core.text import to_one_line
from mixtura.core.types import Completion, Request
from mixtura.engine.streaming import Recorder
from mixtura.engine.trace import Trace
from mixtura.storage.run_record import build_run_record, build_started_record, run_outcome

P = ParamSpec("P")
T = TypeVar("T")
TellProgress = Callable[[float, float | None, str], Coroutine[Any, Any, None]]
"""Given how many calls are over, how many there are (None: unknown), and a line on the last."""


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A run that gave an answer: its trace, its cost in dollars, its id where it was kept."""

    answer: Completion
    trace: Trace
    cost: float | None
    run: str | None


class ProgressNotifier:
    """Tells a client of the calls of runs as they end; the telling never holds a run up."""

    def __init__(self, tell: TellProgress | None) -> None:
        self._tell = tell
        self._total = 0
        self._over = 0
        self._lines: asyncio.Queue[tuple[float, float | None, str] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ProgressNotifier:
        if self._tell:
            self._task = asyncio.create_task(self._tell_lines(self._tell))
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if self._task is None:
            return
        if kind is None:  # all that happened is told before the answer is
            self._lines.put_nowait(None)
            await self._task
        else:
            self._task.cancel()
            await asyncio.wait([self._task])

    def notice_event(self, event: Event) -> None:
        """Take in an event of a run: emitted by the engine, so it returns at once."""
        match event:
            case RunStarted(_, _, shape, at=()):
                self._total += sum(map(len, shape))
            case CallStarted(model, _, at=(seat,)) if seat.role == "aggregator":
                self._add_line(f"{model} makes one answer of the proposals")
            case Proposal(completion, at=(seat,)):
                self._over += 1
                did = "proposed an answer" if seat.role == "proposer" else "read the proposals"
                self._add_line(f"{completion.model} {did}")
            case Failure(model, error, at=(_,)):
                self._over += 1
                self._add_line(f"{model} did not answer: {error}")
            case _:
                pass

    def _add_line(self, line: str) -> None:
        # A mixture that repeats layers has more calls than its shape says.
        total = self._total if self._total > self._over else None
        self._lines.put_nowait((self._over, total, to_one_line(line)))

    async def _tell_lines(self, tell: TellProgress) -> None:
        last = 0.0
        while (line := await self._lines.get()) is not None:
            over, total, words = line
            # The protocol wants a number that grows with every notice.
            last = over if over > last else last + 0.01
            await tell(last, total, words)


async def run_recorded(
    config: Config, model: Model, name: str, request: Request, progress: ProgressNotifier, who: str
) -> ToolRun:
    """
    *model*'s answer to *request*, kept as a run by *name* of the client *who*.

    Raises what the model raises; cancelled, it ends every call first and keeps what there was.
    """
    run, started = config.runs.new_run_id(), time.time()
    recorder = Recorder(progress.notice_event)
    failure: MixturaError | None = None
    kept = False
    try:
        if config.runs.keeps:
            first = build_started_record(
                request, config.usage_cost, id=run, started=started, via="mcp", model=name, who=who
            )
            await _write_to_the_end(config.runs.record_start, first, current_redactor())
        answer = await model.complete(request, recorder)
    except MixturaError as error:
        failure = error
        raise
    finally:
        trace = recorder.build_trace()
        state, reason = run_outcome(trace, failure)
        record = build_run_record(
            trace, config.usage_cost, id=run, started=started, via="mcp", state=state,
            error=reason, request=request, model=name, who=who,
        )  # fmt: skip
        kept = await _write_to_the_end(config.runs.save_run, record, current_redactor())
    return ToolRun(
        answer, trace, total_cost(trace.charges, config.usage_cost), run if kept else None
    )


async def _write_to_the_end(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What *work* returns, done in a thread to its end: also a run that is cancelled is kept."""
    writing = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not writing.done():
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError as error:  # the SDK's task groups do it again and again
            cancelled = error
    if cancelled:
        raise cancelled
    return writing.result()
