"""From a machine that knows no model to one that answers: keys, servers, downloads."""

from __future__ import annotations

import threading
from asyncio import to_thread
from collections.abc import Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from mixtura.catalog import downloads, local_models, providers
from mixtura.catalog.local_models import KnownModel
from mixtura.catalog.model_needs import bytes_to_download
from mixtura.config.config import Config
from mixtura.config.local_servers import find_local_servers
from mixtura.config.saved_keys import key_problem
from mixtura.core.errors import ConfigError
from mixtura.core.redaction import register_secrets
from mixtura.core.text import to_one_line
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.validation import decode_fields
from mixtura.server.host_checks import is_loopback
from mixtura.server.json_responses import json_response
from mixtura.server.request_body import receive_body
from mixtura.server.request_headers import request_header
from mixtura.server.service import Service

STARTER = "starter"
"""The group of local models that is offered for download."""
_PROXY_HEADERS = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")


class EnteredKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /api/keys``."""

    variable: str
    key: str
    save: bool = False
    """Keep it in a file of the person who runs the server."""


class StarterDownload:
    """The download of the starter models, in a thread of its own, once at a time."""

    def __init__(self, config: Config, when_done: Callable[[], None]) -> None:
        self._config = config
        self._when_done = when_done
        self._lock = threading.Lock()
        self._state = "idle"  # then: running, done | failed
        self._label = ""
        self._error: str | None = None
        self._done = 0
        self._total = 0

    def describe(self) -> dict[str, Any]:
        """How far it is, as JSON."""
        return {
            "state": self._state,
            "label": self._label,
            "done_bytes": self._done,
            "total_bytes": self._total,
            "error": self._error,
        }

    def begin(self) -> None:
        """Begin it, where it does not run already; what is on the disk is not brought again."""
        with self._lock:
            if self._state == "running":
                return
            self._state, self._error, self._done = "running", None, 0
        # A server that is told to end does not wait for gigabytes: what came is kept.
        threading.Thread(target=self._download_models, name="starter-download", daemon=True).start()

    def _download_models(self) -> None:
        models = starter_models()
        folder = self._config.models_folder
        try:
            sizes = [bytes_to_download(model, folder) for model in models]
            self._total, before = sum(sizes), 0
            for model, size in zip(models, sizes, strict=True):
                self._label = model.title
                self._download_model(model, before, size)
                before += size
        except ConfigError as error:
            self._error, self._state = to_one_line(error), "failed"
        except Exception as error:  # noqa: BLE001 (a thread has nobody else who could be told)
            self._error, self._state = f"{type(error).__name__}: {to_one_line(error)}", "failed"
        else:
            self._done, self._state = self._total, "done"
            self._when_done()

    def _download_model(self, model: KnownModel, before: int, size: int) -> None:
        def report(done: int, whole: int | None) -> None:
            here_already = max((whole or size) - size, 0)
            self._done = before + min(max(done - here_already, 0), size)

        downloads.download_model(model, self._config.models_folder, report if size else None)


def starter_models() -> list[KnownModel]:
    """The models that are offered for download."""
    known = local_models.known_models()
    return [known[name] for name in local_models.model_groups()[STARTER]]


class FirstRun:
    """What the page asks and does until there is a model that answers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._config = service.config
        self._download = StarterDownload(self._config, service.relearn_models)

    async def handle_start(self, service: Service, request: Request) -> Response:
        """``GET /api/start``: keys by their variables (never a key), servers, the starter."""
        config = self._config
        servers = await to_thread(find_local_servers, config.registry.environ)
        models = starter_models()
        missing = [bytes_to_download(model, config.models_folder) for model in models]
        return json_response(
            {
                "refused": entry_refusal(service, request.scope),
                "saves_to": str(config.keys.file) if config.keys.file else None,
                "keys": _describe_keys(config),
                "servers": [
                    {"title": s.title, "base_url": s.base_url, "models": list(s.models)}
                    for s in servers
                ],
                "starter": {
                    "models": [model.title for model in models],
                    "bytes": sum(missing),
                    **self._download.describe(),
                },
            }
        )

    async def enter_key(self, service: Service, request: Request) -> Response:
        """``POST /api/keys``: use a provider's key from now on. Raises ApiError (400, 403)."""
        _check_entry(service, request.scope)
        raw = await receive_body(request.scope, request.receive, service)
        try:
            body = decode_fields(raw, EnteredKey)
        except ApiError:  # whose words may repeat what was sent
            raise ApiError(400, "the body has `variable`, `key` and, if wanted, `save`") from None
        if body.variable not in self._config.registry.key_variables():
            known = "the variables that `GET /api/start` lists"
            raise ApiError(400, f"`variable` is none of {known}", param="variable")
        if problem := key_problem(body.key.strip()):
            raise ApiError(400, problem, param="key")
        try:
            self._config.keys.enter_key(body.variable, body.key.strip(), save=body.save)
        except ConfigError as error:
            raise ApiError(400, str(error), param="save") from None
        # Before anything can be asked with it.
        self._config.redactor.learn_values([body.key])
        register_secrets(self._config.redactor.values)
        service.relearn_models()
        return json_response({"variable": body.variable, "saved": body.save})

    async def handle_download(self, service: Service, request: Request) -> Response:
        """``GET /api/starter``: how far the download is; ``POST`` begins it."""
        if request.method == "POST":
            _check_entry(service, request.scope)
            self._download.begin()
        return json_response(self._download.describe())


def _describe_keys(config: Config) -> list[dict[str, Any]]:
    environ = config.registry.environ
    of_providers = {
        variable: name
        for name, provider in providers.providers().items()
        for variable in provider.keys
        if not provider.local
    }
    return [
        {
            "variable": variable,
            "provider": of_providers.get(variable),
            "set": bool(environ.get(variable)),
        }
        for variable in config.registry.key_variables()
    ]


def entry_refusal(
    service: Service,
    scope: Scope,
    what: str = "a key",
    instead: str = "set providers' keys in its environment",
) -> str | None:
    """
    Why *what*, which is a setting of the server, may not be entered over this connection; None
    where it may. *instead*: what to do where the server has clients.
    """
    if service.authenticator.is_key_required:
        return f"this server has clients with keys: {instead}"
    origin, host = (request_header(scope, name) for name in (b"origin", b"host"))
    if origin and origin.partition("://")[2] != host:
        return f"{what} is accepted only from this server's own page, whatever `cors` allows"
    if scope["scheme"] == "https":
        return None
    named = {name for name, _ in scope["headers"]}
    ends = (scope.get("server"), scope.get("client"))
    local = all(end is not None and is_loopback(end[0]) for end in ends)
    if local and not named.intersection(_PROXY_HEADERS):
        return None
    return f"{what} is accepted only on this machine (127.0.0.1) or over TLS"


def _check_entry(service: Service, scope: Scope) -> None:
    if refused := entry_refusal(service, scope):
        raise ApiError(403, refused, code="not_on_this_connection")
