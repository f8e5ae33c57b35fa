"""The log-probabilities of tokens in a chat completion."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mixtura.protocols.openai.chunks import JsonObject

Logprob = Annotated[float, msgspec.Meta(le=0.5)]
"""At most 0, with some room for rounding; never infinite, as JSON has no such number."""


class TopToken(msgspec.Struct, omit_defaults=True, gc=False):
    token: str
    logprob: Logprob
    bytes: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )


class TokenLogprob(TopToken, gc=False):
    top_logprobs: list[TopToken] | msgspec.UnsetType = msgspec.UNSET


class WireLogprobs(msgspec.Struct):
    content: list[TokenLogprob] | None = None


_logprobs_decoder = msgspec.json.Decoder(WireLogprobs)


def decode_logprobs(data: msgspec.Raw) -> list[JsonObject]:
    """Log-probabilities of a choice's tokens; empty where they are malformed."""
    try:
        found = _logprobs_decoder.decode(data).content or []
    except (msgspec.DecodeError, RecursionError):
        return []
    return [msgspec.to_builtins(token) for token in found]
