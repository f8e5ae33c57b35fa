"""One HTTP request to one answer: read, run, stream; a client that leaves ends its run."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from mixtura.apart import LARGE, apart, weight
from mixtura.credentials import mask_keys
from mixtura.events import Event, Place, Token, ToolPiece
from mixtura.redaction import redacted
from mixtura.server.access import header
from mixtura.server.dialect import About, Call, Dialect, Refused, Reply, Writer
from mixtura.server.encodings import TAKEN, compression, decompress
from mixtura.server.frames import frame
from mixtura.server.hosted_tools import left_out_header
from mixtura.server.service import Job, Service
from mixtura.types import Completion, Json, Request
from mixtura.wire import estimate

T = TypeVar("T")

JSON = "application/json"
WHOLE = "mixtura.whole"
"""In a request's scope: all of it had come when its turn began."""
STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
}


class Endpoint:
    """Where a dialect's calls come in, as an ASGI application."""

    def __init__(self, service: Service, dialect: Dialect) -> None:
        self._service = service
        self._dialect = dialect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await answered(self._service, self._dialect, scope, receive)
        await response(scope, receive, send)


async def answered(service: Service, dialect: Dialect, scope: Scope, receive: Receive) -> Response:
    """The response to a call in one of the dialects; an error in that dialect's own form."""
    job: Job | None = None
    try:
        client = service.doors.client(scope)
        client.admit()
        body = await received(scope, receive, service)
        read = await apart(len(body), dialect.read, body)
        call = await service.responses.ready(read, client)
        if call.reply is not None:  # what a client may not use is refused all the same
            service.chooser.choose(call, client)
            return _reply_response(call, call.reply)
        asked = 0
        if client.counts_tokens:
            size = max(len(body), weight(call.request))  # a few bytes refer to a conversation
            asked = await apart(size, _longest_prompt, call)
        job = service.job(call, client, tokens=asked, size=len(body))
        await service.fit(job)
        if job.call.stream:
            return Live(service, dialect, job)
        answers = await _unless_left(service.run(job), receive)
        if answers is None:
            return Response(status_code=499)  # no one is there to read it
        about = _about(job)
        summary = service.summary(job)
        # an answer may repeat what was asked, tools and instructions and all
        written = job.size + sum(len(answer.text) for answer in answers)
        whole = await apart(written, _whole, dialect, job.call, answers, about, summary)
        _store(service, dialect, job, answers, summary)
    except Refused as refused:
        return refusal(dialect, refused, _told(service, job))
    return Response(whole, 200, _headers(job, summary), JSON)


def _reply_response(call: Call, reply: Reply) -> Response:
    """An answer that was known without a model."""
    if call.stream:
        return Response(reply.frames, 200, {**STREAM_HEADERS, **reply.headers})
    return json_response(reply.body, headers=reply.headers)


def _whole(dialect: Dialect, *answer: Any) -> bytes:
    return msgspec.json.encode(dialect.whole(*answer))


def _longest_prompt(call: Call) -> int:
    """Tokens of the longest of a call's prompts."""
    return max(estimate(request, "").prompt_tokens for request in (call.request, *call.more))


def _store(
    service: Service, dialect: Dialect, job: Job, answers: Sequence[Completion], summary: Json
) -> None:
    """Keep an answer for later calls, if that is wanted; nobody waits for it."""
    if job.call.store is not None:
        call = replace(job.call, request=Request(()))  # it may have a whole conversation
        make = partial(dialect.whole, call, answers, _about(job), summary)
        size = job.size + sum(len(answer.text) for answer in answers)
        service.responses.keep(call, job.client, size, make, job.redactor)


def _told(service: Service, job: Job | None) -> Mapping[str, str]:
    """What a failed call's client may want to look up; nothing where nothing ran."""
    if job is None or not job.recorders:
        return {}
    return _headers(job, service.summary(job))


def _about(job: Job) -> About:
    return About(job.numbers[0].replace("-", ""), int(job.started))


