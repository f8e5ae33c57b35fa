"""The log-probabilities of tokens in a chat completion."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mixtura.core.types import JsonObject

Logprob = Annotated[float, msgspec.Meta(le=0.5)]
"""At most 0, with some room for rounding; never infinite, as JSON has no such number."""


class TopToken(msgspec.Struct, omit_defaults=True, gc=False):
    """A token and its log-probability; *bytes* of its UTF-8, where the server has them."""

    token: str
    logprob: Logprob
    bytes: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )


class TokenLogprob(TopToken, gc=False):
    """A token of the answer, with the likeliest ones in its place."""

    top_logprobs: list[TopToken] | msgspec.UnsetType = msgspec.UNSET


class WireLogprobs(msgspec.Struct):
    """The ``logprobs`` of a choice."""

    content: list[TokenLogprob] | None = None


_logprobs_decoder = msgspec.json.Decoder(WireLogprobs)


def decode_logprobs(data: msgspec.Raw) -> list[JsonObject]:
    """Log-probabilities of a choice's tokens; empty where they are malformed."""
    try:
        tokens = _logprobs_decoder.decode(data).content or []
    except (msgspec.DecodeError, RecursionError):
        return []
    return [msgspec.to_builtins(token) for token in tokens]
