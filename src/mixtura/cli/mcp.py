"""The command mixtura mcp: mixtures as tools of agents, over standard input and output or HTTP."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from mixtura import cli
from mixtura.cli.command_offer import find_offered_tools, join_titles
from mixtura.cli.common import RunOptions, require_extra, run_options
from mixtura.cli.help_layout import MixturaCommand
from mixtura.config.config import Config
from mixtura.config.registry import USE_COMMANDS
from mixtura.core.errors import ConfigError

HOST = "127.0.0.1"
"""Only this machine: an agent elsewhere comes through a proxy of one's own."""


@click.command(
    name="mcp",
    cls=MixturaCommand,
    examples=(
        "mixtura mcp",
        "mixtura mcp --max-cost 0.10",
        "mixtura mcp --http 6499",
        "claude mcp add mixtura -- mixtura mcp",
    ),
)
@click.option(
    "--http", "port", type=click.IntRange(0, 65535), metavar="PORT",
    help="Serve over HTTP on 127.0.0.1, at /mcp. 0 picks a free port.",
)  # fmt: skip
@run_options
def command(port: int | None, **options: Any) -> int:
    """Offer mixtures as tools to agents (Model Context Protocol).

    An agent starts this command and gets the tools ask, review, compare and models. Without
    --http they talk over standard input and output. Which mixtures may be used and what an
    answer may cost is set under [mcp] and [budget] in the configuration; --max-cost caps every
    call.
    """
    run = RunOptions(**options)
    config = run.read_config()
    tool_calls = _load_packages()
    calls = tool_calls.ToolCalls(config, run.max_cost, run.deadline, _advise(config))
    if port is None:
        return _serve_stdio(config, calls)
    return _serve_http(config, calls, port)


def _advise(config: Config) -> str:
    """What a person could allow, since nobody can be asked here; empty where that is nothing."""
    tools = find_offered_tools(config)
    if not tools:
        return ""
    are = "are" if len(tools) > 1 else "is"
    return (
        f"{join_titles(tools)} {are} installed here, and you are logged in: to let such tools"
        f" answer, set {USE_COMMANDS}=1 in the environment of `mixtura mcp`"
    )


def _load_packages() -> Any:
    """The tools, once all that they need is there. Raises ConfigError for what is missing."""
    try:
        with require_extra("mcp", "mixtura mcp"):
            # Needed later, missed before anything begins.
            import_module("mcp.server.lowlevel.server")
            return import_module("mixtura.mcp.tool_calls")
    except ValueError as error:
        # The SDK loads OpenTelemetry, which refuses a propagator that does not exist.
        raise ConfigError(f"OpenTelemetry refuses its settings (OTEL_…): {error}") from None


def _serve_stdio(config: Config, calls: Any) -> int:
    from mixtura.mcp.protocol_server import ProtocolServer
    from mixtura.mcp.standard_streams import serve_standard_streams
    from mixtura.mcp.tool_calls import ToolClient

    server = ProtocolServer(
        config, calls, lambda _: ToolClient(redactor=config.redactor)
    ).build_server()
    with suppress(KeyboardInterrupt):
        if lost := asyncio.run(serve_standard_streams(server)):
            raise cli.OutputLostError(lost)
    return cli.ANSWERED


def _serve_http(config: Config, calls: Any, port: int) -> int:
    from mixtura.cli.server_start import listen_on_port

    with require_extra("mcp", "mixtura mcp --http"):
        import uvicorn

        from mixtura.mcp.http_app import PATH, CheckedHttpApp
        from mixtura.mcp.protocol_server import ProtocolServer
        from mixtura.server.uvicorn_protocol import BoundedHttpProtocol
    checked = CheckedHttpApp(config, HOST)
    server = ProtocolServer(config, calls, checked.find_client).build_server()
    listening = listen_on_port(HOST, port)
    click.echo(f"Mixtura's tools are at http://{HOST}:{listening.getsockname()[1]}{PATH}.")
    settings = uvicorn.Config(
        checked.build_app(server), loop="asyncio", lifespan="on",
        http=BoundedHttpProtocol.with_head_timeout(config.serve.receive_seconds), ws="none",
        log_config=None, log_level=logging.WARNING, access_log=False, server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )  # fmt: skip
    with suppress(KeyboardInterrupt):
        asyncio.run(uvicorn.Server(settings).serve(sockets=[listening]))
    return 0
