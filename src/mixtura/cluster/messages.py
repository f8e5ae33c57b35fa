"""What the owner of a batch and its workers say to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from mixtura.batch.outcome import EndpointProgress
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import MixturaError
from mixtura.core.types import Charge, Completion, Request
from mixtura.storage.batch_journal import KeptCall, SpentAmount


@dataclass(frozen=True, slots=True)
class MachineSetup:
    """What another machine needs to read the same configuration. No key: each has its own."""

    version: str
    documents: tuple[tuple[str, str], ...]
    """The configuration's files: their texts, and what errors call them."""
    working_folder: str
    """Where relative paths begin, where there is that folder."""


@dataclass(frozen=True, slots=True)
class WorkerSetup(MachineSetup):
    """What a worker needs to build the same models."""

    plan: MixtureSpec
    journals: str
    """The folder of the workers' journals, on each machine."""
    concurrency: int
    deadline: float | None = None
    max_cost: float | None = None
    reuses: bool = False
    """Equal rows share their answers."""
    lease_seconds: float = 0.1
    """Between two times at which a worker says what it uses, and is lent anew."""


class RowTask(NamedTuple):
    """A row to be answered. *looks_up*: the owner may have calls of it."""

    number: int
    key: bytes
    request: Request
    looks_up: bool


class RowAnswer(NamedTuple):
    """
    What came of a row: *completion*, or *error*, or neither where it was *held_back*. *charges*:
    of all its calls, also of those that a journal answered.
    """

    number: int
    completion: Completion | None
    error: MixturaError | None
    charges: tuple[Charge, ...]
    held_back: bool = False


class KeptPart(NamedTuple):
    """
    Calls of the journal called *journal*, and what all of its calls have cost. *more* of its
    calls are still to be read.
    """

    journal: str
    calls: list[KeptCall]
    spent: list[SpentAmount]
    more: bool = False


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """How far a worker is. *number* counts its reports; answers come again until one is taken."""

    number: int
    answers: list[RowAnswer]
    part: KeptPart
    lookups: list[bytes]
    """Keys of calls that the owner may have."""
    used_again: int
    """Calls that were answered from a journal by now."""
    endpoints: tuple[EndpointProgress, ...] = field(default=())
    error: MixturaError | None = None
    """Why the worker cannot go on."""
