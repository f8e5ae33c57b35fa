"""Runs the answers of calls in the order of the queue, within their deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from mixtura.core.errors import DeadlineExceededError, MixturaError
from mixtura.core.events import Event
from mixtura.core.types import Completion, seed_of_draw
from mixtura.engine.provider_data_cache import ProviderDataCache
from mixtura.engine.streaming import Recorder
from mixtura.engine.task_groups import gather_all
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.validation import with_call_ids
from mixtura.server.disconnects import call_after_current_step
from mixtura.server.error_statuses import api_error_for
from mixtura.server.fair_queue import FairQueue
from mixtura.server.job import Job
from mixtura.server.job_recorder import JobRecorder

SHUTDOWN_TIMEOUT = 5.0
"""Seconds that runs have to end once they are cancelled."""
NO_LOGPROBS = "the model that writes the answer gives no log-probabilities"

OnAnswerEvent = Callable[[int, Event], None]
"""Called with the number of the answer and each event of its run."""


class JobRunner:
    """The calls under way, which take turns in *queue*."""

    def __init__(self, queue: FairQueue, recorder: JobRecorder) -> None:
        self._queue = queue
        self._recorder = recorder
        # Many clients do not send back what upstreams want back.
        self._memory = ProviderDataCache()
        self._running: set[asyncio.Task[Any]] = set()
        self._ending = False

    async def run_job(self, job: Job, watch: OnAnswerEvent | None = None) -> list[Completion]:
        """
        Every answer that the call asks for, its events given to *watch*. Raises ApiError for every
        error of a run.
        """
        failed: MixturaError | ApiError | None = None
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            answers = await self._run_within_deadline(job, watch)
            if job.call.request.extra.get("logprobs") and not all(a.logprobs for a in answers):
                if not job.call.stream:
                    raise no_logprobs_error()
                job.left_out.append(NO_LOGPROBS)  # the answer is out already
            return answers
        except (MixturaError, ApiError) as error:
            failed = error
            raise api_error_for(error) from None
        except asyncio.CancelledError:
            # Cancelled by the server's end alone: then the client still gets an error.
            if not self._ending or task.uncancel() > 0:
                raise
            failed = _server_ending_error()
            raise failed from None
        finally:
            self._running.discard(task)
            self._recorder.finish_job(job, failed)

    def cancel_runs(self) -> None:
        """Cancel the calls under way: their clients get an error that says that the server ends."""
        self._ending = True
        for task in tuple(self._running):
            task.cancel()

    async def end_runs(self) -> None:
        """Cancel the calls under way, and wait until they have ended."""
        self.cancel_runs()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=SHUTDOWN_TIMEOUT)

    def hold_turn(self, client: str) -> AbstractAsyncContextManager[None]:
        """A turn in the queue, for a call that is no job."""
        return self._queue.hold_slot(client)

    @property
    def running_count(self) -> int:
        """Calls under way."""
        return len(self._running)

    async def _run_within_deadline(self, job: Job, watch: OnAnswerEvent | None) -> list[Completion]:
        """
        The answers. Raises DeadlineExceededError when they take longer; waiting for a turn counts.
        """
        clock = asyncio.timeout(job.deadline)
        try:
            async with clock:
                return await self._run_all_choices(job, watch)
        except TimeoutError:
            if not clock.expired():
                raise
            raise DeadlineExceededError(f"no answer within {job.deadline:g} s") from None

    async def _run_all_choices(self, job: Job, watch: OnAnswerEvent | None) -> list[Completion]:
        first, *others = (self._run_choice(job, choice, watch) for choice in range(job.call.n))
        if not others:
            return [await first]
        return await gather_all((first, *others))

    async def _run_choice(self, job: Job, choice: int, watch: OnAnswerEvent | None) -> Completion:
        # Each answer of a call waits for itself: `n` gives a client no more than its turn.
        async with self._queue.hold_slot(job.client.name):
            recorder = Recorder(partial(watch, choice) if watch else None)
            job.recorders[choice] = recorder
            if self._recorder.stores_runs:
                # the calls go out first
                call_after_current_step(partial(self._recorder.record_start, job, choice))
            request = job.call.request_for_choice(choice)
            if choice:
                # One seed for all would give the same answer n times.
                seed = seed_of_draw(request.sampling.seed, choice)
                sampling = replace(request.sampling, seed=seed)
                request = replace(request, draw=choice, sampling=sampling)
            request = self._memory.restore_request(job.client.name, request)
            answer = await job.model.complete(request, recorder)
            answer = with_call_ids(answer, f"call_{job.run_ids[choice].replace('-', '')}_")
            self._memory.remember_answer(job.client.name, request, answer.message)
            return answer


def no_logprobs_error() -> ApiError:
    """The error for a call that wants log-probabilities of a model that gives none."""
    return ApiError(400, NO_LOGPROBS, param="logprobs", code="unsupported_value")


def _server_ending_error() -> ApiError:
    message = "the server is ending: ask again in a moment"
    return ApiError(503, message, kind="api_error", code="server_ending", retry_after=1)
