"""Names of OpenTelemetry's conventions for generative AI, as of November 2026 ("Development")."""

from __future__ import annotations

import json
from typing import Any

from mixtura.core.redaction import redact_secrets
from mixtura.core.types import Completion, Request, Usage

OPERATION, PROVIDER, AGENT = "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.agent.name"
REQUEST_MODEL, RESPONSE_MODEL = "gen_ai.request.model", "gen_ai.response.model"
FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
TOKEN_TYPE, ERROR_TYPE = "gen_ai.token.type", "error.type"
INPUT_MESSAGES, OUTPUT_MESSAGES = "gen_ai.input.messages", "gen_ai.output.messages"
DURATION, TOKENS = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
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
    """The conversation as JSON of the conventions, its texts only, without secrets."""
    rows = [_message_json(message.role, message.text) for message in request.messages]
    return redact_secrets(json.dumps(rows, ensure_ascii=False))


def output_messages(answer: Completion) -> str:
    """The answer in the same form."""
    row = _message_json("assistant", answer.text) | {"finish_reason": answer.finish_reason or ""}
    return redact_secrets(json.dumps([row], ensure_ascii=False))


def _message_json(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}
