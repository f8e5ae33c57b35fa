"""Provider data packed into one text, for API fields that clients hold but do not read."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.core.types import Message, ProviderData, ToolCall
from mixtura.protocols.provider_data.fields import (
    MESSAGE_FIELDS,
    known_blocks,
    select_known_fields,
    tool_call_fields,
)

PACKED_PREFIX = "mixtura1."
"""The start of every packed text; clients hold it in fields for encrypted content or signatures."""


def pack_provider_data(message: Message) -> str:
    """All of a message's provider data as one text; ``unpack_provider_data`` reads it back."""
    data = message.provider_data or ProviderData()
    calls = {call.id: call.provider_fields for call in message.tool_calls if call.provider_fields}
    body = {
        "origin": data.origin, "fields": data.fields, "blocks": list(data.blocks), "calls": calls
    }  # fmt: skip
    return PACKED_PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(body)).decode()


class _PackedData(msgspec.Struct):
    origin: str = ""
    fields: dict[str, Any] = {}
    blocks: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}


def unpack_provider_data(text: object, calls: Iterable[ToolCall]) -> Message | None:
    """
    An assistant message without text, with *calls* and the provider data packed in *text*; None
    where *text* was not written by ``pack_provider_data``.
    """
    if not isinstance(text, str) or not text.startswith(PACKED_PREFIX):
        return None
    try:
        packed = msgspec.json.decode(
            base64.urlsafe_b64decode(text[len(PACKED_PREFIX) :]), type=_PackedData
        )
    except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError):
        return None
    # A client can forge such a text: only fields that a request could also give are taken over.
    own = {id_: tool_call_fields(fields) for id_, fields in packed.calls.items()}
    given = tuple(replace(call, provider_fields=own.get(call.id, {})) for call in calls)
    fields = select_known_fields(MESSAGE_FIELDS, packed.fields)
    data = ProviderData(packed.origin, fields, tuple(known_blocks(packed.blocks)))
    return Message("assistant", "", given, provider_data=data)
