"""Inspect's messages, tools and settings as a request of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from inspect_ai._util.images import file_as_data_uri
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
from mixtura.core.types import ToolCall as Wish


async def convert_message(message: ChatMessage) -> Message:
    if isinstance(message, ChatMessageTool):
        said = message.error.message if message.error else await _convert_content(message.content)
        return Message("tool", said, tool_call_id=message.tool_call_id)
    content = await _convert_content(message.content)
    if not isinstance(message, ChatMessageAssistant):
        return Message(message.role, content)
    wishes = [
        Wish(call.id, call.function, json.dumps(call.arguments))
        for call in message.tool_calls or ()
    ]
    return Message("assistant", content, tuple(wishes))


async def _convert_content(content: str | list[Content]) -> str | tuple[Part, ...]:
    if isinstance(content, str):
        return content
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
            if not url.startswith(("http://", "https://")):
                url = await file_as_data_uri(url)
            return ImagePart(url, None if item.detail == "auto" else item.detail)
        case ContentAudio():
            address = await file_as_data_uri(item.audio)
            sound = {"data": address.partition(",")[2], "format": item.format}
            return OtherPart({"type": "input_audio", "input_audio": sound})
        case _:
            raise RejectedError(f"Mixtura passes on text, pictures and sound, not {item.type}")


def build_request(
    messages: tuple[Message, ...],
    tools: Sequence[ToolInfo],
    tool_choice: ToolChoice,
    config: GenerateConfig,
) -> Request:
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
    given = {key: value for key, value in schema.items() if value is not None}
    return {"type": "json_schema", "json_schema": given}


_PASSED_ON = (
    "frequency_penalty", "presence_penalty", "logit_bias", "top_k", "logprobs", "top_logprobs",
    "parallel_tool_calls", "reasoning_effort", "verbosity",
)  # fmt: skip


def _extra_params(config: GenerateConfig) -> dict[str, Any]:
    """Parameters that chat completions and Inspect call the same."""
    given = {name: getattr(config, name) for name in _PASSED_ON}
    said = {name: value for name, value in given.items() if value is not None}
    return said | (config.extra_body or {})
