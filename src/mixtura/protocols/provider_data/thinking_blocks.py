"""Thinking blocks of Anthropic's messages: put in their places, given to clients and read back."""

from __future__ import annotations

from collections.abc import Sequence

from mixtura.core.types import Json, JsonObject, Message, ProviderData, ToolCall
from mixtura.protocols.provider_data.fields import PLAIN_THOUGHT_FIELDS, THINKING_BLOCK_TYPES
from mixtura.protocols.provider_data.packing import (
    PACKED_PREFIX,
    pack_provider_data,
    unpack_provider_data,
)


def insert_thinking_blocks(
    blocks: Sequence[Json], texts: Sequence[Json], calls: Sequence[Json]
) -> list[JsonObject]:
    """
    An assistant message's content with its thinking blocks in their original places.

    *blocks*: of ``ProviderData``; *texts* and *calls*: the message's other blocks. Where the calls
    no longer match the marked places, the thinking comes first.
    """
    ids = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
    thinking = [dict(block) for block in blocks if block.get("type") in THINKING_BLOCK_TYPES]
    # The client changed the calls: the places are of no use, but the thinking is still wanted.
    if ids != [str(call.get("id")) for call in calls]:
        return [*thinking, *map(dict, texts), *map(dict, calls)]
    rows: list[JsonObject] = []
    text, call = list(texts), iter(calls)
    for block in blocks:
        match block.get("type"):
            case "tool_use":
                rows.append(dict(next(call)))
            case "text":
                rows += map(dict, text)
                text = []
            case kind if kind in THINKING_BLOCK_TYPES:
                rows.append(dict(block))
            case _:  # no known block
                pass
    begun = next(
        (i for i, row in enumerate(rows) if row["type"] not in THINKING_BLOCK_TYPES), len(rows)
    )
    rows[begun:begun] = map(dict, text)
    first = next((i for i, row in enumerate(rows) if row["type"] in THINKING_BLOCK_TYPES), 0)
    if first:  # our own stream puts thinking behind text that was sent already
        last = first
        while last < len(rows) and rows[last]["type"] in THINKING_BLOCK_TYPES:
            last += 1
        rows = [*rows[first:last], *rows[:first], *rows[last:]]
    return rows


def anthropic_blocks(message: Message) -> list[JsonObject]:
    """
    The thinking blocks of an assistant message, as a client of Anthropic's messages API gets them,
    with markers of the other blocks' places. Another API's data is packed into a signature.
    """
    if (data := message.provider_data) is None:
        return []
    theirs = [block for block in data.blocks if block.get("type") in THINKING_BLOCK_TYPES]
    if data.blocks and not any(map(_has_our_prefix, theirs)):
        return [dict(block) for block in data.blocks]
    thought = next(
        (data.fields[name] for name in PLAIN_THOUGHT_FIELDS if data.fields.get(name)), ""
    )
    thought = thought or "".join(str(block.get("thinking") or "") for block in theirs)
    packed = pack_provider_data(message)
    if thought:
        return [{"type": "thinking", "thinking": thought, "signature": packed}]
    return [{"type": "redacted_thinking", "data": packed}]


def _has_our_prefix(block: Json) -> bool:
    """
    Whether an upstream's block would be mistaken for packed data when a client gives it back. Such
    a block is itself packed, so that only that upstream gets it back.
    """
    return any(
        str(block.get(name) or "").startswith(PACKED_PREFIX) for name in ("signature", "data")
    )


def parse_anthropic_blocks(blocks: Sequence[Json], calls: Sequence[ToolCall]) -> Message | None:
    """
    The provider data that a client gives back, on a message without text but with its *calls*;
    None where there is none. *blocks*: all of its content, of which only thinking is read.
    """
    thinking = [block for block in blocks if block.get("type") in THINKING_BLOCK_TYPES]
    if not thinking:
        return None
    for block in thinking:
        if message := unpack_provider_data(block.get("signature") or block.get("data"), calls):
            return message
    places = (
        block if block in thinking else {"type": block.get("type"), "id": block.get("id")}
        for block in blocks
    )
    rows = tuple({k: v for k, v in place.items() if v is not None} for place in places)
    return Message("assistant", "", tuple(calls), provider_data=ProviderData(blocks=rows))
