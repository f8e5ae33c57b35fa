"""The tools over streamable HTTP: hosts, pages and keys are checked as by the server."""

from __future__ import annotations

from typing import Any

from mcp.server.lowlevel.server import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from mixtura.config.config import Config
from mixtura.core.redaction import use_redactor
from mixtura.mcp.tool_calls import ToolClient
from mixtura.server.access import Authenticator
from mixtura.server.apis.base import ApiError
from mixtura.server.dialects import BUILT_IN
from mixtura.server.host_checks import SiteChecker
from mixtura.server.json_responses import error_response

PATH = "/mcp"
"""Where clients find the tools."""


class HttpGate:
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
        self._most = int(config.serve.largest_megabytes * 1024**2)

    def build_app(self, server: Server[Any]) -> ASGIApp:
        """The ASGI application."""
        # Hosts and origins are checked here, once, by the rules of [serve].
        app = server.streamable_http_app(
            streamable_http_path=PATH, host="", max_request_body_size=self._most
        )

        async def serve_checked(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            with use_redactor(self._authenticator.redactor_for(scope)):
                try:
                    self._sites.check_request(scope)
                    client = self._authenticator.authenticate_request(scope)
                    if scope["method"] == "POST":
                        client.admit_request()
                except ApiError as refused:
                    await error_response(BUILT_IN[0], refused)(scope, receive, send)
                    return
                await app(scope, receive, send)

        return serve_checked

    def find_client(self, request: Any) -> ToolClient:
        """The client of an HTTP request, with what its key may use."""
        client = self._authenticator.authenticate_request(request.scope)
        who = client.name if self._authenticator.is_key_required else ""
        return ToolClient(who, client.models, client.caps)