async def received(scope: Scope, receive: Receive, service: Service) -> bytes:
    """The body. Raises Refused when it is no JSON, too large, or does not come."""
    table = service.config.serve
    kind = header(scope, b"content-type").partition(";")[0].strip().lower()
    if kind != JSON:
        said = f"the body must be sent as `Content-Type: {JSON}`"
        raise Refused(415, said, code="unsupported_media_type")
    packed = compression(header(scope, b"content-encoding"))
    most = int(table.largest_megabytes * 1024**2)
    told = header(scope, b"content-length")
    if told.isdigit() and int(told[:20]) > most:
        raise _too_large(table.largest_megabytes)
    try:
        wait = None if scope.get(WHOLE) else table.receive_seconds  # whole: nothing to wait for
        async with asyncio.timeout(wait):
            body = await _body(receive, table.largest_megabytes)
    except TimeoutError:
        said = f"the body did not come within {table.receive_seconds:g} s"
        raise Refused(408, said, code="request_timeout") from None
    if packed is None:
        return body
    whole = await apart(LARGE, decompress, body, packed, most)  # a few bytes may be millions
    if whole is None:
        raise _too_large(table.largest_megabytes)
    return whole


async def _body(receive: Receive, megabytes: float) -> bytes:
    most = int(megabytes * 1024**2)
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(499, "the client left")
        pieces.append(message.get("body", b""))
        most -= len(pieces[-1])
        if most < 0:
            pieces.clear()
            raise _too_large(megabytes)
        if not message.get("more_body", False):
            return b"".join(pieces)


def _too_large(megabytes: float) -> Refused:
    said = f"the body is larger than {megabytes:g} MB"
    return Refused(413, said, kind="request_too_large", code="request_too_large")


