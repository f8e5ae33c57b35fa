"""An answer of OpenAI's Chat Completions API as a stream of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mixtura.core.events import ToolCallChunk
from mixtura.core.types import Completion, Json
from mixtura.protocols.provider_data.messages import client_chat_fields
from mixtura.server.apis.base import (
    KEEPALIVE_FRAME,
    ApiCall,
    ApiError,
    ResponseMeta,
    event_frame,
)
from mixtura.server.apis.openai_chat_output import (
    chat_usage_json,
    logprobs_json,
    openai_error_body,
)
from mixtura.server.apis.openai_chat_tools import (
    chat_finish_reason,
    has_legacy_functions,
    with_dropped_calls,
    write_calls,
)
from mixtura.server.apis.streamed_calls import StreamedCalls
from mixtura.server.apis.validation import (
    calls_with_ids,
)


class ChatWriter:
    """Writes one streamed answer. The last chunk also carries the ``mixtura`` summary."""

    def __init__(self, call: ApiCall, about: ResponseMeta) -> None:
        self._call = call
        self._head: dict[str, Any] = {
            "id": f"chatcmpl-{about.number}",
            "object": "chat.completion.chunk",
            "created": about.created,
            "model": call.model,
            "system_fingerprint": None,
        }
        self._held: dict[str, Any] | None = None
        self._calls = [StreamedCalls("call_") for _ in range(call.n)]
        # A token's frame is this head, its text and a tail: nothing else is encoded for it.
        head = msgspec.json.encode(self._head)[:-1]
        tail = b',"usage":null' if call.usage_in_stream else b""
        self._heads = [
            b'data: %s%s,"choices":[{"index":%d,"delta":{"content":' % (head, tail, index)
            for index in range(call.n)
        ]

    def write_start(self) -> bytes:
        opening = {"role": "assistant", "content": "", "refusal": None}
        return b"".join(self._chunk_frame(index, opening) for index in range(self._call.n))

    def write_text(self, choice: int, text: str) -> bytes:
        return (
            self._heads[choice]
            + msgspec.json.encode(text)
            + b'},"logprobs":null,"finish_reason":null}]}\n\n'
        )

    def write_refusal(self, choice: int, text: str) -> bytes:
        return self._chunk_frame(choice, {"refusal": text})

    def write_tool_call(self, choice: int, piece: ToolCallChunk) -> bytes:
        calls = self._calls[choice]
        if has_legacy_functions(self._call.body) or not calls.can_stream(piece, self._call.toolbox):
            return b""
        begins = calls.is_new_call(piece)
        call = calls.add_piece(piece)
        name = self._call.toolbox.find_by_flat_name(call.name).name
        function = {"name": name, "arguments": ""}
        head = {"index": call.place, "id": call.id, "type": "function", "function": function}
        out = self._chunk_frame(choice, {"tool_calls": [head]}) if begins else b""
        return out + self._write_arguments(choice, call.place, piece.arguments)

    def _write_arguments(self, choice: int, place: int, text: str) -> bytes:
        if not text:
            return b""
        row = {"index": place, "function": {"arguments": text}}
        return self._chunk_frame(choice, {"tool_calls": [row]})

    def write_mixtura_event(self, data: Json) -> bytes:
        return event_frame(self._head | {"object": "mixtura.event", "mixtura": data})

    def write_finish(self, choice: int, answer: Completion) -> bytes:
        out = self._flush_last_chunk()
        if fields := client_chat_fields(answer.message):
            out += self._chunk_frame(choice, fields)
        calls = self._calls[choice]
        made = list(calls_with_ids(answer, "call_"))
        missing, left = calls.remaining_calls(answer, made)
        for sent, rest in missing:
            out += self._write_arguments(choice, sent.place, rest)
        for place, call in enumerate(made[: len(calls.sent)]):
            if call.provider_fields:  # OpenAI's client wants a function in each piece
                row = {"index": place, "function": {"arguments": ""}, **call.provider_fields}
                out += self._chunk_frame(choice, {"tool_calls": [row]})
        called = write_calls(left, self._call)
        if rows := called.get("tool_calls"):
            numbered = enumerate(rows, start=len(calls.sent))
            called = {"tool_calls": [{"index": i} | row for i, row in numbered]}
        if called:
            out += self._chunk_frame(choice, called)
        if logprobs := logprobs_json(answer):  # all of them, once no secret can be among them
            out += event_frame(self._chunk_body(choice, {"content": ""}, None, logprobs))
        self._held = self._chunk_body(choice, {}, chat_finish_reason(answer, self._call))
        return out

    def write_close(self, answers: Sequence[Completion], summary: Json) -> bytes:
        last = self._held or self._head
        self._held = None
        summary = with_dropped_calls(summary, answers, self._call)
        if not self._call.usage_in_stream:
            return event_frame(last | {"mixtura": summary}) + b"data: [DONE]\n\n"
        told: dict[str, Any] = {
            "choices": [],
            "usage": chat_usage_json(answers),
            "mixtura": summary,
        }
        return event_frame(last) + event_frame(self._head | told) + b"data: [DONE]\n\n"

    def write_error(self, refused: ApiError) -> bytes:
        return self._flush_last_chunk() + event_frame(openai_error_body(refused))

    def write_keepalive(self) -> bytes:
        return KEEPALIVE_FRAME

    def _flush_last_chunk(self) -> bytes:
        held, self._held = self._held, None
        return event_frame(held) if held else b""

    def _chunk_frame(self, choice: int, delta: Json) -> bytes:
        return event_frame(self._chunk_body(choice, delta, None))

    def _chunk_body(
        self, choice: int, delta: Json, finish: str | None, logprobs: Json | None = None
    ) -> dict[str, Any]:
        row = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        body = self._head | {"choices": [row]}
        return body | {"usage": None} if self._call.usage_in_stream else body
