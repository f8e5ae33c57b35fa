"""How many tokens a request is, as counted here: for keys with limits, and for whoever asks."""

from __future__ import annotations

import msgspec

from mixtura.types import Request, TextPart
from mixtura.wire import estimate

BYTES_A_TOKEN = 4
A_PICTURE = 1600
"""Tokens that a picture, a sound or a document is taken for, whatever its size."""


def prompt_tokens(request: Request) -> int:
    """Tokens of the conversation, the tools and the form of an answer, about four bytes each."""
    tools = sum(len(msgspec.json.encode(tool)) for tool in request.tools)
    form = len(msgspec.json.encode(request.response_format)) if request.response_format else 0
    calls = sum(
        len(call.name) + len(call.arguments) for m in request.messages for call in m.tool_calls
    )
    parts = [p for m in request.messages if not isinstance(m.content, str) for p in m.content]
    pictures = sum(not isinstance(part, TextPart) for part in parts)
    said = estimate(request, "").prompt_tokens
    return said + (tools + form + calls) // BYTES_A_TOKEN + pictures * A_PICTURE
