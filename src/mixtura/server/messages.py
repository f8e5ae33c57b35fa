"""Anthropic's messages, from the side that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.server.bodies import named_calls, used
from mixtura.server.dialect import About, Call, Refused, event_frame
from mixtura.server.messages_asked import UNTHREADED, MessagesBody, read
from mixtura.server.tools import Toolbox
from mixtura.types import Completion, Json, ToolCall

_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "end_turn",
    "content_filter": "refusal",
}


def _blocks(answer: Completion, number: str, toolbox: Toolbox) -> list[dict[str, Any]]:
    """Raises Refused when a call cannot be said: its input must be an object here."""
    text = [{"type": "text", "text": answer.text}] if answer.text else []
    inputs = _inputs(answer, number, toolbox)
    return [*text, *(_tool_use(call, data) for call, data in inputs)]


def _inputs(
    answer: Completion, number: str, toolbox: Toolbox
) -> Iterator[tuple[ToolCall, dict[str, Any]]]:
    for flat in named_calls(answer, f"toolu_{number}"):
        call = replace(flat, name=toolbox.find_called(flat.name).name)
        try:
            data = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            if answer.finish_reason == "length":  # cut off in its middle: `max_tokens` says so
                continue
            said = f"the model called {call.name} with arguments that are no JSON object"
            raise Refused(502, said, kind="api_error", code="upstream_malformed") from None
        yield call, data


def _tool_use(call: ToolCall, data: Json) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": data}


def _stopped(answer: Completion) -> dict[str, Any]:
    reason = _STOPS[answer.finish_reason]
    if answer.message.tool_calls and reason == "end_turn":
        reason = "tool_use"
    refusal = {"type": "refusal", "category": None, "explanation": None}
    return {
        "stop_reason": reason,
        "stop_sequence": None,  # which one it was, if any, no model's words tell
        "stop_details": refusal if reason == "refusal" else None,
    }


def _usage(answers: Sequence[Completion]) -> dict[str, Any]:
    whole = used(answers)
    # their input_tokens leave the cache out; our prompt has everything in it
    fresh = whole.prompt_tokens - whole.cached_tokens - whole.cache_write_tokens
    return {
        "input_tokens": max(fresh, 0),
        "cache_creation_input_tokens": whole.cache_write_tokens,
        "cache_read_input_tokens": whole.cached_tokens,
        "output_tokens": whole.completion_tokens,
        "output_tokens_details": {"thinking_tokens": whole.reasoning_tokens},
    }


_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _error(refused: Refused, request_id: str | None) -> dict[str, Any]:
    usual = "api_error" if refused.status >= 500 else "invalid_request_error"
    error: dict[str, Any] = {
        "type": _TYPES.get(refused.status, usual),
        "message": refused.message,
    }
    if refused.code == UNTHREADED:
        error["details"] = {"error_code": UNTHREADED, "unsupported": []}
    return {"type": "error", "error": error, "request_id": request_id}


class Messages:
    """``POST /v1/messages``."""

    path = "/v1/messages"
    BODY = MessagesBody
    ANSWER: Mapping[str, Any] = {
        "type": "object",
        "required": ["id", "type", "role", "model", "content", "stop_reason", "usage"],
        "properties": {
            "id": {"type": "string"},
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": {"type": "string"},
            "content": {"type": "array", "items": {"type": "object"}},
            "stop_reason": {"enum": ["end_turn", "max_tokens", "tool_use", "refusal"]},
            "stop_sequence": {"type": "null"},
            "usage": {"type": "object"},
            "mixtura": {"type": "object"},
        },
    }

    def read(self, body: bytes) -> Call:
        return read(body)

    def whole(
        self, call: Call, answers: Sequence[Completion], about: About, summary: Json
    ) -> Mapping[str, Any]:
        answer = answers[0]
        return {
            "id": f"msg_{about.number}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": _blocks(answer, about.number, call.toolbox),
            **_stopped(answer),
            "usage": _usage(answers),
            "mixtura": summary,
        }

    def writer(self, call: Call, about: About) -> MessagesWriter:
        return MessagesWriter(call, about)

    def refusal(self, refused: Refused) -> Mapping[str, Any]:
        return _error(refused, None)


def _event(kind: str, **data: Any) -> bytes:
    return event_frame({"type": kind} | data, event=kind)


_TOKEN = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":%s}}\n\n'
)


class MessagesWriter:
    """
    The events of a stream.

    What is for clients of ours is a ``ping`` with a ``mixtura`` field: a ping is what every
    client passes over, while an event of another name reaches the callers of some and breaks
    others.
    """

    def __init__(self, call: Call, about: About) -> None:
        self._model = call.model
        self._toolbox = call.toolbox
        self._number = about.number
        self._spoken = False
        self._over = False

    def begun(self) -> bytes:
        message: dict[str, Any] = {
            "id": f"msg_{self._number}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            # what a mixture reads is known when it has answered
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _event("message_start", message=message) + self.alive()

    def token(self, choice: int, text: str) -> bytes:  # noqa: ARG002 - there is one
        if not text:
            return b""
        begin = b"" if self._spoken else self._begin(0, {"type": "text", "text": ""})
        self._spoken = True
        return begin + _TOKEN % msgspec.json.encode(text)

    def aside(self, data: Json) -> bytes:
        return _event("ping", mixtura=data)

    def finished(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002 - there is one
        out = self._end(0) if self._spoken else b""
        try:
            calls = list(_inputs(answer, self._number, self._toolbox))
        except Refused as refused:
            return out + self.failed(refused)
        for index, (call, data) in enumerate(calls, start=int(self._spoken)):
            written = call.arguments if data else "{}"
            delta = {"type": "input_json_delta", "partial_json": written}
            out += self._begin(index, _tool_use(call, {}))
            out += _event("content_block_delta", index=index, delta=delta) + self._end(index)
        return out

    def closed(self, answers: Sequence[Completion], summary: Json) -> bytes:
        if self._over:
            return b""
        return (
            self.aside(summary)
            + _event("message_delta", delta=_stopped(answers[0]), usage=_usage(answers))
            + _event("message_stop")
        )

    def failed(self, refused: Refused) -> bytes:
        self._over = True
        return event_frame(_error(refused, f"req_{self._number}"), event="error")

    def alive(self) -> bytes:
        return _event("ping")

    def _begin(self, index: int, block: Json) -> bytes:
        return _event("content_block_start", index=index, content_block=block)

    def _end(self, index: int) -> bytes:
        return _event("content_block_stop", index=index)
