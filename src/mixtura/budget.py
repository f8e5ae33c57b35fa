"""Money set aside before it is spent: purses, and the account of one run."""

from __future__ import annotations

import asyncio
import string
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol, TypeVar

from mixtura.errors import ConfigError, StoreBusyError, StoreError
from mixtura.model import Model, Wrapper, unwrapped
from mixtura.price import Pricer
from mixtura.provider_data import provider_bytes
from mixtura.quantities import DOLLARS
from mixtura.request_size import request_tokens
from mixtura.roles import Composite, Layer
from mixtura.types import Charge, Request, Sampling, Usage

LONGEST_ANSWER = 4096
"""Tokens an answer may have when no one says; under a cap this is sent as max_tokens."""
AN_IMAGE = 4096
"""Tokens that a picture is taken for."""
AROUND_A_DRAFT = 64
AROUND_DRAFTS = 1536
"""Tokens of the envelope and the repeated question."""
PATIENCE = 30.0
"""Seconds that a run waits for a store that someone else writes to."""

T = TypeVar("T")


class Amount(NamedTuple):
    """Dollars and tokens."""

    dollars: float = 0.0
    tokens: int = 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self.dollars + other.dollars, self.tokens + other.tokens)


class Expected(NamedTuple):
    """A call that a run would make, and the most it would use."""

    model: str
    usage: Usage


def forecast(model: Model, request: Request) -> list[Expected]:
    """Every call that one answer takes when nothing is repeated, with its worst-case usage."""
    return _forecast(model, _prompt(request), request.sampling)


def _forecast(model: Model, prompt: int, sampling: Sampling) -> list[Expected]:
    inner = unwrapped(model)
    if not isinstance(inner, Composite):
        return [Expected(model.name, Usage(prompt, sampling.max_tokens or LONGEST_ANSWER))]
    rows: list[Expected] = []
    sizes: list[int] = []
    for call in inner.planned():
        drawn = sampling.over(call.sampling) if call.answers else call.sampling
        around = AROUND_DRAFTS if call.reads else 0
        read = prompt + at_most(call.persona or "") + around + sum(sizes[i] for i in call.reads)
        rows += _forecast(call.model, read, drawn)
        sizes.append(_draft(drawn))
    return rows


def _draft(sampling: Sampling) -> int:
    """What an answer adds to another's prompt at most, read as ``at_most`` reads it."""
    return (sampling.max_tokens or LONGEST_ANSWER) * 3 + AROUND_A_DRAFT


def _prompt(request: Request) -> int:
    own = sum(map(provider_bytes, request.messages))
    return request_tokens(request, at_most, picture=AN_IMAGE, around=16) + own + 16


def at_most(text: str) -> int:
    """
    More tokens than a tokenizer makes of *text*.

    Two letters or spaces are taken for a token, and every other byte for one: digits,
    signs and the bytes of rare characters may each become a token of their own.
    """
    data = text.encode("utf-8", "replace")
    others = len(data.translate(None, _PLAIN))
    return others + (len(data) - others) // 2 + 1


_PLAIN = (string.ascii_letters + string.whitespace).encode()


def spares(model: Model) -> list[str]:
    """
    The names of models that are only asked when others fail or are late: their price must be
    known, too.
    """
    found: list[Model] = []
    while isinstance(model, Wrapper):
        found += model.spares
        model = model.inner
    names: list[str] = []
    if isinstance(model, Composite):
        found += model.spares
        names += [name for call in model.planned() for name in spares(call.model)]
    for spare in found:
        names += [row.model for row in _forecast(spare, 0, Sampling())] + spares(spare)
    return names


def priced(expected: Iterable[Expected], pricer: Pricer) -> tuple[Amount, tuple[str, ...]]:
    """The most that calls may use, and the models whose price no one knows."""
    whole, unknown = Amount(), dict[str, None]()
    for row in expected:
        dollars = pricer(row.model, row.usage)
        if dollars is None:
            unknown[row.model] = None
        whole = whole.plus(Amount(dollars or 0.0, row.usage.total_tokens))
    return whole, tuple(unknown)


# ---- purses


