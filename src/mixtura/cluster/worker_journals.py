"""The journals of workers, one file each, and how they are merged into that of the batch."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from mixtura.batch.call_journal import SENT_KINDS, CallJournal, in_flight_path
from mixtura.billing.price import Pricer
from mixtura.cluster.messages import KeptPart
from mixtura.core.errors import ConfigError, StoreError
from mixtura.storage.batch_journal import BatchJournal, SpentAmount

SUFFIX = ".journal"
CALLS_AT_ONCE = 2000
"""Calls of a left journal that are merged together."""
LEFT_SECONDS = 60.0
"""That a killed worker may take to end: its journal is its own until then."""
_SETTING = "worker:"
"""Before the name of a worker's journal: how far it is merged."""
_UNREAD = ("lost", "journals on machines that are gone")
"""The kind of what is counted for them, and what stands there in place of a model."""
_FOLDERS = "worker_folders"
"""The setting with the folders in which workers of the batch have had their journals."""


def workers_folder(journal: Path) -> Path:
    """Where the workers of a batch have their journals: beside that of the batch."""
    return journal.absolute().with_name(f"{journal.name}-workers")


def known_folders(calls: CallJournal) -> list[str]:
    """Where workers of the batch have had their journals by now. Raises StoreDamagedError."""
    try:
        return [str(one) for one in json.loads(calls.settings.get(_FOLDERS, "[]"))]
    except (ValueError, TypeError):
        raise calls.journal.damaged_error() from None


def remember_folder(calls: CallJournal, folder: str) -> None:
    """A later run looks for journals there, too, whatever it is told. Raises StoreError."""
    known = known_folders(calls)
    if folder not in known:
        now = {_FOLDERS: json.dumps([*known, folder])}
        calls.journal.write(settings=now)
        calls.settings |= now


class _Merged(NamedTuple):
    """How far a journal is merged: its last call, and what all had cost by then."""

    number: int = 0
    spent: Mapping[tuple[str, str], SpentAmount] = {}

    @classmethod
    def from_text(cls, text: str) -> _Merged:
        number, spent = json.loads(text)
        amounts = [SpentAmount(*one) for one in spent]
        return cls(int(number), {(one.kind, one.model): one for one in amounts})


class MergedJournal:
    """
    The journal of a batch, which takes in those of its workers. A part that is given twice counts
    once, in whatever process: how far each journal is merged is written together with its calls.
    Raises StoreDamagedError where it does not say how far.
    """

    def __init__(self, calls: CallJournal) -> None:
        self._calls = calls
        try:
            self._merged = {
                name.removeprefix(_SETTING): _Merged.from_text(value)
                for name, value in calls.settings.items()
                if name.startswith(_SETTING)
            }
        except (ValueError, TypeError):  # what we wrote is not what is there
            raise calls.journal.damaged_error() from None
        self._written = {**self._merged}
        """How far each is merged on the disk: what is counted may still be on its way there."""

    def merged_number(self, journal: str) -> int:
        """The last call of a worker's journal that is merged; 0 for none."""
        return self._merged.get(journal, _Merged()).number

    def merged_numbers(self) -> dict[str, int]:
        """The last call that is merged of each journal."""
        return {name: one.number for name, one in self._merged.items()}

    def merged_dollars(self, journal: str) -> float:
        """What the calls of a worker's journal have cost, as far as it is merged."""
        return sum(one.dollars for one in self._merged.get(journal, _Merged()).spent.values())

    async def merge(self, part: KeptPart, *, earlier: bool = False) -> None:
        """
        Return once the part is on the disk; *earlier*: its calls are those of an earlier run.
        Raises StoreError.
        """
        if (found := self._unmerged_part(part)) is not None:
            # Counted first: it is written also where whoever waits for that is called off, and
            # the same part, given again, must not count again.
            self._count_spent(part.journal, *found, earlier=earlier)
            await self._calls.writer.run_job(partial(self._write, part.journal, *found))
        elif self._written.get(part.journal) is not self._merged.get(part.journal):
            await self._calls.writer.run_job(lambda: None)  # whoever wrote it was called off

    async def count_unread(self, journal: str, dollars: float) -> None:
        """
        Count a journal on a machine that is gone as one whose calls have cost so many *dollars* in
        all, until it is merged: then what it says counts. Raises StoreError.
        """
        if (more := dollars - self.merged_dollars(journal)) > 0:
            known = self._merged.get(journal, _Merged()).spent.values()
            lost = SpentAmount(*_UNREAD, 0, 0, 0, more, 0)
            await self.merge(KeptPart(journal, [], [*known, lost]))

    def merge_now(self, part: KeptPart) -> None:
        """The part of an earlier run, where no event loop runs yet."""
        if (found := self._unmerged_part(part)) is not None:
            self._write(part.journal, *found)
            self._count_spent(part.journal, *found, earlier=True)

    def _unmerged_part(
        self, part: KeptPart
    ) -> tuple[list[tuple[bytes, bytes]], list[SpentAmount], _Merged] | None:
        """The calls and amounts that are not merged yet, and how far it is merged then."""
        before = self._merged.get(part.journal, _Merged())
        calls = [(one.key, one.body) for one in part.calls if one.number > before.number]
        amounts = {(one.kind, one.model): one for one in part.spent}
        if _UNREAD in before.spent and _UNREAD not in amounts:  # now it is known
            amounts[_UNREAD] = SpentAmount(*_UNREAD, 0, 0, 0, 0.0, 0)
        spent = [
            amount
            for one in amounts.values()
            if any((amount := _subtract(one, before.spent.get((one.kind, one.model))))[2:])
        ]
        if not calls and not spent:
            return None
        number = max([before.number, *(one.number for one in part.calls)])
        now = _Merged(number, {(one.kind, one.model): one for one in part.spent})
        return calls, spent, now

    def _write(
        self,
        journal: str,
        calls: Sequence[tuple[bytes, bytes]],
        spent: Sequence[SpentAmount],
        now: _Merged,
    ) -> None:
        text = json.dumps([now.number, [*now.spent.values()]])
        settings = {_SETTING + journal: text}
        self._calls.journal.write(calls=calls, spent=spent, settings=settings)
        self._written[journal] = now

    def _count_spent(
        self,
        journal: str,
        calls: Sequence[tuple[bytes, bytes]],
        spent: Sequence[SpentAmount],
        now: _Merged,
        *,
        earlier: bool,
    ) -> None:
        self._merged[journal] = now
        if earlier:
            self._calls.earlier_calls += len(calls)
            self._calls.reuse_own_calls()
        else:
            self._calls.made += len(calls)
            self._calls.sent += sum(one.calls for one in spent if one.kind in SENT_KINDS)
        for amount in spent:
            self._calls.spent_by_kind[amount.kind].add(amount)


