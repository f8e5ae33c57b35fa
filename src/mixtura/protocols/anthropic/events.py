"""Events of a stream of Anthropic's messages, and whole answers, decoded from JSON."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from mixtura.core.errors import MalformedError
from mixtura.core.json_text import repair_json, repair_texts
from mixtura.core.types import JsonObject
from mixtura.protocols.errors.bodies import is_error_json
from mixtura.protocols.half_characters import mark_half_characters
from mixtura.protocols.lenient_json import decode_odd_event


class ContentBlock(msgspec.Struct, gc=False):
    """A block of an answer's content, with the fields of every type of block."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()
    content: Any = None
    """What a tool of the provider's own gave: pages, of a search."""
    citations: Any = None


class StopDetails(msgspec.Struct, gc=False):
    """Why the model's filter refused to answer."""

    category: str | None = None
    explanation: str | None = None


class EventDelta(msgspec.Struct, gc=False):
    """What an event adds to a block or to the message."""

    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: Any = ""
    citation: Any = None
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _MessageStart(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()


class MessagesEvent(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer (then its type is ``message``)."""

    type: str = ""
    index: int | None = None
    delta: EventDelta | None = None
    content_block: ContentBlock | None = None
    message: _MessageStart | None = None
    usage: msgspec.Raw = msgspec.Raw()
    content: list[ContentBlock] = []
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    error: Any = None
    has_halves: bool = False
    """Its texts have halves of characters, marked; set here, servers do not send it."""

    @property
    def kind(self) -> str:
        """Its type; of one without, what its fields tell: some proxies send it as a name only."""
        if self.type:
            return self.type
        if self.content_block is not None:
            return "content_block_start"
        if self.delta is not None:
            ends = self.delta.stop_reason is not None
            return "message_delta" if ends else "content_block_delta"
        return "message_start" if self.message is not None else ""


_decoder = msgspec.json.Decoder(MessagesEvent)


def decode_event(data: bytes, *, as_it_is: bool = False) -> MessagesEvent:
    """
    One event's data; invalid JSON is repaired unless *as_it_is*. Raises MalformedError for what is
    cut off or garbled.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = repair_json(repair_texts(data))
        # Repaired only when it failed: nearly every event is plain JSON.
        if whole != data and not as_it_is:
            return _mark_halves(decode_event(whole, as_it_is=True), whole, data)
        what = "a messages event"
        odd = decode_odd_event(data, error, _decoder, what, straighten=_texts_as_blocks)
        return odd or MessagesEvent()


def _mark_halves(piece: MessagesEvent, whole: bytes, data: bytes) -> MessagesEvent:
    """The *piece*, with marks in its texts where *data* has halves of characters."""
    marked = repair_json(repair_texts(mark_half_characters(data)))
    if marked == whole or piece.delta is None:
        return piece
    try:
        delta = decode_event(marked, as_it_is=True).delta
    except MalformedError:
        return piece
    if delta is not None:
        piece.has_halves = True
        piece.delta.text, piece.delta.thinking = delta.text, delta.thinking
    return piece


def is_error_event(piece: MessagesEvent, data: bytes) -> bool:
    """Whether an event is an error, in this API's form or in another API's."""
    return bool(piece.error) or piece.type == "error" or (not piece.type and is_error_json(data))


def _texts_as_blocks(row: JsonObject) -> None:
    """The content of a whole answer that is a text, or a list with texts, as blocks."""
    content = row.get("content")
    if isinstance(content, str):
        content = [content]
    if isinstance(content, list):
        row["content"] = [
            {"type": "text", "text": part} if isinstance(part, str) else part
            for part in cast("list[Any]", content)
        ]
