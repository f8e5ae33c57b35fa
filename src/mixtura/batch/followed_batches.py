"""Batches that may be at their providers: who waits for them, waiting for their end, reading it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.provider_forms import BatchForm, RemoteBatch, RowResult
from mixtura.core.errors import (
    MalformedError,
    ModelError,
    RateLimitedError,
    RejectedError,
    TimedOutError,
    UnavailableError,
)
from mixtura.core.text import to_one_line
from mixtura.storage.batch_journal import SubmittedBatch

LONGEST_POLL = 60.0
"""Seconds between two looks at a batch at most."""
PASSING = (UnavailableError, RateLimitedError, TimedOutError)
"""Errors that pass: what is under way at the provider goes on meanwhile."""
_ROW_NUMBER = re.compile(r"[0-9]{1,9}", re.ASCII)
RESULT_TIMEOUTS = 3
"""Times that results may not come to their end within the time of a request."""
ODD_REPLIES = 5
"""Replies in a row that say nothing of a batch's state."""


class NotAskedError(UnavailableError):
    """A batch did not answer a call, which cost nothing."""


class TimeIsUpError(NotAskedError):
    """What is not answered yet is not waited for."""


class UncertainBatchError(RejectedError):
    """
    Whether a batch answers a call cannot be found out. The call is neither sent again nor made
    live: it might be paid twice.
    """

    def __init__(self, error: ModelError) -> None:
        super().__init__(
            "a batch at the provider may have answered this call, and cannot be read"
            f" ({to_one_line(error)}): the call is not made again, since it might be paid twice."
            " To look for the batch again, add --retry-failed; to make the call live,"
            " --provider-batch off --retry-failed",
            status=error.status,
        )


class Batches(Protocol):
    """What an endpoint's batches need to know of the whole."""

    mode: Any
    gather: float
    poll: float

    @property
    def journal(self) -> CallJournal: ...
    async def run_job(self, job: Callable[[], object]) -> object: ...
    async def seconds_left(self) -> float: ...


@dataclass(slots=True)
class WaitingCall:
    """A call that someone waits for; *body* is its request."""

    call: str
    body: bytes
    answer: asyncio.Future[RowResult]


@dataclass(slots=True)
class FollowedBatch:
    """A batch whose results are waited for, each by its number in it."""

    record: SubmittedBatch
    waiting: dict[int, WaitingCall] = field(default_factory=dict[int, WaitingCall])
    fresh: bool = False
    """This process makes it."""
    closed: bool = False
    """Its results are read: who comes now would miss them."""
    task: asyncio.Task[None] | None = None

    def take_result(self, result: RowResult) -> None:
        tag, _, number = result.custom_id.rpartition("-")
        ours = tag == self.record.tag and _ROW_NUMBER.fullmatch(number)
        one = self.waiting.pop(int(number), None) if ours else None
        if one is not None and not one.answer.done():
            one.answer.set_result(result)

    def fail_waiting(self, error: Exception) -> None:
        for one in self.waiting.values():
            if not one.answer.done():
                one.answer.set_exception(error)
        self.waiting.clear()


async def wait_until_over(batches: Batches, form: BatchForm, batch: FollowedBatch) -> RemoteBatch:
    """Raises TimeIsUpError in mode ``only``: the batch stays where it is."""
    wait, called_off, odd = batches.poll, False, 0
    while True:
        try:
            remote = await form.read(batch.record.remote)
            odd = 0
            if remote.over:
                return remote
            left = await batches.seconds_left()
            if left <= 0 and batches.mode == "only":
                raise TimeIsUpError("the time limit for batches is reached")
            if left <= 0 and not called_off:
                # What is answered by then is paid and used; the rest is asked live. One that
                # was over a moment ago cannot be cancelled.
                with suppress(RejectedError, MalformedError):
                    await form.cancel(batch.record.remote)
                called_off, wait = True, batches.poll
        except TimeIsUpError:
            raise
        except PASSING:
            if batches.mode == "only" and await batches.seconds_left() <= 0:
                raise TimeIsUpError("the time limit for batches is reached") from None
            left = LONGEST_POLL
        except (MalformedError, RejectedError):
            odd += 1  # the batch is paid: one odd reply does not give it up
            if odd == ODD_REPLIES:
                raise
            left = LONGEST_POLL
        await asyncio.sleep(min(wait, left) if left > 0 else wait)
        wait = min(wait * 1.5, LONGEST_POLL)


async def seconds_to_look(batches: Batches) -> float | None:
    """How long one is looked for; None where it must be known, since calls may be made live."""
    return max(0.0, await batches.seconds_left()) if batches.mode == "only" else None


async def read_results(
    form: BatchForm, batch: FollowedBatch, remote: RemoteBatch, wait: float
) -> None:
    """Give the results to who waits for them. Raises ModelError."""
    timeouts = 0
    while True:
        try:
            await form.read_results(remote, batch.take_result)
            return
        except TimedOutError:
            timeouts += 1
            if timeouts == RESULT_TIMEOUTS:
                raise
        except PASSING:
            pass
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, LONGEST_POLL)


async def let_calls_come(batch: FollowedBatch, gather: float) -> None:
    """Results are read once: after a restart, rows ask for them one after the other."""
    before = -1
    while not batch.fresh and before < len(batch.waiting):
        before = len(batch.waiting)
        await asyncio.sleep(gather)
