"""The timeouts of one call: how long an upstream is waited for, over all attempts at it."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from mixtura.core.arguments import NumberField, check_number_fields
from mixtura.core.context_values import hold_value
from mixtura.core.quantities import SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class CallTimeouts:
    """
    How long to wait for an upstream, in seconds; ``None`` waits for ever.

    *first_token* runs from the request's end to the first piece of the answer, *progress*
    between pieces (comments and keep-alives do not count), *total* over the whole call, from
    its first request to the end of its last: retries and second copies are in it. Raises TypeError
    and ValueError for seconds that are none.
    """

    connect: float | None = 10.0
    first_token: float | None = 60.0
    progress: float | None = 60.0
    total: float | None = 600.0

    def __post_init__(self) -> None:
        check_number_fields(self, *_CLOCKS)


_CLOCKS = tuple(NumberField(name, SECONDS) for name in CallTimeouts.__slots__)


@dataclass(slots=True)
class CallDeadline:
    """The time of one call to the model *name*, over all attempts at it."""

    name: str
    ends: float | None = None
    """When it is over, by the loop's clock; set when its first request is sent."""

    def is_over_after(self, wait: float = 0.0) -> bool:
        """Whether nothing can be asked any more after *wait* seconds."""
        return self.ends is not None and asyncio.get_running_loop().time() + wait >= self.ends


_CURRENT_CALL: ContextVar[CallDeadline | None] = ContextVar("call", default=None)


@contextmanager
def call_scope(name: str, *, anew: bool = False) -> Generator[CallDeadline]:
    """
    All that the model *name* is asked in this block is one call, also where it is a part of
    another such block; *anew* begins one in any case.
    """
    clock = _CURRENT_CALL.get()
    if clock is not None and clock.name == name and not anew:
        yield clock
        return
    clock = CallDeadline(name)
    with hold_value(_CURRENT_CALL, clock):
        yield clock


class RequestTimer:
    """
    The nearest of the timeouts that are running, over one request.

    A piece only notes when it came: the deadline looks at that note when it is due, which
    costs a tenth of moving it with every piece.
    """

    def __init__(self, timeouts: CallTimeouts) -> None:
        self._timeouts = timeouts
        self._loop = asyncio.get_running_loop()
        self._scope: asyncio.Timeout | None = None
        self._end: float | None = None
        self._begun = False
        self._last = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def start(self, scope: asyncio.Timeout) -> None:
        """Run from now on; *scope* expires when a clock has run out."""
        self._scope = scope
        self._last = self._loop.time()
        if self._timeouts.total is not None:
            self._end = self._last + self._timeouts.total
            if (call := _CURRENT_CALL.get()) is not None:
                call.ends = self._end = self._end if call.ends is None else call.ends
        self._check_deadline()

    def note_progress(self) -> None:
        """A piece of the answer came."""
        self._last = self._loop.time()
        if not self._begun:  # another clock runs from now on
            self._begun = True
            self.stop()
            self._check_deadline()

    def stop(self) -> None:
        """The request is over."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _check_deadline(self) -> None:
        """Expire when the nearest clock has run out; else look again when it would."""
        assert self._scope is not None
        clock = self._timeouts.progress if self._begun else self._timeouts.first_token
        ends = (self._end, None if clock is None else self._last + clock)
        due = min((end for end in ends if end is not None), default=None)
        if due is None:
            return
        if due <= self._loop.time():
            self._scope.reschedule(self._loop.time())
        else:
            self._alarm = self._loop.call_at(due, self._check_deadline)

    def timeout_reason(self) -> str:
        if self._end is not None and self._loop.time() >= self._end:
            return f"not finished within {self._timeouts.total} s"
        if self._begun:
            return f"stalled: no new data for {self._timeouts.progress} s"
        return f"no first token within {self._timeouts.first_token} s"
