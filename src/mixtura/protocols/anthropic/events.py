"""Events of a stream of Anthropic's messages, and whole answers, decoded from JSON."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from mixtura.core.json_text import decode_json, repair_json
from mixtura.protocols.errors.bodies import is_error_json
from mixtura.protocols.lenient_json import decode_lenient
from mixtura.protocols.openai.chunks import JsonObject, unreadable_event_error


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
    stop_reason: str | None = None
    stop_details: StopDetails | None = None


class _MessageStart(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()


class MessagesEvent(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer (then its type is ``message``)."""

    type: str = ""
    index: int = 0
    delta: EventDelta | None = None
    content_block: ContentBlock | None = None
    message: _MessageStart | None = None
    usage: msgspec.Raw = msgspec.Raw()
    content: list[ContentBlock] = []
    stop_reason: str | None = None
    stop_details: StopDetails | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(MessagesEvent)


def decode_event(data: bytes, *, as_it_is: bool = False) -> MessagesEvent:
    """One event's data; invalid JSON is repaired unless *as_it_is*. Raises MalformedError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = repair_json(data)
        if whole != data and not as_it_is:
            return decode_event(whole, as_it_is=True)
        return _decode_lenient_event(data, error)


def is_error_event(piece: MessagesEvent, data: bytes) -> bool:
    """Whether an event is an error, in this API's form or in another API's."""
    return bool(piece.error) or piece.type == "error" or (not piece.type and is_error_json(data))


def _decode_lenient_event(data: bytes, error: Exception) -> MessagesEvent:
    """An event some of whose fields have unexpected types. Raises MalformedError."""
    if not data.lstrip().startswith((b"{", b"[")):  # a comment that stands in data
        return MessagesEvent()
    if not isinstance(error, msgspec.ValidationError):
        raise unreadable_event_error("a messages event", data, error) from None
    try:
        found = decode_json(data)
        if isinstance(found, list) and found:
            raise error
        if not isinstance(found, dict):
            return MessagesEvent()
        row = cast("JsonObject", found)
        if isinstance(text := row.get("content"), str):  # a whole answer's, not in blocks
            row["content"] = [{"type": "text", "text": text}]
        return decode_lenient(row, _decoder)
    except msgspec.DecodeError as odd:
        raise unreadable_event_error("a messages event", data, odd) from None
