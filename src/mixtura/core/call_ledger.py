"""The ledger of a run: every attempt at a call enters it before it is sent, however it ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar, Token
from dataclasses import replace

from mixtura.core.arguments import check_kind
from mixtura.core.types import Charge, ChargeOutcome, Completion


class CallEntry:
    """One attempt at a call. While it is open, it counts with what *estimate* says."""

    __slots__ = ("_charge", "_estimate")

    def __init__(self, estimate: Callable[[], Charge | None]) -> None:
        self._estimate: Callable[[], Charge | None] | None = estimate
        self._charge: Charge | None = None

    def close(self, charge: Charge | None) -> None:
        """The attempt is over and cost *charge*; None where it cost nothing."""
        self._charge, self._estimate = charge, None

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What the attempt cost, or by now is estimated to: none or one."""
        # Caps, traces and runs that are cut off ask while an attempt is still under way.
        charge = self._estimate() if self._estimate else self._charge
        return (charge,) if charge else ()


class CallLedger:
    """What a run, or a part of one, has cost by now; its parts in the order in which they began."""

    __slots__ = ("_first", "_outcome", "_parts")

    def __init__(self) -> None:
        self._parts: list[CallEntry | CallLedger] = []
        self._first = 0
        self._outcome: ChargeOutcome | None = None

    def open_entry(self, estimate: Callable[[], Charge | None]) -> CallEntry:
        """Enter an attempt that is about to be sent."""
        entry = CallEntry(estimate)
        self._parts.append(entry)
        return entry

    def open_part(self) -> CallLedger:
        """A ledger inside this one: what it holds counts here, too."""
        part = CallLedger()
        self._parts.append(part)
        return part

    def read_from_now(self) -> CallLedger:
        """What is entered here from now on, as a ledger that is only read."""
        later = CallLedger()
        later._parts, later._first = self._parts, len(self._parts)
        return later

    def record_charge(self, charge: Charge) -> None:
        """Enter an attempt that is over."""
        self.open_entry(lambda: None).close(charge)

    def mark_outcome(self, outcome: ChargeOutcome) -> None:
        """Say what became of all calls in here, also of those that are not over yet."""
        self._outcome = outcome

    @property
    def charges(self) -> tuple[Charge, ...]:
        """The charges of every attempt by now, in the order in which they were entered."""
        parts = self._parts[self._first :] if self._first else self._parts
        # Most have one part, through several levels, and are asked at every level.
        charges = parts[0].charges if len(parts) == 1 else tuple(_iter_charges(parts))
        outcome = self._outcome
        return charges if outcome is None else tuple(c._replace(outcome=outcome) for c in charges)

    def bill_answer(self, answer: Completion) -> Completion:
        """
        *answer* with everything that it took. Charges on it that nobody entered, of a model that
        knows no ledger, are entered here.
        """
        charges = self.charges
        if charges == answer.charges:
            return answer
        # A model that knows the ledger hands its charges back, too: those must not count twice.
        known = Counter((charge.model, charge.usage) for charge in charges)
        for charge in answer.charges:
            known.subtract([(charge.model, charge.usage)])
            if known[charge.model, charge.usage] < 0:
                self.record_charge(charge)
        return replace(answer, charges=self.charges)


def _iter_charges(parts: Iterable[CallEntry | CallLedger]) -> Iterator[Charge]:
    for part in parts:
        yield from part.charges


# A context variable and no argument: other people's wrappers run their model in a task of
# their own, and a task inherits it.
_LEDGER: ContextVar[CallLedger | None] = ContextVar("ledger", default=None)
"""The ledger of the run that this task belongs to; a task inherits it from its creator."""


class LedgerBlock:
    """A block with a ledger: entered for each call several times, so it is no generator."""

    __slots__ = ("_token",)
    _token: Token[CallLedger | None]

    def __enter__(self) -> CallLedger:
        above = _LEDGER.get()
        ledger = above.open_part() if above else CallLedger()
        self._token = _LEDGER.set(ledger)
        return ledger

    def __exit__(self, *_: object) -> None:
        _LEDGER.reset(self._token)


def open_ledger() -> LedgerBlock:
    """
    In this block, and in the tasks begun there, every attempt at a call enters the ledger that
    is given. Inside another one it is a part of that: what is entered here counts there too.
    """
    return LedgerBlock()


def open_entry(estimate: Callable[[], Charge | None]) -> CallEntry:
    """Enter an attempt that is about to be sent; the sender closes it, however the attempt ends."""
    ledger = _LEDGER.get()
    return ledger.open_entry(estimate) if ledger else CallEntry(estimate)


def record_charge(charge: Charge) -> None:
    """
    Enter what an attempt cost that is over: for models that keep no entry open. Raises TypeError
    for what is no Charge.
    """
    check_kind("charge", charge, Charge, "a Charge(model, Usage(…))")
    if ledger := _LEDGER.get():
        ledger.record_charge(charge)
