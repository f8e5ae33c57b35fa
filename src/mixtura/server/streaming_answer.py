"""Streams an answer to its client while its run goes on."""

from __future__ import annotations

import asyncio
from functools import cached_property

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mixtura.core.events import Event, PositionPath, Token, ToolCallChunk
from mixtura.engine.background_work import LARGE_BYTES, run_in_thread_if_large
from mixtura.server.apis.base import ApiError, EventStreamWriter, ServedApi
from mixtura.server.apis.hosted_tools import left_out_header
from mixtura.server.disconnects import CancelOnDisconnect, call_after_current_step
from mixtura.server.event_json import event_json
from mixtura.server.job import Job
from mixtura.server.json_responses import error_response, redact_error
from mixtura.server.run_headers import failure_headers, run_id_headers
from mixtura.server.service import Service

STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # nginx would else hold frames back until its buffer is full.
    "x-accel-buffering": "no",
}


class StreamingAnswer(Response):
    """A response that sends an answer frame by frame, as the models write it."""

    def __init__(self, service: Service, api: ServedApi, job: Job) -> None:
        self._service = service
        self._api = api
        self._job = job
        self._sends_events = job.call.options.proposals
        self._frames: list[bytes] = []
        self._has_frames = asyncio.Event()
        self._started = self._sending = self._over = False
        self._error: ApiError | None = None
        self._opening: bytes | None = None
        """The first frames, once they are encoded."""
        self._sent = [0] * job.call.n
        """Characters of each answer that were sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        with CancelOnDisconnect(receive):
            await self._run_and_send(send)

    async def _run_and_send(self, send: Send) -> None:
        """The run in this task; another task, begun after its first step, sends the frames."""
        try:
            async with asyncio.TaskGroup() as group:

                def start_sending() -> None:
                    if not self._sending:
                        self._sending = True
                        group.create_task(self._send_frames(send))

                call_after_current_step(start_sending)
                try:
                    self._error = await self._run_job()
                except BaseException:
                    self._sending = True  # there is nothing to send
                    raise
                self._over = True
                self._has_frames.set()
                start_sending()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    @cached_property
    def _stream_writer(self) -> EventStreamWriter:
        return self._api.create_writer(self._job.call, self._job.response_meta)

    async def _run_job(self) -> ApiError | None:
        """The run, its frames queued; returns the error that it failed with, if it did."""
        size = self._job.size
        if size >= LARGE_BYTES:  # it may repeat the whole request
            self._opening = await run_in_thread_if_large(size, self._write_opening)
        try:
            answers = await self._service.runner.run_job(self._job, self._on_event)
        except ApiError as refused:
            return redact_error(refused)
        self._write_start_once()
        for choice, answer in enumerate(answers):
            if rest := answer.text[self._sent[choice] :]:
                says = (
                    self._stream_writer.write_refusal
                    if answer.refusal
                    else self._stream_writer.write_text
                )
                self._frames.append(says(choice, rest))
            self._frames.append(self._stream_writer.write_finish(choice, answer))
        summary = self._service.run_summary(self._job)
        self._frames.append(
            await run_in_thread_if_large(size, self._stream_writer.write_close, answers, summary)
        )
        self._service.store_answer(self._api, self._job, answers, summary)
        return None

    def _write_start_once(self) -> None:
        if not self._started:
            self._started = True
            self._frames.append(self._opening or self._write_opening())

    def _write_opening(self) -> bytes:
        return self._stream_writer.write_start()

    def _on_event(self, choice: int, event: Event) -> None:
        if type(event) is Token and not event.reasoning and _is_part_of_answer(event.at):
            if event.refusal:  # a refusal is sent whole, at the end
                return
            self._write_start_once()
            # What no event brought is sent at the end.
            self._sent[choice] += len(event.text)
            self._queue_frame(self._stream_writer.write_text(choice, event.text))
        elif type(event) is ToolCallChunk and _is_part_of_answer(event.at):
            self._write_start_once()
            self._queue_frame(self._stream_writer.write_tool_call(choice, event))
        if (
            self._sends_events
            and (data := event_json(event, self._service.config.usage_cost)) is not None
        ):
            self._write_start_once()
            when = self._job.recorders[choice].events[-1].seconds  # the time in the stored run
            if data["event"] == "run_started" and not event.at:
                data["run"] = self._job.run_ids[choice]
            data |= {"seconds": when, "choice": choice}
            self._queue_frame(self._stream_writer.write_mixtura_event(data))

    def _queue_frame(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._has_frames.set()

    async def _send_frames(self, send: Send) -> None:
        """Send frames as soon as there are any; a keep-alive frame where none come."""
        started = False
        while True:
            await self._wait_for_frames()
            over, refused = self._over, self._error
            # Nothing was sent: the error can still have its own status.
            if refused is not None and not started and not self._frames:
                await self._send_error(refused, send)
                return
            if not started:
                started = True
                headers = STREAM_HEADERS | run_id_headers(self._job)
                headers |= left_out_header(self._job.call.toolbox.left_out)
                raw = [(k.encode(), v.encode()) for k, v in headers.items()]
                await send({"type": "http.response.start", "status": 200, "headers": raw})
            if refused is not None:
                if self._sends_events:
                    self._frames.append(
                        self._stream_writer.write_mixtura_event(
                            self._service.run_summary(self._job)
                        )
                    )
                self._frames.append(self._stream_writer.write_error(refused))
            # Frames that came together go out in one write.
            body = b"".join(self._frames)
            self._frames.clear()
            await send({"type": "http.response.body", "body": body, "more_body": not over})
            if over:
                return

    async def _wait_for_frames(self) -> None:
        """Wait for frames or for the end."""
        if not self._frames and not self._over:
            try:
                async with asyncio.timeout(self._service.config.serve.keep_alive_seconds):
                    await self._has_frames.wait()
            except TimeoutError:
                self._write_keepalive()
        self._has_frames.clear()

    def _write_keepalive(self) -> None:
        # The first frames repeat a large request and are still being encoded.
        if self._opening is None and self._job.size >= LARGE_BYTES:
            return
        self._write_start_once()
        self._frames.append(self._stream_writer.write_keepalive())

    async def _send_error(self, refused: ApiError, send: Send) -> None:
        response = error_response(self._api, refused, failure_headers(self._service, self._job))
        start = {"type": "http.response.start", "status": response.status_code}
        await send(start | {"headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body})


def _is_part_of_answer(at: PositionPath) -> bool:
    """Whether a token is part of the answer: every position on its path is an aggregator's."""
    return all(position.role == "aggregator" for position in at)
