"""Files of local models on this disk: GGUF and SHA-256 checks, removal, disk error messages."""

from __future__ import annotations

import errno
import hashlib
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from mixtura.catalog.local_models import (
    KnownModel,
    PackageSource,
)
from mixtura.core.errors import ConfigError

DownloadProgress = Callable[[int, int | None], None]
"""Called with the bytes done and the total, None if unknown; from any thread."""

GGUF_MAGIC = b"GGUF"
SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


@contextmanager
def disk_errors_as_config(model: KnownModel) -> Generator[None, None, None]:
    """Turn an OSError into a ConfigError that says what to do."""
    try:
        yield
    except OSError as error:
        raise ConfigError(disk_error_message(model, error)) from error


def disk_error_message(model: KnownModel, error: OSError) -> str:
    """What *error* means for the download of *model*, and what helps."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = _size_in_megabytes(model)
        return f"the disk is full: {model.name} needs {size} of it, free some first"
    where = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or error
    variable = "MIXTURA_CACHE" if isinstance(model.source, PackageSource) else "HF_HOME"
    wrong = f"{model.name} cannot be saved in the cache folder{where}: {reason}"
    return f"{wrong}; set {variable} to another folder"


def _size_in_megabytes(model: KnownModel) -> str:
    return f"{model.size / 1e6:,.0f} MB"


def verify_or_discard(path: Path, sha256: str | None) -> bool:
    """Whether *path* is a GGUF file with that hash, if one is known; removed if it is not."""
    sound = is_gguf(path) and (sha256 is None or has_digest(path, sha256))
    if not sound:
        _remove_with_links(path)
    return sound


def is_gguf(path: Path) -> bool:
    """Whether *path* is a file that begins as GGUF does. Raises ConfigError if unreadable."""
    try:
        with path.open("rb") as file:
            return file.read(len(GGUF_MAGIC)) == GGUF_MAGIC
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error


def has_digest(path: Path, sha256: str) -> bool:
    """Whether *path* is a file with that hash. Raises OSError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def linked_sha256(path: Path) -> str | None:
    """
    The hash in the name of the blob that *path* links to.

    One step only: that blob may be a link too, to one named after another kind of hash.
    """
    name = path.readlink().name if path.is_symlink() else ""
    return name if SHA256_PATTERN.fullmatch(name) else None


def _remove_with_links(path: Path) -> None:
    """Remove *path* and every file it links to, so that none of them is found again."""
    while True:
        target = path.parent / path.readlink() if path.is_symlink() else None
        path.unlink(missing_ok=True)
        if target is None:
            return
        path = target
