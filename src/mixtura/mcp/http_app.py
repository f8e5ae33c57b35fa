"""The tools over streamable HTTP: hosts, pages and keys are checked as by the server."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.lowlevel.server import Server
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mixtura.config.config import Config
from mixtura.core.redaction import use_redactor
from mixtura.mcp.tool_calls import ToolClient
from mixtura.server.access import Authenticator
from mixtura.server.apis.base import ApiError
from mixtura.server.host_checks import SiteChecker
from mixtura.server.json_responses import error_response
from mixtura.server.request_body import receive_json_body
from mixtura.server.request_headers import request_header
from mixtura.server.served_apis import BUILT_IN

PATH = "/mcp"
"""Where clients find the tools."""
OPENED_SECONDS = 1800.0
"""After which the SDK ends a session that nobody uses."""
MAX_OPENED = 1000
"""Sessions that a client may open in that time; the SDK keeps ten times as many."""


class CheckedHttpApp:
    """
    The protocol's application behind the checks of `mixtura serve`: its keys, hosts and origins.

    Raises ConfigError where other machines reach *host* and there are no keys.
    """

    def __init__(self, config: Config, host: str) -> None:
        self._authenticator = Authenticator(
            config.serve, host, config.store, config.redactor,
            default=config.default_names.get("default", "default"),
        )  # fmt: skip
        self._sites = SiteChecker(config.serve, host)
        self._table = config.serve
        self._sessions = OpenedSessions()

    def build_app(self, server: Server[Any]) -> ASGIApp:
        """The ASGI application."""
        # Hosts, origins and bodies are checked here, once, by the rules of [serve].
        most = int(self._table.largest_megabytes * 1024**2)
        app = server.streamable_http_app(
            streamable_http_path=PATH, host="", max_request_body_size=most
        )

        async def serve_checked(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with use_redactor(self._authenticator.redactor_for(scope)):
                try:
                    receive = await self._check_request(scope, receive)
                except ApiError as refused:
                    await error_response(BUILT_IN[0], refused)(scope, receive, send)
                    return
                await app(scope, receive, send)

        return serve_checked

    async def _check_request(self, scope: Scope, receive: Receive) -> Receive:
        """What the application receives, with the body that came in time. Raises ApiError."""
        self._sites.check_request(scope)
        client = self._authenticator.authenticate_request(scope)
        # A session answers to the key that began it, and to no other.
        token = AccessToken(token="", client_id=client.name, scopes=[])
        scope["user"] = AuthenticatedUser(token)
        if scope["method"] != "POST":
            return receive
        await client.admit_request()
        if not request_header(scope, b"mcp-session-id"):
            self._sessions.admit_session(client.name)
        body = await receive_json_body(scope, receive, self._table)
        dropped = (b"content-encoding", b"content-length")  # the body is unpacked by now
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in dropped]
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_again() -> Message:
            return messages.pop() if messages else await receive()

        return receive_again

    def find_client(self, request: Any) -> ToolClient:
        """The client of an HTTP request, with what its key may use."""
        client = self._authenticator.authenticate_request(request.scope)
        return ToolClient(
            self._authenticator.owner_name(client),
            client,
            self._authenticator.redactor_for(request.scope),
        )


class OpenedSessions:
    """The sessions that each client has opened of late: one client leaves room for the others."""

    def __init__(self) -> None:
        self._opened: dict[str, deque[float]] = {}

    def admit_session(self, client: str) -> None:
        """Count one more. Raises ApiError (429) where a client has opened too many."""
        opened = self._opened.setdefault(client, deque(maxlen=MAX_OPENED))
        now = time.monotonic()
        if len(opened) == MAX_OPENED and now - opened[0] < OPENED_SECONDS:
            message = f"{MAX_OPENED} sessions were opened within {OPENED_SECONDS / 60:g} minutes"
            raise ApiError(
                429, message, kind="rate_limit_error", code="rate_limit_exceeded",
                retry_after=OPENED_SECONDS - (now - opened[0]),
            )  # fmt: skip
        opened.append(now)
