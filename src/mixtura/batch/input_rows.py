"""The rows of a batch: requests with names and keys, checked before any is paid for."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mixtura.batch import openai_form
from mixtura.batch.journaled import KEY_BYTES, digest
from mixtura.batch.prompt_form import PromptForm, record_id
from mixtura.batch.records import Record, Source
from mixtura.core.errors import ConfigError
from mixtura.core.types import Request
from mixtura.protocols.openai.request_fingerprints import request_fingerprint
from mixtura.storage.batch_journal import OccurrenceCounter

MISTAKES_SHOWN = 10
ROWS_AT_ONCE = 64
NO_ROWS = b"\0" * KEY_BYTES
"""The digest of no row at all."""


class BatchRow(NamedTuple):
    """A row of the input. *line* counts the rows that are asked, from 0."""

    line: int
    custom_id: str
    request: Request
    key: bytes
    """Its request, and how many equal rows came before it."""


class CheckedInput(NamedTuple):
    """What an input holds: *rows* that are asked, and a *digest* of the first so many."""

    rows: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class BatchInput:
    """
    The input and what is asked of it: every row, the first *limit*, or a *sample* drawn with
    *seed*. *shares*: equal rows have the same key, and so the same answer.
    """

    source: Source
    form: PromptForm
    limit: int | None = None
    sample: int | None = None
    seed: int | None = None
    shares: bool = False

    def check(self, first: int = 0) -> CheckedInput:
        """
        Read all of it once: count the rows, and fold the first *first* into a digest.

        Raises ConfigError with the mistakes of all rows, by their places.
        """
        mistakes: list[ConfigError] = []
        count, folded = 0, NO_ROWS
        with _RowKeys(shares=self.shares) as keys, _Names() as names:
            for records in _in_chunks(self._chosen_records()):
                rows: list[tuple[str, Request]] = []
                for line, record in enumerate(records, start=count):
                    try:
                        rows.append(self._read_record(record, line))
                    except ConfigError as error:
                        mistakes.append(error)
                mistakes += names.find_repeated(records, rows) if not mistakes else []
                if count < first and not mistakes:
                    some = rows[: first - count]
                    for (name, _), key in zip(some, keys.make([r for _, r in some]), strict=True):
                        folded = fold(folded, name, key)
                count += len(records)
                if len(mistakes) >= MISTAKES_SHOWN:
                    break
        if mistakes:
            raise _all_mistakes(mistakes)
        if not count:
            raise ConfigError(f"{self.source.shown} has no rows")
        return CheckedInput(count, folded)

    def rows(self, first: int = 0, only: set[int] | None = None) -> Generator[list[BatchRow]]:
        """
        The rows from number *first*, some at a time; *only*: those with these numbers.

        Raises ConfigError for what cannot be read any more.
        """
        count = 0
        with _RowKeys(shares=self.shares) as keys:
            for records in _in_chunks(self._chosen_records()):
                read = [self._read_record(one, at) for at, one in enumerate(records, start=count)]
                made = keys.make([request for _, request in read])
                rows = [
                    BatchRow(line, name, request, key)
                    for line, ((name, request), key) in enumerate(
                        zip(read, made, strict=True), start=count
                    )
                    if line >= first and (only is None or line in only)
                ]
                count += len(records)
                if rows:
                    yield rows

    def _chosen_records(self) -> Iterator[Record]:
        records = self.source.records()
        if self.sample is not None:
            total = sum(1 for _ in self.source.records())
            draw = random.Random(0 if self.seed is None else self.seed)
            chosen = set(draw.sample(range(total), min(self.sample, total)))
            records = (one for number, one in enumerate(records) if number in chosen)
        return islice(records, self.limit)

    def _read_record(self, record: Record, line: int) -> tuple[str, Request]:
        fields = record.fields()
        try:
            if self.source.format == "openai":
                return fields["custom_id"], openai_form.build_request(fields, self.form.sampling)
            return record_id(fields, line), self.form.build_request(fields)
        except KeyError:
            raise ConfigError(f"{record.place}: it has no custom_id, unlike the first") from None
        except ConfigError as error:
            raise ConfigError(f"{record.place}: {error}") from None


def fold(folded: bytes, name: str, key: bytes) -> bytes:
    """The digest of rows, with one more."""
    return digest(folded, name.encode(), key)


class _Counting:
    """A counter on a disk, for the length of a block."""

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="mixtura-batch-")
        self._counter = OccurrenceCounter(Path(self._folder.name))
        return self

    def __exit__(self, *_: object) -> None:
        self._counter.close()
        self._folder.cleanup()


class _RowKeys(_Counting):
    """Keys of rows in their order; *shares*: equal rows have equal keys."""

    def __init__(self, *, shares: bool) -> None:
        self._shares = shares

    def make(self, requests: list[Request]) -> list[bytes]:
        asked = [bytes.fromhex(request_fingerprint(one, "")) for one in requests]
        if self._shares:
            return [digest(one) for one in asked]
        earlier = self._counter.count_earlier(asked)
        return [digest(one, n.to_bytes(8, "big")) for one, n in zip(asked, earlier, strict=True)]


class _Names(_Counting):
    """Finds a ``custom_id`` that stands twice: its answers could not be told apart."""

    def find_repeated(
        self, records: list[Record], rows: list[tuple[str, Request]]
    ) -> list[ConfigError]:
        names = [digest(name.encode()) for name, _ in rows]
        return [
            ConfigError(f"{record.place}: the custom_id {name} stands in an earlier row, too")
            for (name, _), record, n in zip(
                rows, records, self._counter.count_earlier(names), strict=True
            )
            if n
        ]


def _in_chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    while chunk := list(islice(records, ROWS_AT_ONCE)):
        yield chunk


def _all_mistakes(mistakes: list[ConfigError]) -> ConfigError:
    if len(mistakes) == 1:
        return mistakes[0]
    error = ConfigError("\n".join(map(str, mistakes)))
    error.mistakes = tuple(mistakes)
    return error