class Purse(Protocol):
    """Something with a cap: a run's, a day's, a key's."""

    @property
    def name(self) -> str: ...

    @property
    def in_dollars(self) -> bool:
        """Whether it caps dollars, so that every price must be known."""
        ...

    def hold(self, amount: Amount) -> int | None:
        """
        Set *amount* aside; a number for it, or None when that would pass the cap.

        It does not wait: StoreBusyError says to try again, as ``patiently`` does.
        """
        ...

    def note(self, hold: int, spent: Amount) -> None:
        """What of a hold is spent by now, should this process end before it is settled."""
        ...

    def settle(self, hold: int, spent: Amount) -> None:
        """Give back what was held, less what was spent."""
        ...


@dataclass(slots=True)
class Pocket:
    """
    A purse in memory: for one run, or for all of this process. Raises ValueError for a cap that
    is no sum of money.
    """

    name: str
    dollars: float | None = None
    tokens: int | None = None
    spent: Amount = field(default_factory=Amount)
    _held: dict[int, Amount] = field(default_factory=dict[int, Amount])
    _count: int = 0

    def __post_init__(self) -> None:
        DOLLARS.checked("dollars", self.dollars)

    @property
    def in_dollars(self) -> bool:
        return self.dollars is not None

    @property
    def used(self) -> Amount:
        """Spent and held."""
        whole = self.spent
        for amount in self._held.values():
            whole = whole.plus(amount)
        return whole

    def hold(self, amount: Amount) -> int | None:
        after = self.used.plus(amount)
        if self.dollars is not None and after.dollars > self.dollars + 1e-12:
            return None
        if self.tokens is not None and after.tokens > self.tokens:
            return None
        self._count += 1
        self._held[self._count] = amount
        return self._count

    def note(self, hold: int, spent: Amount) -> None:
        pass  # it ends with its process

    def settle(self, hold: int, spent: Amount) -> None:
        del self._held[hold]
        self.spent = self.spent.plus(spent)


class Book(Protocol):
    """A day's ledger that several processes share (``store.DayBook``)."""

    def hold(
        self, dollars: float, tokens: int, most: float | None, most_tokens: int | None
    ) -> int | None: ...

    def note(self, hold: int, dollars: float, tokens: int) -> None: ...

    def settle(self, hold: int, dollars: float, tokens: int) -> None: ...


@dataclass(frozen=True, slots=True)
class DayPurse:
    """A purse that is filled anew every day (UTC) and shared by every process of the store."""

    name: str
    book: Book
    dollars: float | None = None
    tokens: int | None = None

    @property
    def in_dollars(self) -> bool:
        return self.dollars is not None

    def hold(self, amount: Amount) -> int | None:
        return self.book.hold(amount.dollars, amount.tokens, self.dollars, self.tokens)

    def note(self, hold: int, spent: Amount) -> None:
        self.book.note(hold, spent.dollars, spent.tokens)

    def settle(self, hold: int, spent: Amount) -> None:
        self.book.settle(hold, spent.dollars, spent.tokens)


# ---- the account of one run


