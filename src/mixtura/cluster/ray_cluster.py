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
MOST_FOLDER_BYTES = 10
"""Of the name of the folder for temporary files: Ray makes sockets some 93 bytes further down,
whose names have at most 103 on macOS."""


def import_serve() -> Any:
    """Ray Serve, which says only what is wrong. Raises ConfigError."""
    serve = import_ray("ray.serve")
    logging.getLogger("ray.serve").addFilter(_is_warning)
    return serve


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def import_ray(module: str = "ray") -> Any:
    """Ray, or a part of it. Raises ConfigError with the command that installs it."""
    # It would tell its makers of each cluster that it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
    def gpus(self) -> float:
        """Of all machines."""
        return float(self._ray.cluster_resources().get("GPU", 0.0))

    def nodes(self) -> list[str]:
        """The machines that are there."""
        return [str(one["NodeID"]) for one in self._alive_nodes()]

    @property
    def most_cores(self) -> float:
        """Of the machine that has most of them."""
        return max(self._node_cores(), default=0.0)

    def count_places(self, cores: int) -> int:
        """Processes with so many *cores* each that have room: none has those of two machines."""
        return sum(int(one // cores) for one in self._node_cores())

    def describe_cores(self) -> str:
        """How many cores the machines have, such as "8 + 4 cores"."""
        return f"{' + '.join(f'{one:.0f}' for one in self._node_cores()) or '0'} cores"

    def _node_cores(self) -> list[float]:
        return [float(one.get("Resources", {}).get("CPU", 0.0)) for one in self._alive_nodes()]

    def _alive_nodes(self) -> list[dict[str, Any]]:
        return [one for one in self._ray.nodes() if one.get("Alive")]

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
        kinds = (
            gone.ActorDiedError,
            gone.WorkerCrashedError,
            gone.NodeDiedError,
            gone.OutOfMemoryError,  # Ray ends processes of a machine whose memory is nearly full
        )
        return isinstance(error, kinds) and not self.is_passing(error)

    def is_passing(self, error: BaseException) -> bool:
        """Whether *error* says that a process cannot be reached for now."""
        return isinstance(error, self._ray.exceptions.ActorUnavailableError)

    def is_ray_error(self, error: BaseException) -> bool:
        return isinstance(error, self._ray.exceptions.RayError)


def check_nothing_served(action: str) -> None:
    """
    Raise ConfigError where Ray Serve already serves something on the cluster: it listens at one
    address for all, which it was started with. *action*: what cannot be done then.
    """
    serve = import_serve()
    status = serve.status()
    if status.applications:
        names = ", ".join(sorted(status.applications))
        raise ConfigError(
            f"{action}: Ray Serve already runs on this cluster ({names}), perhaps since a command"
            " was killed. End it with `serve shutdown -y` on a machine of the cluster, or use"
            " another cluster"
        )
    if status.proxies:  # left with nothing behind them
        serve.shutdown()


def stop_serving(name: str) -> None:
    """End the application *name* once its answers are sent, and Ray Serve where that was all."""
    serve = import_serve()
    with suppress(Exception):  # there may be none
        serve.delete(name)
    with suppress(Exception):  # the cluster may be gone
        if not serve.status().applications:
            serve.shutdown()


@contextmanager
def starting_application(name: str, problem: str) -> Generator[None]:
    """
    In this block Ray Serve starts the application *name*; where that ends early nothing of it goes
    on. Raises ConfigError: *problem*, and what Ray says.
    """
    try:
        yield
    # Its errors have no family: no such model, no room for one, a port in use.
    except BaseException as error:
        stop_serving(name)  # what is called off by Ctrl-C would go on, too
        if not isinstance(error, Exception):
            raise
        said = to_one_line(error)[:500] or type(error).__name__
        raise ConfigError(f"{problem}: {said}") from None


@contextmanager
def open_cluster(
    address: str | None, cores: int | None, *, shows_logs: bool = False
) -> Generator[RayCluster]:
    """
    The cluster at *address*, or one on this machine with so many *cores* (None: all of them) for
    the length of the block. *shows_logs*: what its processes log stands on standard error, too.
    Raises ConfigError where there is none, or a package is missing.
    """
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            f"--address {address}: this is a Ray client's address. Run the command on a machine of"
            " the cluster, with --address auto or HOST:PORT"
        )
    told = _QUIET | {"log_to_driver": shows_logs}
    if shows_logs:
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    else:  # what it says of its own processes would stand in our output
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    ray = import_ray()
    folder = None if address is not None else _create_folder()
    try:
        if address is not None:
            ray.init(address=address, **told)
        else:
            _start_here(ray, folder, cores, told)
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


def _start_here(ray: Any, folder: str | None, cores: int | None, told: dict[str, Any]) -> None:
    """A cluster of this machine alone. Ray gives its parts 30 s to start: a busy one needs more."""
    for tries_left in reversed(range(STARTS)):
        try:
            ray.init(
                address="local", num_cpus=cores, include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES, _temp_dir=folder, **told,
            )  # fmt: skip
        except Exception:
            if not tries_left:
                raise
            ray.shutdown()
        else:
            return


def _cluster_error_text(address: str | None, error: Exception) -> str:
    said = to_one_line(error)[:300].rstrip(". ") or type(error).__name__
    if address is None:
        return f"a local Ray cluster cannot be started: {said}"
    return (
        f"there is no connection to a Ray cluster at {address}: {said}. Start one with"
        " `ray start --head`, and set RAY_AUTH_MODE=token if it asks for a token; without"
        " --address, one is started on this machine"
    )


def _create_folder() -> str:
    """A folder for Ray's own files; what killed processes left of theirs is removed."""
    within = _find_short_folder()
    for path in within.glob(f"{FOLDER_PREFIX}*-*"):
        owner = path.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        if owner.isdecimal() and not _is_alive(int(owner)):
            _remove_folder(str(path))
    return tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=within)


def _find_short_folder() -> Path:
    """The folder for temporary files, or /tmp where its name (as on macOS) is too long."""
    usual, short = Path(tempfile.gettempdir()), Path("/tmp")  # noqa: S108 - mkdtemp makes it ours
    return short if len(os.fsencode(usual)) > MOST_FOLDER_BYTES and short.is_dir() else usual


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
