"""A worker as a process of Ray, and the owner of the limits as it sees it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import version
from typing import Any

from mixtura.cluster.dollar_leases import DollarLease, DollarUse
from mixtura.cluster.lease_loop import EndpointLimits, EndpointUses, RemoteOwner
from mixtura.cluster.messages import WorkerSetup
from mixtura.cluster.row_worker import RowWorker
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.text import to_one_line
from mixtura.engine.endpoint_lease import Lease


class BatchOwner(RemoteOwner):
    """The owner of a batch. Raises ConfigError where it is gone: the batch ends."""

    async def lend(
        self, worker: str, limits: EndpointLimits, uses: EndpointUses, dollars: DollarUse | None
    ) -> tuple[Mapping[str, Lease], DollarLease]:
        try:
            return await super().lend(worker, limits, uses, dollars)
        # Its errors have no family. Nobody may spend what was not lent, so the batch ends.
        except Exception as error:  # noqa: BLE001
            raise ConfigError(
                "the process that shares limits and --max-cost out among the workers is gone"
                f" ({to_one_line(error)[:200] or type(error).__name__}): run the same command again"
            ) from None


class RayRowWorker(RowWorker):
    """A ``RowWorker`` that Ray has started."""

    def __init__(self, setup: WorkerSetup, owner: Any) -> None:
        super().__init__(setup, BatchOwner(owner))

    async def start_on_node(self) -> tuple[str | MixturaError, str]:
        """As ``start``, and the machine it is on."""
        ray: Any = import_module("ray")
        node = str(ray.get_runtime_context().get_node_id())
        if self._setup.version != (own := version("mixtura")):
            here = f"the machine {node[:8]} has Mixtura {own}, but the batch was started with"
            return ConfigError(f"{here} {self._setup.version}: install that version there"), node
        return await self.start(), node
