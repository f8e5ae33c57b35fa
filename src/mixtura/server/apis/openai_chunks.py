"""What both of OpenAI's older APIs have in common when they stream: chunks, the last one held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixtura.core.types import Completion, Json
from mixtura.server.apis.base import ApiCall, ApiError, EventStreamWriter, event_frame
from mixtura.server.apis.openai_chat_output import chat_usage_json, openai_error_body


class ChunkWriter(EventStreamWriter):
    """
    Writes one streamed answer in chunks that begin with *head*. The last of them also carries
    the ``mixtura`` summary.
    """

    def __init__(self, call: ApiCall, head: dict[str, Any]) -> None:
        self._call = call
        self._head = head
        self._held: dict[str, Any] | None = None
        """A last chunk, until it is known whether the summary goes into it."""

    def write_mixtura_event(self, data: Json) -> bytes:
        return event_frame(self._head | {"object": "mixtura.event", "mixtura": data})

    def write_close(self, answers: Sequence[Completion], summary: Json) -> bytes:
        last = self._held or self._head
        self._held = None
        if not self._call.usage_in_stream:
            return event_frame(last | {"mixtura": summary}) + b"data: [DONE]\n\n"
        usage = chat_usage_json(answers)
        told: dict[str, Any] = {"choices": [], "usage": usage, "mixtura": summary}
        return event_frame(last) + event_frame(self._head | told) + b"data: [DONE]\n\n"

    def write_error(self, refused: ApiError) -> bytes:
        return self._flush_last_chunk() + event_frame(openai_error_body(refused))

    def _flush_last_chunk(self) -> bytes:
        held, self._held = self._held, None
        return event_frame(held) if held else b""

    def _chunk_body(self, row: Json) -> dict[str, Any]:
        """A chunk with one choice."""
        more = {"usage": None} if self._call.usage_in_stream else {}
        return self._head | {"choices": [row]} | more
