"""A provider that says the bytes it is given, and what we read of them."""

from __future__ import annotations

import json
from contextlib import contextmanager

from mixtura import (
    Token,
    ask,
)
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from tests.conftest import run
from tests.support.http_server import QuietHandler, serve_handler

WEATHER = ("get_weather", {"city": "London"})
TIME = ("get_time", {"tz": "UTC"})


@contextmanager
def saying(body: bytes, kind: str = "text/event-stream"):
    """A server that answers everything with these bytes."""

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_body(200, body, kind)

    with serve_handler(Handler) as url:
        yield url


def answered(body: bytes, kind: str = "text/event-stream", *, anthropic: bool = False):
    """The completion, and the text that was shown on the way."""
    tokens: list[Token] = []

    def emit(event: object) -> None:
        if isinstance(event, Token):
            tokens.append(event)

    with saying(body, kind) as url:
        model = Anthropic("m", url) if anthropic else OpenAI("m", f"{url}/v1")
        completion = run(model.complete(ask("Q?"), emit))
    return completion, "".join(token.text for token in tokens if not token.reasoning)


def calls(completion):
    return [(call.name, json.loads(call.arguments)) for call in completion.message.tool_calls]


def stream(*deltas, finish="stop", **choice) -> bytes:
    rows = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    rows.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish} | choice]})
    rows.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}})
    return events(*rows, "[DONE]")


def events(*rows) -> bytes:
    texts = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    return "".join(f"data: {text}\n\n" for text in texts).encode()


def whole(message, finish="stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant"} | message, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 5}}).encode()
