"""A server that answers through one of the APIs we serve, and what is asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anthropic
import openai
import pytest

from mixtura import (
    Charge,
    Completion,
    Message,
    ToolCall,
    Usage,
)
from mixtura.protocols.sse import SseParser
from mixtura.server.apis.anthropic_messages import MessagesApi
from mixtura.server.apis.base import ApiCall, ApiError, ResponseMeta, ServedApi
from mixtura.server.apis.openai_responses import ResponsesApi
from tests.support import http_server
from tests.support.http_server import QuietHandler

ABOUT = ResponseMeta("20261122a7", 1_790_000_000)
SUMMARY = {"run": "20261122-a7", "cost_usd": 0.01, "degraded": False, "seconds": 2.4}
ASIDE = {"event": "token", "at": [], "text": "hm", "error": {"message": "not the stream's"}}
USED = Usage(100, 20, cached_tokens=30, cache_write_tokens=10, reasoning_tokens=5)
LOOK = ToolCall("call_1", "look", '{"at": "the sky"}')
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}}


def answered(text: str = "Because.", *calls: ToolCall, **more: Any) -> Completion:
    """An answer, and what two calls used for it."""
    half = Charge("m", replace(USED, prompt_tokens=60, completion_tokens=15))
    rest = Charge("n", Usage(40, 5))
    reason = "tool_calls" if calls else "stop"
    return Completion(
        Message("assistant", text, calls),
        "m",
        **{"finish_reason": reason, "charges": (half, rest), **more},
    )


def read(api: ServedApi, body: dict[str, Any]) -> ApiCall:
    return api.parse_request(json.dumps(body).encode())


def refused(api: ServedApi, body: dict[str, Any] | bytes) -> ApiError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as error:
        api.parse_request(raw)
    return error.value


MESSAGES = MessagesApi()
ASKED = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": "Why?"}]}


GONE = object()
"""Stands for a parameter that is not sent."""


def without(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not GONE}


RESPONSES = ResponsesApi()


@dataclass
class Played:
    """What the server answers, and what it was asked."""

    answer: Completion = field(default_factory=answered)
    pieces: tuple[str, ...] | None = None
    """How its text is cut; None: in one piece."""
    asides: bool = False
    refuses: ApiError | None = None
    breaks: ApiError | None = None
    """What ends the stream after its text."""
    calls: list[ApiCall] = field(default_factory=list)
    url: str = ""

    def frames(self, api: ServedApi, call: ApiCall) -> Iterator[bytes]:
        writer = api.create_writer(call, ABOUT)
        yield writer.write_start()
        for piece in self.pieces if self.pieces is not None else (self.answer.text,):
            yield (
                writer.write_mixtura_event(ASIDE) + writer.write_keepalive() if self.asides else b""
            )
            yield writer.write_text(0, piece)
        yield writer.write_keepalive()
        if self.breaks:
            yield writer.write_error(self.breaks)
            return
        yield writer.write_finish(0, self.answer)
        yield writer.write_close([self.answer], SUMMARY)


class Handler(QuietHandler):
    played: Played

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        api = next(d for d in (MESSAGES, RESPONSES) if d.path == path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            if self.played.refuses:
                raise self.played.refuses
            call = api.parse_request(body)
            self.played.calls.append(call)
            if not call.stream:
                self.send_json(200, api.response_body(call, [self.played.answer], ABOUT, SUMMARY))
                return
        except ApiError as error:
            self.send_json(error.status, api.error_body(error))
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in self.played.frames(api, call):
            self.wfile.write(piece)


@contextmanager
def serving(played: Played) -> Iterator[Played]:
    handler = type("Bound", (Handler,), {"played": played})
    with http_server.serve_handler(handler) as played.url:
        yield played


@contextmanager
def claude(**played: Any) -> Iterator[tuple[anthropic.Anthropic, Played]]:
    """Anthropic's client of such a server."""
    with (
        serving(Played(**played)) as server,
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client,
    ):
        yield client, server


@contextmanager
def gpt(**played: Any) -> Iterator[tuple[openai.OpenAI, Played]]:
    """OpenAI's client of such a server."""
    with (
        serving(Played(**played)) as server,
        openai.OpenAI(api_key="k", base_url=f"{server.url}/v1", max_retries=0) as client,
    ):
        yield client, server


def frames(api: ServedApi, played: Played, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The data of every event that is written, comments left out."""
    call = read(api, body | {"stream": True})
    written = b"".join(played.frames(api, call))
    return [json.loads(data) for data in SseParser().feed(written)]


HELLO: dict[str, Any] = {
    "model": "m",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Why?"}],
}
