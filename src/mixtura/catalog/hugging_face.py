"""Models on the Hugging Face hub: download into its cache, and its errors in plain sentences."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixtura.catalog.hub_blob import damaged_download_error, download_blob
from mixtura.catalog.local_models import (
    PATH_ADVICE,
    HubSource,
    KnownModel,
)
from mixtura.catalog.model_files import (
    SHA256_PATTERN,
    DownloadProgress,
    disk_error_message,
    disk_errors_as_config,
    linked_sha256,
    verify_or_discard,
)
from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text


def hub_cache_path(source: HubSource) -> Path | None:
    """The path in the hub's cache, None where the file is not there; asks no network."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    found: object = try_to_load_from_cache(source.repo, source.file, revision=source.revision)
    return Path(found) if isinstance(found, str) else None


def download_from_hub(model: KnownModel, source: HubSource, progress: DownloadProgress) -> Path:
    """The model's file in the hub's cache, downloaded where it is not there. Raises ConfigError."""
    with disk_errors_as_config(model):
        here = hub_cache_path(source)
        # Its hash is known offline only where the cache is made of links.
        if here is not None and verify_or_discard(here, linked_sha256(here)):
            return here
        with _hub_errors_as_config(model, source):
            path, declared = _fetch_hub_file(model, source, progress)
        if verify_or_discard(path, declared):
            return path
        raise damaged_download_error(model, source)


def _fetch_hub_file(
    model: KnownModel, source: HubSource, progress: DownloadProgress
) -> tuple[Path, str | None]:
    """The file, and the sha256 that the hub declares for it where it declares one."""
    from huggingface_hub import (
        get_hf_file_metadata,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
        hf_hub_url,
    )

    # Asked once beforehand, because this fails at once and with its own error where
    # hf_hub_download first tries for half a minute and then hides what it met.
    about = get_hf_file_metadata(hf_hub_url(source.repo, source.file, revision=source.revision))
    meter: Any = _progress_class(progress, about.size)
    download_blob(model, source, about, meter)
    path = Path(
        hf_hub_download(source.repo, source.file, revision=source.revision, tqdm_class=meter)
    )
    declared = about.etag if about.etag and SHA256_PATTERN.fullmatch(about.etag) else None
    return path, linked_sha256(path) or declared


def _progress_class(progress: DownloadProgress, size: int | None) -> type:
    """What hf_hub_download wants of a progress bar, drawing nothing."""

    class ProgressMeter:
        def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object):
            self.total = size if size is not None else total
            self.n = initial

        def __enter__(self) -> ProgressMeter:
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

    return ProgressMeter


@contextmanager
def _hub_errors_as_config(model: KnownModel, source: HubSource) -> Generator[None, None, None]:
    try:
        from huggingface_hub import errors
    except ImportError as error:
        what = f"{model.name} comes from the Hugging Face Hub: the download"
        problem = missing_package_text(what, "huggingface_hub", "local")
        raise ConfigError(f"{problem} (or {PATH_ADVICE})") from error
    # Two transports: plain HTTP, and Xet, whose failures are of Python's own types.
    transport = errors.HTTPError  # pyright: ignore[reportPrivateImportUsage]
    try:
        yield
    except (transport, errors.XetDownloadError, OSError, RuntimeError) as error:
        raise ConfigError(_hub_error_message(model, source, error)) from error


def _hub_error_message(model: KnownModel, source: HubSource, error: BaseException) -> str:
    """One sentence: what is wrong, and what would be right."""
    from huggingface_hub import errors

    again = f"run `mixtura pull {model.name}` again"
    match error:
        case errors.LocalEntryNotFoundError() if error.__cause__:
            return _hub_error_message(model, source, error.__cause__)
        case errors.OfflineModeIsEnabled():
            wrong = f"{model.name} is not on this machine and HF_HUB_OFFLINE forbids fetching it"
            right = f"unset that and {again}, or {PATH_ADVICE}"
        case errors.GatedRepoError():
            wrong = f"{source.repo} is gated"
            right = (
                "accept its licence at the model's page, set HF_TOKEN to a token of that"
                f" account, and {again}"
            )
        case errors.RepositoryNotFoundError():
            wrong = f"the hub has no {source.repo}, or you have no access to it"
            right = (
                f"set HF_TOKEN if it is private, check HF_ENDPOINT if it is set, or {PATH_ADVICE}"
            )
        case errors.RemoteEntryNotFoundError() | errors.RevisionNotFoundError():
            wrong = f"{source.repo} no longer has {source.file} at {source.revision}"
            right = f"choose another model, or {PATH_ADVICE}"
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            wrong = f"the hub refused {source.repo} ({error.response.status_code})"
            right = f"set HF_TOKEN to a token that may read it and has not run out, and {again}"
        case errors.HfHubHTTPError():
            wrong = f"the hub answered {error.response.status_code} for {source.repo}"
            right = f"{again} in some minutes, or {PATH_ADVICE}"
        case errors.FileMetadataError():
            wrong = f"the server that answered for {source.repo} is not a model hub"
            right = f"check HF_ENDPOINT and the proxy, and {again}"
        case OSError() if error.errno is not None and not isinstance(error, ConnectionError):
            return disk_error_message(model, error)
        case _:
            wrong = f"no connection to the hub, or it was interrupted ({_shorten_error(error)})"
            right = f"{again} when you are online, set HF_ENDPOINT to a mirror, or {PATH_ADVICE}"
    return f"{wrong}: {right}"


def _shorten_error(error: BaseException) -> str:
    said = re.sub(r"\[Errno -?\d+\] ", "", " ".join(str(error).split()))
    return said[:200] or "no reason given"
