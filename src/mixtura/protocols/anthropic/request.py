"""Requests as JSON of Anthropic's messages API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.core.errors import RejectedError
from mixtura.core.types import (
    ImagePart,
    Json,
    JsonObject,
    Message,
    OtherPart,
    Part,
    Request,
    TextPart,
)
from mixtura.protocols.anthropic.cache_marks import set_cache_marks
from mixtura.protocols.anthropic.parameters import extra_parameters, output_config_json
from mixtura.protocols.anthropic.tools import tool_choice_json, tool_json
from mixtura.protocols.content_parts import (
    cache_mark_field,
    file_to_document,
    is_thought_part,
    message_parts,
)
from mixtura.protocols.provider_data import messages as provider_data
from mixtura.protocols.provider_data import thinking_blocks

DEFAULT_MAX_TOKENS = 16_384
"""Tokens of an answer, thinking included, where the request sets no limit: the API needs one."""
MAX_TEMPERATURE = 1.0
"""The highest temperature of this API; OpenAI's goes to 2."""

SYSTEM_ROLES = ("system", "developer")

_NATIVE_PART_TYPES = ("text", "image", "document", "search_result")


def request_json(
    request: Request, model: str, origin: str | None = None, *, native: bool = True
) -> JsonObject:
    """
    The JSON body of a messages request, without anything about streaming.

    *origin*: the fingerprint of the endpoint; messages that it wrote get their thinking back.
    *native*: tools that have a form of this API's own are sent in it, not as functions.
    The seed has no counterpart and is left out: it is best effort everywhere. Marks for
    the prompt cache stand after the instructions and after the history, never in the newest
    message, which is where drafts are. Raises RejectedError for what this API cannot express.
    """
    sampling = request.sampling
    temperature = sampling.temperature
    instructions, conversation = _split_instructions(request.messages)
    system = [block for message in instructions for block in _content_blocks(message)]
    messages = _merge_turns(conversation, origin)
    tools = [tool_json(tool, native=native) for tool in request.tools]
    set_cache_marks(tools, system, messages)
    optional: JsonObject = {
        "system": system or None,
        "temperature": None if temperature is None else min(temperature, MAX_TEMPERATURE),
        "top_p": sampling.top_p,
        "stop_sequences": list(sampling.stop) if sampling.stop else None,
        "tools": tools or None,
        "tool_choice": tool_choice_json(request) if tools else None,
        "output_config": output_config_json(request),
    }
    return {
        "model": model,
        "max_tokens": sampling.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": messages,
        **{key: value for key, value in optional.items() if value is not None},
        **extra_parameters(request.extra, sampling.max_tokens or DEFAULT_MAX_TOKENS),
    }


def supports_part(part: Part) -> bool:
    """Whether this API has a form for *part*."""
    return not isinstance(part, OtherPart) or (
        part.raw.get("type") in _NATIVE_PART_TYPES or part.raw.get("type") == "file"
    )


def _split_instructions(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """
    The instructions in front, and the conversation.

    Later instructions stay in their place as user messages: moved to the front they would
    make the cached prefix useless. Pictures in instructions become user messages, too, because
    instructions are text.
    """
    instructions: list[Message] = []
    conversation: list[Message] = []
    for message in messages:
        if message.role not in SYSTEM_ROLES:
            conversation.append(message)
            continue
        in_front = not conversation
        texts = tuple(p for p in message_parts(message) if isinstance(p, TextPart) and in_front)
        others = tuple(p for p in message_parts(message) if p not in texts)
        if texts:
            instructions.append(replace(message, content=texts))
        if others:
            conversation.append(Message("user", others))
    return instructions, conversation


def _merge_turns(messages: Sequence[Message], origin: str | None) -> list[JsonObject]:
    """Alternating user and assistant messages: neighbours of one role become one message."""
    turns: list[JsonObject] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _content_blocks(message)
        data = provider_data.data_for_origin(origin, message)
        if data is not None and blocks:  # thinking alone is no message
            blocks = _with_thinking(data.blocks, blocks)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
        # The API wants the results of tools in front of all else in their message.
        turns[-1]["content"].sort(key=_is_not_tool_result)
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # a begun answer may not end in white space
    return turns


def _is_not_tool_result(block: JsonObject) -> bool:
    return block["type"] != "tool_result"


def _content_blocks(message: Message) -> list[JsonObject]:
    parts: Sequence[Part] = (
        (TextPart(message.content),) if isinstance(message.content, str) else message.content
    )
    blocks = [
        _part_json(part)
        for part in parts
        # The API refuses text blocks that are empty or white space.
        if not is_thought_part(part) and not (isinstance(part, TextPart) and not part.text.strip())
    ]
    if message.role == "tool":
        result: JsonObject = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        return [result | ({"content": blocks} if blocks else {})]
    for call in message.tool_calls:
        arguments = _parse_arguments(call.arguments)
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return blocks


def _with_thinking(thinking: Sequence[Json], blocks: list[JsonObject]) -> list[JsonObject]:
    """A message's *blocks* with its thinking blocks in their original places."""
    calls = [block for block in blocks if block["type"] == "tool_use"]
    texts = [block for block in blocks if block["type"] != "tool_use"]
    return thinking_blocks.insert_thinking_blocks(thinking, texts, calls)


def _parse_arguments(text: str) -> JsonObject:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise RejectedError(
            "a tool call in the conversation has arguments that are not a JSON object"
        ) from None


def _part_json(part: Part) -> JsonObject:
    match part:
        case TextPart(text, extra):
            return {"type": "text", "text": text, **cache_mark_field(extra)}
        case ImagePart(url, _, extra):
            return {"type": "image", "source": _image_source(url), **cache_mark_field(extra)}
        case OtherPart(raw):
            if (kind := raw.get("type")) in _NATIVE_PART_TYPES:
                return dict(raw)
            if (block := file_to_document(raw)) is not None:
                return block
            raise RejectedError(f"Anthropic's messages have no part of the type {kind!r}")


def _image_source(url: str) -> JsonObject:
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    kind, comma, data = url.removeprefix("data:").partition(";base64,")
    if not url.startswith("data:") or not comma:
        raise RejectedError("a picture is neither an http address nor base64 data")
    return {"type": "base64", "media_type": kind, "data": data}
