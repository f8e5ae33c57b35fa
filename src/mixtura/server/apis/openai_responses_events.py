"""The numbered events of a stream of OpenAI's Responses API, and which of them each item takes."""

from __future__ import annotations

from typing import Any

from mixtura.core.types import Json
from mixtura.server.apis.base import event_frame
from mixtura.server.apis.openai_responses_output import message_item, text_part

_DELTA_EVENTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
"""By the type of a call's item: the field that is sent in deltas, and the name of those events."""


class ResponseEvents:
    """
    Encodes the events of one response as Server-Sent Events and counts them.

    *index*: the place of an item among the output items of the response.
    """

    def __init__(self, number: str) -> None:
        """*number*: what the ids of the response's items are made of."""
        self._number = number
        self._count = 0

    def next_sequence_number(self) -> int:
        """The number of the next event, from 0."""
        self._count += 1
        return self._count - 1

    def write_event(self, kind: str, **data: Any) -> bytes:
        """One event of the type *kind*, numbered."""
        body = {"type": kind, "sequence_number": self.next_sequence_number()} | data
        return event_frame(body, event=kind)

    def write_item(self, index: int, item: Json) -> bytes:
        """An item that is sent without deltas."""
        begun = {**item, "status": "in_progress"}
        return self._write_item_added(index, begun) + self._write_item_done(index, item)

    def _write_item_added(self, index: int, item: Json) -> bytes:
        return self.write_event("response.output_item.added", output_index=index, item=item)

    def _write_item_done(self, index: int, item: Json) -> bytes:
        return self.write_event("response.output_item.done", output_index=index, item=item)

    # ---- messages

    def write_message_start(self, index: int) -> bytes:
        """The events that begin the message."""
        item = message_item(self._number, [], "in_progress")
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        return self._write_item_added(index, item) + self.write_event(
            "response.content_part.added", **place, part=text_part("")
        )

    def write_message_end(self, index: int, item: Json, unsent: str) -> bytes:
        """The events that end the message; *unsent*: text of it for which no delta was sent yet."""
        part = item["content"][0]
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        out = b""
        if unsent:
            out = self.write_event("response.output_text.delta", **place, logprobs=[], delta=unsent)
        return (
            out
            + self.write_event(
                "response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"]
            )
            + self.write_event("response.content_part.done", **place, part=part)
            + self._write_item_done(index, item)
        )

    def write_refusal(self, index: int, item: Json) -> bytes:
        """A whole message whose only part is a refusal."""
        part = item["content"][0]
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        begun = message_item(self._number, [], "in_progress")
        empty = {"type": "refusal", "refusal": ""}
        return (
            self._write_item_added(index, begun)
            + self.write_event("response.content_part.added", **place, part=empty)
            + self.write_event("response.refusal.delta", **place, delta=part["refusal"])
            + self.write_event("response.refusal.done", **place, refusal=part["refusal"])
            + self.write_event("response.content_part.done", **place, part=part)
            + self._write_item_done(index, item)
        )

    # ---- tool calls

    def write_whole_call(self, index: int, item: Json) -> bytes:
        """A call in one piece: its text comes in a delta of its own, where it has one."""
        field, kind = _DELTA_EVENTS.get(item["type"], ("", ""))
        out = self.write_call_start(index, item)
        if field:
            place = {"item_id": item["id"], "output_index": index}
            out += self.write_event(f"{kind}.delta", **place, delta=item[field])
        return out + self.write_call_end(index, item)

    def write_call_start(self, index: int, item: Json) -> bytes:
        """The event that begins a call, without its arguments."""
        field, _ = _DELTA_EVENTS.get(item["type"], ("", ""))
        begun = {**item, "status": "in_progress"} | ({field: ""} if field else {})
        return self._write_item_added(index, begun)

    def write_arguments_delta(self, index: int, item_id: str, text: str) -> bytes:
        """A piece of a function call's arguments."""
        place = {"item_id": item_id, "output_index": index}
        return self.write_event("response.function_call_arguments.delta", **place, delta=text)

    def write_call_end(self, index: int, item: Json) -> bytes:
        """The events that end a call, with all of its arguments."""
        out = b""
        field, kind = _DELTA_EVENTS.get(item["type"], ("", ""))
        if field:
            place = {"item_id": item["id"], "output_index": index}
            # Only the event of a function's arguments has its name.
            named = {"name": item["name"]} if field == "arguments" else {}
            out += self.write_event(f"{kind}.done", **place, **named, **{field: item[field]})
        return out + self._write_item_done(index, item)
