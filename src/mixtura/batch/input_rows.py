"""The rows of a batch: requests with names and keys, checked before any is paid for."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice, starmap
from typing import Any, NamedTuple

from mixtura.batch import openai_form
from mixtura.batch.journaled import KEY_BYTES, digest
from mixtura.batch.prompt_form import ConstantPromptError, PromptForm, record_id
from mixtura.batch.records import Record, Source
from mixtura.core.errors import ConfigError
from mixtura.core.types import Request
from mixtura.protocols.openai.request_fingerprints import request_fingerprint
from mixtura.storage.occurrence_counter import OccurrenceCounter

MISTAKES_SHOWN = 20
"""Mistakes that are told one by one; of the others, how many there are."""
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
    source: object = None
    """What its request was made of, for who writes its answer."""


RequestReader = Callable[[Mapping[str, Any]], tuple[Request, object]]
"""The request of a row of OpenAI's form, and its ``BatchRow.source``. Raises ConfigError."""


class CheckedInput(NamedTuple):
    """What an input holds: *rows* that are asked, and a *digest* of the first so many."""

    rows: int
    digest: bytes


@dataclass(slots=True)
class _CountedRows:
    """The keys of the first *rows* rows are counted in *keys*: those behind them go on there."""

    keys: _RowKeys | None = None
    rows: int = 0

    def take(self, first: int) -> _RowKeys | None:
        """The counter where just so many rows were counted: it is the caller's then."""
        keys, self.keys = self.keys, None
        if keys is not None and self.rows != first:
            keys.close()
            return None
        return keys


@dataclass(frozen=True, slots=True)
class BatchInput:
    """
    The input and what is asked of it: every row, the first *limit*, or a *sample* drawn with
    *seed*. *shares*: equal rows have the same key, and so the same answer. *reads* makes the
    request of a line of an OpenAI batch file where others than this machine's user wrote it.
    """

    source: Source
    form: PromptForm
    limit: int | None = None
    sample: int | None = None
    seed: int | None = None
    shares: bool = False
    reads: RequestReader | None = None
    _counted: _CountedRows = field(default_factory=_CountedRows, compare=False, repr=False)

    def check(self, first: int = 0) -> CheckedInput:
        """
        Read all of it once: count the rows, and fold the first *first* into a digest.

        Raises ConfigError with the mistakes of all rows, by their places.
        """
        mistakes = _Mistakes()
        count, folded = 0, NO_ROWS
        self._counted.take(-1)
        with ExitStack() as stack, closing(_Names()) as names:
            keys = stack.enter_context(closing(_RowKeys(shares=self.shares)))
            for records in _in_chunks(mistakes.end_with(self._chosen_records())):
                rows: list[_ReadRecord] = []
                for line, record in enumerate(records, start=count):
                    try:
                        rows.append(self._read_record(record))
                    except ConfigError as error:
                        mistakes.add(error)
                        if line == 0 and isinstance(error, ConstantPromptError):
                            raise  # no mistake of one row, but of the command
                if not mistakes:
                    for error in names.find_repeated(records, rows):
                        mistakes.add(error)
                if count < first and not mistakes:
                    some = rows[: first - count]
                    for one, key in zip(some, keys.make([r.request for r in some]), strict=True):
                        folded = fold(folded, one.name, key)
                count += len(records)
            mistakes.raise_if_any()
            if 0 < first < count:  # ``rows`` goes on there
                self._counted.keys, self._counted.rows = keys, first
                stack.pop_all()
        if not count:
            raise ConfigError(f"{self.source.shown} has no rows")
        return CheckedInput(count, folded)

    def rows(self, first: int = 0, only: set[int] | None = None) -> Generator[list[BatchRow]]:
        """
        The rows from number *first*, some at a time; *only*: those with these numbers.

        Raises ConfigError for what cannot be read any more.
        """
        counted = self._counted.take(first)
        # The rows that were counted when the input was checked are not decoded once more.
        count = 0 if counted is None else first
        records_left = islice(self._chosen_records(), count, None)
        with closing(counted or _RowKeys(shares=self.shares)) as keys:
            for records in _in_chunks(records_left):
                read = [self._read_record(one) for one in records]
                made = keys.make([one.request for one in read])
                rows = [
                    BatchRow(line, one.name, one.request, key, one.source)
                    for line, (one, key) in enumerate(zip(read, made, strict=True), start=count)
                    if line >= first and (only is None or line in only)
                ]
                count += len(records)
                if rows:
                    yield rows

    def _chosen_records(self) -> Iterator[_NumberedRecord]:
        records = starmap(_NumberedRecord, enumerate(self.source.records()))
        if self.sample is not None:
            total = sum(1 for _ in self.source.records())
            draw = random.Random(0 if self.seed is None else self.seed)
            chosen = set(draw.sample(range(total), min(self.sample, total)))
            records = (one for one in records if one.number in chosen)
        return islice(records, self.limit)

    def _read_record(self, numbered: _NumberedRecord) -> _ReadRecord:
        number, record = numbered
        fields = record.fields()
        try:
            if self.source.format != "openai":
                return _ReadRecord(record_id(fields, number), self.form.build_request(fields))
            if self.reads is not None:
                return _ReadRecord(fields["custom_id"], *self.reads(fields))
            request = openai_form.build_request(fields, self.form.sampling)
            return _ReadRecord(fields["custom_id"], request)
        except KeyError:
            raise ConfigError(f"{record.place}: it has no custom_id, unlike the first") from None
        except ConstantPromptError as error:
            raise ConstantPromptError(f"{record.place}: {error}") from None
        except ConfigError as error:
            raise ConfigError(f"{record.place}: {error}") from None


