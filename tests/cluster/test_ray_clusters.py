"""What is known of a cluster's machines, and where Ray's own files go."""

import sys
import tempfile
from types import SimpleNamespace

import pytest

from mixtura.cluster import ray_cluster
from mixtura.cluster.model_engines import start_model_engines
from mixtura.cluster.ray_cluster import RayCluster
from mixtura.cluster.served_replicas import ReplicaSetup, start_replicas
from mixtura.core.errors import ConfigError


class RayErrors:
    """The errors of Ray that are told apart."""

    RayError = type("RayError", (Exception,), {})
    ActorDiedError = type("ActorDiedError", (RayError,), {})
    ActorUnavailableError = type("ActorUnavailableError", (RayError,), {})
    WorkerCrashedError = type("WorkerCrashedError", (RayError,), {})
    NodeDiedError = type("NodeDiedError", (RayError,), {})
    OutOfMemoryError = type("OutOfMemoryError", (RayError,), {})


class RayHere:
    """What a cluster asks Ray: machines with so many cores each."""

    exceptions = RayErrors

    def __init__(self, *cores):
        self._nodes = [
            {"NodeID": str(n), "Alive": True, "Resources": {"CPU": float(one)} if one else {}}
            for n, one in enumerate(cores)
        ]
        self._nodes.append({"NodeID": "gone", "Alive": False, "Resources": {"CPU": 64.0}})

    def nodes(self):
        return self._nodes

    def get_runtime_context(self):
        return self

    def get_node_id(self):
        return "0"


@pytest.mark.parametrize(
    ("machines", "cores", "places"),
    [((6, 6), 4, 2), ((2, 2), 4, 0), ((8, 3), 1, 11), ((16,), 4, 4), ((0, 4), 4, 1)],
)
def test_a_worker_has_the_cores_of_one_machine(machines, cores, places):
    cluster = RayCluster(RayHere(*machines))

    assert cluster.count_places(cores) == places
    assert cluster.most_cores == max(machines)


@pytest.mark.parametrize("name", ["ActorDiedError", "NodeDiedError", "OutOfMemoryError"])
def test_a_worker_that_ray_ended_is_one_that_died_whatever_the_reason(name):
    cluster = RayCluster(RayHere(4))

    assert cluster.is_dead(getattr(RayErrors, name)("ended"))
    assert not cluster.is_dead(RayErrors.ActorUnavailableError("away"))


def test_sockets_of_ray_fit_where_the_folder_for_temporary_files_has_a_long_name(
    tmp_path, monkeypatch
):
    long = tmp_path / "var" / "folders" / ("x" * 40)
    long.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    folder = ray_cluster._create_folder()

    try:
        inside = "session_2026-11-30_08-00-00_123456_1234567/sockets/plasma_store"
        assert len(f"{folder}/{inside}") <= 103
    finally:
        ray_cluster._remove_folder(folder)


class Anything:
    """Whatever is asked of it is itself."""

    def __call__(self, *_, **__):
        return self

    def __getattr__(self, name):
        return self


class ServeHere:
    """Ray Serve on a cluster that goes on; what is to be served ends in *error*."""

    def __init__(self, error):
        self._error = error
        self.served = []
        self.ingress = Anything()
        self.options = {}

    def deployment(self, *_, **options):
        self.options = options
        return Anything()

    def start(self, **_):
        """It listens."""

    def run(self, app, name, **_):
        self.served.append(name)
        if self._error is not None:
            raise self._error

    def delete(self, name):
        self.served.remove(name)

    def status(self):
        return SimpleNamespace(applications=self.served, proxies={})

    def shutdown(self):
        """It listens no more."""


def use_serve(monkeypatch, error=None):
    here = ServeHere(error)
    modules = {"ray": object(), "ray.serve": here, "ray.serve.llm": Anything()}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return here


def serve_replicas(**more):
    setup = ReplicaSetup("1", (), "/", "127.0.0.1", 8080, 2, **more)
    cluster = SimpleNamespace(own_node="0", start_actor=lambda *_, **__: None)
    start_replicas(cluster, setup, everywhere=True)


def serve_models():
    start_model_engines(SimpleNamespace(gpus=1.0), ["Qwen/Qwen3-8B"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("no room")], ids=repr)
@pytest.mark.parametrize("serve", [serve_replicas, serve_models])
def test_what_is_called_off_while_it_starts_is_not_left_on_the_cluster(monkeypatch, serve, error):
    here = use_serve(monkeypatch, error)

    with pytest.raises((KeyboardInterrupt, ConfigError)) as raised:
        serve()

    assert isinstance(raised.value, KeyboardInterrupt) == isinstance(error, KeyboardInterrupt)
    assert here.served == []


def test_requests_wait_in_a_replica_where_they_are_counted_and_have_turns(monkeypatch):
    here = use_serve(monkeypatch)

    serve_replicas(most_runs=1536)

    assert here.options["max_ongoing_requests"] > 1536
