"""Messages of a chat completion as OpenAI's JSON, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtura.core.errors import MalformedError
from mixtura.core.types import ImagePart, JsonObject, Message, Part, TextPart, ToolCall
from mixtura.protocols.content_parts import is_thought_part, part_from_json, part_json
from mixtura.protocols.provider_data import fields
from mixtura.protocols.provider_data import messages as provider_data
from mixtura.protocols.provider_data.returned_parts import restore_content
from mixtura.protocols.tool_calls.arguments import EMPTY_ARGUMENTS

PICTURE_FOLLOWS_NOTE = "[What it returned is a picture: it follows.]"
FILE_FOLLOWS_NOTE = "[What it returned is no text: it follows.]"
"""Text of a tool result whose other parts follow in a user message."""


def results_behind_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """
    *messages* with each tool result right behind its call, as chat completions require; what a
    client put in between follows the results.
    """
    groups: list[list[Message]] = []
    waiting: dict[str, list[Message]] = {}
    for message in messages:
        if message.role == "tool" and (call_group := waiting.pop(message.tool_call_id or "", None)):
            call_group.append(message)
            continue
        # A result without its call stays where it is: the endpoint says what is wrong.
        groups.append([message])
        waiting |= {call.id: groups[-1] for call in message.tool_calls}
    return [message for group in groups for message in group]


def messages_json(messages: Sequence[Message], origin: str | None) -> list[JsonObject]:
    """
    The messages of a request to the endpoint *origin*.

    Parts of tool results that are no text follow in a user message: only that may have them.
    """
    rows: list[JsonObject] = []
    below: list[JsonObject] = []
    messages = results_behind_calls(messages)
    back = provider_data.fields_per_message(origin, messages)
    for message, own in zip(messages, back, strict=True):
        # Behind the last result of the turn: no message may stand between the results.
        if message.role != "tool" and below:
            rows.append({"role": "user", "content": below})
            below = []
        row = message_json(message)
        if message.role == "tool" and isinstance(message.content, tuple):
            others = [p for p in message.content if not isinstance(p, TextPart)]
            below += [part_json(part) for part in others if not is_thought_part(part)]
            pictures = all(isinstance(part, ImagePart) for part in others)
            note = PICTURE_FOLLOWS_NOTE if pictures else FILE_FOLLOWS_NOTE
            row["content"] = message.text + (note if others else "")
        if own is not None:
            _restore_provider_fields(row, message, own)
        rows.append(row)
    return [*rows, {"role": "user", "content": below}] if below else rows


def _restore_provider_fields(row: JsonObject, message: Message, own: JsonObject) -> None:
    """Add the provider's own fields to a message and to its calls."""
    row |= {n: own[n] for n in fields.MESSAGE_FIELDS if n in own and n != "content_parts"}
    if "content_parts" in own:
        row["content"] = restore_content(own["content_parts"], message.text) or row["content"]
    if calls := row.get("tool_calls"):
        row["tool_calls"] = [
            fields.add_call_fields(row_of_call, call.provider_fields)
            for call, row_of_call in zip(message.tool_calls, calls, strict=True)
        ]


def message_json(message: Message) -> JsonObject:
    """One message, without its provider's own fields."""
    body: JsonObject = {"role": message.role, "content": _content_json(message.content)}
    if message.name:
        body["name"] = message.name
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.arguments if call.arguments.strip() else EMPTY_ARGUMENTS,
                },
            }
            for call in message.tool_calls
        ]
        # The protocol writes null beside calls without a text.
        body["content"] = body["content"] or None
    return body


def _content_json(content: str | tuple[Part, ...]) -> str | list[JsonObject]:
    if not content:  # servers refuse an empty list
        return ""
    return content if isinstance(content, str) else [part_json(part) for part in content]


def message_from_json(data: Mapping[str, Any]) -> Message:
    """
    One message of a chat request or answer. Raises MalformedError for an unknown role or a content
    that is neither text nor parts.
    """
    role = data.get("role", "assistant")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise MalformedError(f"a message has the unknown role {role!r}")
    data_of_provider = provider_data.parse_chat_fields(data) if role == "assistant" else None
    calls = tuple(
        ToolCall(
            call.get("id") or "",
            call["function"]["name"],
            call["function"].get("arguments") or "",
            fields.tool_call_fields(call) if data_of_provider else {},
        )
        for call in data.get("tool_calls") or ()
    )
    content = _content_from_json(data.get("content"))
    if not content and role == "assistant" and isinstance(data.get("refusal"), str):
        content = data["refusal"]  # what it said instead
    return Message(
        role, content, calls, data.get("tool_call_id"), data.get("name"), data_of_provider
    )


def _content_from_json(content: Any) -> str | tuple[Part, ...]:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MalformedError("the content of a message is neither text nor a list of parts")
    return tuple(map(part_from_json, content))  # pyright: ignore[reportUnknownArgumentType]
