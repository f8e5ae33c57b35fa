"""The token usage that a chat completion reports, under every server's names and forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec

from mixtura.core.quantities import MAX_TOKENS, is_null, parse_token_count, redacted_excerpt
from mixtura.core.types import Usage


def usage_from_counts(reported: Mapping[str, object], doubts: list[str]) -> Usage | None:
    """
    Usage from counts under the names of ``Usage``, and ``total_tokens``; numbers or raw JSON.

    None where the prompt is not counted or a count is impossible: then tokens are estimated.
    Impossible details are left out. Both are described in *doubts*, which grows.
    """
    before = len(doubts)
    prompt = _read_count(reported, "prompt_tokens", doubts)
    completion = _read_count(reported, "completion_tokens", doubts)
    total = _read_count(reported, "total_tokens", doubts)
    if len(doubts) > before or not prompt:
        return None
    # Google and xAI count reasoning in the total only; it is billed like what was written.
    thought = max(total - prompt - completion, 0)
    completion += thought
    cached = _read_partial_count(reported, "cached_tokens", prompt, doubts)
    written = _read_partial_count(reported, "cache_write_tokens", prompt - cached, doubts)
    reasoning = _read_partial_count(reported, "reasoning_tokens", completion, doubts)
    return Usage(prompt, completion, cached, written, reasoning or thought)


def _read_count(reported: Mapping[str, object], name: str, doubts: list[str]) -> int:
    value = reported.get(name)
    if is_null(value):
        return 0
    count = parse_token_count(value)
    if count is None:
        doubts.append(f"{name} {redacted_excerpt(value)}")
    return count or 0


def _read_partial_count(
    reported: Mapping[str, object], name: str, whole: int, doubts: list[str]
) -> int:
    """A count that is a part of *whole*; 0, and a doubt, where it is more."""
    count = _read_count(reported, name, doubts)
    if count <= whole:
        return count
    doubts.append(f"{name} {count} of {whole}")
    return 0


_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)]


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count = 0


class _PlainUsage(msgspec.Struct, gc=False):
    """Usage as most servers send it: decoded in one step; other forms are read field by field."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    # DeepSeek's name: a value here is not the usual form, and fails the decoding.
    prompt_cache_hit_tokens: None = None


_plain_usage = msgspec.json.Decoder(_PlainUsage)


def _parse_plain_usage(data: msgspec.Raw) -> Usage | None:
    """The usage if it has the usual form and its counts agree; else None."""
    try:
        reported = _plain_usage.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    read, wrote = reported.prompt_tokens, reported.completion_tokens
    prompt, completion = reported.prompt_tokens_details, reported.completion_tokens_details
    cached = prompt.cached_tokens if prompt else 0
    written = prompt.cache_write_tokens if prompt else 0
    thought = completion.reasoning_tokens if completion else 0
    agree = read + wrote == reported.total_tokens and cached + written <= read and thought <= wrote
    return Usage(read, wrote, cached, written, thought) if agree and read else None


def parse_usage(data: msgspec.Raw, doubts: list[str]) -> Usage | None:
    """The usage that a chunk reports; None and *doubts* as in ``usage_from_counts``."""
    if (plain := _parse_plain_usage(data)) is not None:
        return plain
    fields = _rename_usage_fields(decode_object_fields(data, "usage", doubts))
    prompt = decode_object_fields(
        fields.get("prompt_tokens_details"), "prompt_tokens_details", doubts
    )
    completion = fields.get("completion_tokens_details")
    inner = decode_object_fields(completion, "completion_tokens_details", doubts)
    cached = prompt.get("cached_tokens")
    if is_null(cached):
        cached = fields.get("prompt_cache_hit_tokens")  # DeepSeek's name
    parts: dict[str, object] = {
        "cached_tokens": cached,
        "cache_write_tokens": prompt.get("cache_write_tokens"),
        "reasoning_tokens": inner.get("reasoning_tokens"),
    }
    return usage_from_counts({**fields, **parts}, doubts)


_RESPONSES_NAMES = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}
_ANTHROPIC_CACHE_FIELDS = ("cache_read_input_tokens", "cache_creation_input_tokens")


def _rename_usage_fields(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """
    Usage fields of the Responses API under the names of chat completions, which take precedence.

    Unchanged where Anthropic's cache fields are set: the cache may or may not be in the input.
    """
    if any(
        bytes(fields.get(name, b"0")) not in (b"0", b"null") for name in _ANTHROPIC_CACHE_FIELDS
    ):
        return fields
    more = {
        ours: fields[theirs]
        for ours, theirs in _RESPONSES_NAMES.items()
        if theirs in fields and is_null(fields.get(ours))
    }
    return {**fields, **more}


_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def decode_object_fields(
    data: msgspec.Raw | None, name: str, doubts: list[str]
) -> dict[str, msgspec.Raw]:
    """The fields of an object as raw JSON; none for null, and none and a doubt for no object."""
    try:
        return (_fields_decoder.decode(data) if data else None) or {}
    except (msgspec.DecodeError, RecursionError):
        doubts.append(f"{name} {redacted_excerpt(data)}")
        return {}
