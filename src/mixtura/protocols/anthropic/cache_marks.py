"""Marks in a request that say where Anthropic's prompt cache may cut."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mixtura.core.token_estimate import estimate_tokens
from mixtura.core.types import JsonObject
from mixtura.protocols.content_parts import CACHE_MARK
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
    before = _count_tokens(tools) + _count_tokens(system)
    if before >= MIN_CACHED_TOKENS and system:
        system[-1]["cache_control"] = _EPHEMERAL_CACHE
    # Drafts are in the newest message: what changes with every call is not worth caching.
    newest = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    history = [
        block
        for message in messages[:newest]
        for block in message["content"]
        if block["type"] not in fields.THINKING_BLOCK_TYPES  # which takes no mark
    ]
    if history and before + _count_tokens(history) >= MIN_CACHED_TOKENS:
        history[-1]["cache_control"] = _EPHEMERAL_CACHE


def _count_tokens(blocks: Sequence[JsonObject]) -> int:
    """About the tokens of *blocks* as JSON; pictures are not counted."""
    told = (msgspec.json.encode(block) for block in blocks if block.get("type") != "image")
    return sum(estimate_tokens(text.decode()) for text in told)
