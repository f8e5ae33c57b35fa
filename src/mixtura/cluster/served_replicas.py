"""The server as replicas behind Ray Serve, with one owner of limits and of each key's minute."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mixtura.cluster.dollar_leases import DollarLease, DollarUse
from mixtura.cluster.lease_loop import EndpointLimits, EndpointUses, LeasedLimiters, RemoteOwner
from mixtura.cluster.leases import lease_seconds
from mixtura.cluster.messages import MachineSetup
from mixtura.cluster.owner import LeaseOwner
from mixtura.cluster.ray_cluster import RayCluster, import_serve, starting_application
from mixtura.cluster.worker_models import read_sent_config
from mixtura.config.config import Config
from mixtura.core.errors import ConfigError
from mixtura.core.text import to_one_line
from mixtura.engine.endpoint_lease import Lease
from mixtura.models.wrappers.rate_limit import RateLimiter, RateLimits
from mixtura.server.access import MinuteQuota
from mixtura.server.apis.base import ApiError
from mixtura.server.app import make_app

APP_NAME = "mixtura"
CALLS_OF_A_REPLICA = 64
"""Requests under way in each replica, above which there are more replicas."""
QUOTA_SECONDS = 5.0
"""That a replica waits for the owner of the quotas."""
SILENT_SECONDS = 30.0
"""After which a replica that asked for nothing counts as gone: nobody says that one has ended."""
_LOG = logging.getLogger("mixtura.cluster")


@dataclass(frozen=True, slots=True)
class ReplicaSetup(MachineSetup):
    """What a replica needs to build the same server."""

    host: str
    port: int
    replicas: int
    """At most."""
    least_replicas: int = 1
    max_cost: float | None = None
    deadline: float | None = None
    cache: bool | None = None
    access_log: bool = True
    log_content: bool = False
    drain_seconds: float = 30.0
    """That runs under way have to finish when a replica ends."""
    most_runs: int = 0
    """That go on or wait in each replica, which refuses more."""


class ServeOwner(LeaseOwner):
    """Lends the limits of the endpoints to replicas, and counts what each key asks in a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock=clock)
        self._clock = clock
        self._last_heard: dict[str, float] = {}
        self._quotas: dict[tuple[str, float], MinuteQuota] = {}

    def lend(
        self, worker: str, limits: EndpointLimits, uses: EndpointUses, dollars: DollarUse | None
    ) -> tuple[dict[str, Lease], DollarLease]:
        now = self._clock()
        self._last_heard[worker] = now
        for name, heard in [*self._last_heard.items()]:
            if now - heard > SILENT_SECONDS:  # else what it was lent would be lost for ever
                del self._last_heard[name]
                self.forget_worker(name, 0.0)
        return super().lend(worker, limits, uses, dollars)

    async def try_consume_quota(self, name: str, a_minute: float, amount: float) -> float:
        """Take *amount* if there is room: 0, or the seconds until there is."""
        return await self._find_quota(name, a_minute).try_consume(amount)

    def consume_quota(self, name: str, a_minute: float, amount: float) -> None:
        self._find_quota(name, a_minute).consume_amount(amount)

    def _find_quota(self, name: str, a_minute: float) -> MinuteQuota:
        key = (name, a_minute)
        if key not in self._quotas:
            self._quotas[key] = MinuteQuota(a_minute, self._clock)
        return self._quotas[key]


class RemoteQuota:
    """A ``Quota`` that the owner counts for all replicas."""

    def __init__(self, owner: Any, name: str, a_minute: float) -> None:
        self._owner = owner
        self._name = name
        self._a_minute = a_minute

    async def try_consume(self, amount: float) -> float:
        """As ``MinuteQuota``. Raises ApiError (503) where the owner does not respond."""
        try:
            asked = self._owner.try_consume_quota.remote(self._name, self._a_minute, amount)
            return float(await asyncio.wait_for(asked, QUOTA_SECONDS))
        # Its errors have no family: it is being started anew, or its machine is gone.
        except Exception as error:  # noqa: BLE001
            _LOG.warning(
                "the process that counts what keys use does not respond: %s", to_one_line(error)
            )
            message = "the process that counts this key's requests does not respond: try again"
            raise ApiError(
                503, message, kind="api_error", code="quota_unavailable", retry_after=QUOTA_SECONDS
            ) from None

    def consume_amount(self, amount: float) -> None:
        self._owner.consume_quota.remote(self._name, self._a_minute, amount)


