"""Counts the runs of calls in the metrics and stores them."""

from __future__ import annotations

import asyncio
from functools import partial

from mixtura.config.config import Config
from mixtura.core.errors import MixturaError
from mixtura.core.types import Request
from mixtura.engine.trace import CallTrace as AskedCall
from mixtura.engine.trace import Trace
from mixtura.server.apis.base import ApiError
from mixtura.server.job import Job
from mixtura.server.metrics_by_client import MetricsByClient
from mixtura.storage.run_record import (
    Record,
    State,
    build_run_record,
    build_started_record,
    run_outcome,
)
from mixtura.storage.write_queue import StoreWriter

RECORD_DELAY = 0.02
"""Seconds after which a run that has ended is counted and stored."""
FLUSH_TIMEOUT = 1.0
"""Seconds that a reader of runs waits for those that are being written."""


class JobRecorder:
    """Holds jobs that have ended until their runs are counted and stored."""

    def __init__(
        self, config: Config, writer: StoreWriter, metrics: MetricsByClient, *, has_keys: bool
    ) -> None:
        """*has_keys*: clients have keys, so that runs are stored with their clients' names."""
        self._config = config
        self._writer = writer
        self._metrics = metrics
        self._has_keys = has_keys
        self._finished: list[Job] = []

    @property
    def stores_runs(self) -> bool:
        """Whether runs are stored."""
        return self._config.runs.keeps

    def close(self) -> None:
        """Return when all runs are on the disk."""
        self._writer.close()

    def finish_job(self, job: Job, failed: MixturaError | ApiError | None) -> None:
        """Charge the client now; count and store the runs shortly after, behind the answer."""
        job.over, job.failed = job.run_traces(), failed
        used = sum(trace.usage.total_tokens for _, trace in job.over)
        # At once: the next request of this client must find its limit used up.
        job.client.record_token_usage(used - job.reserved)
        self._finished.append(job)
        # Behind the answer: counting and encoding would delay its last frames.
        asyncio.get_running_loop().call_later(RECORD_DELAY, self.record_finished_jobs)

    def record_finished_jobs(self) -> None:
        """Count and store at once the runs that have ended, so that no reader misses one."""
        while self._finished:
            job = self._finished.pop(0)
            failed = job.failed if isinstance(job.failed, MixturaError) else None
            for number, trace in job.run_traces():
                state, reason = run_outcome(trace, failed)
                self._metrics.record_run(job, trace, state)
                if self.stores_runs:
                    size = job.size + sum(map(_record_bytes, trace.leaf_calls()))
                    request = job.call.request_for_choice(job.run_ids.index(number))
                    make = partial(self._make_record, job, request, number, trace, state, reason)
                    self._writer.queue_finish(number, size, make, job.redactor)

    async def wait_until_written(self) -> None:
        """For readers of runs: wait until finished runs are stored, at most FLUSH_TIMEOUT."""
        self.record_finished_jobs()
        if self._writer.waiting_count:
            await asyncio.to_thread(self._writer.flush, FLUSH_TIMEOUT)

    def record_start(self, job: Job, choice: int) -> None:
        """
        Store that a run has begun, unless the call is over: a killed process leaves it unfinished.
        """
        if job.over is None:
            number = job.run_ids[choice]
            make = partial(
                build_started_record, job.call.request_for_choice(choice), self._config.usage_cost,
                id=number, started=job.started, via="serve", model=job.call.model,
                who=self._owner_name(job), more=job.recorded_fields(),
            )  # fmt: skip
            self._writer.queue_start(number, job.size, make, job.redactor)

    def _owner_name(self, job: Job) -> str:
        return job.client.name if self._has_keys else ""

    def _make_record(
        self,
        job: Job,
        request: Request,
        number: str,
        trace: Trace,
        state: State,
        reason: str | None,
    ) -> Record:
        """The record of a run; made in the writer's thread, as it may take a while."""
        return build_run_record(
            trace,
            self._config.usage_cost,
            id=number,
            started=job.started,
            via="serve",
            state=state,
            error=reason,
            request=request,
            model=job.call.model,
            who=self._owner_name(job),
            more=job.recorded_fields(),
        )


def _record_bytes(call: AskedCall) -> int:
    """About how much memory a call's own texts take until they are written."""
    return len(call.text) + 64 * len(call.pieces) + 1000
