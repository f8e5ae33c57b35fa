"""The routes, and what stands before all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixtura.config import Config
from mixtura.logs import keep_secrets_out
from mixtura.redaction import in_use
from mixtura.server import metrics, openapi, pages
from mixtura.server.access import Doors, header
from mixtura.server.answering import Endpoint, json_response, refusal
from mixtura.server.chat import Chat
from mixtura.server.choice import DEFAULT, meant
from mixtura.server.completions import Completions
from mixtura.server.dialect import Dialect, Refused
from mixtura.server.hosted_tools import LEFT_OUT
from mixtura.server.messages import Messages
from mixtura.server.models import listed, offered, one_listed, problem
from mixtura.server.response_routes import input_items, one_response
from mixtura.server.responses import Responses
from mixtura.server.service import Service
from mixtura.server.sites import Sites
from mixtura.server.token_counts import count_messages, count_responses
from mixtura.server.unserved import not_served, unserved

DIALECTS: tuple[Dialect, ...] = (Chat(), Completions(), Responses(), Messages())
_PATHS = (*(dialect.path for dialect in DIALECTS), "/v1/models")
NO_SOCKETS = 1008
"""What closes a WebSocket before it opens: there is none here."""
Handler = Callable[[Service, Request], Awaitable[Response]]


def make_app(
    config: Config, *, host: str, max_cost: float | None = None, deadline: float | None = None
) -> Starlette:
    """
    The server as an ASGI application; *host* is the address that it will listen on, *max_cost*
    the dollars and *deadline* the seconds that no answer passes.

    Raises ConfigError when that address may not be served as it is configured.
    """
    keep_secrets_out()
    doors = Doors(config.serve, host, config.store, config.redactor, default=meant(config, DEFAULT))
    service = Service(config, doors, max_cost=max_cost, deadline=deadline)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        yield
        await service.close()

    def at(path: str, handler: Handler, *methods: str) -> Route:
        return Route(path, partial(_guarded, service, handler), methods=list(methods or ("GET",)))

    routes = [
        *(Route(d.path, Endpoint(service, d), methods=["POST"]) for d in DIALECTS),
        at("/v1/messages/count_tokens", count_messages, "POST"),
        at("/v1/responses/input_tokens", count_responses, "POST"),
        at("/v1/responses/{id}", one_response, "GET", "DELETE"),
        at("/v1/responses/{id}/input_items", input_items),
        at("/v1/models", listed),
        at("/v1/models/{name:path}", one_listed),
        at("/metrics", _metrics),
        Route("/healthz", _alive),
        Route("/readyz", partial(_ready, service)),
        Route("/openapi.json", partial(_openapi, service)),
        *pages.routes(at),
    ]
    app = Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=_middleware(config),
        exception_handlers={HTTPException: _http_error, Exception: _bug},
    )
    sites = Sites(config.serve, host)
    app.add_middleware(Front, service=service, sites=sites, straight=not config.serve.cors)
    app.state.service = service
    return app


def _middleware(config: Config) -> list[Middleware]:
    if not config.serve.cors:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=config.serve.cors,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # those asked for: official clients send many of their own
            expose_headers=["x-mixtura-run", "x-mixtura-cost-usd", "x-mixtura-degraded", LEFT_OUT],
        )
    ]


class Front:
    """
    Before every route: the host's name is ours, and so is the page that asks, if one does. After
    it: the answer is counted.

    *straight*: calls in one of the dialects need nothing of what else stands before the routes.
    """

    def __init__(self, app: ASGIApp, service: Service, sites: Sites, *, straight: bool) -> None:
        self._app = app
        self._service = service
        self._sites = sites
        self._straight = {("POST", d.path): Endpoint(service, d) for d in DIALECTS if straight}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": NO_SOCKETS})
            return

        straight = self._straight.get((scope["method"], scope["path"]))

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                path = route.path if isinstance(route, Route) else "other"
                path = scope["path"] if straight else path
                self._service.answered(scope, path, message["status"])
            await send(message)

        with in_use(self._service.doors.redactor(scope)):
            try:
                self._sites.check(scope)
            except Refused as refused:
                await refusal(_dialect(scope), refused)(scope, receive, counted)
                return
            await (straight or self._app)(scope, receive, counted)


async def _guarded(service: Service, handler: Handler, request: Request) -> Response:
    """A route that needs a key where there are keys."""
    try:
        service.doors.client(request.scope)
        return await handler(service, request)
    except Refused as refused:
        return refusal(_dialect(request.scope), refused)


async def _alive(_: Request) -> Response:
    return json_response({"status": "ok"})


async def _ready(service: Service, request: Request) -> Response:
    """Whether the default mixture can answer; why not is for whoever may ask it."""
    said = problem(service.config, service.config.default)
    if said is None:
        return await _alive(request)
    try:
        told = service.doors.client(request.scope).may_use(DEFAULT)
    except Refused:
        told = False
    if not told:
        said = "the default mixture cannot answer: a request with a key for it is told why"
    refused = Refused(503, said, kind="api_error", code="model_not_ready")
    return refusal(_dialect(request.scope), refused)


async def _metrics(service: Service, request: Request) -> Response:
    """Of the whole server; a key that may use some models sees its own requests only."""
    service.settle()
    seen = service.metrics_for(service.doors.client(request.scope))
    return Response(seen.text(), media_type=metrics.CONTENT_TYPE)


async def _openapi(service: Service, request: Request) -> Response:
    locked = service.doors.locked
    names = ["default"] if locked else offered(service, service.doors.client(request.scope))
    return json_response(openapi.document(names, locked=locked))


def _dialect(scope: Scope) -> Dialect:
    """The one whose errors the client understands."""
    path: str = scope["path"]
    if header(scope, b"anthropic-version"):
        return DIALECTS[-1]
    return next((d for d in DIALECTS if f"{path}/".startswith(f"{d.path}/")), DIALECTS[0])


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    status = 404 if error.status_code == 405 and unserved(path) else error.status_code
    said = {404: not_served(path, _PATHS), 405: f"{request.method} is no method of {path}"}
    code = {404: "not_found", 405: "method_not_allowed"}.get(status)
    refused = Refused(status, said.get(status, error.detail), code=code)
    response = refusal(_dialect(request.scope), refused)
    response.headers.update(error.headers or {})
    return response


async def _bug(request: Request, _: Exception) -> Response:
    said = "something in this server is wrong: its log has the trace"
    refused = Refused(500, said, kind="server_error", code="internal_error")
    return refusal(_dialect(request.scope), refused)
