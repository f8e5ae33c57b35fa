"""Truncates conversations that are larger than a model's window: the oldest messages go first."""

from __future__ import annotations

from dataclasses import replace

from mixtura.core.token_estimate import count_message_tokens, count_request_tokens
from mixtura.core.types import Request
from mixtura.prompts.context_fitting import tokens_left_beside

_KEPT_ROLES = ("system", "developer")
"""Whose messages stay."""


def truncate_request(request: Request, window: int) -> tuple[Request, int]:
    """
    The request without its oldest messages, so that it fits *window* tokens with its answer, and
    how many were left out.

    What is left begins with a user's message, so that no call is separated from its results. System
    messages stay, and so does everything since the user's last message, even where that is too
    much.
    """
    messages = request.messages
    sizes = [count_message_tokens(message) for message in messages]
    asked = count_request_tokens(replace(request, messages=())) + sum(sizes)
    if tokens_left_beside(asked, request, window) >= 0:
        return request, 0
    start = 0
    for place, (message, size) in enumerate(zip(messages, sizes, strict=True)):
        if message.role == "user":
            start = place
            if tokens_left_beside(asked, request, window) >= 0:
                break
        if message.role not in _KEPT_ROLES:  # left out where a later message is the first
            asked -= size
    kept = tuple(m for i, m in enumerate(messages) if i >= start or m.role in _KEPT_ROLES)
    return replace(request, messages=kept), len(messages) - len(kept)
