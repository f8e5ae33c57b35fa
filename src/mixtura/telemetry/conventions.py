"""Names of OpenTelemetry's conventions for generative AI, as of November 2026 ("Development")."""

from __future__ import annotations

import json
from typing import Any

from mixtura.core.credentials import mask_keys
from mixtura.core.redaction import redact_secrets
from mixtura.core.types import Completion, Request, Usage

OPERATION, PROVIDER, AGENT = "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.agent.name"
REQUEST_MODEL, RESPONSE_MODEL = "gen_ai.request.model", "gen_ai.response.model"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
TOKEN_TYPE, ERROR_TYPE = "gen_ai.token.type", "error.type"
INPUT_MESSAGES, OUTPUT_MESSAGES = "gen_ai.input.messages", "gen_ai.output.messages"
DURATION, TOKENS = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
CONTENT = frozenset({INPUT_MESSAGES, OUTPUT_MESSAGES})
"""Attributes that hold texts of a conversation."""
MAX_CONTENT_CHARS = 50_000
"""Of one such attribute: the last messages count. Spans wait for the collector in memory."""
MAX_REASON_CHARS = 100
_MARGIN_CHARS = 20_000
"""Beyond what is kept, that are searched for secrets: none is to be cut in two, and half kept."""
INVOKE_AGENT, CHAT = "invoke_agent", "chat"
DURATION_BOUNDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
TOKEN_BOUNDS = (
    1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864,
)  # fmt: skip
"""Bounds of histograms that the conventions advise."""
_PROVIDER_NAMES = {
    "azure": "azure.ai.openai", "google": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai",
}  # fmt: skip
"""Our names of providers, where the conventions have others."""


def provider_name(name: str) -> str:
    """A provider of ours as the conventions call it."""
    return _PROVIDER_NAMES.get(name, name)


def request_attributes(request: Request) -> dict[str, Any]:
    """What was asked for beside the messages."""
    sampling = request.sampling
    known = {
        "gen_ai.request.temperature": sampling.temperature,
        "gen_ai.request.top_p": sampling.top_p,
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.seed": sampling.seed,
        "gen_ai.request.stop_sequences": list(sampling.stop) if sampling.stop else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def usage_attributes(usage: Usage) -> dict[str, Any]:
    """Tokens of a call or a run."""
    known = {
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
    }
    # Of which some were cached or thought: said where there are any.
    parts = {
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    return known | {name: count for name, count in parts.items() if count}


def response_attributes(answer: Completion) -> dict[str, Any]:
    """Who answered, and why the answer ended."""
    known: dict[str, Any] = {RESPONSE_MODEL: answer.model}
    if answer.finish_reason:
        known["gen_ai.response.finish_reasons"] = [answer.finish_reason]
    return known


def input_messages(request: Request) -> str:
    """The end of the conversation as JSON of the conventions, its texts only, without secrets."""
    rows: list[dict[str, Any]] = []
    left = MAX_CONTENT_CHARS
    for message in reversed(request.messages):
        row = _message_json(message.role, message.text, left)
        rows.append(row)
        left -= len(str(row))
        if left <= 0:
            break
    return json.dumps(rows[::-1], ensure_ascii=False)


def output_messages(answer: Completion) -> str:
    """The answer in the same form."""
    row = _message_json("assistant", answer.text, MAX_CONTENT_CHARS)
    why = clean_text(answer.finish_reason or "", MAX_REASON_CHARS)
    return json.dumps([row | {"finish_reason": why}], ensure_ascii=False)


def _message_json(role: str, text: str, most: int) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": clean_text(text, most)}]}


def clean_text(text: str, most: int) -> str:
    """*text* without secrets, without half characters, at most so many characters of it."""
    searched = text[: most + _MARGIN_CHARS]
    safe = mask_keys(redact_secrets(searched))
    if len(text) > len(searched):  # at its end half a secret may stand
        safe = safe[: max(len(safe) - _MARGIN_CHARS, 0)]
    if len(safe) > most or len(text) > len(searched):
        safe = f"{safe[: max(most - 1, 0)]}…"
    # A lone surrogate would keep all spans that are sent with it from being encoded.
    return safe.encode("utf-8", "replace").decode()