def _subtract(amount: SpentAmount, before: SpentAmount | None) -> SpentAmount:
    """What *amount* has more than *before*, of the same kind and model."""
    if before is None:
        return amount
    return SpentAmount(
        amount.kind,
        amount.model,
        amount.calls - before.calls,
        amount.prompt_tokens - before.prompt_tokens,
        amount.completion_tokens - before.completion_tokens,
        amount.dollars - before.dollars,
        amount.unpriced - before.unpriced,
    )


def read_part(journal: BatchJournal, name: str, after: int, most: int | None = None) -> KeptPart:
    """What is kept behind the call number *after*. Raises StoreError."""
    calls, spent = journal.read_kept_after(after, most)
    return KeptPart(name, calls, spent, most is not None and len(calls) == most)


def left_journals(folder: Path, used: Collection[str] = ()) -> list[str]:
    """The names of the journals in *folder* whose workers are gone; *used* are not among them."""
    return sorted(path.name for path in folder.glob(f"*{SUFFIX}") if path.name not in used)


def read_left_part(
    folder: Path, name: str, after: int, pricer: Pricer, timeout: float = LEFT_SECONDS
) -> KeptPart:
    """
    A part of a journal whose worker was killed: what was under way then is counted as lost.

    Waits *timeout* seconds for the worker's end. Raises StoreError.
    """
    until = time.monotonic() + timeout
    while True:
        try:
            calls = CallJournal(folder / name, pricer, option=None)
        except StoreError:
            raise
        except ConfigError as error:
            if time.monotonic() >= until:
                raise StoreError(
                    f"a worker of an earlier run still uses {folder / name}: end it, or wait"
                ) from error
            time.sleep(0.05)
            continue
        with closing(calls):
            return read_part(calls.journal, name, after, CALLS_AT_ONCE)


def remove_journal(folder: Path, name: str) -> None:
    """Remove a worker's journal that is merged."""
    path = folder / name
    beside = (path.with_name(f"{name}-wal"), path.with_name(f"{name}-shm"))
    for one in (in_flight_path(path), *beside, path):
        one.unlink(missing_ok=True)
    with suppress(OSError):  # others are in it
        folder.rmdir()


def merge_left_journals(merged: MergedJournal, folder: Path, pricer: Pricer) -> None:
    """
    Take in what the workers of an earlier run left on this machine, before an event loop runs.

    Raises StoreError.
    """
    for name in left_journals(folder):
        more = True
        while more:
            part = read_left_part(folder, name, merged.merged_number(name), pricer)
            merged.merge_now(part)
            more = part.more
        remove_journal(folder, name)
