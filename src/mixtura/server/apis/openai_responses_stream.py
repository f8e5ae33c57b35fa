"""A response of OpenAI's Responses API as a stream of numbered events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.core.events import ToolCallChunk
from mixtura.core.types import Completion, Json, ToolCall
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
    EventStreamWriter,
    ResponseMeta,
)
from mixtura.server.apis.openai_responses_events import ResponseEvents
from mixtura.server.apis.openai_responses_output import (
    INCOMPLETE_REASONS,
    answer_part,
    call_items,
    error_json,
    failed_response_error,
    finished_response,
    message_item,
    reasoning_items,
    started_response,
)
from mixtura.server.apis.streamed_calls import SentCall, StreamedCalls

MIXTURA_EVENT_TYPE = "mixtura:event"
"""The type of the events for Mixtura's own clients: no event of OpenAI's begins with "mixtura:"."""


class ResponsesWriter(EventStreamWriter):
    """
    Writes one streamed response. Text goes out as it comes until the first call; text behind a
    call is held back, and its message follows the calls.
    """

    def __init__(self, call: ApiCall, about: ResponseMeta) -> None:
        self._call = call
        self._number = about.number
        self._response = started_response(call, about)
        self._events = ResponseEvents(about.number)
        self._failed = False
        self._message_started = False
        self._calls = StreamedCalls(f"call_{about.number}")
        self._finished_calls: list[dict[str, Any]] = []
        """The items of the calls that were sent to their end."""
        self._held_text: list[str] = []
        """Text that came behind a call."""
        self._items: list[dict[str, Any]] = []
        """All output items, once the answer has ended."""
        # A token's frame is this head, its number, its text and a tail.
        self._head = (
            b"event: response.output_text.delta\n"
            b'data: {"type":"response.output_text.delta","item_id":"msg_%s","output_index":0,'
            b'"content_index":0,"logprobs":[],"sequence_number":' % about.number.encode()
        )

    def write_start(self) -> bytes:
        return self._events.write_event(
            "response.created", response=self._response
        ) + self._events.write_event("response.in_progress", response=self._response)

    def write_text(self, choice: int, text: str) -> bytes:  # noqa: ARG002 - there is one
        if not text:
            return b""
        if self._calls.sent and not self._message_started:
            self._held_text.append(text)
            return b""
        begin = self._write_message_start(0)
        data = (
            self._head
            + b'%d,"delta":' % self._events.next_sequence_number()
            + msgspec.json.encode(text)
        )
        return begin + data + b"}\n\n"

    def write_refusal(self, choice: int, text: str) -> bytes:  # noqa: ARG002 - its message says it
        return b""

    def write_tool_call(self, choice: int, piece: ToolCallChunk) -> bytes:  # noqa: ARG002 - there is one
        """A call's beginning, or a piece of its arguments."""
        out = b""
        if not self._calls.can_stream(piece, self._call.toolbox):
            return out
        begins = self._calls.is_new_call(piece)
        if begins and (last := self._calls.open_call):
            out += self._write_call_end(last, "completed")
        call = self._calls.add_piece(piece)
        if begins:
            out += self._events.write_call_start(
                self._output_index(call), self._call_item_json(call, "in_progress", "")
            )
        return out + self._write_arguments(call, piece.arguments)

    def _output_index(self, call: SentCall) -> int:
        return call.place + int(self._message_started)

    def _call_item_json(
        self, call: SentCall, status: str, arguments: str | None = None
    ) -> dict[str, Any]:
        text = call.arguments if arguments is None else arguments
        whole = ToolCall(call.id, call.name, text)
        return call_items(self._call.toolbox, self._number, call.place + 1, whole, status)[0]

    def _write_arguments(self, call: SentCall, text: str) -> bytes:
        if not text:
            return b""
        item_id = f"fc_{self._number}{call.place + 1}"
        return self._events.write_arguments_delta(self._output_index(call), item_id, text)

    def _write_call_end(self, call: SentCall, status: str) -> bytes:
        call.over = True
        self._finished_calls.append(self._call_item_json(call, status))
        return self._events.write_call_end(self._output_index(call), self._finished_calls[-1])

    def write_mixtura_event(self, data: Json) -> bytes:
        return self._events.write_event(MIXTURA_EVENT_TYPE, mixtura=data)

    def write_finish(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002 - there is one
        """
        The rest of the items; an error's events where a call has arguments that its tool cannot
        have.
        """
        try:
            return self._write_remaining_items(answer)
        except ApiError as refused:
            return self.write_error(refused)

    def _write_remaining_items(self, answer: Completion) -> bytes:
        status = "incomplete" if answer.finish_reason in INCOMPLETE_REASONS else "completed"
        missing, left = self._calls.remaining_calls(answer)
        # Parts of it went out as text already, so it ends as text.
        shown = replace(answer, refusal=answer.refusal and not self._message_started)
        message = message_item(self._number, [answer_part(shown)], status)
        calls = bool(self._calls.sent or left)
        first = self._message_started or not calls or bool(answer.text and not self._held_text)
        items: list[dict[str, Any]] = []
        thought = reasoning_items(self._call, answer, self._number)
        # The API has reasoning in front, unless something was sent before it was known.
        begun = self._message_started or bool(self._calls.sent)
        out = b"" if begun else self._write_reasoning_items(items, thought)
        if first:
            out += self._write_message_end(len(items), message)
            items.append(message)
        for place, (sent, rest) in enumerate(missing, start=1):
            last = place == len(missing) and not left
            sent.extend(rest)
            out += self._write_arguments(sent, rest)
            out += self._write_call_end(sent, status if last else "completed")
        items += self._finished_calls
        if begun:  # its place in front is taken
            out += self._write_reasoning_items(items, thought)
        for place, call in enumerate(left, start=1):
            ended = status if place == len(left) else "completed"  # only the last can be cut off
            number = len(self._calls.sent) + place
            for item in call_items(self._call.toolbox, self._number, number, call, ended):
                out += self._events.write_whole_call(len(items), item)
                items.append(item)
        if self._held_text and not first:
            out += self._write_message_end(len(items), message)
            items.append(message)
        self._items = items
        return out

    def write_close(self, answers: Sequence[Completion], summary: Json) -> bytes:
        if self._failed:
            return b""
        whole = finished_response(self._response, self._items, answers, summary)
        return self._events.write_event(f"response.{whole['status']}", response=whole)

    def write_error(self, refused: ApiError) -> bytes:
        self._failed = True
        error = error_json(refused)
        flat = {"message": error["message"], "param": error["param"], "code": error["code"]}
        failed = {"status": "failed", "error": failed_response_error(refused)}
        return self._events.write_event("error", **flat, error=error) + self._events.write_event(
            "response.failed", response=self._response | failed
        )

    def _write_message_start(self, index: int) -> bytes:
        """The beginning of the message at that output index, unless it was sent before."""
        if self._message_started:
            return b""
        self._message_started = True
        return self._events.write_message_start(index)

    def _write_message_end(self, index: int, item: Json) -> bytes:
        """The end of the message, with the text that was held back."""
        if item["content"][0]["type"] == "refusal":
            return self._events.write_refusal(index, item)
        return self._write_message_start(index) + self._events.write_message_end(
            index, item, "".join(self._held_text)
        )

    def _write_reasoning_items(
        self, items: list[dict[str, Any]], reasoning: list[dict[str, Any]]
    ) -> bytes:
        """Write *reasoning* behind *items*, and append it to them."""
        out = b""
        for item in reasoning:
            out += self._events.write_item(len(items), item)
            items.append(item)
        return out
