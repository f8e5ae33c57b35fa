"""The command mixtura serve: mixtures behind the APIs that other tools speak, and the page."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from importlib import import_module
from types import FrameType
from typing import Any

import click

from mixtura.cli.common import (
    cap_options,
    config_option,
    count_option,
    engine_options,
    name_callback,
    read_config,
)
from mixtura.cli.help_layout import MixturaCommand
from mixtura.cli.logging_options import ROOT, log_level
from mixtura.cli.server_start import (
    ServeOptions,
    listen_on_address,
    prepare_first_answer,
    print_address,
    resolve_address,
    start_logging,
)
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.text import pluralize_count, to_one_line

# Python's own is 0.005: a thread that computes would hold every stream up for that long.
SWITCH_INTERVAL_SECONDS = 0.001
"""Seconds that a thread with much to do may keep the event loop waiting for its turn."""
GRACE_SECONDS = 5
"""Seconds that answers which were cut off have to say so."""
PACKAGES = ("prometheus_client", "starlette", "uvicorn")
"""What the server needs beyond the rest, by the names that Python imports."""


@click.command(
    name="serve",
    cls=MixturaCommand,
    examples=(
        "mixtura serve",
        "mixtura serve --port 8080 --max-cost 0.10",
        "mixtura serve --new-key alice",
    ),
)
@click.option("--host", metavar="HOST", help="Address to listen on; default 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT",
    help="Port; default 6498. 0 picks a free one.",
)  # fmt: skip
@click.option(
    "--new-key", metavar="NAME", callback=name_callback,
    help="Create a key for a client, print its configuration, and exit.",
)  # fmt: skip
@click.option(
    "--access-log/--no-access-log", default=True, show_default=True,
    help="Log a line for each request: method, path, status, time, model.",
)  # fmt: skip
@click.option(
    "--log-content", is_flag=True,
    help="Log questions and answers as well. Keys are never logged.",
)  # fmt: skip
@engine_options("What answers: local (this process), or ray (replicas behind Ray Serve).")
@count_option(
    "--replicas",
    "Most replicas of --engine ray, each with a core; by default one for each core of the"
    " cluster at --address, else 4.",
    within=click.IntRange(1, 1024),
)
@count_option(
    "--least-replicas", "Replicas of --engine ray that always run.",
    within=click.IntRange(1, 1024), default=1, show_default=True,
)  # fmt: skip
@cap_options
@config_option
def command(new_key: str | None, **options: Any) -> int | None:
    """Serve every mixture over HTTP.

    OpenAI's chat completions and responses and Anthropic's messages are under /v1, a web page
    to watch the models is at /. To listen on an address that other machines reach, create
    keys first (--new-key).
    """
    if new_key is not None:
        _create_client_key(new_key)
        return None
    return _serve(ServeOptions(**options))


def _serve(options: ServeOptions) -> int:
    config = read_config(options.config_file, cache=options.cache)
    try:
        import_module("uvicorn")  # needed at the end, missed before anything begins
        from mixtura.server.app import make_app
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        name = package.replace("_", "-")
        raise ConfigError(missing_package_text("the server", name, "serve")) from None
    table = config.serve
    where = options.host or table.host
    port = table.port if options.port is None else options.port
    if options.engine == "ray":
        from mixtura.cli.serve_cluster import serve_on_cluster

        return serve_on_cluster(config, where, port, options)
    if options.address is not None or options.replicas is not None or options.least_replicas != 1:
        raise click.UsageError(
            "--address, --replicas and --least-replicas are for --engine ray: give that, too."
        )
    addresses = resolve_address(where, port)
    app = make_app(
        config, host=where, max_cost=options.max_cost, deadline=options.deadline,
        access_log=options.access_log, log_content=options.log_content,
    )  # fmt: skip
    start_logging()
    listening = listen_on_address(addresses[0])
    prepare_first_answer(config)
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    gc.collect()
    gc.freeze()  # what is here now stays: no collection need look at it again
    return _run_server(app, listening, where, config)


def _create_client_key(name: str) -> None:
    # 256 random bits: no one finds them by trying, so their hash needs no salt.
    key = f"mx-{secrets.token_urlsafe(32)}"
    click.echo(f"The key for {to_one_line(name)}, shown this once:\n\n  {key}\n", err=True)
    click.echo("In mixtura.toml:\n", err=True)
    quoted = name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else None
    table = quoted or '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    click.echo(f'[serve.keys.{table}]\nsha256 = "{sha256(key.encode()).hexdigest()}"')


def _run_server(app: Any, listening: socket.socket, host: str, config: Config) -> int:
    import uvicorn

    job_runner = app.state.service.runner

    class GracefulServer(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                port = listening.getsockname()[1]
                print_address(host, port, locked=bool(config.serve.keys))

        @contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            # uvicorn's own would end the process by the signal, after all has ended well
            loop = asyncio.get_running_loop()
            _handle_signals(loop, partial(self.drain_requests, loop))
            yield

        def drain_requests(self, loop: asyncio.AbstractEventLoop) -> None:
            """Runs under way may end; asked a second time, or when their time is over: now."""
            if self.should_exit:
                # The second time: whoever asks again does not want to wait any longer.
                job_runner.cancel_runs()
                return
            self.should_exit = True
            loop.call_later(config.serve.drain_seconds, job_runner.cancel_runs)
            if job_runner.running_count:
                answers = pluralize_count(job_runner.running_count, "answer")
                waits = f"Waiting for {answers}, Ctrl-C again ends them."
                click.echo(waits, err=True)

    settings = _server_settings(app, config)
    server = GracefulServer(settings)
    factory = settings.get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(server.serve(sockets=[listening]))
    return 0


def _server_settings(app: Any, config: Config) -> Any:
    import uvicorn

    from mixtura.server.uvicorn_protocol import BoundedHttpProtocol

    return uvicorn.Config(
        app,
        loop="asyncio",
        http=BoundedHttpProtocol.with_head_timeout(config.serve.receive_seconds),
        # Not "auto", under which uvicorn goes on without what failed to start.
        lifespan="on",
        ws="none",  # whatever else is installed
        # Ours write the lines: uvicorn's own would say each request twice.
        log_config=None,
        log_level=logging.getLogger(ROOT).level if log_level() < logging.INFO else "warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on a client's address
        timeout_keep_alive=75,
        # Later than our own end of the runs: each answer says that it was cut off.
        timeout_graceful_shutdown=int(config.serve.drain_seconds) + GRACE_SECONDS,
    )


def _handle_signals(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Have *end* called when someone asks the process to end."""

    def call_from_handler(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        loop.call_soon_threadsafe(end)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, end)
        except NotImplementedError:  # Windows
            # From a handler of Python's, which may run between any two steps: the loop is only
            # woken.
            signal.signal(number, call_from_handler)
