"""The body of a chat completion request, and what it cannot express."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixtura.core.types import JsonObject, Request
from mixtura.protocols.openai.messages import messages_json


def request_json(request: Request, model: str, origin: str | None = None) -> JsonObject:
    """
    The body of a chat completion request, without the fields that control streaming.

    *origin*: the endpoint it goes to; messages that this endpoint wrote carry their provider
    data again (``provider_data``).
    """
    sampling = request.sampling
    body: JsonObject = {"model": model, "messages": messages_json(request.messages, origin)}
    optional: JsonObject = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) if sampling.stop else None,
        "seed": sampling.seed,
        "tools": [_tool_json(tool) for tool in request.tools] or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
    }
    body.update({key: value for key, value in optional.items() if value is not None})
    body.update(request.extra)
    # A budget of Anthropic's is unknown elsewhere, and servers refuse what they do not know.
    if "thinking" in body and _is_anthropic_thinking(body["thinking"]):
        del body["thinking"]
    if body.get("service_tier") == "standard_only":  # Anthropic's word for it
        body["service_tier"] = "default"
    return body


def _tool_json(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool without the form that is sent to Anthropic's API only."""
    return {k: v for k, v in tool.items() if k != "native"} if "native" in tool else tool


def _is_anthropic_thinking(thinking: Any) -> bool:
    """Whether *thinking* is in Anthropic's own form; other servers take a switch at most."""
    match thinking:
        case {"budget_tokens": _}:
            return True
        case {"type": kind}:
            return kind not in ("enabled", "disabled", "auto")
        case _:
            return False


def unsupported_parameters(request: Request) -> list[str]:
    """Names of extra parameters that a chat completion cannot express."""
    return ["thinking"] if _is_anthropic_thinking(request.extra.get("thinking")) else []
