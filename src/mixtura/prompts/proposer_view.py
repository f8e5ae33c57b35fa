"""The conversation for a model without tools or without vision: tool calls and images as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixtura.core.types import ImagePart, Json, Message, Part, Request, TextPart
from mixtura.prompts.control_tokens import neutralize_text
from mixtura.prompts.instructions import (
    append_system_text,
    fill_placeholders,
    load_text,
)
from mixtura.protocols.content_parts import PICTURE_STAND_IN, replace_unsupported_parts
from mixtura.protocols.provider_data.messages import strip_provider_data

NO_IMAGES_NOTICE = "sees no pictures: each is replaced by a line of text"
"""Notice for a model without vision whose request contained images."""


def for_proposer(request: Request) -> Request:
    """
    The request for a proposer: tools described in the system text, tool calls and results as text.

    Proposers call no tools, and many endpoints refuse a conversation that contains tool calls
    when the tools are not sent with it.
    """
    called = any(m.role == "tool" or m.tool_calls for m in request.messages)
    if not (request.tools or called):
        return request
    messages = request.messages if not called else _tool_calls_as_text(request.messages)
    plain = strip_provider_data(replace(request, messages=messages, tools=(), tool_choice=None))
    if not request.tools:
        return plain
    listed = "\n".join(_describe_tool(tool) for tool in request.tools)
    return append_system_text(
        plain, fill_placeholders(load_text("tools.md"), {"tools": listed}).rstrip("\n")
    )


def _describe_tool(tool: Json) -> str:
    """Describe a tool in one line: name, argument names, description."""
    function: Json = tool.get("function") or tool
    name = function.get("name") or tool.get("type") or "a tool"
    parameters: Json = function.get("parameters") or {}
    arguments: Json = parameters.get("properties") or {}
    about = " ".join(str(function.get("description") or "").split())
    line = f"- {name}({', '.join(arguments)})" + (f": {about}" if about else "")
    return neutralize_text(line)


def _tool_calls_as_text(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Write tool calls and results as text; adjacent messages of one role are merged."""
    names = {call.id: call.name for m in messages for call in m.tool_calls}
    groups: list[list[Message]] = []
    for message in messages:
        if message.role == "tool":
            name = names.get(message.tool_call_id or "", "a tool")
            result = TextPart(neutralize_text(f"[{name} returned]\n{message.text}"))
            others = _non_text_parts(message)
            content = (result, *others) if others else result.text
            message = Message("user", content)  # noqa: PLW2901
        elif message.tool_calls:
            calls = "\n".join(
                neutralize_text(f"[called {c.name} with {c.arguments}]") for c in message.tool_calls
            )
            text = f"{message.text}\n\n{calls}" if message.text else calls
            others = _non_text_parts(message)
            content = (*others, TextPart(text)) if others else text
            message = replace(message, content=content, tool_calls=())  # noqa: PLW2901
        # Many chat templates refuse two messages of one role in a row.
        if groups and groups[-1][0].role == message.role != "system":
            groups[-1].append(message)
        else:
            groups.append([message])
    return tuple(map(_merge_messages, groups))


def _merge_messages(messages: Sequence[Message]) -> Message:
    """Merge messages of one role: one text up to the first non-text part, parts from there on."""
    if len(messages) == 1:
        return messages[0]
    first = next((i for i, m in enumerate(messages) if _content_parts(m)), len(messages))
    texts = [m.text for m in messages[:first]]
    text = "\n\n".join((*filter(None, texts[:1]), *texts[1:]))
    if first == len(messages):
        return replace(messages[0], content=text)
    parts: list[Part] = [TextPart(text)] if first else []
    for message in messages[first:]:
        parts += _content_parts(message) or (TextPart(message.text),)
    return replace(messages[0], content=tuple(parts))


def without_images(request: Request) -> Request:
    """The request for a model without vision: each image is replaced by a line of text."""
    return replace_unsupported_parts(request, lambda part: not isinstance(part, ImagePart))[0]


def has_image_stand_ins(request: Request) -> bool:
    """Whether an image of the request was replaced by a line of text."""
    seen = (part for message in request.messages for part in _content_parts(message))
    return any(isinstance(part, TextPart) and part.text == PICTURE_STAND_IN for part in seen)


def _non_text_parts(message: Message) -> tuple[Part, ...]:
    return tuple(part for part in _content_parts(message) if not isinstance(part, TextPart))


def _content_parts(message: Message) -> tuple[Part, ...]:
    return message.content if isinstance(message.content, tuple) else ()
