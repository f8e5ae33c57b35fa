"""The models that the server offers, by name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mixtura.catalog import downloads, local_models
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import ConfigError
from mixtura.core.model import get_model_info
from mixtura.engine.conversation_window import conversation_window
from mixtura.server.access import ApiClient
from mixtura.server.apis.base import ApiError
from mixtura.server.json_responses import json_response
from mixtura.server.service import MODEL_LIST_TIMEOUT, Service

STARTED_AT = int(time.time())
# No standard has a field for it: each client reads another of these.
_WINDOW_FIELDS = (
    "context_length", "max_model_len", "context_window", "max_context_length", "max_input_tokens",
)  # fmt: skip
_ANSWER_FIELDS = ("max_output_tokens", "max_completion_tokens", "max_tokens")


def unavailable_reason(config: Config, name: str) -> str | None:
    """Why a mixture or a model cannot answer here; None when it can."""
    try:
        config.build_mixture(config.mixture_spec(name))
    except ConfigError as error:
        return str(error)
    return None


def single_models(config: Config) -> Sequence[str]:
    """Every single model: the configured ones, the members of what can answer, those here."""
    names = dict.fromkeys(config.registry.models)
    for mixture in config.registry.mixtures:
        if unavailable_reason(config, mixture) is None:
            members = sorted(config.mixture_spec(mixture).member_names())
            names.update(dict.fromkeys(n for n in members if n not in config.registry.mixtures))
    pulled = [
        n
        for n in local_models.known_models()
        if downloads.cached_path(n, config.models_folder) is not None
    ]
    return list(dict.fromkeys((*names, *pulled)))


def offered_models(service: Service, client: ApiClient) -> list[str]:
    """The names that *client* may use: mixtures first, then single models."""
    config = service.config
    names = [name for name in config.registry.mixtures if unavailable_reason(config, name) is None]
    names += [name for name in single_models(config) if unavailable_reason(config, name) is None]
    if "default" not in names:
        names.insert(0, "default")
    return [name for name in dict.fromkeys(names) if client.has_listed_model(name)]


async def list_models(service: Service, request: Request) -> Response:
    """``GET /v1/models``. Raises ApiError (401) without a key where one is needed."""
    client = service.authenticator.authenticate_request(request.scope)
    names = offered_models(service, client)
    await service.lists.learn_context_windows(names, timeout=MODEL_LIST_TIMEOUT)
    body = {"object": "list", "data": [_model_json(service, name) for name in names]}
    # what Anthropic's clients look for in the same place
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {}
    return json_response(body | {"has_more": False} | ends)


async def get_model(service: Service, request: Request) -> Response:
    """
    ``GET /v1/models/NAME``. Raises ApiError (404) for a model that its client is not offered, (401)
    without a key where one is needed.
    """
    name = request.path_params["name"]
    client = service.authenticator.authenticate_request(request.scope)
    if name not in offered_models(service, client):
        raise ApiError(404, f"there is no model `{name}`", code="model_not_found", param="model")
    await service.lists.learn_context_windows([name], timeout=MODEL_LIST_TIMEOUT)
    return json_response(_model_json(service, name))


def _model_json(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    owner = "mixtura" if name in config.registry.mixtures else name.partition("/")[0]
    return {
        "id": name,
        "object": "model",
        "created": STARTED_AT,
        "created_at": datetime.fromtimestamp(STARTED_AT, UTC).isoformat().replace("+00:00", "Z"),
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        **_size_fields(service, name),
    }


def _size_fields(service: Service, name: str) -> dict[str, Any]:
    """
    The tokens of a conversation and of an answer, under every name that clients read; nothing
    where they are not known.
    """
    config = service.config
    try:
        plan = config.mixture_spec(config.default_names.get(name, name))
        window = conversation_window(config.build_mixture(plan))
    except ConfigError:  # it cannot answer at all
        return {}
    longest = _max_answer_tokens(config, plan)
    if longest is not None and window is not None:
        longest = min(longest, window)
    sizes = dict.fromkeys(_WINDOW_FIELDS, window) | dict.fromkeys(_ANSWER_FIELDS, longest)
    known: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    if window is not None:
        known["top_provider"] = {"context_length": window, "max_completion_tokens": longest}
    return known


def _max_answer_tokens(config: Config, plan: MixtureSpec) -> int | None:
    """Tokens of an answer at most, as far as is known of the model that writes it."""
    while plan.has_final_model and plan.aggregator in config.registry.mixtures:
        plan = config.mixture_spec(plan.aggregator)
    if not plan.has_final_model:
        return None
    return get_model_info(config.model(plan.aggregator)).max_answer_tokens
