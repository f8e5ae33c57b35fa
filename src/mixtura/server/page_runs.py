"""Runs that were begun on the page: they go on when it leaves, until they end or are stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Scope

from mixtura.core.errors import ConfigError
from mixtura.core.model import Model
from mixtura.engine.kept_drafts import KeptDrafts, reuse_drafts
from mixtura.engine.run_control import ControlError, RunControl, control_run
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.validation import decode_fields
from mixtura.server.endpoint import handle_request
from mixtura.server.error_statuses import translate_store_errors
from mixtura.server.job import PLACE_KEY
from mixtura.server.json_responses import json_response
from mixtura.server.request_body import receive_body
from mixtura.server.served_apis import BUILT_IN
from mixtura.server.service import Service
from mixtura.server.streaming_answer import STREAM_HEADERS
from mixtura.storage.turns import TurnPlace

MAX_ENDED_RUNS = 16
"""Runs that have ended and whose events stay in memory: unread, or where no run is stored."""
READING_SECONDS = 30.0
"""How long a stored run's events wait for the page that began it; then the record has to do."""
FOLLOWED_BYTES = 256 * 1024
"""Bytes of a run's events that are sent at once."""
RUN_HEADER = b"x-mixtura-run"
SHOWN_FIRST = ("mixture", "model")
"""Whose answer stands first where two are shown without names."""


class ControlRequest(msgspec.Struct):
    """The body of ``POST /api/runs/{run}/control``."""

    action: Literal["answer_now", "leave_out", "ask_again"]
    layer: int = 1
    """From 1, of the proposer that is left out or asked again."""
    index: int = 0
    """From 0, within its layer."""
    model: str | None = None
    """Asked again: another model in its place."""


