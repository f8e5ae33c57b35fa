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
SEARCH_PROMPTS = 2
"""Prompts to search on, at least."""


class PromptPart(NamedTuple):
    """Some of the prompts, in a file of their own."""

    file: Path
    prompts: int


class PromptSplit(NamedTuple):
    """
    The same prompts are always split in the same way, into a folder of their own. *repeated*: rows
    that ask what an earlier one asks, which are left out.
    """

    folder: Path
    slices: tuple[PromptPart, ...]
    held_out: PromptPart
    repeated: int = 0

    @property
    def searched_count(self) -> int:
        return sum(part.prompts for part in self.slices)

    @property
    def notes(self) -> list[str]:
        """What is to be said of the rows."""
        if not self.repeated:
            return []
        rows = pluralize_count(self.repeated, "row")
        return [f"{rows} of the file left out: they ask the same as an earlier row"]


class SplitSizes(NamedTuple):
    """How many prompts are searched with, and how many judge the winner."""

    searched: int
    held_out: int


class SplitRows(NamedTuple):
    """The rows to search with, those held out, what the latter ask, and how many were repeated."""

    searched: list[Row]
    held_out: list[Row]
    held_out_questions: list[str]
    repeated: int


def split_sizes(data: str, prompts: int, share: float = HELD_OUT, *, least: int = 1) -> SplitSizes:
    """
    How many of *prompts* to search with and to hold out, *least* of them or more.

    Raises ConfigError, which names *data*, where they are too few.
    """
    if prompts < SEARCH_PROMPTS + least:
        test = {1: "one", 2: "two"}.get(least, str(least))
        raise ConfigError(
            f"{data} has {pluralize_count(prompts, 'different prompt')}, but at least"
            f" {SEARCH_PROMPTS + least} are needed: two to choose with and {test} to test the"
            " choice. Fewer than fifty show little"
        )
    held = min(max(least, round(share * prompts)), prompts - SEARCH_PROMPTS)
    return SplitSizes(prompts - held, held)


def write_split(rows: SplitRows, folder: Path) -> PromptSplit:
    """Files below *folder*: the rows to search with in slices, and those held out."""
    searched, rest, _, repeated = rows
    # The {} marks where the held-out prompts begin: the same rows split otherwise are other files.
    home = folder / f"select-{_rows_digest([*searched, {}, *rest])}"
    home.mkdir(parents=True, exist_ok=True)
    parts: list[PromptPart] = []
    for number, size in enumerate(slice_sizes(len(searched)), start=1):
        part, searched = searched[:size], searched[size:]
        parts.append(_write_part(home / f"prompts-{number}.jsonl", part))
    held_out = _write_part(home / "held-out.jsonl", rest)
    return PromptSplit(home, tuple(parts), held_out, repeated)


def split_rows(
    data: str,
    *,
    questions: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    share: float = HELD_OUT,
    least: int = 1,
) -> SplitRows:
    """
    *share* of the prompts, drawn with *seed*, held out, *least* of them or more, and the rest;
    *questions*: what each row asks.

    Raises ConfigError for a file that cannot be read, and for one with too few prompts.
    """
    rows = dataset.load_rows(data)
    asked = questions or [json.dumps(row, sort_keys=True) for row in rows]
    # What chose a team must not judge it, and one prompt that stands in the file four times is no
    # four prompts: an interval would be half as wide as what is known.
    first: dict[str, Row] = {}
    for question, row in zip(asked, rows, strict=True):
        first.setdefault(question, row)
    kept = list(first.items())
    # Shuffled before it is cut: a file may be sorted, and then its beginning is no sample.
    random.Random(seed).shuffle(kept)
    kept = kept[:limit]
    count = split_sizes(data, len(kept), share, least=least).held_out
    return SplitRows(
        [row for _, row in kept[count:]],
        [row for _, row in kept[:count]],
        [question for question, _ in kept[:count]],
        len(rows) - len(first),
    )


def _rows_digest(rows: Sequence[Row]) -> str:
    whole = json.dumps(rows, sort_keys=True)
    return hashlib.blake2b(whole.encode(), digest_size=5).hexdigest()


def _write_part(file: Path, rows: Sequence[Row]) -> PromptPart:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")
    return PromptPart(file, len(rows))
