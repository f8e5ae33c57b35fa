"""One run of a mixture while someone watches: shown, recorded, and how it ended."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixtura import cli
from mixtura.billing.price import total_cost
from mixtura.cli.event_log import log_event
from mixtura.config.config import Config
from mixtura.core.errors import BudgetExceededError, MixturaError, StoreError
from mixtura.core.events import Emit, Event
from mixtura.core.model import Model
from mixtura.core.text import pluralize_count
from mixtura.core.types import Completion, Request
from mixtura.engine.streaming import Recorder
from mixtura.engine.trace import Trace
from mixtura.storage.run_record import (
    Record,
    Via,
    build_run_record,
    build_started_record,
    run_outcome,
)

if TYPE_CHECKING:
    from mixtura.terminal import AnswerView


END_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""Signals that end a process: `timeout`, a service that stops, a terminal that closes."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """What answers, how a person called it, and which command asks."""

    config: Config
    model: Model
    name: str
    via: Via
    previous: str = ""
    """The run whose conversation it goes on."""

    def recorded_place(self) -> Record:
        """What is recorded of the conversation that it goes on; nothing where that is not known."""
        runs = self.config.runs
        if not runs.keeps or not self.previous:
            return {}
        with suppress(StoreError):  # a note of where a run belongs never stops it
            place = runs.conversations.place_run("", self.previous, "")
            if place.conversation:
                return {"conversation": place.conversation, "previous": place.previous}
        return {}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that is over: all that happened, and why there is no answer if there is none."""

    trace: Trace
    failure: MixturaError | None
    interrupted: bool
    run: str | None
    """Its id, where it was kept."""
    record: Record

    @property
    def exit_code(self) -> int:
        """The exit code of the command that ran it."""
        if self.interrupted:
            return cli.INTERRUPTED
        if self.failure is None:
            return cli.ANSWERED
        return cli.CAPPED if isinstance(self.failure, BudgetExceededError) else cli.NO_ANSWER


def run_and_show(
    runner: asyncio.Runner,
    asking: RunContext,
    request: Request,
    view: AnswerView | None,
    *,
    check: Callable[[Completion], MixturaError | None] | None = None,
) -> FinishedRun:
    """
    Run it and show it. A failure and a person's Ctrl-C are in what comes back.

    *check* says what is wrong with an answer that came, which fails the run.

    Raises OutputLostError when no one can read the answer any more: then the run ends.
    """
    config, place = asking.config, asking.recorded_place()
    id, started = config.runs.new_run_id(), time.time()  # noqa: A001
    _record_start(asking, request, id, started, place)
    watched = _WatchedRun(view)
    recorder = Recorder(watched)
    failure, interrupted = None, False
    try:
        runner.run(watched.run_model(asking.model, request, recorder))
    except KeyboardInterrupt:
        interrupted = True
    except MixturaError as error:
        failure = error
    finally:
        watched.close()
    trace = recorder.build_trace()
    if check and trace.completion and not failure:
        failure = check(trace.completion)
    state, error = run_outcome(trace, failure)
    whole = build_run_record(
        trace, config.usage_cost, id=id, started=started, via=asking.via, state=state, error=error,
        request=request, model=asking.name, more=place,
    )  # fmt: skip
    whole = config.runs.redact_run(whole)
    kept = config.runs.save_run(whole)
    # Only now, with all of it written down: whoever sent the signal sees the process end by it.
    if watched.end_signal:
        signal.raise_signal(watched.end_signal)
    if watched.lost:
        raise watched.lost
    return FinishedRun(trace, failure, interrupted, id if kept else None, whole)


def _record_start(
    asking: RunContext, request: Request, run: str, started: float, place: Record
) -> None:
    """Before it begins: a process that is killed leaves a run that can be seen unfinished."""
    config = asking.config
    if config.runs.keeps:
        first = build_started_record(
            request, config.usage_cost, id=run, started=started, via=asking.via, model=asking.name,
            more=place,
        )  # fmt: skip
        config.runs.record_start(first)


def format_spent(trace: Trace, config: Config) -> str:
    """What a run that was stopped has used by then, in words."""
    from mixtura.terminal import format_dollars

    usage = trace.usage
    about = "about " if usage.estimated else ""
    read = pluralize_count(usage.prompt_tokens, "token")
    money = format_dollars(total_cost(trace.charges, config.usage_cost))
    return f"{about}{read} read, {usage.completion_tokens:,} written, {money}"


class _WatchedRun:
    """A run whose events *view* shows; when no one can read them any more, the run ends."""

    def __init__(self, view: AnswerView | None) -> None:
        self._view = view
        self._task: asyncio.Task[Completion] | None = None
        self.lost: cli.OutputLostError | None = None
        self.end_signal: signal.Signals | None = None

    def __call__(self, event: Event) -> None:
        log_event(event)
        if self._view is None or self.lost:
            return
        try:
            self._view(event)
        except cli.OutputLostError as error:
            self.lost = error
            # What no one reads is not worth its price.
            if self._task:
                self._task.cancel()

    async def run_model(self, model: Model, request: Request, emit: Emit) -> None:
        self._task = asyncio.create_task(model.complete(request, emit))
        try:
            with _handle_signals(self._cancel_on_signal):
                await self._task
        # Cancelled by us: the run ends with what it has. A cancellation by anyone else is theirs.
        except asyncio.CancelledError:
            if self.lost is None and self.end_signal is None:
                raise

    def _cancel_on_signal(self, number: signal.Signals) -> None:
        """End the run as the process is to end; what it spent is still recorded."""
        self.end_signal = number
        if self._task:
            self._task.cancel()

    def close(self) -> None:
        """Close the view; what goes wrong here does not hide what went wrong before."""
        try:
            if self._view and not self.lost:
                self._view.close()
        except cli.OutputLostError as error:
            self.lost = error


@contextmanager
def _handle_signals(end: Callable[[signal.Signals], None]) -> Generator[None]:
    """In this block *end* is called in place of ending at once; what is ignored stays so."""
    loop = asyncio.get_running_loop()
    # `nohup` has SIGHUP ignored for us: that is the person's wish.
    usual = [number for number in END_SIGNALS if signal.getsignal(number) == signal.SIG_DFL]
    with suppress(NotImplementedError):  # Windows
        for number in usual:
            loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in usual:
                loop.remove_signal_handler(number)
