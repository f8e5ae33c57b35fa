"""The calls of a batch while it runs: found, under way, kept, and what all of them cost."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import msgspec

from mixtura.batch.group_writer import CallRow, GroupWriter
from mixtura.billing.price import Pricer
from mixtura.core.errors import ConfigError
from mixtura.core.types import Charge, Completion, JsonObject, Usage, sum_usage
from mixtura.protocols.openai.completion_json import completion_json
from mixtura.storage.batch_journal import BatchJournal, SpentAmount, SpentTotals
from mixtura.storage.in_flight_file import InFlightCall, InFlightFile, read_in_flight_calls

RUN = "run"
"""The setting that numbers the processes of a journal."""
LOST_RUN = "lost_run"
"""The setting with the last run whose lost calls are counted."""


SPENT_KINDS = ("answer", "failed", "refused", "lost", "earlier")
"""What dollars and tokens went to."""
SENT_KINDS = ("answer", "failed", "refused")
"""Those of requests that were over before their process ended."""


_MadeCall = tuple[bytes, str, Completion, JsonObject | None]
"""A call whose answer is to be kept: its key, its model, its answer, the times it took."""


class CallJournal:
    """
    What ``Journaled`` needs of a journal. Opened by one process at a time.

    Raises ConfigError where another process has it, StoreError where it cannot be used.
    *reuses*: answers of this run are found again, too, for equal rows that share them. *option*:
    what names the file, where a person can.
    """

    def __init__(
        self,
        path: Path,
        pricer: Pricer,
        *,
        reuses: bool = False,
        option: str | None = "--journal",
    ) -> None:
        self.in_flight = InFlightFile(in_flight_path(path), journal=path, option=option)
        try:
            self.journal = BatchJournal(path, option=option)
            self.settings = self.journal.read_settings()
            self.earlier_calls = self.journal.count_calls()
            """Calls that earlier processes have kept."""
            self._settle(pricer)
        except BaseException:
            self.in_flight.close()
            raise
        self._pricer = pricer
        self.looks_up = self.earlier_calls > 0 or reuses
        """Whether a call may be kept already."""
        self._writer: GroupWriter[_MadeCall] | None = None
        self._spent = {kind: SpentTotals() for kind in SPENT_KINDS}
        for amount in self.journal.read_spent():
            self._spent[amount.kind].add(amount)
        self.used_again = 0
        """Calls that were answered from the journal."""
        self.made = 0
        """Calls that this process has made and kept."""
        self.sent = 0
        """Requests of this process that are over, those without an answer too."""
        self.open_requests = 0
        """Requests that were sent and are not answered yet."""
        self.idle = asyncio.Event()
        """Set whenever there is none."""
        self.idle.set()
        self.holds_back = False
        """No further call begins: those under way are awaited, then the process ends."""
        self.refuses = False
        """A call that is not kept already fails at once."""

    @property
    def spent_by_kind(self) -> dict[str, SpentTotals]:
        """What all calls of each kind have cost, those of earlier processes too."""
        if self._writer is not None:
            self._writer.pack_calls()
        return self._spent

    @property
    def dollars(self) -> float:
        """What all calls have cost, those of earlier processes too."""
        return sum(one.dollars for one in self.spent_by_kind.values())

    @property
    def writer(self) -> GroupWriter[_MadeCall]:
        if self._writer is None:
            self._writer = GroupWriter(self.journal, self._pack_call)
        return self._writer

    def close(self) -> None:
        """Write what waits, and give the journal up."""
        with closing(self.in_flight), closing(self.journal):
            if self._writer is not None:
                self._writer.close()

    def must_be_asked(self) -> bool:
        """A call may be kept already, or may not begin."""
        return self.looks_up or self.holds_back

    async def find(self, key: bytes) -> bytes | None:
        """The body of a call that was made before. Raises StoreError."""
        return await self.writer.find_call(key) if self.looks_up else None

    def reuse_own_calls(self) -> None:
        """Rows are asked once more: what this process has kept is found from now on."""
        self.looks_up = True

    def refuse_new_calls(self) -> None:
        """From now on a call is answered from the journal, or fails at once."""
        self.holds_back = self.refuses = self.looks_up = True

    def begin_request(self, key: bytes, model: str, prompt_tokens: int) -> int:
        """A request of a call is about to be sent; returns its place. Raises StoreError."""
        place = self.in_flight.add(key, self._run, model, prompt_tokens)
        if not self.open_requests:
            self.idle.clear()
        self.open_requests += 1
        return place

    def end_request(self) -> None:
        """A request was answered, or refused."""
        self.open_requests -= 1
        if not self.open_requests:
            self.idle.set()

    def forget_request(self, place: int, *, kept: bool = False) -> None:
        """There is no answer to lose, or it is *kept* in the journal."""
        if kept:  # a later process finds it there: to clear its place would be for nothing
            self.in_flight.reuse(place)
        else:
            self.in_flight.remove(place)

    def keep_answer(
        self, key: bytes, model: str, answer: Completion, times: JsonObject | None = None
    ) -> asyncio.Future[None]:
        """
        What is returned is done once the answer is on the disk, with what its call took: *times*.
        Raises StoreError.
        """
        # Before it is waited for: who calls this call off does not call off its writing.
        self.made += 1
        self.sent += len(answer.charges) or 1
        return self.writer.keep_call((key, model, answer, times))

    def _pack_call(self, call: _MadeCall) -> CallRow:
        key, model, answer, times = call
        data = completion_json(answer)
        body = msgspec.json.encode(data if times is None else data | times)
        amount = self._amount_of_charges("answer", model, answer.charges)
        self._spent["answer"].add(amount)
        return key, body, amount

    def record_failed(self, model: str, charges: Sequence[Charge]) -> None:
        """A call ended without an answer and cost *charges*."""
        if charges:
            self.sent += len(charges)
            self._add_spent(self._amount_of_charges("failed", model, charges))

    def record_refused(self, model: str) -> None:
        """A request ended before an answer had begun, and cost nothing."""
        self.sent += 1
        self._add_spent(SpentAmount("refused", model, 1, 0, 0, 0.0, 0))

    def record_earlier(self, amount: SpentAmount) -> None:
        """Calls that are older than the journal. Raises StoreError."""
        if self._writer is None:  # no one else touches the journal yet
            self.journal.write(spent=[amount])
            self._spent[amount.kind].add(amount)
        else:
            self._add_spent(amount)

    def _add_spent(self, amount: SpentAmount) -> None:
        self._spent[amount.kind].add(amount)
        self.writer.add_spent(amount)

    def _amount_of_charges(self, kind: str, model: str, charges: Sequence[Charge]) -> SpentAmount:
        if len(charges) == 1:  # nearly every call
            (charge,) = charges
            usage, price = charge.usage, self._pricer(charge.model, charge.usage)
            return SpentAmount(
                kind, model, 1, usage.prompt_tokens, usage.completion_tokens, price or 0.0,
                int(price is None),
            )  # fmt: skip
        prices = [self._pricer(charge.model, charge.usage) for charge in charges]
        usage, dollars = sum_usage(charges), sum(price or 0.0 for price in prices)
        return SpentAmount(
            kind, model, len(prices), usage.prompt_tokens, usage.completion_tokens, dollars,
            prices.count(None),
        )  # fmt: skip

    def _settle(self, pricer: Pricer) -> None:
        try:
            self._run = int(self.settings.get(RUN, "0")) + 1
            if not 0 < self._run < 1 << 63:
                raise ValueError(self._run)
            self._settle_lost_calls(pricer)
        except (ValueError, TypeError):  # a number that is none
            raise self.journal.damaged_error() from None
        if any(amount.kind not in SPENT_KINDS for amount in self.journal.read_spent()):
            raise self.journal.damaged_error()

    def _settle_lost_calls(self, pricer: Pricer) -> None:
        """Count what was under way when an earlier process was killed, once."""
        under_way = self.in_flight.read_calls()
        if under_way:
            self.journal.index_calls()
        _, amounts = _read_amounts(self.journal, under_way, pricer)
        # In one transaction: a process that is killed here does not have them counted twice.
        now = {RUN: str(self._run), LOST_RUN: str(self._run - 1)}
        self.journal.write(spent=amounts, settings=now)
        self.settings |= now
        self.in_flight.clear()


def in_flight_path(journal: Path) -> Path:
    """Where the calls under way stand: beside the journal."""
    return journal.with_name(f"{journal.name}-in-flight")


def read_spent_amounts(path: Path, pricer: Pricer) -> list[SpentAmount]:
    """
    What the journal at *path* tells, which another process may be working with: what is under way
    counts as lost. Raises StoreError.
    """
    with closing(BatchJournal(path, option=None)) as journal:
        under_way = read_in_flight_calls(in_flight_path(path))
        spent, lost = _read_amounts(journal, under_way, pricer)
        return [*spent, *lost]


@contextmanager
def open_journal(path: Path, pricer: Pricer, *, reuses: bool, part: Path) -> Generator[CallJournal]:
    """
    The journal at *path* of a batch whose output begins in *part*, for the length of the block. A
    new one is removed again where a ConfigError ends the block before the output or a call.
    """
    is_new = not path.exists()
    calls = CallJournal(path, pricer, reuses=reuses)
    try:
        with closing(calls):
            yield calls
    except ConfigError:
        has_calls = any(one.calls for one in calls.spent_by_kind.values())
        if is_new and not (has_calls or part.exists()):
            with suppress(OSError, ConfigError):
                remove_journal(path)
        raise


def remove_journal(path: Path) -> None:
    """Forget all that was kept at *path*. Raises ConfigError where a process works with it."""
    if not path.exists():
        return
    with closing(InFlightFile(in_flight_path(path), journal=path, option=None)):
        for name in ("-in-flight", "-wal", "-shm", ""):
            path.with_name(f"{path.name}{name}").unlink(missing_ok=True)


def _read_amounts(
    journal: BatchJournal, under_way: Sequence[InFlightCall], pricer: Pricer
) -> tuple[list[SpentAmount], list[SpentAmount]]:
    """What is written down, and what calls *under_way* took that are neither kept nor counted."""
    # At one moment: a call that another process keeps meanwhile counts once.
    settings, kept, spent = journal.read_moment([one.key for one in under_way])
    counted = int(settings.get(LOST_RUN, "0"))
    answers = {one.model: one for one in spent if one.kind == "answer"}
    lost = [one for one in under_way if one.run > counted and one.key not in kept]
    return spent, [_estimate_lost(one, answers.get(one.model), pricer) for one in lost]


def _estimate_lost(call: InFlightCall, answers: SpentAmount | None, pricer: Pricer) -> SpentAmount:
    """What a killed call took: its prompt, and the mean answer of the same model."""
    wrote = round(answers.completion_tokens / answers.calls) if answers and answers.calls else 0
    dollars = pricer(call.model, Usage(call.prompt_tokens, wrote))
    return SpentAmount(
        "lost", call.model, 1, call.prompt_tokens, wrote, dollars or 0.0, int(dollars is None)
    )
