"""What a server needs to start, in this process or on a cluster: a socket, logs, a first answer."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from dataclasses import dataclass
from typing import Any

import click

from mixtura.cli.logging_options import ROOT, set_log_level
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line

ListenAddress = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
"""What the system says of an address to listen on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The options as they were typed; None where one was not."""

    host: str | None
    port: int | None
    access_log: bool
    log_content: bool
    engine: str
    address: str | None
    replicas: int | None
    least_replicas: int
    max_cost: float | None
    deadline: float | None
    cache: bool | None
    config_file: str | None


def start_logging() -> None:
    """A server tells what it does unless it was asked for less; the rest keeps its level."""
    chosen = logging.getLogger(ROOT).level
    if not chosen:
        set_log_level(logging.INFO)


def resolve_address(host: str, port: int) -> list[ListenAddress]:
    """Where to listen. Raises ConfigError for a host that is none of this machine's."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ConfigError(
            f"--host {host}: no such address ({error.strerror}); 127.0.0.1 serves only this"
            " machine, 0.0.0.0 also others"
        ) from None


def listen_on_port(host: str, port: int) -> socket.socket:
    """A socket that listens on *host* and *port* (0: a free one). Raises ConfigError."""
    return listen_on_address(resolve_address(host, port)[0])


def listen_on_address(resolved: ListenAddress) -> socket.socket:
    """Listening before anything is printed, so that the address is true. Raises ConfigError."""
    family, kind, number, _, address = resolved
    host, port = address[0], address[1]
    listening = socket.socket(family, kind, number)
    if sys.platform == "win32":
        # There, reuse would let another program take over a port that is in use.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        # A server that is started again must not wait until the last connections are forgotten.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        # As many as uvicorn asks for by itself; the queue of calls is ours, behind it.
        listening.listen(2048)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            problem = f"port {port} is in use"
        else:
            problem = f"cannot listen on {host}:{port} ({error.strerror})"
        said = f"{problem}: choose another with --port; --port 0 picks a free one"
        raise ConfigError(said) from None
    listening.setblocking(False)
    return listening


def prepare_first_answer(config: Config) -> None:
    """
    What the first answer would wait for: the embedded model, the list of prices.

    A default mixture that cannot answer is said; the others may be all that is wanted.
    """
    from mixtura.cli.common import download_embedded
    from mixtura.core.types import Usage

    try:
        plan = config.mixture_spec(config.default)
        download_embedded(config, plan)
        config.build_mixture(plan)
    except ConfigError as error:
        reason = to_one_line(str(error))
        click.echo(f"{config.default} cannot answer yet (/readyz says so, too): {reason}", err=True)
        return
    # The first price loads the list of all of them; the first client should not wait for that.
    for name in plan.member_names():
        config.usage_cost(name, Usage(1, 1))


def print_address(host: str, port: int, *, locked: bool, page: bool = True) -> None:
    """Where the server is, and how it is asked; *locked*: with a key."""
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{port}"
    offered = "the page; APIs under /v1" if page else "APIs under /v1"
    click.echo(f"Mixtura is at {url} ({offered}). Ctrl-C ends it.")
    key = "KEY" if locked else "none"
    click.echo(
        f'  Python: OpenAI(base_url="{url}/v1", api_key="{key}").chat.completions.create('
        'model="default", …)',
        err=True,
    )
    bearer = f" -H 'Authorization: Bearer {key}'" if locked else ""
    click.echo(
        f"  curl {url}/v1/chat/completions{bearer} -H 'Content-Type: application/json' -d"
        ' \'{"model":"default","messages":[{"role":"user","content":"Why is the sky blue?"}]}\'',
        err=True,
    )
