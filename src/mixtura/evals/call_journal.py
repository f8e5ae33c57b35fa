"""What an evaluation asked and paid, written down as it happens: it survives the process."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from mixtura.billing.price import Pricer
from mixtura.billing.request_log import REQUEST_LOG
from mixtura.core.errors import ConfigError
from mixtura.core.text import pluralize_count
from mixtura.core.token_estimate import count_request_tokens
from mixtura.core.types import Charge, Request, Usage


class RequestTally(NamedTuple):
    """
    Every request that was sent. Dollars as far as prices are known.

    *calls* are on the bill; *refused* ones ended before an answer had begun and cost nothing.
    *unfinished* requests were under way when their process was killed: what they took is an
    estimate, from their prompts and from the mean answer of the same model.
    """

    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    refused: int = 0
    unfinished: int = 0


# Bytes as they are: Windows would write each line's end as two.
_OPEN_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
EARLIER = "earlier"
"""The call of a line that stands for all of an older log."""


class _JournalLine(msgspec.Struct, omit_defaults=True):
    """A request that is about to be sent, or one that is over; *carried*: of older logs."""

    call: str
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    over: bool = False
    carried: int = 0


_decoder = msgspec.json.Decoder(_JournalLine)


def journal_path(logs: Path, identity: str) -> Path:
    """Where the calls of an evaluation are written down: beside its log."""
    return logs / f"calls-{identity}.jsonl"


class RequestJournal:
    """
    A file of one line before a request is sent and one when it is over.

    Written without a buffer, so that a killed process loses nothing. Threads may share it.
    Raises ConfigError when it cannot be written.
    """

    def __init__(self, path: Path, pricer: Pricer) -> None:
        self._path = path
        self._pricer = pricer
        # Processes follow each other in one file: their calls must not have the same names.
        self._run = os.urandom(4).hex()
        self._count = 0
        self._file = -1

    def __enter__(self) -> RequestJournal:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Appended in one write each: lines of several threads do not run into each other.
            self._file = os.open(self._path, _OPEN_FLAGS, 0o600)
            size = os.fstat(self._file).st_size
            if size:
                os.lseek(self._file, -1, os.SEEK_END)
                if os.read(self._file, 1) != b"\n":  # a killed process's last line
                    os.write(self._file, b"\n")
        except OSError as error:
            raise self._write_error(error) from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    @contextmanager
    def capture_requests(self) -> Generator[None]:
        """In this block every request that is sent is written down."""
        token = REQUEST_LOG.set(self)
        try:
            yield
        finally:
            REQUEST_LOG.reset(token)

    def carry_over(self, tally: RequestTally) -> None:
        """Record what a log says of calls that are older than journals. Raises ConfigError."""
        line = _JournalLine(
            EARLIER, "", tally.prompt_tokens, tally.completion_tokens, tally.cost_usd
        )
        line.over, line.carried = True, tally.calls
        self._write_line(line)

    def record_request(self, model: str, request: Request) -> str:
        """Record a request that is about to be sent; returns a name for it.

        Raises ConfigError where it cannot be written: what is not recorded is not sent.
        """
        self._count += 1
        call = f"{self._run}-{self._count}"
        expected = count_request_tokens(request)
        dollars = self._pricer(model, Usage(expected, 0)) or 0.0
        self._write_line(_JournalLine(call, model, expected, 0, dollars))
        return call

    def record_charges(self, call: str, charges: Sequence[Charge]) -> None:
        """The request is over and cost *charges*; what cannot be written counts as unfinished."""
        used = [charge.usage for charge in charges]
        dollars = [self._pricer(charge.model, charge.usage) or 0.0 for charge in charges]
        line = _JournalLine(
            call,
            charges[0].model if charges else "",
            sum(usage.prompt_tokens for usage in used),
            sum(usage.completion_tokens for usage in used),
            math.fsum(dollars),
            over=True,
        )
        # The answer is there and paid: to lose it for a full disk would make it dearer still.
        with suppress(ConfigError):
            self._write_line(line)

    def _write_line(self, line: _JournalLine) -> None:
        try:
            os.write(self._file, msgspec.json.encode(line) + b"\n")
        except OSError as error:
            raise self._write_error(error) from None

    def _write_error(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self._path} cannot be written: {error.strerror}")


class JournaledCalls:
    """
    The calls of one kind, of this process and of those before it that did the same: *tally*.

    *begun*: there were some before. *fresh* forgets them.
    """

    def __init__(self, path: Path, pricer: Pricer, *, fresh: bool = False) -> None:
        if fresh:
            path.unlink(missing_ok=True)
        self._path = path
        self._pricer = pricer
        tally = read_tally(path, pricer)
        self.begun = tally is not None
        self.tally = tally or RequestTally()

    @contextmanager
    def keeping(self) -> Generator[RequestJournal]:
        """In this block every request that is sent is written down. Raises ConfigError."""
        try:
            with RequestJournal(self._path, self._pricer) as requests, requests.capture_requests():
                yield requests
        finally:
            self.tally = read_tally(self._path, self._pricer) or RequestTally()


def unfinished_notes(bill: RequestTally) -> list[str]:
    """What is to be said of calls that a killed process left."""
    if not bill.unfinished:
        return []
    calls = pluralize_count(bill.unfinished, "call")
    return [f"{calls} under way when an earlier run was killed: what they took is estimated"]


def read_tally(path: Path, pricer: Pricer) -> RequestTally | None:
    """What a journal has; None where there is none. Half a line counts for nothing."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return None
    begun: dict[str, _JournalLine] = {}
    over: list[_JournalLine] = []
    for text in lines:
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            line = _decoder.decode(text)
            # An end without a beginning counts, too: the beginning may be the half of a line that
            # was lost.
            if line.over:
                begun.pop(line.call, None)
                over.append(line)
            else:
                begun[line.call] = line
    lost = [_estimate_unfinished(line, over, pricer) for line in begun.values()]
    every = [*over, *lost]
    # A line without a model is over and cost nothing: it was refused.
    paid = [line for line in every if line.model]
    return RequestTally(
        math.fsum(line.cost_usd for line in every),
        sum(line.prompt_tokens for line in every),
        sum(line.completion_tokens for line in every),
        len(paid) + sum(line.carried for line in every),
        sum(not line.model and line.call != EARLIER for line in every),
        len(lost),
    )


def _estimate_unfinished(
    line: _JournalLine, over: Iterable[_JournalLine], pricer: Pricer
) -> _JournalLine:
    """An unfinished request with the answer that its model gave on average."""
    wrote = [one.completion_tokens for one in over if one.model == line.model]
    mean = round(sum(wrote) / len(wrote)) if wrote else 0
    dollars = pricer(line.model, Usage(line.prompt_tokens, mean)) or 0.0
    return _JournalLine(line.call, line.model, line.prompt_tokens, mean, dollars, over=True)
