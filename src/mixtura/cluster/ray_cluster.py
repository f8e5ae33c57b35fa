"""A cluster of Ray: joined or started here, its machines, and processes on them."""

from __future__ import annotations

import inspect
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text
from mixtura.core.text import to_one_line

OBJECT_STORE_BYTES = 100 * 2**20
"""Of a cluster that is started here: what processes say to each other is small."""
STARTS = 3
"""Times that a cluster is tried to be started here."""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
FOLDER_PREFIX = "mixtura-ray-"
CALLS_AT_ONCE = 10_000
"""Calls that one process of coroutines may have under way."""


def import_ray(module: str = "ray") -> Any:
    """Ray, or a part of it. Raises ConfigError with the command that installs it."""
    # It would tell its makers of each cluster that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What it says of its own processes would stand in our output: we say what matters of it.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    # Else it warns of how it will treat GPUs one day; this is that way.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise ConfigError(missing_package_text("--engine ray", missing, "ray")) from None


def calls_at_once(kind: type) -> int:
    """
    How many calls Ray may run side by side in a process with a *kind* in it.

    One if none of its methods is a coroutine: Ray would start a thread for each of them, at once,
    and run the methods side by side, which no state without locks survives.
    """
    return CALLS_AT_ONCE if inspect.getmembers(kind, inspect.iscoroutinefunction) else 1


class RayCluster:
    """Machines of a cluster, and what is started on them."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.own_node: str = ray.get_runtime_context().get_node_id()
        """The machine that this process is on."""

    @property
    def cores(self) -> float:
        """Of all machines."""
        return float(self._ray.cluster_resources().get("CPU", 0.0))

    @property
    def gpus(self) -> float:
        """Of all machines."""
        return float(self._ray.cluster_resources().get("GPU", 0.0))

    def nodes(self) -> list[str]:
        """The machines that are there."""
        return [str(one["NodeID"]) for one in self._ray.nodes() if one.get("Alive")]

    def start_actor(
        self, kind: type, *arguments: object, cores: float, node: str | None = None, **more: Any
    ) -> Any:
        """
        A process with a *kind* in it: on *node*, or wherever there are so many *cores* free. What
        is asked of it is awaited.
        """
        where: Any = "SPREAD"
        if node is not None:
            where = import_ray("ray.util.scheduling_strategies").NodeAffinitySchedulingStrategy(
                node, soft=False
            )
        options = {"num_cpus": cores, "max_concurrency": calls_at_once(kind), **more}
        actor = self._ray.remote(kind).options(scheduling_strategy=where, **options)
        return actor.remote(*arguments)

    def call_on_node(self, node: str, function: Any, *arguments: object) -> Any:
        """What *function* returns there; awaited."""
        strategies = import_ray("ray.util.scheduling_strategies")
        where = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        remote = self._ray.remote(function).options(num_cpus=0, scheduling_strategy=where)
        return remote.remote(*arguments)

    def end_actor(self, actor: Any) -> None:
        with suppress(Exception):  # it may be gone
            self._ray.kill(actor)

    def is_dead(self, error: BaseException) -> bool:
        """Whether *error* says that a process, or its machine, is gone."""
        gone = self._ray.exceptions
        kinds = (gone.ActorDiedError, gone.WorkerCrashedError, gone.NodeDiedError)
        return isinstance(error, kinds) and not self.is_passing(error)

    def is_passing(self, error: BaseException) -> bool:
        """Whether *error* says that a process cannot be reached for now."""
        return isinstance(error, self._ray.exceptions.ActorUnavailableError)

    def is_ray_error(self, error: BaseException) -> bool:
        return isinstance(error, self._ray.exceptions.RayError)


@contextmanager
def open_cluster(address: str | None, cores: int | None) -> Generator[RayCluster]:
    """
    The cluster at *address*, or one on this machine with so many *cores* (None: all of them) for
    the length of the block. Raises ConfigError where there is none, or a package is missing.
    """
    ray = import_ray()
    folder = None if address is not None else _create_folder()
    try:
        if address is not None:
            ray.init(address=address, **_QUIET)
        else:
            _start_here(ray, folder, cores)
    # Its errors have no family: no such address, another version of Python or Ray, no room.
    except Exception as error:  # noqa: BLE001
        ray.shutdown()
        _remove_folder(folder)
        raise ConfigError(_cluster_error_text(address, error)) from None
    try:
        yield RayCluster(ray)
    finally:
        ray.shutdown()
        _remove_folder(folder)


def _start_here(ray: Any, folder: str | None, cores: int | None) -> None:
    """A cluster of this machine alone. Ray gives its parts 30 s to start: a busy one needs more."""
    for tries_left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local", num_cpus=cores, include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES, _temp_dir=folder, **_QUIET,
            )  # fmt: skip
        except Exception:
            if not tries_left:
                raise
            ray.shutdown()
        else:
            return


def _cluster_error_text(address: str | None, error: Exception) -> str:
    said = to_one_line(error)[:300] or type(error).__name__
    if address is None:
        return f"a local Ray cluster cannot be started: {said}"
    return (
        f"there is no connection to a Ray cluster at {address}: {said}. Start one with"
        " `ray start --head`; without --address, one is started for this batch"
    )


def _create_folder() -> str:
    """A folder for Ray's own files; what killed processes left of theirs is removed."""
    for path in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*-*"):
        owner = path.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            _remove_folder(str(path))
    return tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-")


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":  # there it would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another person's
        return True
    return True


def _remove_folder(folder: str | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
