"""Deliveries: requests to workers, repeated until a worker has received them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mixtura.cluster.ray_cluster import RayCluster


class Deliveries:
    """What workers are asked that may be asked twice: again while one cannot be reached."""

    def __init__(self, cluster: RayCluster, fail: Callable[[Exception], None]) -> None:
        self._cluster, self._fail = cluster, fail
        self.tasks: set[asyncio.Task[None]] = set()

    def deliver(self, ask: Callable[[], Any]) -> None:
        """Ask until a worker has received it, or is gone."""
        sending = asyncio.create_task(self._ask_until_received(ask))
        self.tasks.add(sending)
        sending.add_done_callback(self.tasks.discard)

    async def _ask_until_received(self, ask: Callable[[], Any]) -> None:
        while True:
            try:
                await ask()
            except Exception as error:  # noqa: BLE001 - who waits is told, or would wait for ever
                if self._cluster.is_passing(error):
                    await asyncio.sleep(0.2)
                    continue
                if not self._cluster.is_dead(error):  # else who follows it replaces it
                    self._fail(error)
            return
