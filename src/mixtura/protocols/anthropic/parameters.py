"""Optional parameters of a request translated for Anthropic's messages."""

from __future__ import annotations

from typing import Any

from mixtura.core.errors import RejectedError
from mixtura.core.types import Json, JsonObject, Request
from mixtura.protocols.sampling_options import (
    OPTIONAL_PARAMETERS,
    is_thinking_switch,
    unsupported_optional_parameters,
    wants_thinking,
)

MIN_THINKING_TOKENS = 1024
"""The smallest thinking budget in tokens that the API accepts."""
_SHARED_PARAMETERS = ("top_k", "service_tier", "metadata", "inference_geo")
"""Extra parameters that this API has under the same name."""
_SERVICE_TIERS = ("auto", "standard_only")
_TRANSLATED_PARAMETERS = ("parallel_tool_calls", "reasoning_effort", "thinking")


def unsupported_parameters(extra: Json) -> list[str]:
    """Names of extra parameters that this API lacks and that are left out of the request."""
    names = unsupported_optional_parameters(extra, (*_SHARED_PARAMETERS, *_TRANSLATED_PARAMETERS))
    if _is_foreign_service_tier(extra.get("service_tier")):
        names.append("service_tier")
    # A switch of another server is translated, so it is not left out.
    known = wants_thinking(extra) is not None
    return [name for name in names if not (known and is_thinking_switch(name))]


def _is_foreign_service_tier(tier: Any) -> bool:
    """Whether *tier* is one of OpenAI's, such as ``flex``, which is left out."""
    return tier is not None and tier not in _SERVICE_TIERS


def extra_parameters(extra: Json, most: int) -> JsonObject:
    """
    Extra parameters as this API takes them; *most*: the limit of the answer in tokens. Raises
    RejectedError for a parameter that can neither be translated nor left out.
    """
    body: JsonObject = {}
    if (thinking := _thinking_setting(extra, most)) is not None:
        body["thinking"] = thinking
    for name, value in extra.items():
        if name in _SHARED_PARAMETERS and not (
            name == "service_tier" and _is_foreign_service_tier(value)
        ):
            body[name] = value
        elif name not in _TRANSLATED_PARAMETERS and name not in OPTIONAL_PARAMETERS:
            error = RejectedError(f"this model takes no {name}")
            error.parameter = name
            raise error
    return body


def _thinking_setting(extra: Json, most: int) -> Json | None:
    """
    The ``thinking`` field: given in this API's form as it is; a budget of half the answer where
    another API's switch turns thinking on; None, which is no thinking, otherwise.
    """
    own = extra.get("thinking")
    if isinstance(own, dict) and (
        "budget_tokens" in own or own.get("type") not in ("enabled", "auto", None)  # pyright: ignore
    ):
        return own  # pyright: ignore[reportUnknownVariableType]
    # The API wants the budget below max_tokens: half of it leaves room for the answer.
    if wants_thinking(extra) is not True or most // 2 < MIN_THINKING_TOKENS:
        return None
    return {"type": "enabled", "budget_tokens": most // 2}


_EFFORTS = {"none": "low", "minimal": "low", "xhigh": "max"}
"""OpenAI's reasoning efforts that have another name in this API."""


def output_config_json(request: Request) -> JsonObject | None:
    """
    The ``output_config``: response format and effort. Raises RejectedError for a format that is no
    JSON schema.
    """
    form = _json_schema_format(request.response_format)
    if effort := request.extra.get("reasoning_effort"):
        return (form or {}) | {"effort": _EFFORTS.get(str(effort), str(effort))}
    return form


def _json_schema_format(response_format: Json | None) -> JsonObject | None:
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": {**schema}}}:
            return {"format": {"type": "json_schema", "schema": schema}}
        case _:
            raise RejectedError(
                "Anthropic's messages have no such response format: give a json_schema"
            )
