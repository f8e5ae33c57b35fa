"""Events, usage and errors of pydantic-ai, converted to ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from mixtura.core.errors import MalformedError, RejectedError, UnavailableError
from mixtura.core.quantities import redacted_excerpt
from mixtura.core.types import Usage
from mixtura.models.pydantic_ai_library import import_pydantic_ai
from mixtura.protocols.openai.chunks import MessageDelta, WireFunction, WireToolCall
from mixtura.protocols.openai.usage import usage_from_counts
from mixtura.transport.client import error_from_response


def convert_event(event: Any) -> MessageDelta:
    """What an event of pydantic-ai's stream adds to the answer."""
    kind = getattr(event, "event_kind", "")
    part = event.part if kind == "part_start" else event.delta if kind == "part_delta" else None
    kind = getattr(part, "part_kind", None) or getattr(part, "part_delta_kind", None)
    if part is None or kind is None:
        return MessageDelta()
    if kind == "text":
        return MessageDelta(getattr(part, "content", None) or getattr(part, "content_delta", None))
    if kind == "thinking":
        thought = getattr(part, "content", None) or getattr(part, "content_delta", None)
        return MessageDelta(None, thought, left_out=[])  # kept as a part at the end
    if kind in ("tool-call", "tool_call"):
        return MessageDelta(tool_calls=[_convert_tool_call(event.index, part)])
    return MessageDelta(left_out=[kind])


def returned_fields(answer: Any) -> MessageDelta:
    """What the provider wants back with its whole *answer*: thoughts, signatures and ids."""
    parts: list[Any] = []
    calls: list[WireToolCall] = []
    for index, part in enumerate(answer.parts):
        own = _own_fields(part)
        if part.part_kind == "thinking":
            parts.append({"type": "thinking", "thinking": part.content, **own})
        elif part.part_kind == "text":
            parts.append({"type": "text", **({GATEWAY_FIELDS: own} if own else {})})
        elif part.part_kind == "tool-call" and own:
            calls.append(WireToolCall(index, part.tool_call_id, provider_specific_fields=own))
    return MessageDelta(content_parts=parts or None, tool_calls=calls or None)


GATEWAY_FIELDS = "provider_specific_fields"
"""The field of a text or a call with what ``OWN_FIELDS`` of it there are."""
OWN_FIELDS: Mapping[str, type] = {
    "id": str, "signature": str, "provider_name": str, "provider_details": dict
}  # fmt: skip
"""Fields of pydantic-ai's parts that its providers read again."""


def _own_fields(part: Any) -> dict[str, Any]:
    """Those of a part, as JSON has them; empty where a provider could not use them."""
    own = {name: found for name in OWN_FIELDS if (found := getattr(part, name, None))}
    return json.loads(_encode_json(own) or b"{}") if own.keys() - {"provider_name"} else {}


def delta_bytes(delta: MessageDelta) -> int:
    """The bytes of text, thoughts and tool call arguments in *delta*."""
    calls = [call.function.arguments for call in delta.tool_calls or () if call.function]
    texts = [text for text in (delta.content, delta.reasoning_content, *calls) if text]
    return sum(len(text.encode("utf-8", "replace")) for text in texts)


def _convert_tool_call(index: int, part: Any) -> WireToolCall:
    name = getattr(part, "tool_name", None) or getattr(part, "tool_name_delta", None)
    arguments = getattr(part, "args", None) or getattr(part, "args_delta", None)
    if isinstance(arguments, dict):
        arguments = msgspec.json.encode(arguments).decode()
    return WireToolCall(index, part.tool_call_id, WireFunction(name, arguments))


def convert_usage(usage: Any, doubts: list[str]) -> Usage | None:
    """The usage of an answer; None where it is not known and must be estimated."""
    if not usage.input_tokens and not usage.output_tokens:
        return None
    details: Mapping[str, object] = usage.details or {}
    told: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "cached_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": details.get("reasoning_tokens"),
    }
    return usage_from_counts(told, doubts)


def translate_error(error: Exception) -> Exception:
    """A pydantic-ai error as one of ours; an error of another kind is returned as it is."""
    their = import_pydantic_ai("exceptions")
    if isinstance(error, their.ModelHTTPError):
        said: Any = error
        body: Any = said.body or str(said)
        headers = {} if said.retry_after is None else {"retry-after": str(said.retry_after)}
        return error_from_response(said.status_code, headers, _encode_json(body))
    if isinstance(error, their.ModelAPIError):
        return UnavailableError(str(error))
    if isinstance(error, their.UserError):
        return RejectedError(str(error))
    if isinstance(error, their.UnexpectedModelBehavior):
        return MalformedError(str(error))
    if isinstance(error, _READ_ERRORS):
        said = f"{type(error).__name__}: {redacted_excerpt(str(error), 200)}"
        return MalformedError(f"the provider's library cannot read its answer: {said}")
    return error


_READ_ERRORS = (
    ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What a provider's library may raise when it reads an invalid answer."""


def _encode_json(body: Any) -> bytes:
    """Data of the library as JSON; empty where it cannot be encoded."""
    try:
        return msgspec.json.encode(body, enc_hook=str)
    except (RecursionError, ArithmeticError, ValueError, TypeError):
        return b""
