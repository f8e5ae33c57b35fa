"""The server as an ASGI application: its routes and the checks before them."""

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

from mixtura.config.config import Config
from mixtura.core.logs import install_log_redaction
from mixtura.core.redaction import use_redactor
from mixtura.core.trace_context import use_caller_trace
from mixtura.server import metrics, openapi, web_api
from mixtura.server.access import Authenticator, QuotaMaker, create_local_quota
from mixtura.server.access_log import AccessLogMiddleware
from mixtura.server.apis.base import ApiError, ServedApi
from mixtura.server.apis.hosted_tools import LEFT_OUT_HEADER
from mixtura.server.batch_routes import cancel_batch, get_batch, handle_batches
from mixtura.server.endpoint import ApiEndpoint
from mixtura.server.file_routes import get_content, handle_file, handle_files
from mixtura.server.first_run import FirstRun
from mixtura.server.host_checks import SiteChecker
from mixtura.server.json_responses import error_response, json_response
from mixtura.server.model_choice import DEFAULT_NAME
from mixtura.server.models import get_model, list_models, offered_models, unavailable_reason
from mixtura.server.page_runs import PageRuns
from mixtura.server.request_headers import request_header
from mixtura.server.response_routes import handle_stored_response, list_input_items
from mixtura.server.served_apis import (
    ANTHROPIC_MESSAGES,
    BUILT_IN,
    served_apis,
    served_paths,
)
from mixtura.server.service import Service
from mixtura.server.token_counts import handle_messages_token_count, handle_responses_token_count
from mixtura.server.unsupported_routes import (
    MODELS,
    MODELS_AND_BATCHES,
    not_found_message,
    unserved_feature,
)

WEBSOCKET_REFUSED_CODE = 1008
"""Code that a WebSocket is closed with before it opens: the server has none."""
Handler = Callable[[Service, Request], Awaitable[Response]]


def make_app(
    config: Config,
    *,
    host: str,
    max_cost: float | None = None,
    deadline: float | None = None,
    access_log: bool = False,
    log_content: bool = False,
    make_quota: QuotaMaker = create_local_quota,
) -> Starlette:
    """
    The server as an ASGI application.

    *host*: the address that it will listen on; *max_cost*: dollars, and *deadline*: seconds that
    no answer passes; *access_log*: log a line for each request, *log_content*: and what was said;
    *make_quota*: where the calls of keys are counted. Raises ConfigError when the configuration
    does not allow that address, or an API of another package cannot be served.
    """
    install_log_redaction()  # before anything can write a log
    authenticator = Authenticator(
        config.serve,
        host,
        config.store,
        config.redactor,
        default=config.default_names.get(DEFAULT_NAME, DEFAULT_NAME),
        make_quota=make_quota,
    )
    service = Service(config, authenticator, max_cost=max_cost, deadline=deadline)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None, None]:
        service.batches.start()
        yield
        await service.close()

    app = Starlette(
        routes=_build_routes(service),
        lifespan=lifespan,
        middleware=_cors_middleware(config),
        exception_handlers={HTTPException: _handle_http_error, Exception: _handle_unexpected_error},
    )
    sites = SiteChecker(config.serve, host)
    app.add_middleware(
        HostCheckMiddleware, service=service, sites=sites, straight=not config.serve.cors
    )
    # Outside of all else: it times what a client waits for, refusals included.
    if access_log or log_content:
        app.add_middleware(AccessLogMiddleware, content=log_content)
    app.state.service = service
    return app


def _build_routes(service: Service) -> list[Route]:
    """Every route of the server; those of the APIs check keys themselves."""

    def make_route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(
            path,
            partial(_handle_authenticated, service, handler),
            methods=list(methods or ("GET",)),
        )

    return [
        *(Route(d.path, ApiEndpoint(service, d), methods=["POST"]) for d in served_apis()),
        make_route("/v1/messages/count_tokens", handle_messages_token_count, "POST"),
        make_route("/v1/responses/input_tokens", handle_responses_token_count, "POST"),
        make_route("/v1/responses/{id}", handle_stored_response, "GET", "DELETE"),
        make_route("/v1/responses/{id}/input_items", list_input_items),
        make_route("/v1/files", handle_files, "GET", "POST"),
        make_route("/v1/files/{id}", handle_file, "GET", "DELETE"),
        make_route("/v1/files/{id}/content", get_content),
        make_route("/v1/batches", handle_batches, "GET", "POST"),
        make_route("/v1/batches/{id}", get_batch),
        make_route("/v1/batches/{id}/cancel", cancel_batch, "POST"),
        make_route("/v1/models", list_models),
        make_route("/v1/models/{name:path}", get_model),
        make_route("/metrics", _handle_metrics),
        Route("/healthz", _handle_health),
        Route("/readyz", partial(_handle_readiness, service)),
        Route("/openapi.json", partial(_handle_openapi, service)),
        *web_api.page_routes(make_route, PageRuns(service), FirstRun(service)),
    ]


