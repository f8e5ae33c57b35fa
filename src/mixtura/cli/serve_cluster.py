"""mixtura serve --engine ray: the server as replicas of a Ray cluster, until someone ends it."""

from __future__ import annotations

import signal
import threading
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import click

from mixtura.cli.serve import ServeOptions, listen_on_port, print_address
from mixtura.cluster.ray_cluster import open_cluster
from mixtura.cluster.served_replicas import ReplicaSetup, start_replicas, stop_replicas
from mixtura.cluster.worker_models import describe_documents
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.server.access import Authenticator

USUAL_REPLICAS = 4


def serve_on_cluster(config: Config, host: str, port: int, options: ServeOptions) -> int:
    """Serve until a signal comes. Raises ConfigError where that cannot be begun."""
    Authenticator(config.serve, host, config.store)  # what it refuses is said before all starts
    if options.address is not None and config.store.name.startswith("/"):
        raise ConfigError(
            "--address needs a store that all machines use, for runs, responses and daily"
            " caps: set `store` to a PostgreSQL address"
        )
    listening = listen_on_port(host, port)
    port = listening.getsockname()[1]
    least = options.least_replicas
    with open_cluster(options.address, max(options.replicas or USUAL_REPLICAS, least)) as cluster:
        setup = ReplicaSetup(
            version=version("mixtura"),
            documents=describe_documents(config),
            working_folder=str(Path.cwd()),
            host=host,
            port=port,
            replicas=max(options.replicas or int(cluster.cores), least),
            least_replicas=least,
            max_cost=options.max_cost,
            deadline=options.deadline,
            cache=options.cache,
            access_log=options.access_log,
            log_content=options.log_content,
        )
        listening.close()  # Ray's own process listens there
        start_replicas(cluster, setup, everywhere=options.address is not None)
        print_address(host, port, locked=bool(config.serve.keys), page=setup.replicas == 1)
        _wait_for_signal()
        click.echo("Waiting for the answers under way.", err=True)
        stop_replicas()
    return 0


def _wait_for_signal() -> None:
    asked = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while not asked.wait(1.0):
        pass
