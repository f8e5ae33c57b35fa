"""The models that the server offers, by name."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from mixtura import hub
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.server.answering import json_response
from mixtura.server.dialect import Refused
from mixtura.server.service import Service

STARTED = int(time.time())


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
    return json_response(_row(service, name))


def _row(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    owner = "mixtura" if name in config.mixtures() else name.partition("/")[0]
    return {
        "id": name,
        "object": "model",
        "created": STARTED,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
    }
