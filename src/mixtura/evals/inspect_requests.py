"""Inspect's messages, tools and settings as a request of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    Content,
    ContentAudio,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import materialize_media

from mixtura.core.errors import RejectedError
from mixtura.core.types import (
    ImagePart,
    Message,
    OtherPart,
    Part,
    Request,
    Sampling,
    TextPart,
)
from mixtura.core.types import ToolCall as MixturaToolCall


async def convert_message(message: ChatMessage) -> Message:
    """A message of ours. Raises RejectedError for content that is no text, picture or sound."""
    if isinstance(message, ChatMessageTool):
        content = (
            message.error.message if message.error else await _convert_content(message.content)
        )
        return Message("tool", content, tool_call_id=message.tool_call_id)
    content = await _convert_content(message.content)
    if not isinstance(message, ChatMessageAssistant):
        return Message(message.role, content)
    calls = [
        MixturaToolCall(call.id, call.function, json.dumps(call.arguments))
        for call in message.tool_calls or ()
    ]
    return Message("assistant", content, tuple(calls))


async def _convert_content(content: str | list[Content]) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
    # What a model thought in an earlier turn is no part of what it said.
    parts = [
        await _convert_part(item) for item in content if not isinstance(item, ContentReasoning)
    ]
    if all(isinstance(part, TextPart) for part in parts):
        return "".join(part.text for part in parts if isinstance(part, TextPart))
    return tuple(parts)


async def _convert_part(item: Content) -> Part:
    match item:
        case ContentText():
            return TextPart(item.text)
        case ContentImage():
            url = item.image
            # A file of this machine means nothing to a provider.
            if not url.startswith(("http://", "https://")):
                url = await materialize_media(url)
            return ImagePart(url, None if item.detail == "auto" else item.detail)
        case ContentAudio():
            address = await materialize_media(item.audio)
            sound = {"data": address.partition(",")[2], "format": item.format}
            return OtherPart({"type": "input_audio", "input_audio": sound})
        case _:
            raise RejectedError(f"Mixtura sends text, images and audio, not {item.type}")


def build_request(
    messages: tuple[Message, ...],
    tools: Sequence[ToolInfo],
    tool_choice: ToolChoice,
    config: GenerateConfig,
) -> Request:
    """A request of ours with Inspect's tools and settings."""
    sampling = Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        max_tokens=config.max_tokens,
        stop=tuple(config.stop_seqs) if config.stop_seqs else None,
        seed=config.seed,
    )
    return Request(
        messages,
        sampling,
        tuple(_tool_schema(tool) for tool in tools),
        _convert_tool_choice(tool_choice) if tools else None,
        _response_format(config),
        _extra_params(config),
    )


def _tool_schema(tool: ToolInfo) -> dict[str, Any]:
    parameters = tool.parameters.model_dump(exclude_none=True)
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _convert_tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if isinstance(choice, str):
        # Inspect's word for what OpenAI calls "required".
        return "required" if choice == "any" else choice
    return {"type": "function", "function": {"name": choice.name}}


def _response_format(config: GenerateConfig) -> dict[str, Any] | None:
    if config.response_schema is None:
        return None
    wanted = config.response_schema
    schema: dict[str, Any] = {
        "name": wanted.name,
        "schema": wanted.json_schema.model_dump(exclude_none=True),
        "description": wanted.description,
        "strict": wanted.strict,
    }
    set_fields = {key: value for key, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": set_fields}


_PASSED_ON = (
    "frequency_penalty", "presence_penalty", "logit_bias", "top_k", "logprobs", "top_logprobs",
    "parallel_tool_calls", "reasoning_effort", "verbosity",
)  # fmt: skip


def _extra_params(config: GenerateConfig) -> dict[str, Any]:
    """Parameters that chat completions and Inspect call the same."""
    values = {name: getattr(config, name) for name in _PASSED_ON}
    set_values = {name: value for name, value in values.items() if value is not None}
    return set_values | (config.extra_body or {})
