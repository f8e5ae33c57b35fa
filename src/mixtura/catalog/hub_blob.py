"""A file of the Hugging Face hub, downloaded into its cache so that a stopped download goes on."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mixtura.catalog.local_models import HubSource, KnownModel
from mixtura.catalog.model_files import SHA256_PATTERN, has_digest
from mixtura.core.errors import ConfigError

PARTIAL_SUFFIX = ".mixtura-partial"


def hub_cache_folder() -> Path:
    """The folder that the hub's client keeps its files in."""
    try:
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Path.home() / ".cache" / "huggingface" / "hub"
    return Path(HF_HUB_CACHE)


def partial_download_bytes(source: HubSource) -> int:
    """Bytes of the file that a stopped download left: the next one goes on from there."""
    parts = _blobs_folder(source).glob(f"*{PARTIAL_SUFFIX}")
    return max((part.stat().st_size for part in parts), default=0)


def _blobs_folder(source: HubSource) -> Path:
    return hub_cache_folder() / f"models--{source.repo.replace('/', '--')}" / "blobs"


def download_blob(model: KnownModel, source: HubSource, about: Any, meter: Any) -> None:
    """
    Put the file among the cache's blobs, where ``hf_hub_download`` finds it by its hash.

    The hub's client begins every file anew since its version 2; this goes on with what is there.
    Where the hub declares no hash, or the cache is made of copies, it does nothing and that client
    downloads. *about*: the hub's metadata of the file; *meter*: a class like tqdm. Raises
    ConfigError for a file with another hash, which is removed, and what the client raises.
    """
    # By name: these two are public in the client, and untyped.
    client: Any = importlib.import_module("huggingface_hub.file_download")
    utils: Any = importlib.import_module("huggingface_hub.utils")
    if not (about.etag and SHA256_PATTERN.fullmatch(about.etag)):
        return
    if not client.are_symlinks_supported():
        return
    blob = _blobs_folder(source) / about.etag
    part = blob.with_name(about.etag + PARTIAL_SUFFIX)
    lock = hub_cache_folder() / ".locks" / blob.parent.parent.name / f"{part.name}.lock"
    for folder in (part.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with utils.WeakFileLock(lock):
        if blob.exists():  # another process brought it meanwhile
            return
        headers = utils.build_hf_headers()
        # The token is the hub's, and no one else's.
        location: str = about.location
        if urlsplit(location).netloc != urlsplit(_hub_address()).netloc:
            headers.pop("authorization", None)
        try:
            with part.open("ab") as file:
                client.http_get(
                    about.location, file, resume_size=file.tell(), headers=headers,
                    expected_size=about.size, displayed_filename=source.file, tqdm_class=meter,
                )  # fmt: skip
        except OSError as error:
            if not isinstance(error, ConnectionError):  # a full disk needs its room back
                part.unlink(missing_ok=True)
            raise
        if not has_digest(part, about.etag):
            part.unlink()
            raise damaged_download_error(model, source)
        part.replace(blob)


def _hub_address() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT


def damaged_download_error(model: KnownModel, source: HubSource) -> ConfigError:
    """The error for a file that is not what the hub declared."""
    return ConfigError(
        f"{source.repo}/{source.file} arrived damaged and was removed: run"
        f" `mixtura pull {model.name}` again; if HF_ENDPOINT names a mirror, try without it"
    )
