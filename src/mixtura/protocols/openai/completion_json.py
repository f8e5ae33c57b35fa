"""Completions and usage as JSON that is read back exactly: for caches, run records and traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mixtura.core.types import Charge, Completion, JsonObject, Usage, WebSource
from mixtura.protocols.openai.messages import message_from_json, message_json
from mixtura.protocols.provider_data import messages


def usage_json(usage: Usage) -> JsonObject:
    """Token counts as plain data that ``usage_from_json`` reads back."""
    told: JsonObject = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
    }
    if usage.batched:
        told["batched"] = True
    if usage.searches:
        told["searches"] = usage.searches
    return told


def completion_json(completion: Completion) -> JsonObject:
    """A completion as plain data that ``completion_from_json`` reads back."""
    message = completion.message
    told: JsonObject = {
        "message": message_json(message),
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "reasoning": completion.reasoning,
        "degraded": list(completion.degraded),
    }
    if completion.logprobs:
        told["logprobs"] = list(completion.logprobs)
    if completion.refusal:
        told["refusal"] = True
    if completion.sources:
        told |= sources_json(completion.sources)
    if kept := messages.provider_data_json(message):
        told["provider_data"] = kept
    told["charges"] = [
        {"model": c.model, "usage": usage_json(c.usage), "outcome": c.outcome}
        for c in completion.charges
    ]
    return told


def sources_json(sources: Iterable[WebSource]) -> JsonObject:
    """The field *sources*, where there are some; each page once."""
    rows = [source._asdict() for source in dict.fromkeys(sources)]
    return {"sources": rows} if rows else {}


def completion_from_json(data: Mapping[str, Any]) -> Completion:
    """
    The completion that ``completion_json`` wrote. Raises KeyError or MalformedError for what it did
    not write.
    """
    message = message_from_json(data["message"])
    return Completion(
        message=messages.restore_provider_data(message, data.get("provider_data")),
        model=data["model"],
        finish_reason=data["finish_reason"],
        charges=tuple(
            Charge(c["model"], usage_from_json(c["usage"]), c["outcome"]) for c in data["charges"]
        ),
        reasoning=data.get("reasoning", ""),
        degraded=tuple(data.get("degraded", ())),
        logprobs=tuple(data.get("logprobs", ())),
        refusal=data.get("refusal", False),
        sources=tuple(WebSource(**row) for row in data.get("sources", ())),
    )


def usage_from_json(data: Mapping[str, Any]) -> Usage:
    """The usage that ``usage_json`` wrote."""
    return Usage(
        data["prompt_tokens"],
        data["completion_tokens"],
        data.get("cached_tokens", 0),
        data.get("cache_write_tokens", 0),
        data.get("reasoning_tokens", 0),
        data.get("estimated", False),
        data.get("batched", False),
        data.get("searches", 0),
    )
