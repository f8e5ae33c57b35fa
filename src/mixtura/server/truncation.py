"""Conversations that are larger than a model's window, without their oldest messages."""

from __future__ import annotations

from dataclasses import replace

from mixtura.prompts import room
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
    if room(request, window) >= 0:
        return request, 0
    messages = request.messages
    shorter = request
    for start in [i for i, m in enumerate(messages) if m.role == "user"]:
        kept = (m for i, m in enumerate(messages) if i >= start or m.role in _ALWAYS)
        shorter = replace(request, messages=tuple(kept))
        if room(shorter, window) >= 0:
            break
    return shorter, len(messages) - len(shorter.messages)
