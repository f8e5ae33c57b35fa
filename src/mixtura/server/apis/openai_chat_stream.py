"""An answer of OpenAI's Chat Completions API as a stream of chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from mixtura.core.events import ToolCallChunk
from mixtura.core.types import Completion, Json
from mixtura.protocols.provider_data.fields import add_call_fields
from mixtura.protocols.provider_data.messages import client_chat_fields
from mixtura.server.apis.base import ApiCall, ResponseMeta, event_frame
from mixtura.server.apis.openai_chat_output import logprobs_json
from mixtura.server.apis.openai_chat_tools import (
    chat_finish_reason,
    has_legacy_functions,
    with_dropped_calls,
    write_calls,
)
from mixtura.server.apis.openai_chunks import ChunkWriter
from mixtura.server.apis.streamed_calls import StreamedCalls
from mixtura.server.apis.validation import calls_with_ids


class ChatWriter(ChunkWriter):
    """Writes one streamed answer."""

    def __init__(self, call: ApiCall, about: ResponseMeta) -> None:
        head: dict[str, Any] = {
            "id": f"chatcmpl-{about.number}",
            "object": "chat.completion.chunk",
            "created": about.created,
            "model": call.model,
            "system_fingerprint": None,
        }
        super().__init__(call, head)
        self._calls = [StreamedCalls("call_") for _ in range(call.n)]
        # A token's frame is this head, its text and a tail: nothing else is encoded for it.
        begin = msgspec.json.encode(head)[:-1]
        tail = b',"usage":null' if call.usage_in_stream else b""
        self._heads = [
            b'data: %s%s,"choices":[{"index":%d,"delta":{"content":' % (begin, tail, index)
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
                row = {"index": place, "function": {"arguments": ""}}
                row = add_call_fields(row, call.provider_fields)
                out += self._chunk_frame(choice, {"tool_calls": [row]})
        called = write_calls(left, self._call)
        if rows := called.get("tool_calls"):
            numbered = enumerate(rows, start=len(calls.sent))
            called = {"tool_calls": [{"index": i} | row for i, row in numbered]}
        if called:
            out += self._chunk_frame(choice, called)
        if logprobs := logprobs_json(answer):  # all of them, once no secret can be among them
            out += event_frame(self._delta_body(choice, {"content": ""}, None, logprobs))
        self._held = self._delta_body(choice, {}, chat_finish_reason(answer, self._call))
        return out

    def write_close(self, answers: Sequence[Completion], summary: Json) -> bytes:
        return super().write_close(answers, with_dropped_calls(summary, answers, self._call))

    def _chunk_frame(self, choice: int, delta: Json) -> bytes:
        return event_frame(self._delta_body(choice, delta, None))

    def _delta_body(
        self, choice: int, delta: Json, finish: str | None, logprobs: Json | None = None
    ) -> dict[str, Any]:
        return self._chunk_body(
            {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        )
