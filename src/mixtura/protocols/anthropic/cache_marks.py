"""Marks in a request that say where Anthropic's prompt cache may cut."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mixtura.protocols.content_parts import CACHE_MARK
from mixtura.protocols.openai.chunks import JsonObject
from mixtura.protocols.provider_data import fields

MIN_CACHED_TOKENS = 1024
"""Estimated tokens of the shortest prefix worth a mark: most models do not cache a shorter one."""
MAX_CACHE_MARKS = 4
"""The API refuses a request with more marks."""
_EPHEMERAL_CACHE: JsonObject = {"type": "ephemeral"}


def set_cache_marks(
    tools: list[JsonObject], system: list[JsonObject], messages: list[JsonObject]
) -> None:
    """
    Mark, in place, where the prompt cache may cut: after the instructions and after the history.
    Where the caller has set marks, only the last MAX_CACHE_MARKS of those are kept.
    """
    blocks = [*system, *(block for message in messages for block in message["content"])]
    marked = [block for block in blocks if CACHE_MARK in block]
    for block in marked[:-MAX_CACHE_MARKS]:
        del block[CACHE_MARK]
    if marked:
        return
    before = _estimate_tokens(tools) + _estimate_tokens(system)
    if before >= MIN_CACHED_TOKENS and system:
        system[-1]["cache_control"] = _EPHEMERAL_CACHE
    newest = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    history = [
        block
        for message in messages[:newest]
        for block in message["content"]
        if block["type"] not in fields.THINKING_BLOCK_TYPES  # which takes no mark
    ]
    if history and before + _estimate_tokens(history) >= MIN_CACHED_TOKENS:
        history[-1]["cache_control"] = _EPHEMERAL_CACHE


def _estimate_tokens(blocks: Sequence[JsonObject]) -> int:
    """Tokens of *blocks*, at four bytes a token; pictures are not counted."""
    return sum(len(msgspec.json.encode(b)) for b in blocks if b.get("type") != "image") // 4
