"""Anthropic's Messages API, as the server speaks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.core.events import ToolCallChunk
from mixtura.core.types import Completion, Json, ToolCall
from mixtura.protocols.provider_data.fields import THINKING_BLOCK_TYPES
from mixtura.protocols.provider_data.thinking_blocks import anthropic_blocks, insert_thinking_blocks
from mixtura.server.apis.anthropic_messages_body import MessagesBody
from mixtura.server.apis.anthropic_messages_request import (
    THREAD_UNSUPPORTED_CODE,
    parse_messages_request,
)
from mixtura.server.apis.base import ApiCall, ApiError, EventStreamWriter, ResponseMeta, event_frame
from mixtura.server.apis.streamed_calls import StreamedCalls
from mixtura.server.apis.tool_names import Toolbox
from mixtura.server.apis.validation import calls_with_ids, total_usage

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    # "tool_use" only beside a call that the message really has.
    "tool_calls": "end_turn",
    "content_filter": "refusal",
}


def _content_blocks(call: ApiCall, answer: Completion, number: str) -> list[dict[str, Any]]:
    """The blocks of an answer. Raises ApiError (502) for a call whose arguments are no object."""
    text = [{"type": "text", "text": answer.text}] if answer.text else []
    calls = [
        _tool_use_block(made, data)
        for made, data in _calls_with_input(answer, number, call.toolbox)
    ]
    return insert_thinking_blocks(_thinking_blocks(call, answer), text, calls)


def _thinking_blocks(call: ApiCall, answer: Completion) -> list[dict[str, Any]]:
    """
    Thinking that the upstream wants back: for clients that asked for thinking, or that have to come
    back with a tool's result. Others read the first block as the answer.
    """
    thinking: Json = call.request.extra.get("thinking") or {"type": "disabled"}
    if thinking["type"] == "disabled" and not answer.message.tool_calls:
        return []
    return anthropic_blocks(answer.message)


def _calls_with_input(
    answer: Completion, number: str, toolbox: Toolbox
) -> Iterator[tuple[ToolCall, dict[str, Any]]]:
    for flat in calls_with_ids(answer, f"toolu_{number}"):
        call = replace(flat, name=toolbox.find_by_flat_name(flat.name).name)
        try:
            data = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            if answer.finish_reason == "length":  # cut off in its middle: `max_tokens` says so
                continue
            message = f"the model called {call.name} with arguments that are not a JSON object"
            raise ApiError(502, message, kind="api_error", code="upstream_malformed") from None
        yield call, data


def _tool_use_block(call: ToolCall, data: Json) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": data}


def _stop_fields(answer: Completion) -> dict[str, Any]:
    reason = _STOP_REASONS[answer.finish_reason]
    if answer.message.tool_calls and reason == "end_turn":
        reason = "tool_use"
    refusal = {"type": "refusal", "category": None, "explanation": None}
    return {
        "stop_reason": reason,
        "stop_sequence": None,  # upstreams do not say which one it was
        "stop_details": refusal if reason == "refusal" else None,
    }


def _usage_json(answers: Sequence[Completion]) -> dict[str, Any]:
    whole = total_usage(answers)
    # their input_tokens leave the cache out; our prompt has everything in it
    fresh = whole.prompt_tokens - whole.cached_tokens - whole.cache_write_tokens
    return {
        "input_tokens": max(fresh, 0),
        "cache_creation_input_tokens": whole.cache_write_tokens,
        "cache_read_input_tokens": whole.cached_tokens,
        "output_tokens": whole.completion_tokens,
        "output_tokens_details": {"thinking_tokens": whole.reasoning_tokens},
    }


_ERROR_TYPES = {
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


def _error_json(refused: ApiError, request_id: str | None) -> dict[str, Any]:
    usual = "api_error" if refused.status >= 500 else "invalid_request_error"
    error: dict[str, Any] = {
        "type": _ERROR_TYPES.get(refused.status, usual),
        "message": refused.message,
    }
    if refused.code == THREAD_UNSUPPORTED_CODE:
        error["details"] = {"error_code": THREAD_UNSUPPORTED_CODE, "unsupported": []}
    return {"type": "error", "error": error, "request_id": request_id}


class MessagesApi:
    """``POST /v1/messages``."""

    path = "/v1/messages"
    REQUEST_TYPE = MessagesBody
    RESPONSE_SCHEMA: Mapping[str, Any] = {
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

    def parse_request(self, body: bytes) -> ApiCall:
        """The call that a body makes. Raises ApiError naming the parameter that is wrong."""
        return parse_messages_request(body)

    def response_body(
        self, call: ApiCall, answers: Sequence[Completion], about: ResponseMeta, summary: Json
    ) -> Mapping[str, Any]:
        """
        The answer as a message. Raises ApiError (502) for a call whose arguments are no object.
        """
        answer = answers[0]
        return {
            "id": f"msg_{about.number}",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": _content_blocks(call, answer, about.number),
            **_stop_fields(answer),
            "usage": _usage_json(answers),
            "mixtura": summary,
        }

    def create_writer(self, call: ApiCall, about: ResponseMeta) -> MessagesWriter:
        return MessagesWriter(call, about)

    def error_body(self, refused: ApiError) -> Mapping[str, Any]:
        return _error_json(refused, None)


def _typed_event_frame(kind: str, **data: Any) -> bytes:
    return event_frame({"type": kind} | data, event=kind)


_TEXT_DELTA_FRAME = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
    b'"delta":{"type":"text_delta","text":%s}}\n\n'
)


class MessagesWriter(EventStreamWriter):
    """
    Writes one streamed answer as the API's events.

    Events for Mixtura's own clients are a ``ping`` with a ``mixtura`` field: every client ignores
    a ping, while an event of another name reaches the callers of some and breaks others.
    """

    def __init__(self, call: ApiCall, about: ResponseMeta) -> None:
        self._call = call
        self._model = call.model
        self._toolbox = call.toolbox
        self._number = about.number
        self._calls = StreamedCalls(f"toolu_{about.number}")
        self._blocks = 0
        """How many blocks have begun."""
        self._text: int | None = None
        """The index of the text's block, from its beginning to its end."""
        self._late: list[str] = []
        """Text that came behind a call: it follows in a block of its own."""
        self._over = False

    def write_start(self) -> bytes:
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
        return _typed_event_frame("message_start", message=message) + self.write_keepalive()

    def write_text(self, choice: int, text: str) -> bytes:  # noqa: ARG002 - there is one
        if not text:
            return b""
        # The API has one open block at a time: text behind a call waits.
        if self._calls.sent:
            self._late.append(text)
            return b""
        begin = b""
        if self._text is None:
            begin = self._write_block_start({"type": "text", "text": ""})
            self._text = self._blocks - 1
        return begin + _TEXT_DELTA_FRAME % (self._text, msgspec.json.encode(text))

    def write_tool_call(self, choice: int, piece: ToolCallChunk) -> bytes:  # noqa: ARG002 - there is one
        out = b""
        if not self._calls.can_stream(piece, self._toolbox):
            return out
        if self._calls.is_new_call(piece):
            # A block ends before the next one begins.
            out += self._write_text_end() + self._write_call_end()
            name = self._toolbox.find_by_flat_name(piece.name).name
            call = self._calls.add_piece(replace(piece, name=name))
            out += self._write_block_start(_tool_use_block(ToolCall(call.id, name, ""), {}))
        else:
            self._calls.add_piece(piece)
        return out + self._write_arguments(piece.arguments)

    def _write_arguments(self, text: str) -> bytes:
        delta = {"type": "input_json_delta", "partial_json": text}
        return (
            _typed_event_frame("content_block_delta", index=self._blocks - 1, delta=delta)
            if text
            else b""
        )

    def _write_call_end(self) -> bytes:
        call = self._calls.open_call
        if call is None:
            return b""
        call.over = True
        # Clients join the pieces and decode them: no arguments must still be JSON.
        return self._write_arguments("" if call.arguments else "{}") + self._write_block_end(
            self._blocks - 1
        )

    def _write_text_end(self) -> bytes:
        place, self._text = self._text, None
        return b"" if place is None else self._write_block_end(place)

    def write_mixtura_event(self, data: Json) -> bytes:
        return _typed_event_frame("ping", mixtura=data)

    def write_finish(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002 - there is one
        out = self._write_text_end()
        try:
            inputs = [call for call, _ in _calls_with_input(answer, self._number, self._toolbox)]
        except ApiError as refused:
            return out + self.write_error(refused)
        missing, left = self._calls.remaining_calls(answer, inputs)
        for sent, rest in missing:
            sent.extend(rest)
            out += self._write_arguments(rest) + self._write_call_end()
        # Behind the text, which was sent already.
        for block in _thinking_blocks(self._call, answer):
            if block["type"] in THINKING_BLOCK_TYPES:
                out += self._write_thinking(block)
        for call in left:
            data = msgspec.json.decode(call.arguments or "{}")
            out += self._write_block_start(_tool_use_block(call, {}))
            out += self._write_arguments(call.arguments if data else "{}") + self._write_block_end(
                self._blocks - 1
            )
        if late := "".join(self._late):
            out += self._write_block_start({"type": "text", "text": ""})
            place = self._blocks - 1
            out += _TEXT_DELTA_FRAME % (place, msgspec.json.encode(late)) + self._write_block_end(
                place
            )
        return out

    def _write_thinking(self, block: Json) -> bytes:
        """A block of thinking, in the pieces that the API has for it."""
        if block["type"] == "redacted_thinking":
            return self._write_block_start(block) + self._write_block_end(self._blocks - 1)
        out = self._write_block_start({"type": "thinking", "thinking": "", "signature": ""})
        place = self._blocks - 1
        for kind, name in (("thinking_delta", "thinking"), ("signature_delta", "signature")):
            if piece := block.get(name):
                delta = {"type": kind, name: piece}
                out += _typed_event_frame("content_block_delta", index=place, delta=delta)
        return out + self._write_block_end(place)

    def write_close(self, answers: Sequence[Completion], summary: Json) -> bytes:
        if self._over:
            # An error event has ended the stream: nothing may follow it.
            return b""
        return (
            self.write_mixtura_event(summary)
            + _typed_event_frame(
                "message_delta", delta=_stop_fields(answers[0]), usage=_usage_json(answers)
            )
            + _typed_event_frame("message_stop")
        )

    def write_error(self, refused: ApiError) -> bytes:
        self._over = True
        return event_frame(_error_json(refused, f"req_{self._number}"), event="error")

    def write_keepalive(self) -> bytes:
        return _typed_event_frame("ping")

    def _write_block_start(self, block: Json) -> bytes:
        self._blocks += 1
        return _typed_event_frame(
            "content_block_start", index=self._blocks - 1, content_block=block
        )

    def _write_block_end(self, index: int) -> bytes:
        return _typed_event_frame("content_block_stop", index=index)
