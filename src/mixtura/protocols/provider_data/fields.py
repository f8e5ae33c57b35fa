"""Names and types of provider-specific fields of messages, tool calls and thinking blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from mixtura.core.json_text import MAX_DEPTH, is_deeper_than
from mixtura.core.types import JsonObject

PLAIN_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
"""Fields of a chat message with plain thoughts (DeepSeek, vLLM; OpenRouter, Groq; Copilot):
wanted back while tools are called, and by some refused elsewhere."""
SIGNATURE_TEXTS = ("thought_signature", "thoughtSignature")
"""Google's signature as a field of its own, in both spellings."""
CALL_FIELDS = ("extra_content", "provider_specific_fields", *SIGNATURE_TEXTS)
"""Fields of a tool call, or of its function, with its signature (Google, LiteLLM, other
gateways)."""
SIGNED_THOUGHT_FIELDS = (
    "reasoning_details", "reasoning_opaque", "thinking_blocks", "content_parts", *CALL_FIELDS,
)  # fmt: skip
"""Fields of a chat message with signed or encrypted thoughts (OpenRouter, Copilot, LiteLLM,
Google): sent back with every message that has them. ``content_parts`` are the thoughts among the
parts of a content (Mistral, Databricks), with marks of its texts' places."""
MESSAGE_FIELDS = (*PLAIN_THOUGHT_FIELDS, *SIGNED_THOUGHT_FIELDS)
_TEXT_FIELDS = (*PLAIN_THOUGHT_FIELDS, "reasoning_opaque", *SIGNATURE_TEXTS)
LIST_FIELDS = ("reasoning_details", "thinking_blocks", "content_parts")
"""Fields of a message that are lists of objects."""
THINKING_BLOCK_TYPES = ("thinking", "redacted_thinking")
"""Types of content blocks in Anthropic's messages that hold thinking."""
_BLOCK_FIELDS = {
    "thinking": ("thinking", "signature"), "redacted_thinking": ("data",), "tool_use": ("id",),
    "text": (),
}  # fmt: skip
"""Types of the blocks in ``ProviderData.blocks``, and the text fields of each."""


def _has_expected_type(name: str, value: object) -> bool:
    """Whether *value* has the type that the provider field *name* has."""
    if name in _TEXT_FIELDS:
        return isinstance(value, str)
    if name in LIST_FIELDS:
        rows = cast("list[object]", value) if isinstance(value, list) else [None]
        fits = all(isinstance(row, dict) for row in rows)
    else:
        fits = isinstance(value, dict)
    return fits and not is_deeper_than(value, MAX_DEPTH)


def select_known_fields(names: Iterable[str], row: Mapping[str, Any]) -> JsonObject:
    """Those fields of *row* that are in *names* and have the expected type."""
    return {
        name: row[name] for name in names if row.get(name) and _has_expected_type(name, row[name])
    }  # fmt: skip


def known_blocks(blocks: Iterable[Mapping[str, Any]]) -> Iterator[JsonObject]:
    """Thinking blocks and place markers of *blocks*, with their known text fields only."""
    for block in blocks:
        if isinstance(kind := block.get("type"), str) and kind in _BLOCK_FIELDS:
            # Only these: a client may have put anything into such a block.
            texts = {k: block[k] for k in _BLOCK_FIELDS[kind] if isinstance(block.get(k), str)}
            yield {"type": kind, **texts}


def tool_call_fields(row: Mapping[str, Any]) -> JsonObject:
    """The provider-specific fields of a tool call, and in ``function`` those of its function."""
    own = select_known_fields(CALL_FIELDS, row)
    function = row.get("function")
    if isinstance(function, Mapping):
        inner = select_known_fields(CALL_FIELDS, cast("Mapping[str, Any]", function))
        own |= {"function": inner} if inner else {}
    return own


def add_call_fields(row: JsonObject, own: Mapping[str, Any]) -> JsonObject:
    """A tool call's *row* with its provider's *own* fields, as ``tool_call_fields`` has them."""
    known = tool_call_fields(own)
    inner = known.pop("function", {})
    function = {"function": row["function"] | inner} if inner and "function" in row else {}
    return row | known | function