class PageRun:
    """One run under way: what it has sent so far, for everyone who follows it."""

    def __init__(self, owner: str, body: bytes, drafts: KeptDrafts | None = None) -> None:
        self.owner = owner
        self.drafts = drafts
        """Proposals that are there already."""
        self.started = time.monotonic()
        self.pieces: list[bytes] = []
        self.head: Message | None = None
        """The start of the response, once there is one."""
        self.is_over = False
        self.control = RunControl()
        self.asked_again = 0
        """Calls that were begun anew by hand."""
        self._body: bytes | None = body
        self.was_read = asyncio.Event()
        """Somebody has followed the run to its end."""
        self._stopped = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def run_id(self) -> str | None:
        """The id of the run; None before it has begun, and where it never did."""
        headers = dict(self.head["headers"]) if self.head else {}
        return headers[RUN_HEADER].decode() if RUN_HEADER in headers else None

    def stop(self) -> None:
        """End the run, as when the client of an API call disconnects."""
        self._stopped.set()

    async def receive(self) -> Message:
        """The request's body once, and then nothing until the run is stopped."""
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._stopped.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Keep what the response sends."""
        if message["type"] == "http.response.start":
            self.head = message
        elif body := message.get("body"):
            self.pieces.append(body)
        self._notify_followers()

    def mark_as_over(self) -> None:
        """Tell the followers that nothing more comes."""
        self.is_over = True
        self._notify_followers()

    async def wait_for_start(self) -> None:
        """Wait until the response has begun, or the run is over."""
        while self.head is None and not self.is_over:
            await self._changed.wait()

    async def follow_pieces(self) -> AsyncGenerator[bytes, None]:
        """Everything that was sent, from the start, and then what comes."""
        at = 0
        while True:
            changed = self._changed
            if at < len(self.pieces):
                new = bytearray()
                # Some at a time: each follower would have a copy of the whole run waiting.
                while at < len(self.pieces) and len(new) < FOLLOWED_BYTES:
                    new += self.pieces[at]
                    at += 1
                yield bytes(new)
            elif self.is_over:
                self.was_read.set()
                return
            else:
                await changed.wait()

    def _notify_followers(self) -> None:
        # A new event for the next wait: whoever waits for this one goes on.
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class PageRuns:
    """The page's runs under way, by their ids."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._runs: dict[str, PageRun] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin_run(self, service: Service, request: Request) -> Response:
        """
        ``POST /api/runs``: begins the run of a chat completion; returns its id.

        ``?conversation=``, ``?previous=`` and ``?beside=`` say which turn of which conversation it
        is, ``?blind=`` which of two answers is shown first. Raises ApiError where it cannot begin.
        """
        body = await receive_body(request.scope, request.receive, service)
        return await self.begin_with(request, body, await self._find_place(request))

    async def begin_with(
        self, request: Request, body: bytes, place: TurnPlace, drafts: KeptDrafts | None = None
    ) -> Response:
        """
        Begin the run of the chat completion in *body*, made of *drafts* where some are there.

        Raises ApiError where it cannot begin.
        """
        run = PageRun(self._client_name(request), body, drafts)
        dropped = (b"content-encoding", b"content-length")  # the body is unpacked by now
        headers = [pair for pair in request.scope["headers"] if pair[0] not in dropped]
        scope: Scope = {**request.scope, "headers": headers, PLACE_KEY: place}
        task = asyncio.create_task(self._finish_run(run, scope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await run.wait_for_start()
        if run.head is None:
            raise ApiError(500, "the run ended before it began", kind="server_error")
        if (number := run.run_id) is None or run.head["status"] != 200:
            while not run.is_over:  # an error comes whole
                await asyncio.wait((task,))
            refusal = Response(b"".join(run.pieces), run.head["status"])
            refusal.raw_headers = list(run.head["headers"])
            return refusal
        return json_response({"run": number})

    async def follow_run(self, _: Service, request: Request) -> Response:
        """``GET /api/runs/{run}/events``: a run's stream from its start, followed to its end."""
        run = self._find_run(request)
        age = f"{time.monotonic() - run.started:.3f}"
        headers = STREAM_HEADERS | {"x-mixtura-age": age}
        return StreamingResponse(run.follow_pieces(), headers=headers)

    async def stop_run(self, _: Service, request: Request) -> Response:
        """``POST /api/runs/{run}/stop``: ends a run; what is there by then is stored."""
        self._find_run(request).stop()
        return Response(status_code=204)

    async def control_run(self, service: Service, request: Request) -> Response:
        """
        ``POST /api/runs/{run}/control``: answers now, leaves one proposer out or asks it anew.

        Raises ApiError: 400 for a body that says none of it, 409 where that is not possible now,
        429 for more calls than the client may make.
        """
        run = self._find_run(request)
        body = await receive_body(request.scope, request.receive, service)
        wish = decode_fields(body, ControlRequest)
        model = self._find_model(request, wish.model) if wish.model else None
        try:
            if wish.action == "answer_now":
                run.control.answer_now()
            elif wish.action == "ask_again":
                await self._admit_call(request, run)
                run.control.ask_again(wish.layer, wish.index, model)
                run.asked_again += 1
            else:
                run.control.leave_out(wish.layer, wish.index)
        except ControlError as error:
            raise ApiError(409, str(error), code="not_possible_now") from None
        return Response(status_code=204)

    async def _admit_call(self, request: Request, run: PageRun) -> None:
        """Count a call that is begun anew as a request. Raises ApiError after too many."""
        client: ApiClient = self._service.authenticator.authenticate_request(request.scope)
        await client.admit_request()
        most = self._service.config.serve.most_calls
        if run.asked_again >= most:
            message = f"one request may make {most} calls, and that many were repeated"
            raise ApiError(409, message, code="too_many_calls")

    def _find_model(self, request: Request, name: str) -> Model:
        """The model that takes a proposer's place. Raises ApiError."""
        client: ApiClient = self._service.authenticator.authenticate_request(request.scope)
        client.require_model_access({name: "model"})
        registry = self._service.config.registry
        if name in registry.mixtures:
            raise ApiError(400, f"`{name}` is a mixture: name a model", param="model")
        if registry.is_model_path(name) or not registry.name_exists(name):
            said = f"the model `{name}` does not exist"
            raise ApiError(404, said, code="model_not_found", param="model")
        try:
            return self._service.config.model(name)
        except ConfigError as error:
            raise ApiError(400, str(error), code="not_possible", param="model") from None

    async def _find_place(self, request: Request) -> TurnPlace:
        """Where the query says that a run stands."""
        named = [
            request.query_params.get(key, "") for key in ("conversation", "previous", "beside")
        ]
        runs, who = self._service.config.runs, self._service.find_owner(request.scope)
        if not runs.keeps or not any(named):
            return TurnPlace()
        await self._service.wait_until_written()
        with translate_store_errors():
            place = await asyncio.to_thread(runs.conversations.place_run, *named, who=who)
        first = request.query_params.get("blind", "")
        return place._replace(blind=first) if place.beside and first in SHOWN_FIRST else place

    def _find_run(self, request: Request) -> PageRun:
        """The run of this client. Raises ApiError (404) where it is not under way."""
        name = request.path_params["run"]
        run = self._runs.get(name)
        if run is None or run.owner != self._client_name(request):
            raise ApiError(404, f"no run {name} is under way", code="run_not_found")
        return run

    def _client_name(self, request: Request) -> str:
        client: ApiClient = self._service.authenticator.authenticate_request(request.scope)
        return client.name

    async def _finish_run(self, run: PageRun, scope: Scope) -> None:
        async def send_and_register(message: Message) -> None:
            if message["type"] == "http.response.start":
                run.head = message
                if message["status"] == 200 and run.run_id is not None:
                    self._runs[run.run_id] = run
            await run.send(message)

        try:
            with control_run(run.control), reuse_drafts(run.drafts):
                response: Any = await handle_request(self._service, BUILT_IN[0], scope, run.receive)
                await response(scope, run.receive, send_and_register)
        finally:
            run.mark_as_over()
            await self._drop_events(run)

    async def _drop_events(self, run: PageRun) -> None:
        """Forget a run that is stored and was read, and all but the latest of those that ended."""
        if run.run_id not in self._runs:
            return
        ended = [number for number, one in self._runs.items() if one.is_over]
        for number in ended[:-MAX_ENDED_RUNS]:
            del self._runs[number]
        if self._service.config.runs.keeps:
            await self._service.wait_until_written()
            # A short run may end before the page has asked for its events.
            with suppress(TimeoutError):
                await asyncio.wait_for(run.was_read.wait(), READING_SECONDS)
            self._runs.pop(run.run_id, None)
