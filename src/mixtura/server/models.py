"""The models that the server offers, by name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mixtura import catalog, hub
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.plan import Plan
from mixtura.server.answering import json_response
from mixtura.server.choice import meant
from mixtura.server.dialect import Refused
from mixtura.server.service import PATIENCE, Service
from mixtura.windows import conversation_window

STARTED = int(time.time())
_WINDOWS = (
    "context_length", "max_model_len", "context_window", "max_context_length", "max_input_tokens",
)  # fmt: skip
_ANSWERS = ("max_output_tokens", "max_completion_tokens", "max_tokens")


def problem(config: Config, name: str) -> str | None:
    """Why a mixture or a model cannot answer here; None when nothing speaks against it."""
    try:
        config.mixture(config.plan(name))
    except ConfigError as error:
        return str(error)
    return None


def single(config: Config) -> Sequence[str]:
    """Every single model: the configured ones, the members of what can answer, those here."""
    names = dict.fromkeys(config.configured_models())
    for mixture in config.mixtures():
        if problem(config, mixture) is None:
            members = sorted(config.plan(mixture).members())
            names.update(dict.fromkeys(n for n in members if n not in config.mixtures()))
    pulled = [n for n in hub.known() if hub.cached(n, config.models_folder) is not None]
    return list(dict.fromkeys((*names, *pulled)))


def offered(service: Service, client: Any) -> list[str]:
    """What *client* may ask: mixtures first, then single models."""
    config = service.config
    names = [name for name in config.mixtures() if problem(config, name) is None]
    names += [name for name in single(config) if problem(config, name) is None]
    if "default" not in names:
        names.insert(0, "default")
    return [name for name in dict.fromkeys(names) if client.lists(name)]


async def listed(service: Service, request: Request) -> Response:
    """``GET /v1/models``."""
    client = service.doors.client(request.scope)
    names = offered(service, client)
    await service.lists.learn(names, patience=PATIENCE)
    body = {"object": "list", "data": [_row(service, name) for name in names]}
    # what Anthropic's clients look for in the same place
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {}
    return json_response(body | {"has_more": False} | ends)


async def one_listed(service: Service, request: Request) -> Response:
    """``GET /v1/models/NAME``."""
    name = request.path_params["name"]
    client = service.doors.client(request.scope)
    if name not in offered(service, client):
        raise Refused(404, f"there is no model `{name}`", code="model_not_found", param="model")
    await service.lists.learn([name], patience=PATIENCE)
    return json_response(_row(service, name))


def _row(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    owner = "mixtura" if name in config.mixtures() else name.partition("/")[0]
    return {
        "id": name,
        "object": "model",
        "created": STARTED,
        "created_at": datetime.fromtimestamp(STARTED, UTC).isoformat().replace("+00:00", "Z"),
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        **_sizes(service, name),
    }


def _sizes(service: Service, name: str) -> dict[str, Any]:
    """
    The tokens of a conversation and of an answer, under every name that clients read; nothing
    where they are not known.
    """
    config = service.config
    try:
        plan = config.plan(meant(config, name))
        window = conversation_window(config.mixture(plan))
    except ConfigError:  # it cannot answer at all
        return {}
    longest = _longest_answer(service, plan)
    if longest is not None and window is not None:
        longest = min(longest, window)
    sizes = dict.fromkeys(_WINDOWS, window) | dict.fromkeys(_ANSWERS, longest)
    known: dict[str, Any] = {key: value for key, value in sizes.items() if value is not None}
    if window is not None:
        known["top_provider"] = {"context_length": window, "max_completion_tokens": longest}
    return known


def _longest_answer(service: Service, plan: Plan) -> int | None:
    """Tokens of an answer at most, as far as is known of the model that writes it."""
    config = service.config
    while not plan.voted and plan.aggregator in config.mixtures():
        plan = config.plan(plan.aggregator)
    if plan.voted:
        return None
    name = plan.aggregator
    listed, place = service.lists.listed(name), config.place(name)
    told = listed.longest_answer if listed else None
    return told or catalog.quirks(place.model if place else name).most_tokens
