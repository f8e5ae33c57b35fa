"""Where a benchmark's rows come from: a file, an address, or its public home."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TextIO, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]
import platformdirs
from inspect_ai.dataset import MemoryDataset, Sample

from mixtura.errors import ConfigError

Row = dict[str, Any]
ADDRESSES = ("http://", "https://")


def samples(
    name: str, data: str, made: Callable[[Row], Sample], *, seed: int | None = None
) -> MemoryDataset:
    """
    The rows of *data* as samples, in the file's order or, given a *seed*, in one drawn from it.

    A row is numbered from 1 where it has no id, before anything is drawn: a sample keeps its
    id whatever the seed. Raises ConfigError with the file and the line.
    """
    made_samples: list[Sample] = []
    for number, row in enumerate(rows(data), 1):
        try:
            sample = made(row)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            said = f"has no {error}" if isinstance(error, KeyError) else f"does not fit: {error}"
            raise ConfigError(f"{data}: row {number} {said}: is it a file for {name}?") from None
        sample.id = str(number) if sample.id is None else sample.id
        made_samples.append(sample)
    if seed is not None:
        random.Random(seed).shuffle(made_samples)
    return MemoryDataset(made_samples, name=name, location=data)


def rows(data: str) -> list[Row]:
    """The objects of a JSON-lines file, or of a JSON file with one list, gzipped or not."""
    text = _text(data).lstrip("\ufeff")
    try:
        if text.lstrip().startswith("["):
            found: object = json.loads(text)
        else:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise ConfigError(
            f"{data}: this is no JSON, line by line or as one list: {error}"
        ) from None
    listed = cast(Sequence[object], found)
    if not listed or not all(isinstance(row, dict) for row in listed):
        raise ConfigError(f"{data}: it holds no rows, or rows that are no JSON objects")
    return cast(list[Row], listed)


def digest(data: str) -> str:
    """The same for the same rows, wherever they are."""
    return hashlib.blake2b(_text(data).encode(), digest_size=16).hexdigest()


def _text(data: str) -> str:
    """The file's text; what comes from an address is kept, and not fetched again."""
    where, how = str(Path(data).expanduser()), {}
    if data.startswith(ADDRESSES):
        folder = platformdirs.user_cache_path("mixtura") / "datasets"
        where, how = f"filecache::{data}", {"filecache": {"cache_storage": str(folder)}}
    try:
        opening = cast(Callable[..., AbstractContextManager[TextIO]], getattr(fsspec, "open"))  # noqa: B009
        with opening(where, "rt", compression="infer", encoding="utf-8", **how) as file:
            return str(file.read())
    except Exception as error:  # aiohttp has errors of its own
        if data.startswith(ADDRESSES):
            said = f"{data} cannot be fetched: {type(error).__name__}: {error}"
            raise ConfigError(f"{said}. Give a file: --data FILE") from None
        if isinstance(error, OSError | UnicodeDecodeError | EOFError):
            raise ConfigError(f"{data} cannot be read: {error}") from None
        raise
