"""mixtura serve --engine ray: the server as replicas of a Ray cluster, until someone ends it."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import click

from mixtura.cli.logging_options import log_level, set_log_level
from mixtura.cli.server_start import (
    ServeOptions,
    listen_on_port,
    prepare_first_answer,
    print_address,
    start_logging,
)
from mixtura.cluster.ray_cluster import check_nothing_served, open_cluster, stop_serving
from mixtura.cluster.served_replicas import APP_NAME, ReplicaSetup, start_replicas
from mixtura.cluster.worker_models import describe_documents
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.server.access import Authenticator

USUAL_REPLICAS = 4


def serve_on_cluster(config: Config, host: str, port: int, options: ServeOptions) -> int:
    """Serve until a signal comes. Raises ConfigError where that cannot be begun."""
    _check_options(config, host, options)
    start_logging()
    prepare_first_answer(config)
    # What Ray Serve left on a cluster may listen there still, and is ended first.
    listening = None if options.address else listen_on_port(host, port)
    least = options.least_replicas
    asked = options.replicas or (None if options.address else max(USUAL_REPLICAS, least))
    with open_cluster(options.address, asked, shows_logs=True) as cluster:
        replicas = asked or cluster.count_places(1)
        if listening is None:
            check_nothing_served("the server cannot be started")
            listening = listen_on_port(host, port)
        port = listening.getsockname()[1]
        if max(least, 1) > cluster.count_places(1):
            raise ConfigError(
                f"--least-replicas {least}: each takes a core, and the cluster has"
                f" {cluster.describe_cores()}"
            )
        setup = ReplicaSetup(
            version=version("mixtura"),
            documents=describe_documents(config),
            working_folder=str(Path.cwd()),
            host=host,
            port=port,
            replicas=max(replicas, least),
            least_replicas=least,
            max_cost=options.max_cost,
            deadline=options.deadline,
            cache=options.cache,
            access_log=options.access_log,
            log_content=options.log_content,
            drain_seconds=config.serve.drain_seconds,
            most_runs=config.serve.at_once + config.serve.waiting,
        )
        listening.close()  # Ray's own process listens there
        start_replicas(
            cluster,
            setup,
            everywhere=options.address is not None,
            prepare=partial(set_log_level, log_level()),
        )
        _serve_until_signal(config, setup)
    return 0


def _serve_until_signal(config: Config, setup: ReplicaSetup) -> None:
    """The replicas are there: say where, and end them when a signal or an error comes."""
    try:
        locked, page = bool(config.serve.keys), setup.replicas == 1
        print_address(setup.host, setup.port, locked=locked, page=page)
        _wait_for_signal()
        click.echo("Waiting for the answers under way. Press Ctrl-C again to end them.", err=True)
    finally:
        with suppress(KeyboardInterrupt):
            stop_serving(APP_NAME)


def _check_options(config: Config, host: str, options: ServeOptions) -> None:
    """Raise click.UsageError or ConfigError for what cannot be served so, before all starts."""
    if options.replicas is not None and options.least_replicas > options.replicas:
        raise click.UsageError("--least-replicas is more than --replicas.")
    Authenticator(config.serve, host, config.store)
    if options.address is not None and config.store.name.startswith("/"):
        raise ConfigError(
            "--address needs a store that all machines use, for runs, responses and daily"
            " caps: set `store` to a PostgreSQL address"
        )


def _wait_for_signal() -> None:
    """Return once someone asks the process to end; a second time raises KeyboardInterrupt."""
    asked = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    while not asked.wait(1.0):
        pass
