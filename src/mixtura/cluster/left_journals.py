"""The journals that dead workers left on the machines of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    """
    Merges what dead workers of a batch have left, wherever that is. *folders*: where workers of
    earlier runs had their journals, on each machine.
    """

    def __init__(
        self,
        cluster: RayCluster,
        setup: WorkerSetup,
        merged: MergedJournal,
        folders: Sequence[str] = (),
    ) -> None:
        self._cluster = cluster
        self._setup = setup
        self._merged = merged
        self._folders = folders

    async def merge_earlier(self, node: str) -> None:
        """Merge and remove what earlier runs left on a machine. Raises StoreError."""
        for folder in dict.fromkeys((*self._folders, self._setup.journals)):
            await self._merge(node, replace(self._setup, journals=folder), (), earlier=True)

    async def merge_left(self, node: str, only: Sequence[str] = ()) -> bool:
        """
        Merge and remove the journals that workers of this run left on a machine; *only*: those of
        these names. False where the machine is gone. Raises StoreError.
        """
        return await self._merge(node, self._setup, only, earlier=False)

    async def _merge(
        self, node: str, setup: WorkerSetup, only: Sequence[str], *, earlier: bool
    ) -> bool:
        try:
            while True:
                seen = self._merged.merged_numbers()
                part = await self._call_on(node, read_left_here, setup, only, seen)
                if isinstance(part, MixturaError):
                    raise self._name_machine(node, part)
                if part is None:
                    return True
                await self._merged.merge(part, earlier=earlier)
                if not part.more:
                    await self._call_on(node, remove_left_here, setup, part.journal)
        except Exception as error:
            if node == self._cluster.own_node or not self._cluster.is_ray_error(error):
                raise
            return False  # a later run finds what it has, if it comes back

    def _name_machine(self, node: str, error: MixturaError) -> MixturaError:
        if node == self._cluster.own_node:
            return error
        return type(error)(f"on the machine {node[:8]}: {error}")

    async def _call_on(self, node: str, function: Any, *arguments: Any) -> Any:
        if node == self._cluster.own_node:
            return await asyncio.to_thread(function, *arguments)
        return await self._cluster.call_on_node(node, function, *arguments)