class _NumberedRecord(NamedTuple):
    """A record, and how many the input has before it."""

    number: int
    record: Record


class _ReadRecord(NamedTuple):
    """A record as it is asked."""

    name: str
    request: Request
    source: object = None


def fold(folded: bytes, name: str, key: bytes) -> bytes:
    """The digest of rows, with one more."""
    return digest(folded, name.encode(), key)


class _Counting:
    """Counts on disk, until it is closed."""

    def __init__(self) -> None:
        self._counter = OccurrenceCounter()

    def close(self) -> None:
        self._counter.close()


class _RowKeys(_Counting):
    """Keys of rows in their order; *shares*: equal rows have equal keys."""

    def __init__(self, *, shares: bool) -> None:
        super().__init__()
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
        self, records: list[_NumberedRecord], rows: list[_ReadRecord]
    ) -> list[ConfigError]:
        names = [digest(one.name.encode()) for one in rows]
        return [
            ConfigError(f"{record.place}: the custom_id {one.name} is also used in an earlier row")
            for one, (_, record), n in zip(
                rows, records, self._counter.count_earlier(names), strict=True
            )
            if n
        ]


def _in_chunks(records: Iterator[_NumberedRecord]) -> Iterator[list[_NumberedRecord]]:
    while chunk := list(islice(records, ROWS_AT_ONCE)):
        yield chunk


class _Mistakes:
    """Mistakes of many rows: the first are kept, the others counted."""

    def __init__(self) -> None:
        self._told: list[ConfigError] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, error: ConfigError) -> None:
        self._count += 1
        if len(self._told) < MISTAKES_SHOWN:
            self._told.append(error)

    def end_with(self, records: Iterator[_NumberedRecord]) -> Iterator[_NumberedRecord]:
        """The records; an error that ends them is one more mistake where there were some."""
        try:
            yield from records
        except ConfigError as error:
            if not self:
                raise
            self.add(error)

    def raise_if_any(self) -> None:
        """Raise ConfigError where there were any."""
        if not self:
            return
        if self._count == 1:
            raise self._told[0]
        error = ConfigError("\n".join(map(str, self._told)))
        error.mistakes = tuple(self._told)
        error.further_mistakes = self._count - len(self._told)
        raise error
