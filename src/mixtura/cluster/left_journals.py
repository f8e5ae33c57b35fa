"""The journals that dead workers left on the machines of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixtura.cluster.messages import KeptPart, WorkerSetup
from mixtura.cluster.ray_cluster import RayCluster
from mixtura.cluster.worker_journals import (
    MergedJournal,
    left_journals,
    read_left_part,
    remove_journal,
)
from mixtura.cluster.worker_models import read_worker_config
from mixtura.core.errors import ConfigError, MixturaError


def read_left_here(
    setup: WorkerSetup, only: Sequence[str], seen: Mapping[str, int]
) -> KeptPart | MixturaError | None:
    """
    The next part of a journal that was left on this machine; None where nothing is left. *only*:
    the names of the journals, else all; *seen*: how far each is read. An error is returned.
    """
    folder = Path(setup.journals)
    try:
        names = [name for name in left_journals(folder) if not only or name in only]
        if not names:
            return None
        config = read_worker_config(setup)
        return read_left_part(folder, names[0], seen.get(names[0], 0), config.usage_cost)
    except MixturaError as error:
        return error
    except OSError as error:
        return ConfigError(f"{error.filename or folder}: {error.strerror or error}")


def remove_left_here(setup: WorkerSetup, name: str) -> None:
    """It is merged."""
    remove_journal(Path(setup.journals), name)


class LeftJournals:
    """Merges what dead workers of a batch have left, wherever that is."""

    def __init__(self, cluster: RayCluster, setup: WorkerSetup, merged: MergedJournal) -> None:
        self._cluster = cluster
        self._setup = setup
        self._merged = merged

    async def merge_left(
        self, node: str, only: Sequence[str] = (), *, earlier: bool = False
    ) -> None:
        """
        Merge and remove the journals that are left on a machine; *only*: those of these names;
        *earlier*: they are of an earlier run. Raises StoreError.
        """
        while True:
            seen = self._merged.merged_numbers()
            part = await self._call_on(node, read_left_here, self._setup, only, seen)
            if isinstance(part, MixturaError):
                raise part
            if part is None:
                return
            await self._merged.merge(part, earlier=earlier)
            if not part.more:
                await self._call_on(node, remove_left_here, self._setup, part.journal)

    async def _call_on(self, node: str, function: Any, *arguments: Any) -> Any:
        if node == self._cluster.own_node:
            return await asyncio.to_thread(function, *arguments)
        try:
            return await self._cluster.call_on_node(node, function, *arguments)
        except Exception as error:
            if self._cluster.is_ray_error(error):
                return None  # the machine is gone; a later run finds what it has, if it comes back
            raise
