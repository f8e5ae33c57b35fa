"""What an evaluation asks and pays, kept in a batch's journal: no call of it is made twice."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from mixtura.batch.call_journal import CallJournal, read_spent_amounts, remove_journal
from mixtura.batch.journaled import CURRENT_ROW, RowCalls, digest
from mixtura.batch.journaled_models import SharedJournaledModels
from mixtura.billing.price import Pricer
from mixtura.config.config import Config
from mixtura.core.context_values import hold_value
from mixtura.core.text import pluralize_count
from mixtura.storage.batch_journal import SpentAmount

_KEEPER = SharedJournaledModels(1)
"""One object for all configurations: a model is wrapped once, however often it is asked."""


class RequestTally(NamedTuple):
    """
    Every request that was sent. Dollars as far as prices are known.

    *calls* are on the bill; *refused* ones ended before an answer had begun and cost nothing.
    *unfinished* calls were under way when their process was killed: what they took is an
    estimate, from their prompts and from the mean answer of the same model.
    """

    cost_usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls: int = 0
    refused: int = 0
    unfinished: int = 0


class _KeptCalls(NamedTuple):
    """The journal of this block, and the rows that were asked in it."""

    calls: CallJournal
    rows: dict[bytes, RowCalls]


_KEPT: ContextVar[_KeptCalls | None] = ContextVar("kept_calls", default=None)


def journal_path(logs: Path, identity: str) -> Path:
    """Where the calls of an evaluation are kept: beside its log."""
    return logs / f"calls-{identity}.journal"


def wrap_models(config: Config) -> None:
    """The models that *config* builds from now on keep their calls in blocks of ``keep_calls``."""
    config.keep_calls(_KEEPER)


@contextmanager
def keep_calls(path: Path, config: Config) -> Generator[CallJournal]:
    """
    In this block the calls of every row, see ``keep_row``, are answered from the journal at *path*
    or kept in it, where ``wrap_models`` came before.

    Raises ConfigError where another process has it, StoreError where it cannot be written.
    """
    with (
        closing(CallJournal(path, config.usage_cost, option=None)) as calls,
        hold_value(_KEPT, _KeptCalls(calls, {})),
    ):
        yield calls


@contextmanager
def keep_row(*names: str) -> Generator[None]:
    """
    In this block calls are those of the row of these *names*, where calls are kept at all. What a
    row asks twice is two draws.
    """
    kept = _KEPT.get()
    if kept is None:
        yield
        return
    key = digest(*(name.encode() for name in names))
    with hold_value(CURRENT_ROW, kept.rows.setdefault(key, RowCalls(key, kept.calls))):
        yield


def read_tally(path: Path, pricer: Pricer) -> RequestTally | None:
    """What a journal has; None where there is none. Raises StoreError."""
    return _add_up(read_spent_amounts(path, pricer)) if path.exists() else None


def earlier_amount(tally: RequestTally) -> SpentAmount:
    """Calls that are older than their journal, as an amount of it."""
    return SpentAmount(
        "earlier", "", tally.calls, tally.prompt_tokens, tally.completion_tokens, tally.cost_usd, 0
    )


class JournaledCalls:
    """
    The calls of one kind, of this process and of those before it that did the same: *tally*.

    *begun*: there were some before. *fresh* forgets them.
    """

    def __init__(self, path: Path, config: Config, *, fresh: bool = False) -> None:
        wrap_models(config)
        if fresh:
            remove_journal(path)
        self._path = path
        self._config = config
        tally = read_tally(path, config.usage_cost)
        self.begun = tally is not None
        self.tally = tally or RequestTally()

    @contextmanager
    def keep_verdicts(self) -> Generator[CallJournal]:
        """In this block calls are kept, see ``keep_calls``."""
        try:
            with keep_calls(self._path, self._config) as calls:
                yield calls
        finally:
            self.tally = read_tally(self._path, self._config.usage_cost) or RequestTally()


def unfinished_notes(bill: RequestTally) -> list[str]:
    """What is to be said of calls that a killed process left."""
    if not bill.unfinished:
        return []
    calls = pluralize_count(bill.unfinished, "call")
    verb = "was" if bill.unfinished == 1 else "were"
    return [f"{calls} {verb} under way when an earlier run was killed: the cost is estimated"]


def _add_up(amounts: Iterable[SpentAmount]) -> RequestTally:
    tally = RequestTally()
    for one in amounts:
        refused = one.kind == "refused"
        tally = RequestTally(
            tally.cost_usd + one.dollars,
            tally.prompt_tokens + one.prompt_tokens,
            tally.completion_tokens + one.completion_tokens,
            tally.calls + (0 if refused else one.calls),
            tally.refused + (one.calls if refused else 0),
            tally.unfinished + (one.calls if one.kind == "lost" else 0),
        )
    return tally
