"""A file of prompts in parts: slices that a search is measured on, and one that it never sees."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count
from mixtura.evals.tasks import dataset
from mixtura.evals.tasks.dataset import Row
from mixtura.selection.search import slice_sizes

HELD_OUT = 1 / 3
"""The share of the prompts that only the winner is judged on."""
MIN_PROMPTS = 3
"""Two to search on, one to judge: below that nothing can be said."""


class PromptPart(NamedTuple):
    """Some of the prompts, in a file of their own."""

    file: Path
    prompts: int


class PromptSplit(NamedTuple):
    """The same prompts are always split in the same way, into a folder of their own."""

    folder: Path
    slices: tuple[PromptPart, ...]
    held_out: PromptPart

    @property
    def searched_count(self) -> int:
        return sum(part.prompts for part in self.slices)


class SplitSizes(NamedTuple):
    """How many prompts are searched with, and how many judge the winner."""

    searched: int
    held_out: int


def split_sizes(data: str, prompts: int, share: float = HELD_OUT) -> SplitSizes:
    """How many of *prompts* to search with and to hold out.

    Raises ConfigError, which names *data*, where they are too few.
    """
    if prompts < MIN_PROMPTS:
        raise ConfigError(
            f"{data} has {pluralize_count(prompts, 'prompt')}, but at least {MIN_PROMPTS} are"
            " needed: two to choose with and one to test the choice. Fewer than fifty show little"
        )
    held = min(max(1, round(share * prompts)), prompts - 2)
    return SplitSizes(prompts - held, held)


def split_prompts(
    data: str, folder: Path, *, limit: int | None = None, seed: int = 0, share: float = HELD_OUT
) -> PromptSplit:
    """
    *share* of the prompts, drawn with *seed*, held out, the rest in slices.

    Raises ConfigError for a file that cannot be read, and for one with too few prompts.
    """
    searched, rest = split_rows(data, limit=limit, seed=seed, share=share)
    # The {} marks where the held-out prompts begin: the same rows split otherwise are other files.
    home = folder / f"select-{_rows_digest([*searched, {}, *rest])}"
    home.mkdir(parents=True, exist_ok=True)
    parts: list[PromptPart] = []
    for number, size in enumerate(slice_sizes(len(searched)), start=1):
        part, searched = searched[:size], searched[size:]
        parts.append(_write_part(home / f"prompts-{number}.jsonl", part))
    return PromptSplit(home, tuple(parts), _write_part(home / "held-out.jsonl", rest))


def split_rows(
    data: str, *, limit: int | None = None, seed: int = 0, share: float = HELD_OUT
) -> tuple[list[Row], list[Row]]:
    """The rows to search with, and those held out. Raises as `split_prompts`; writes no file."""
    rows = dataset.load_rows(data)
    # Shuffled before it is cut: a file may be sorted, and then its beginning is no sample.
    random.Random(seed).shuffle(rows)
    rows = _group_equal_rows(rows[:limit])
    count = split_sizes(data, len(rows), share).held_out
    # What chose a team must not judge it: equal prompts stay on one side.
    while count < len(rows) - 1 and rows[count] == rows[count - 1]:
        count += 1
    return rows[count:], rows[:count]


def _group_equal_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows with equal ones one after another, where the first of them stands."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps(row, sort_keys=True), []).append(row)
    return [row for group in groups.values() for row in group]


def _rows_digest(rows: Sequence[Row]) -> str:
    whole = json.dumps(rows, sort_keys=True)
    return hashlib.blake2b(whole.encode(), digest_size=5).hexdigest()


def _write_part(file: Path, rows: Sequence[Row]) -> PromptPart:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return PromptPart(file, len(rows))