def _cors_middleware(config: Config) -> list[Middleware]:
    if not config.serve.cors:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=config.serve.cors,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],  # official clients send many of their own
            # A page of another origin reads no other headers of ours.
            expose_headers=[
                "x-mixtura-run",
                "x-mixtura-cost-usd",
                "x-mixtura-degraded",
                LEFT_OUT_HEADER,
            ],
        )
    ]


class HostCheckMiddleware:
    """
    Refuses requests with a foreign ``Host`` or from a foreign web page; counts every response.

    *straight*: pass the APIs' requests to their endpoints directly, without other middleware.
    """

    def __init__(
        self, app: ASGIApp, service: Service, sites: SiteChecker, *, straight: bool
    ) -> None:
        self._app = app
        self._service = service
        self._sites = sites
        self._straight = {
            ("POST", d.path): ApiEndpoint(service, d) for d in served_apis() if straight
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            # Closed before it opens: accepting first would tell a client that there is one.
            await send({"type": "websocket.close", "code": WEBSOCKET_REFUSED_CODE})
            return

        straight = self._straight.get((scope["method"], scope["path"]))

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = scope.get("route")
                path = route.path if isinstance(route, Route) else "other"
                path = scope["path"] if straight else path
                self._service.metrics.count_response(scope, path, message["status"])
            await send(message)

        redactor = self._service.authenticator.redactor_for(scope)
        traced = use_caller_trace(request_header(scope, b"traceparent"))
        with traced, use_redactor(redactor):
            try:
                self._sites.check_request(scope)
            except ApiError as refused:
                await error_response(_api_for(scope), refused)(scope, receive, send_counted)
                return
            await (straight or self._app)(scope, receive, send_counted)


async def _handle_authenticated(service: Service, handler: Handler, request: Request) -> Response:
    """The response of *handler* to a client whose key is checked first."""
    try:
        service.authenticator.authenticate_request(request.scope)
        return await handler(service, request)
    except ApiError as refused:
        return error_response(_api_for(request.scope), refused)


async def _handle_health(_: Request) -> Response:
    return json_response({"status": "ok"})


async def _handle_readiness(service: Service, request: Request) -> Response:
    """Whether the default mixture can answer; the reason is only for clients that may use it."""
    reason = unavailable_reason(service.config, service.config.default)
    if reason is None:
        return await _handle_health(request)
    try:
        may_know = service.authenticator.authenticate_request(request.scope).can_use_model(
            DEFAULT_NAME
        )
    except ApiError:
        may_know = False
    if not may_know:
        reason = "the default mixture cannot answer: a request with a key for it is told why"
    refused = ApiError(503, reason, kind="api_error", code="model_not_ready")
    return error_response(_api_for(request.scope), refused)


async def _handle_metrics(service: Service, request: Request) -> Response:
    """Metrics of the whole server, or of the client's own requests if its key is restricted."""
    service.recorder.record_finished_jobs()
    seen = service.metrics.metrics_for(service.authenticator.authenticate_request(request.scope))
    return Response(seen.render_text(), media_type=metrics.CONTENT_TYPE)


async def _handle_openapi(service: Service, request: Request) -> Response:
    """The OpenAPI document. It is served without a key: where keys are needed it names no model."""
    locked = service.authenticator.is_key_required
    names = (
        ["default"]
        if locked
        else offered_models(service, service.authenticator.authenticate_request(request.scope))
    )
    return json_response(openapi.openapi_document(names, served_paths(), locked=locked))


def _api_for(scope: Scope) -> ServedApi:
    """The API whose form of errors the client of a request understands."""
    path: str = scope["path"]
    # Anthropic's clients send it with every request, whatever its path.
    if request_header(scope, b"anthropic-version"):
        return ANTHROPIC_MESSAGES
    return next((d for d in served_apis() if f"{path}/".startswith(f"{d.path}/")), BUILT_IN[0])


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    status = 404 if error.status_code == 405 and unserved_feature(path) else error.status_code
    said = {
        404: not_found_message(path, served_paths(), _other_paths(request)),
        405: f"{request.method} is not a method of {path}",
    }
    code = {404: "not_found", 405: "method_not_allowed"}.get(status)
    refused = ApiError(status, said.get(status, error.detail), code=code)
    response = error_response(_api_for(request.scope), refused)
    response.headers.update(error.headers or {})
    return response


def _other_paths(request: Request) -> tuple[str, ...]:
    """What is there for its client beside the APIs."""
    serves_batches = request.app.state.service.config.serve.batches.keep
    is_anthropic = bool(request_header(request.scope, b"anthropic-version"))
    return MODELS_AND_BATCHES if serves_batches and not is_anthropic else MODELS


async def _handle_unexpected_error(request: Request, _: Exception) -> Response:
    message = "an internal error: the server's log has the details"
    refused = ApiError(500, message, kind="server_error", code="internal_error")
    return error_response(_api_for(request.scope), refused)
