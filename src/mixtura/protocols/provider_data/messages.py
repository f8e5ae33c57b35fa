"""Data that an endpoint wants back with a message it wrote, and that no other endpoint gets."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any, cast
from urllib.parse import urlsplit

from mixtura.core.types import Json, JsonObject, Message, ProviderData, Request, ToolCall
from mixtura.protocols.provider_data.accumulator import ProviderFieldAccumulator, object_rows
from mixtura.protocols.provider_data.fields import (
    MESSAGE_FIELDS,
    PLAIN_THOUGHT_FIELDS,
    SIGNED_THOUGHT_FIELDS,
    THINKING_BLOCK_TYPES,
    tool_call_fields,
)


def origin_fingerprint(url: str, model: str) -> str:
    """A hash of the address *url* and *model*, the same on any machine."""
    parts = urlsplit(url)
    # Without the login: a new key is still the same endpoint, and no secret is hashed.
    place = f"{parts.scheme}://{(parts.netloc).rpartition('@')[2]}{parts.path}\n{model}"
    return blake2b(place.encode("utf-8", "replace"), digest_size=12).hexdigest()


def provider_data_bytes(message: Message) -> int:
    """About how many bytes its provider data adds to a message, for an estimate of tokens."""
    calls = sum(_byte_size(call.provider_fields) for call in message.tool_calls)
    if (data := message.provider_data) is None:
        return calls
    return calls + _byte_size(data.fields) + sum(map(_byte_size, data.blocks))


def _byte_size(data: object) -> int:
    if isinstance(data, str):
        return len(data) if data.isascii() else len(data.encode("utf-8", "replace"))
    if isinstance(data, Mapping):
        return sum(map(_byte_size, cast("Mapping[str, object]", data).values()))
    if isinstance(data, list | tuple):
        return sum(map(_byte_size, cast("Sequence[object]", data)))
    return 8


# ---- which endpoint gets it


def strip_provider_data(request: Request, *, unknown_only: bool = False) -> Request:
    """
    The request without provider data; *unknown_only*: without data whose origin is not known.
    """

    def should_strip(message: Message) -> bool:
        data = message.provider_data
        signed = any(call.provider_fields for call in message.tool_calls)
        return (data is not None or signed) and not (unknown_only and data and data.origin)

    if not any(map(should_strip, request.messages)):
        return request
    rows = (_strip_message(m) if should_strip(m) else m for m in request.messages)
    return replace(request, messages=tuple(rows))


def _strip_message(message: Message) -> Message:
    calls = tuple(ToolCall(call.id, call.name, call.arguments) for call in message.tool_calls)
    return replace(message, provider_data=None, tool_calls=calls)


def data_for_origin(origin: str | None, message: Message) -> ProviderData | None:
    """The data that the endpoint *origin* gets back with *message*; None where another wrote it."""
    data = message.provider_data
    if origin is None or data is None or data.origin not in ("", origin):
        return None
    return data


def fields_per_message(origin: str | None, messages: Sequence[Message]) -> list[JsonObject | None]:
    """
    The fields to send beside each message's content to *origin*; None for messages that another
    endpoint wrote. Plain thoughts are sent only within a turn that calls tools.
    """
    rows: list[JsonObject | None] = []
    calling = False
    for before, message in zip((None, *messages), messages, strict=False):
        # Front ends put reminders right behind a tool's result: the turn goes on there.
        if message.role == "user" and not (before and before.role == "tool"):
            calling = False
        calling = calling or message.role == "tool" or bool(message.tool_calls)
        data = data_for_origin(origin, message)
        if data is None:
            rows.append(None)
        else:
            rows.append(
                {k: v for k, v in data.fields.items() if calling or k not in PLAIN_THOUGHT_FIELDS}
            )
    return rows


_REFUSAL_PATTERN = re.compile(
    r"(?i)unsupported|not (?:\w+ )?(?:supported|allowed|permitted|recogni[sz]ed|accepted)"
    r"|unexpected|unknown|unrecogni[sz]ed|n't support|extra[ _](?:inputs?|fields?|forbidden)"
    r"|(?:please )?remove"
)


def refused_field(message: str, messages: Sequence[Json]) -> str | None:
    """The provider field of *messages* that an error with this *message* refuses, else None."""
    if not _REFUSAL_PATTERN.search(message):
        return None
    for name in MESSAGE_FIELDS:
        there = any(name in row or _is_on_tool_call(name, row) for row in messages)
        if there and re.search(rf"(?<![a-z_]){name}(?![a-z_])", message):
            return name
    return None


def _is_on_tool_call(name: str, row: Json) -> bool:
    return any(
        name in call or name in call.get("function", ()) for call in row.get("tool_calls") or ()
    )


def without_fields(messages: Sequence[JsonObject], names: Collection[str]) -> list[JsonObject]:
    """Messages as JSON without the fields *names*, also in their tool calls."""

    def drop_fields(row: JsonObject) -> JsonObject:
        return {key: value for key, value in row.items() if key not in names}

    def drop_of_call(call: JsonObject) -> JsonObject:
        function: JsonObject | None = call.get("function")
        inner = {"function": drop_fields(function)} if function is not None else {}
        return drop_fields(call) | inner

    rows = map(drop_fields, messages)
    return [
        row | {"tool_calls": [drop_of_call(call) for call in row["tool_calls"]]}
        if "tool_calls" in row
        else row
        for row in rows
    ]


# ---- in the form of chat completions


def client_chat_fields(message: Message) -> JsonObject:
    """The provider's fields of an assistant message, as a client of chat completions gets them."""
    if (data := message.provider_data) is None:
        return {}
    blocks = [dict(block) for block in data.blocks if block.get("type") in THINKING_BLOCK_TYPES]
    return dict(data.fields) | ({"thinking_blocks": blocks} if blocks else {})


def parse_chat_fields(row: Mapping[str, Any]) -> ProviderData | None:
    """Provider data that a client gives back on an assistant message; None where there is none."""
    accumulator = ProviderFieldAccumulator()
    for name in (*PLAIN_THOUGHT_FIELDS, *SIGNED_THOUGHT_FIELDS):
        if row.get(name) is not None:
            accumulator.add_field(name, row[name])
    fields = accumulator.collect_fields(in_tool_turn=True)
    blocks = tuple(fields.get("thinking_blocks", ()))
    calls = any(tool_call_fields(call) for call in object_rows(row.get("tool_calls")))
    return ProviderData("", fields, blocks) if fields or blocks or calls else None


# ---- as plain JSON data


def provider_data_json(message: Message) -> JsonObject | None:
    """A message's provider data for ``restore_provider_data``; None where it has none."""
    if (data := message.provider_data) is None:
        return None
    calls = [call.provider_fields for call in message.tool_calls]
    return {
        "origin": data.origin, "fields": data.fields, "blocks": list(data.blocks), "calls": calls
    }  # fmt: skip


def restore_provider_data(message: Message, kept: Mapping[str, Any] | None) -> Message:
    """*message* with its provider data as ``provider_data_json`` returned it."""
    if kept is None:
        return message
    data = ProviderData(kept["origin"], kept["fields"], tuple(kept["blocks"]))
    calls = tuple(
        replace(call, provider_fields=fields)
        for call, fields in zip(message.tool_calls, kept["calls"], strict=True)
    )
    return replace(message, provider_data=data, tool_calls=calls)
