"""A team that was changed on the page, saved as a mixture of this server."""

from __future__ import annotations

from functools import partial

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from mixtura.config.config import Config
from mixtura.config.plan import check_name
from mixtura.config.saved_mixtures import (
    check_saved_file,
    offer_saved_mixtures,
    plan_as_table,
    saved_names,
)
from mixtura.core.credentials import mask_keys
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.core.types import ask
from mixtura.selection.preset import team_table, write_preset
from mixtura.server.apis.base import ApiCall, ApiError, MixtureOptions
from mixtura.server.apis.validation import decode_fields
from mixtura.server.first_run import entry_refusal
from mixtura.server.json_responses import json_response
from mixtura.server.request_body import receive_body
from mixtura.server.service import Service

MAX_NAME_CHARS = 80


class TeamToSave(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /api/mixtures``."""

    name: str
    model: str
    """The mixture that was changed."""
    mixtura: MixtureOptions = MixtureOptions()
    """The changes: `proposers`, `aggregator`, `layers`."""
    replace: bool = False
    """Put it in the place of one that was saved under this name."""


def saving_refusal(service: Service, scope: Scope) -> str | None:
    """Why no team may be saved over this connection; None where one may."""
    if service.config.saved_file is None:
        return "this server has no folder for its configuration"
    return entry_refusal(
        service, scope, "a mixture", "write the mixture into its configuration instead"
    )


async def save_team(service: Service, request: Request) -> Response:
    """
    ``POST /api/mixtures``: keep a team under a name, in a file beside the configuration; it is
    offered at once. Raises ApiError: 403 over this connection, 409 for a name that is taken.
    """
    if refused := saving_refusal(service, request.scope):
        raise ApiError(403, refused, code="not_on_this_connection")
    data = await receive_body(request.scope, request.receive, service)
    body = decode_fields(data, TeamToSave)
    config = service.config
    name = _check_free_name(config, body)
    client = service.authenticator.authenticate_request(request.scope)
    call = ApiCall(body.model, ask(""), options=body.mixtura)
    table = plan_as_table(service.chooser.choose_mixture(call, client).plan)
    text = team_table(name, table, "page")
    if config.redactor.redact_data(table) != table or mask_keys(text) != text:
        raise ApiError(400, "the team contains a key or a login: remove it first")
    file = config.saved_file
    assert file is not None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # All in one step of the loop: nobody else saves, or reads names, meanwhile.
        write_preset(file, name, text, {}, partial(check_saved_file, config))
        offer_saved_mixtures(config)
    except OSError as error:
        raise ApiError(400, f"{file} cannot be written: {error.strerror}") from None
    except ConfigError as error:
        raise ApiError(400, to_one_line(error)) from None
    service.relearn_models()
    return json_response({"name": name, "file": str(file)})


def _check_free_name(config: Config, body: TeamToSave) -> str:
    name = body.name.strip()
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        message = f"a name has 1 to {MAX_NAME_CHARS} letters, in one line"
        raise ApiError(400, message, param="name")
    try:
        check_name(name)
    except ConfigError as error:
        raise ApiError(400, str(error), param="name") from None
    if name in saved_names(config):
        if not body.replace:
            message = f"a mixture called {name!r} was saved before"
            raise ApiError(409, message, code="saved_before", param="name")
    elif config.registry.name_exists(name):
        message = f"{name!r} is the name of something else here: choose another"
        raise ApiError(409, message, code="name_taken", param="name")
    return name
