"""Anthropic's messages, from the side that answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.events import ToolPiece
from mixtura.provider_data import THINKING, anthropic_blocks, thinking_in_place
from mixtura.server.bodies import named_calls, used
from mixtura.server.dialect import About, Call, Refused, event_frame
from mixtura.server.messages_asked import UNTHREADED, MessagesBody, read
from mixtura.server.streamed_calls import StreamedCalls
from mixtura.server.tools import Toolbox
from mixtura.types import Completion, Json, ToolCall

_STOPS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "end_turn",
    "content_filter": "refusal",
}


def _blocks(call: Call, answer: Completion, number: str) -> list[dict[str, Any]]:
    """Raises Refused when a call cannot be said: its input must be an object here."""
    text = [{"type": "text", "text": answer.text}] if answer.text else []
    calls = [_tool_use(made, data) for made, data in _inputs(answer, number, call.toolbox)]
    return thinking_in_place(_thinking(call, answer), text, calls)


def _thinking(call: Call, answer: Completion) -> list[dict[str, Any]]:
    """
    What the upstream wants back: for clients that asked for thinking, or that have to come
    back with a tool's result. Others read the first block as the answer.
    """
    asked: Json = call.request.extra.get("thinking") or {"type": "disabled"}
    if asked["type"] == "disabled" and not answer.message.tool_calls:
        return []
    return anthropic_blocks(answer.message)


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
            "content": _blocks(call, answer, about.number),
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
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
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
        self._call = call
        self._model = call.model
        self._toolbox = call.toolbox
        self._number = about.number
        self._calls = StreamedCalls(f"toolu_{about.number}")
        self._blocks = 0
        """Blocks that were begun."""
        self._text: int | None = None
        """The text's block, once it was begun and until it is over."""
        self._late: list[str] = []
        """Text that came behind a call: it follows in a block of its own."""
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
        if self._calls.sent:
            self._late.append(text)
            return b""
        begin = b""
        if self._text is None:
            begin = self._begin({"type": "text", "text": ""})
            self._text = self._blocks - 1
        return begin + _TOKEN % (self._text, msgspec.json.encode(text))

    def declined(self, choice: int, text: str) -> bytes:
        return self.token(choice, text)

    def tool(self, choice: int, piece: ToolPiece) -> bytes:  # noqa: ARG002 - there is one
        out = b""
        if not self._calls.streams(piece, self._toolbox):
            return out
        if self._calls.begins(piece):
            out += self._end_text() + self._end_call()
            name = self._toolbox.find_called(piece.name).name
            call = self._calls.add(replace(piece, name=name))
            out += self._begin(_tool_use(ToolCall(call.id, name, ""), {}))
        else:
            self._calls.add(piece)
        return out + self._arguments(piece.arguments)

    def _arguments(self, text: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": text}
        return _event("content_block_delta", index=self._blocks - 1, delta=delta) if text else b""

    def _end_call(self) -> bytes:
        call = self._calls.open
        if call is None:
            return b""
        call.over = True
        return self._arguments("" if call.arguments else "{}") + self._end(self._blocks - 1)

    def _end_text(self) -> bytes:
        place, self._text = self._text, None
        return b"" if place is None else self._end(place)

    def aside(self, data: Json) -> bytes:
        return _event("ping", mixtura=data)

    def finished(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002 - there is one
        out = self._end_text()
        try:
            inputs = [call for call, _ in _inputs(answer, self._number, self._toolbox)]
        except Refused as refused:
            return out + self.failed(refused)
        missing, left = self._calls.rest(answer, inputs)
        for sent, rest in missing:
            sent.extend(rest)
            out += self._arguments(rest) + self._end_call()
        for block in _thinking(self._call, answer):
            if block["type"] in THINKING:
                out += self._thought(block)
        for call in left:
            data = msgspec.json.decode(call.arguments or "{}")
            out += self._begin(_tool_use(call, {}))
            out += self._arguments(call.arguments if data else "{}") + self._end(self._blocks - 1)
        if late := "".join(self._late):
            out += self._begin({"type": "text", "text": ""})
            place = self._blocks - 1
            out += _TOKEN % (place, msgspec.json.encode(late)) + self._end(place)
        return out

    def _thought(self, block: Json) -> bytes:
        """A block of thinking, in the pieces that the API has for it."""
        if block["type"] == "redacted_thinking":
            return self._begin(block) + self._end(self._blocks - 1)
        out = self._begin({"type": "thinking", "thinking": "", "signature": ""})
        place = self._blocks - 1
        for kind, name in (("thinking_delta", "thinking"), ("signature_delta", "signature")):
            if piece := block.get(name):
                delta = {"type": kind, name: piece}
                out += _event("content_block_delta", index=place, delta=delta)
        return out + self._end(place)

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

    def _begin(self, block: Json) -> bytes:
        self._blocks += 1
        return _event("content_block_start", index=self._blocks - 1, content_block=block)

    def _end(self, index: int) -> bytes:
        return _event("content_block_stop", index=index)