def json_response(
    data: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(msgspec.json.encode(data), status, headers, JSON)


def _safe(refused: Refused) -> Refused:
    """The same without a key in it, the client's own neither: it may repeat what was sent."""
    return Refused(
        refused.status,
        mask_keys(redacted(refused.message), names=True),
        kind=refused.kind,
        code=refused.code and redacted(refused.code),
        param=refused.param and redacted(refused.param),
        retry_after=refused.retry_after,
    )


def refusal(
    dialect: Dialect, refused: Refused, headers: Mapping[str, str] | None = None
) -> Response:
    """An error before anything was sent; *headers* of the run that failed."""
    headers = dict(headers or {})
    refused = _safe(refused)
    if refused.retry_after is not None:
        headers["retry-after"] = str(max(math.ceil(refused.retry_after), 1))
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    if refused.status == 415:
        headers["accept-encoding"] = TAKEN
    if refused.status == 413:
        headers["connection"] = "close"  # the rest of the body is not read
    return json_response(dialect.refusal(refused), status=refused.status, headers=headers)


def _headers(job: Job, summary: Mapping[str, Any]) -> dict[str, str]:
    cost = summary["cost_usd"]
    return {
        "request-id": job.numbers[0],  # where Anthropic's client looks for it
        "x-request-id": job.numbers[0],  # and OpenAI's
        "x-mixtura-run": job.numbers[0],
        "x-mixtura-degraded": "true" if summary["degraded"] else "false",
        "x-mixtura-cost-usd": "unknown" if cost is None else f"{cost:.8f}",
        "x-mixtura-failures": str(len(summary["failures"])),
        **left_out_header(job.call.toolbox.left_out),
    }


async def _left(receive: Receive) -> None:
    """Until the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _after_this_step(then: Callable[[], None]) -> None:
    """Call *then* behind the first steps of the tasks that are about to begin: the calls."""
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.call_soon, then)


async def _unless_left(run: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """
    What *run* gives; None when the client left before, and then nothing runs on.

    The watch begins after the run's first step: its calls go out before anything else is done.
    """
    me = asyncio.current_task()
    assert me is not None
    watch: asyncio.Future[None] | None = None
    left = over = False

    def gone(_: asyncio.Future[None]) -> None:
        nonlocal left
        if not over:
            left = True
            me.cancel()

    def begin() -> None:
        nonlocal watch
        if over:
            return
        watch = asyncio.ensure_future(_left(receive))
        watch.add_done_callback(gone)

    _after_this_step(begin)
    try:
        return await run
    except asyncio.CancelledError:
        if not left:
            raise
        me.uncancel()
        return None  # whoever else called it off: there is nothing more to do
    finally:
        over = True
        if watch is not None:
            watch.cancel()


class Live(Response):
    """An answer as it is written, frame by frame."""

    def __init__(self, service: Service, dialect: Dialect, job: Job) -> None:
        self._service = service
        self._dialect = dialect
        self._job = job
        self._aside = job.call.wish.proposals
        self._frames: list[bytes] = []
        self._came = asyncio.Event()
        self._begun = self._played = self._over = False
        self._refused: Refused | None = None
        self._opening: bytes | None = None
        """What an answer begins with, once that is written."""
        self._sent = [0] * job.call.n
        """Characters of each answer that went out."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await _unless_left(self._answer(send), receive)

    async def _answer(self, send: Send) -> None:
        """The run in this very task, and beside it, from after its first step, what it says."""
        try:
            async with asyncio.TaskGroup() as group:

                def play() -> None:
                    if not self._played:
                        self._played = True
                        group.create_task(self._play(send))

                _after_this_step(play)
                try:
                    self._refused = await self._run()
                except BaseException:
                    self._played = True  # there is nothing more to say
                    raise
                self._over = True
                self._came.set()
                play()
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None

    @cached_property
    def _writer(self) -> Writer:
        return self._dialect.writer(self._job.call, _about(self._job))

    async def _run(self) -> Refused | None:
        """The run; what its client is told of a failure."""
        size = self._job.size
        if size >= LARGE:  # it may repeat all that was asked
            self._opening = await apart(size, self._opened)
        try:
            answers = await self._service.run(self._job, self._watch)
        except Refused as refused:
            return _safe(refused)
        self._begin()
        for choice, answer in enumerate(answers):
            if rest := answer.text[self._sent[choice] :]:
                says = self._writer.declined if answer.refusal else self._writer.token
                self._frames.append(says(choice, rest))
            self._frames.append(self._writer.finished(choice, answer))
        summary = self._service.summary(self._job)
        self._frames.append(await apart(size, self._writer.closed, answers, summary))
        _store(self._service, self._dialect, self._job, answers, summary)
        return None

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._frames.append(self._opening or self._opened())

    def _opened(self) -> bytes:
        return self._writer.begun()

    def _watch(self, choice: int, event: Event) -> None:
        if type(event) is Token and not event.reasoning and _answers(event.at):
            if event.refusal:  # it is told once it is whole
                return
            self._begin()
            self._sent[choice] += len(event.text)
            self._put(self._writer.token(choice, event.text))
        elif type(event) is ToolPiece and _answers(event.at):
            self._begin()
            self._put(self._writer.tool(choice, event))
        if self._aside and (data := frame(event, self._service.config.price)) is not None:
            self._begin()
            when = self._job.recorders[choice].events[-1].seconds  # as the kept run has it
            if data["event"] == "run_started" and not event.at:
                data["run"] = self._job.numbers[choice]
            data |= {"seconds": when, "choice": choice}
            self._put(self._writer.aside(data))

    def _put(self, piece: bytes) -> None:
        self._frames.append(piece)
        self._came.set()

    async def _play(self, send: Send) -> None:
        """Send what there is as soon as it is there; a sign of life where nothing comes."""
        started = False
        while True:
            await self._something()
            over, refused = self._over, self._refused
            if refused is not None and not started and not self._frames:
                await self._refuse(refused, send)
                return
            if not started:
                started = True
                run = self._job.numbers[0]
                headers = STREAM_HEADERS | {
                    "request-id": run, "x-request-id": run, "x-mixtura-run": run,
                }  # fmt: skip
                headers |= left_out_header(self._job.call.toolbox.left_out)
                raw = [(k.encode(), v.encode()) for k, v in headers.items()]
                await send({"type": "http.response.start", "status": 200, "headers": raw})
            if refused is not None:
                if self._aside:
                    self._frames.append(self._writer.aside(self._service.summary(self._job)))
                self._frames.append(self._writer.failed(refused))
            body = b"".join(self._frames)
            self._frames.clear()
            await send({"type": "http.response.body", "body": body, "more_body": not over})
            if over:
                return

    async def _something(self) -> None:
        """Wait for frames or for the end."""
        if not self._frames and not self._over:
            try:
                async with asyncio.timeout(self._service.config.serve.keep_alive_seconds):
                    await self._came.wait()
            except TimeoutError:
                self._begin_quietly()
        self._came.clear()

    def _begin_quietly(self) -> None:
        if self._opening is None and self._job.size >= LARGE:
            return  # that is being written
        self._begin()
        self._frames.append(self._writer.alive())

    async def _refuse(self, refused: Refused, send: Send) -> None:
        response = refusal(self._dialect, refused, _told(self._service, self._job))
        start = {"type": "http.response.start", "status": response.status_code}
        await send(start | {"headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body})


def _answers(at: Place) -> bool:
    """Whether a token is the answer's: every seat on its way is an aggregator's."""
    return all(seat.role == "aggregator" for seat in at)
