"""Tokens counted here, where an upstream does not report them or reports what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec

from mixtura.core.quantities import MAX_HIDDEN_TOKENS
from mixtura.core.token_estimate import count_request_tokens, estimate_tokens
from mixtura.core.types import Request, Usage
from mixtura.protocols.openai.request import request_json


def estimate_usage(request: Request, answer: str) -> Usage:
    """The likely tokens of a request and its answer; none for an answer that is empty."""
    wrote = estimate_tokens(answer) if answer else 0
    return Usage(count_request_tokens(request), wrote, estimated=True)


def estimate_stream_usage(request: Request, answer: str, pieces: int) -> Usage:
    """The usage of an answer that came in *pieces*: a token each, unless they are large."""
    guess = estimate_usage(request, answer)
    small = guess.completion_tokens <= 3 * pieces
    return replace(guess, completion_tokens=pieces) if small else guess


def implausible_counts(
    usage: Usage, request: Request, answer_texts: Callable[[], Sequence[str]]
) -> list[str]:
    """
    The counts of *usage* that are more than the bytes sent or generated, and what a provider
    adds or hides, can account for: a description each.
    """
    if max(usage.prompt_tokens, usage.completion_tokens) <= MAX_HIDDEN_TOKENS:
        return []
    at_least = sum(len(message.text) for message in request.messages)
    if usage.prompt_tokens <= at_least + MAX_HIDDEN_TOKENS >= usage.completion_tokens:
        return []  # found without encoding what may be very large
    sent = len(msgspec.json.encode(request_json(request, "")))
    generated = sum(len(text.encode()) for text in answer_texts())
    return [
        f"{name} {count} for {size} bytes"
        for name, count, size in (
            ("prompt_tokens", usage.prompt_tokens, sent),
            ("completion_tokens", usage.completion_tokens, generated),
        )
        if count > size + MAX_HIDDEN_TOKENS
    ]


def fill_missing_counts(reported: Usage | None, estimate: Usage) -> Usage:
    """The usage that was reported, with the estimate for each count that it leaves out."""
    if reported is None:
        return estimate
    return replace(
        reported,
        prompt_tokens=reported.prompt_tokens or estimate.prompt_tokens,
        completion_tokens=reported.completion_tokens or estimate.completion_tokens,
        estimated=True,
    )