class LeasingApp:
    """An ASGI application whose process is lent its limits for as long as it runs."""

    def __init__(self, app: ASGIApp, config: Config, owner: Any, replicas: int) -> None:
        self._app = app
        self._config = config
        self._owner = owner
        self._seconds = lease_seconds(replicas)
        self._has_page = replicas == 1
        self._leasing: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._leasing is None:
            self._leasing = asyncio.create_task(self._renew_leases())
        path = scope.get("path", "")
        if not self._has_page and (path == "/" or path.startswith("/api/")):
            # A run that is watched there is known to the one replica that began it.
            said = "several replicas do not serve the page: use `--replicas 1`"
            await PlainTextResponse(said, 404)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _renew_leases(self) -> None:
        leased = LeasedLimiters(secrets.token_hex(8), RemoteOwner(self._owner))
        is_told = False
        while True:
            try:
                await leased.renew(_select_limited_endpoints(self._config.builder.rate_limiters()))
                is_told = False
            # An owner that is started anew is asked again; until then the last lease holds.
            except Exception as error:  # noqa: BLE001
                if not is_told:  # once, not ten times a second
                    _LOG.warning(
                        "the process that shares the rate limits does not respond: %s",
                        to_one_line(error),
                    )
                is_told = True
            await asyncio.sleep(self._seconds)


def _select_limited_endpoints(limiters: dict[str, RateLimiter]) -> dict[str, RateLimiter]:
    """Those that have a limit to share."""
    return {
        name: one
        for name, one in limiters.items()
        if one.limits != RateLimits() and not one.of_one_process
    }


def build_replica(setup: ReplicaSetup, owner: Any) -> ASGIApp:
    """The server of one replica. Raises ConfigError."""
    if setup.version != (own := version("mixtura")):
        raise ConfigError(
            f"a machine has Mixtura {own}, but the server was started with {setup.version}: install"
            " that version there"
        )
    config = read_sent_config(setup, cache=setup.cache)
    app = make_app(
        config,
        host=setup.host,
        max_cost=setup.max_cost,
        deadline=setup.deadline,
        access_log=setup.access_log,
        log_content=setup.log_content,
        make_quota=lambda name, a_minute: RemoteQuota(owner, name, a_minute),
    )
    return LeasingApp(app, config, owner, setup.replicas)


def start_replicas(
    cluster: RayCluster,
    setup: ReplicaSetup,
    *,
    everywhere: bool,
    prepare: Callable[[], None] = lambda: None,
) -> None:
    """
    Replicas that answer at the address of *setup*: some always, and more while they are busy.
    *everywhere*: each machine of the cluster listens; *prepare* is called in each replica first.
    Raises ConfigError where none can start.
    """
    owner = cluster.start_actor(
        ServeOwner, cores=0, node=cluster.own_node, max_restarts=-1, max_task_retries=-1
    )
    with starting_application(APP_NAME, "no replica of the server can be started"):
        serve = import_serve()
        deployment = serve.deployment(
            serve.ingress(_replica_builder(setup, owner, prepare))(),
            name=APP_NAME,
            # In a replica keys wait their turns, up to a number; before it nobody counts them.
            max_ongoing_requests=setup.most_runs + 4 * CALLS_OF_A_REPLICA,
            autoscaling_config={
                "min_replicas": setup.least_replicas,
                "max_replicas": setup.replicas,
                "target_ongoing_requests": CALLS_OF_A_REPLICA,
            },
            graceful_shutdown_timeout_s=setup.drain_seconds,
            ray_actor_options={"num_cpus": 1},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
        serve.start(
            proxy_location="EveryNode" if everywhere else "HeadOnly",
            http_options={"host": setup.host, "port": setup.port, "keep_alive_timeout_s": 75},
            logging_config={"enable_access_log": False, "log_level": "WARNING"},
        )
        serve.run(deployment.bind(), name=APP_NAME, route_prefix="/")


def _replica_builder(
    setup: ReplicaSetup, owner: Any, prepare: Callable[[], None]
) -> Callable[[], ASGIApp]:
    def build() -> ASGIApp:
        prepare()
        return build_replica(setup, owner)

    return build
