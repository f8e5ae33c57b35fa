"""Conversations that are larger than a model's window, without their oldest messages."""

from __future__ import annotations

from dataclasses import replace

from mixtura.prompts import room_beside, tokens
from mixtura.provider_data import provider_bytes
from mixtura.request_size import message_tokens, request_tokens
from mixtura.types import Request

_ALWAYS = ("system", "developer")
"""Whose messages stay."""


def truncated(request: Request, window: int) -> tuple[Request, int]:
    """
    The request without its oldest messages, so that it fits *window* tokens with its answer, and
    how many were left out.

    What is left begins with a user's message, so that no call is parted from its results. System
    messages stay, and so does everything since the user's last message, even where that is too
    much.
    """
    messages = request.messages
    sizes = [(message_tokens(message, tokens), provider_bytes(message)) for message in messages]
    asked = request_tokens(replace(request, messages=()), tokens) + sum(size for size, _ in sizes)
    own = sum(data for _, data in sizes)
    if room_beside(asked, own, request, window) >= 0:
        return request, 0
    start = 0
    for place, (message, (size, data)) in enumerate(zip(messages, sizes, strict=True)):
        if message.role == "user":
            start = place
            if room_beside(asked, own, request, window) >= 0:
                break
        if message.role not in _ALWAYS:  # left out where a later message is the first
            asked, own = asked - size, own - data
    kept = tuple(m for i, m in enumerate(messages) if i >= start or m.role in _ALWAYS)
    return replace(request, messages=kept), len(messages) - len(kept)
