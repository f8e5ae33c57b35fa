"""A benchmark's rows as Inspect's samples: from a file, an address, or its public home."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping
from typing import Any

from inspect_ai import Task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.scorer import Scorer
from inspect_ai.solver import generate, prompt_template

from mixtura.batch.prompt_form import join_instruction
from mixtura.core.errors import ConfigError
from mixtura.evals.rows import URL_PREFIXES, NumberedRow, Row, read_rows, read_text, source_location

__all__ = [
    "URL_PREFIXES",
    "Row",
    "content_digest",
    "describe_kind",
    "instruction_text",
    "list_field",
    "load_rows",
    "load_samples",
    "prompted_task",
    "text_field",
]


def load_samples(
    name: str, data: str, to_sample: Callable[[Row], Sample], *, seed: int | None = None
) -> MemoryDataset:
    """
    The rows of *data* as samples, in the file's order or, given a *seed*, in one drawn from it.

    A row is numbered from 1 where it has no id, before anything is drawn: a sample keeps its
    id whatever the seed. Raises ConfigError with the file and the line for a row that *to_sample*
    refuses, and for an id that another row has.
    """
    samples: list[Sample] = []
    lines: dict[str, int] = {}
    for number, placed in enumerate(read_rows(data), 1):
        sample = _build_sample(name, data, placed, to_sample)
        sample.id = str(number) if sample.id is None else sample.id
        if (before := lines.get(str(sample.id))) is not None:
            problem = f"the id {sample.id} is also used in line {before}: each row needs its own"
            raise ConfigError(f"{source_location(data, placed.line)}: {problem}")
        lines[str(sample.id)] = placed.line
        samples.append(sample)
    if seed is not None:
        random.Random(seed).shuffle(samples)
    return MemoryDataset(samples, name=name, location=data)


def prompted_task(samples: MemoryDataset, prompt: str, scorer: Scorer, *, version: int) -> Task:
    """A task of one answer to each sample, whose input stands in *prompt* for ``{prompt}``."""
    solver = [prompt_template(prompt), generate()]
    return Task(dataset=samples, solver=solver, scorer=scorer, version=version)


def _build_sample(
    name: str, data: str, placed: NumberedRow, to_sample: Callable[[Row], Sample]
) -> Sample:
    try:
        own = placed.row.get("id")
        if own is not None and not _is_valid_id(own):
            raise ValueError(f"an id must be a text or a whole number, not {describe_kind(own)}")
        sample = to_sample(placed.row)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        problem = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        reading = f" (read as a row of {name})"
        raise ConfigError(f"{source_location(data, placed.line)}: {problem}{reading}") from None
    return sample


def _is_valid_id(value: object) -> bool:
    # A bool is an int to Python, and no id to anyone.
    return value != "" and isinstance(value, str | int) and not isinstance(value, bool)


def load_rows(data: str) -> list[Row]:
    """The rows of a file or an address. Raises ConfigError with the file and the line."""
    return [placed.row for placed in read_rows(data)]


def content_digest(data: str) -> str:
    """The same digest for the same text, wherever it is. Raises ConfigError if unreadable."""
    return hashlib.blake2b(read_text(data).encode(), digest_size=16).hexdigest()


# ---- what a row says


def text_field(row: Mapping[str, Any], *names: str) -> str:
    """The text under the first of *names* that is there. Raises ValueError for anything else."""
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        raise ValueError(f"{' or '.join(f'`{one}`' for one in names)} is missing")
    value = row[name]
    if not isinstance(value, str):
        raise ValueError(f"`{name}` must be a text, not {describe_kind(value)}")
    if not value.strip():
        raise ValueError(f"`{name}` is empty")
    return value


def instruction_text(row: Mapping[str, Any], name: str = "instruction") -> str:
    """An instruction and, below it, the `input` of Alpaca's rows or the `context` of Dolly's.

    Raises ValueError where there is none, or both and they differ.
    """
    text_field(row, name)
    return join_instruction(row, name)


def list_field(row: Mapping[str, Any], name: str, kind: type) -> list[Any]:
    """The list under *name*, all of one *kind*. Raises ValueError for anything else."""
    value = row.get(name)
    if value is None:
        raise ValueError(f"`{name}` is missing")
    if not isinstance(value, list) or not all(isinstance(one, kind) for one in value):  # pyright: ignore[reportUnknownVariableType]
        raise ValueError(f"`{name}` must be a list of {'texts' if kind is str else 'objects'}")
    return value  # pyright: ignore[reportUnknownVariableType]


def describe_kind(value: object) -> str:
    """What a value of JSON is, in words for an error."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    kinds: dict[type[object], str] = {str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), f"the number {value}")