class Account:
    """
    What one run has set aside in its purses and what it has drawn of that.

    Every attempt at a call draws its worst case before it is sent and gives back the rest;
    when a run needs more than it set aside (a retry, a second copy), more is set aside
    first, or the attempt is not made. The account of a run that goes on inside another's
    draws on that one's, too.
    """

    def __init__(
        self, purses: Sequence[Purse], pricer: Pricer, parent: Account | None = None
    ) -> None:
        self._parent = parent
        self._purses = tuple(purses)
        self._pricer = pricer
        self._holds: list[tuple[Purse, int]] = []
        self._free = Amount()
        self.spent = Amount()

    def set_aside(self, amount: Amount) -> str | None:
        """None when every purse had room; else the name of the one that had not."""
        taken: list[tuple[Purse, int]] = []
        for purse in self._purses:
            try:
                hold = purse.hold(amount)
            except StoreError:
                _give_up(taken)
                raise
            if hold is None:
                _give_up(taken)
                return purse.name
            taken.append((purse, hold))
        self._holds += taken
        self._free = self._free.plus(amount)
        return None

    def draw(self, model: str, usage: Usage) -> Amount | str:
        """Take the worst case of one attempt; the name of the purse that has no room for it."""
        above = self._parent.draw(model, usage) if self._parent else None
        if isinstance(above, str):
            return above
        amount = self.amount(model, usage)
        short = Amount(
            max(amount.dollars - self._free.dollars, 0.0),
            max(amount.tokens - self._free.tokens, 0),
        )
        if short.dollars > 0 or short.tokens > 0:
            try:
                full = self.set_aside(short)
            except StoreError:
                if self._parent and above:
                    self._parent.give_back(above, ())
                raise
            if full:
                if self._parent and above:
                    self._parent.give_back(above, ())
                return full
        self._free = Amount(self._free.dollars - amount.dollars, self._free.tokens - amount.tokens)
        return amount

    def give_back(self, drawn: Amount, charges: Sequence[Charge]) -> None:
        """The attempt is over: it cost *charges*."""
        if self._parent:
            self._parent.give_back(drawn, charges)
        spent = Amount()
        for charge in charges:
            spent = spent.plus(self.amount(charge.model, charge.usage))
        self.spent = self.spent.plus(spent)
        self._free = Amount(
            self._free.dollars + drawn.dollars - spent.dollars,
            self._free.tokens + drawn.tokens - spent.tokens,
        )
        if charges:
            for purse, hold in self._first_holds().values():
                purse.note(hold, self.spent)

    def amount(self, model: str, usage: Usage) -> Amount:
        dollars = self._pricer(model, usage)
        if dollars is None and any(purse.in_dollars for purse in self._purses):
            raise ConfigError(_UNKNOWN.format(model))
        return Amount(dollars or 0.0, usage.total_tokens)

    def close(self, charges: Sequence[Charge]) -> None:
        """The run is over and cost *charges*: that is spent, the rest is free."""
        whole = Amount()
        for charge in charges:  # members that are not metered are on the bill all the same
            dollars = self._pricer(charge.model, charge.usage)
            whole = whole.plus(Amount(dollars or 0.0, charge.usage.total_tokens))
        self.spent = max(self.spent, whole)
        first = self._first_holds()
        for purse, hold in self._holds:
            purse.settle(hold, self.spent if first[purse.name][1] == hold else Amount())
        self._holds.clear()

    def _first_holds(self) -> dict[str, tuple[Purse, int]]:
        """Of each purse the hold that what was spent is booked on."""
        return {purse.name: (purse, hold) for purse, hold in reversed(self._holds)}


def _give_up(taken: Sequence[tuple[Purse, int]]) -> None:
    for purse, hold in taken:
        purse.settle(hold, Amount())


async def patiently(attempt: Callable[[], T], seconds: float = PATIENCE) -> T:
    """
    *attempt* again and again while the store is busy, without holding up anyone else.

    Raises StoreBusyError when it still is after *seconds*.
    """
    until, pause = time.monotonic() + seconds, 0.002
    while True:
        try:
            return attempt()
        except StoreBusyError:
            if time.monotonic() >= until:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.1)


_UNKNOWN = (
    "a cap in dollars needs the price of every model, and that of {} is unknown:"
    " give its `price` in the configuration, or cap tokens"
)


class Requests(Protocol):
    """Whoever writes down every request that is sent to a model (``evals.journal``)."""

    def asked(self, model: str, request: Request) -> str: ...

    def over(self, call: str, charges: Sequence[Charge]) -> None: ...


REQUESTS: ContextVar[Requests | None] = ContextVar("requests", default=None)
"""Who writes down the requests of this task."""
ACCOUNT: ContextVar[Account | None] = ContextVar("account", default=None)
"""The account of the run that this task belongs to."""


def smaller(mixture: Composite) -> list[tuple[Composite, str]]:
    """Cheaper forms of a mixture, the richest first, each with what it leaves out."""
    forms: list[tuple[Composite, str]] = []
    widest = max((layer.size for layer in mixture.layers), default=0)
    for width in range(widest - 1, 0, -1):
        layers = tuple(_narrowed(layer, width) for layer in mixture.layers)
        said = f"the budget: at most {width} of {widest} proposals a layer"
        forms.append((mixture.with_layers(layers), said))
    if mixture.layers and mixture.author:
        said = f"the budget: no proposers, {mixture.author.name} alone"
        forms.append((mixture.with_layers(()), said))
    return forms


def _narrowed(layer: Layer, width: int) -> Layer:
    singles = tuple(replace(call, samples=1) for call in layer.calls[:width])
    return replace(layer, proposers=singles, quorum=min(layer.quorum, len(singles)))
