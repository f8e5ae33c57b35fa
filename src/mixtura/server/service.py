"""Service: what the routes share. It creates jobs; its parts choose, run, count and store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.types import Scope

from mixtura.config.config import Config
from mixtura.config.model_lists import ModelLists
from mixtura.core.model import get_model_info
from mixtura.core.text import to_one_line
from mixtura.core.types import Completion, Json, Request
from mixtura.engine.background_work import estimate_request_bytes, run_in_thread_if_large
from mixtura.engine.conversation_window import conversation_window
from mixtura.server.access import ApiClient, Authenticator
from mixtura.server.apis.base import ApiCall, ServedApi
from mixtura.server.call_models import CallModels
from mixtura.server.event_json import summary_json
from mixtura.server.fair_queue import FairQueue
from mixtura.server.job import Job
from mixtura.server.job_recorder import JobRecorder
from mixtura.server.job_runner import JobRunner, no_logprobs_error
from mixtura.server.metrics import Metrics
from mixtura.server.metrics_by_client import MetricsByClient
from mixtura.server.model_choice import MixtureChooser
from mixtura.server.served_batches import ServedBatches
from mixtura.server.stored_responses import StoredResponses
from mixtura.server.truncation import truncate_request
from mixtura.storage.write_queue import StoreWriter

MODEL_LIST_TIMEOUT = 0.5
"""Seconds that a request waits for endpoints that list the context windows of their models."""


SEARCHES_AT_ONCE = 2
"""Searches of kept runs that are made beside each other; others wait, and hold no thread."""


class Service:
    """Creates jobs for calls; its attributes run, count and store them."""

    def __init__(
        self,
        config: Config,
        authenticator: Authenticator,
        *,
        max_cost: float | None = None,
        deadline: float | None = None,
    ) -> None:
        self.config = config
        self.authenticator = authenticator
        self.chooser = MixtureChooser(config)
        self.lists = ModelLists(config)
        most = int(config.serve.largest_megabytes * 1024**2)
        self.responses = StoredResponses(
            config.responses, most=most, locked=authenticator.is_key_required
        )
        queue = FairQueue(config.serve.at_once, config.serve.waiting)
        writer = StoreWriter(config.runs)
        self.batches = ServedBatches(
            config, authenticator, self.chooser, max_cost=max_cost, deadline=deadline
        )
        whole = Metrics(
            queue,
            {"run": writer, "response": self.responses.writer},
            self.batches.counts,
        )
        self.metrics = MetricsByClient(whole, self.chooser, config.usage_cost)
        self._searches = asyncio.Semaphore(SEARCHES_AT_ONCE)
        self._models = CallModels(config, max_cost, deadline)
        self.recorder = JobRecorder(
            config, writer, self.metrics, has_keys=authenticator.is_key_required
        )
        self.runner = JobRunner(queue, self.recorder)

    async def close(self) -> None:
        """Return when every run has ended and is on the disk."""
        # In this order: what ends here still has to be recorded and written.
        await self.batches.close()
        await self.runner.end_runs()
        self.recorder.record_finished_jobs()
        self.lists.close()
        await asyncio.to_thread(self.recorder.close)
        await asyncio.to_thread(self.responses.close)

    def relearn_models(self) -> None:
        """Choose anew among the models that there are: a key or a model has come."""
        registry = self.config.registry
        registry.allow_commands(registry.use_commands)
        self.config.builder.forget_built()
        self.chooser.forget_choices()
        self._models.forget_models()

    def find_owner(self, scope: Scope) -> str | None:
        """Whose runs a client sees: its own where there are keys, else all on the machine."""
        authenticator = self.authenticator
        if not authenticator.is_key_required:
            return None
        return authenticator.authenticate_request(scope).name

    def hold_search(self, words: str | None) -> AbstractAsyncContextManager[object]:
        """A turn for what looks for *words*: only some threads look through all texts at once."""
        return self._searches if words else nullcontext()

    async def wait_until_written(self) -> None:
        """Wait a moment until finished runs are on the disk: for readers of runs."""
        await self.recorder.wait_until_written()

    def create_job(self, call: ApiCall, client: ApiClient, *, size: int) -> Job:
        """
        The job of a call. *size*: bytes of the body.

        Raises ApiError when there is no such mixture, the client may not use it, or it cannot
        answer so.
        """
        choice = self.chooser.choose_mixture(call, client)
        model, deadline = self._models.build_model(choice, call.options, client)
        wants_logprobs = call.request.extra.get("logprobs")
        if wants_logprobs and "logprobs" in get_model_info(model).refused_parameters:
            raise no_logprobs_error()
        return Job(call, client, choice, model, deadline, self.config.runs.new_run_id, size)

    async def fit_to_window(self, job: Job) -> None:
        """Drop the oldest messages that do not fit: only for a call that allows it."""
        plan = job.choice.plan
        await self.lists.learn_context_windows(
            [job.choice.name, *plan.member_names()], timeout=MODEL_LIST_TIMEOUT
        )
        if (window := conversation_window(self.config.build_mixture(plan))) is None:
            return
        whole = job.call.request
        request, gone = await run_in_thread_if_large(
            estimate_request_bytes(whole), truncate_request, whole, window
        )
        if gone:
            job.call = replace(job.call, request=request)
            job.left_out.append(
                f"the {gone} oldest messages: with them the conversation is larger than the"
                f" {window} tokens that there is room for"
            )

    def run_summary(self, job: Job) -> dict[str, Any]:
        """The ``mixtura`` object of the answer."""
        summary = summary_json(job.run_traces(), self.config.usage_cost)
        summary["notices"] = [*job.call.notices, *summary["notices"]]
        left_out = map(to_one_line, (*job.call.left_out, *job.left_out))
        summary["left_out"] = [*summary["left_out"], *left_out]
        return summary | {"routed_to": job.choice.name} if job.choice.is_for_front_end else summary

    def store_answer(
        self, api: ServedApi, job: Job, answers: Sequence[Completion], summary: Json
    ) -> None:
        """Store an answer for later calls, if its call asks for it; returns at once."""
        if job.call.store is not None:
            call = replace(job.call, request=Request(()))  # it may have a whole conversation
            make = partial(api.response_body, call, answers, job.response_meta, summary)
            size = job.size + sum(len(answer.text) for answer in answers)
            self.responses.store_answer(call, job.client, size, make, job.redactor)
