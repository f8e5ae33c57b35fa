"""Limited: a Model that waits its turn at a Gate it shares with others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from mixtura.engine import stands_back, time_left
from mixtura.errors import QuotaError, RateLimitedError, RestingError, UnavailableError
from mixtura.events import Emit
from mixtura.model import Model, Wrapper
from mixtura.prompts import BYTES_A_TOKEN, tokens
from mixtura.provider_data import provider_bytes
from mixtura.quantities import bounded_wait
from mixtura.request_size import A_PICTURE, request_tokens
from mixtura.types import Completion, Request

T = TypeVar("T")

MINUTE = 60.0
DECREASE = 0.7
"""What a 429 leaves of the calls at once (inspect takes 0.8, TCP 0.5)."""
CALM = 1.0
"""Seconds in which further failures say nothing new: they were sent before the first was heard."""
LONGEST_CLOSED = 60.0
"""Seconds: when an upstream wants to be left alone for longer, no one waits for it."""
PATIENT = 60.0
"""Seconds that a call to another model waits at most while one model is served after another."""
SPENT = 300.0
"""Seconds in which a model whose quota is spent is not asked again, where no one says when."""
FAILURES = 5
"""Failures in a row after which a model rests (Envoy's outlier detection takes as many)."""
FIRST_REST, LONGEST_REST = 30.0, 300.0
"""Seconds of a model's rest: twice as many each time that it fails again right after one."""
MOST_MODELS = 1000
"""Models of one endpoint whose failures are remembered."""
UNKNOWN_ANSWER = 1024
"""Tokens that an answer is taken for when no one says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    What an endpoint takes with one key. ``None`` is no limit.

    *one_model*: serve one model after another, for a single GPU that would otherwise load
    one model in place of the other at every call.
    """

    concurrency: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    one_model: bool = False

    @property
    def by_the_minute(self) -> bool:
        """What was asked in the last minute has to be known."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def __post_init__(self) -> None:
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")


class Gate:
    """
    Lets calls in, for every model that is given this gate, in this process.

    A 429 lowers the calls at once and holds everyone back for as long as the upstream
    asks (``quantities.LONGEST_WAIT`` at most); answers raise them again, slowly, by one for
    every round of answers. A model whose quota is spent is left alone for a while; one that
    keeps failing rests, where others can do without it.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self._clock = clock
        # asyncio's futures belong to one event loop; a library user may run several.
        self._doors: WeakKeyDictionary[asyncio.AbstractEventLoop, _Door] = WeakKeyDictionary()

    def of(self, limits: Limits) -> Gate:
        """This gate with limits, as long as no one has passed it."""
        self.limits = limits
        return self

    def door(self) -> _Door:
        """This event loop's side of the gate."""
        loop = asyncio.get_running_loop()
        if loop not in self._doors:
            self._doors[loop] = _Door(self.limits, self._clock)
        return self._doors[loop]


@dataclass(slots=True)
class _Waiting:
    model: str
    tokens: int
    since: float
    patience: float
    """Seconds from *since*: after them no one wants its answer any more."""
    place: asyncio.Future[None]
    inside: bool = False


@dataclass(slots=True)
class _Failing:
    """
    A model's failures in a row, and its rests after them. Those of one breath count as one:
    many runs at once may meet the same short fault.
    """

    failures: int = 0
    last: float = float("-inf")
    rest: float = 0.0
    until: float = float("-inf")

    def failed(self, now: float) -> None:
        if now - self.last < CALM:
            return
        self.last = now
        self.failures += 1
        if now >= self.until and (self.failures >= FAILURES or self.rest):
            self.rest = min(2 * self.rest or FIRST_REST, LONGEST_REST)
            self.until = now + self.rest


class _Spent(NamedTuple):
    """A quota that was *found* spent at a time of the clock, and the seconds of its *rest*."""

    found: float
    rest: float


@dataclass(slots=True)
class _Door:
    limits: Limits
    clock: Callable[[], float]
    inside: int = 0
    serving: str | None = None
    allowed: float = field(init=False)
    closed_until: float = 0.0
    last_decrease: float = float("-inf")
    spent: dict[str, _Spent] = field(default_factory=dict[str, _Spent])
    """Models whose quotas were found spent."""
    failing: dict[str, _Failing] = field(default_factory=dict[str, _Failing])
    """Models whose last calls all failed."""
    waiting: deque[_Waiting] = field(default_factory=deque[_Waiting])
    recent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    alarm: asyncio.TimerHandle | None = None

    def __post_init__(self) -> None:
        self.allowed = float(self.limits.concurrency or "inf")

    async def enter(self, model: str, needed: int) -> None:
        """
        Wait for a place. Raises RateLimitedError when the upstream closed for too long,
        QuotaError when the model's quota was spent a while ago.
        """
        self._not_spent(model)
        if self._wide_open():
            self._let_in(model, needed)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = _Waiting(model, needed, self.clock(), time_left(), place)
        if error := self._hopeless(ticket):
            raise error
        self.waiting.append(ticket)
        self.admit()
        try:
            await place
        except asyncio.CancelledError:
            if ticket in self.waiting:
                self.waiting.remove(ticket)
            elif ticket.inside:  # let in and cancelled in the same moment
                self.leave()
            raise

    def leave(self) -> None:
        self.inside -= 1
        self.admit()

    def _not_spent(self, model: str) -> None:
        if (spent := self.spent.get(model)) is None:
            return
        ago = self.clock() - spent.found
        if ago < spent.rest:
            said = f"its quota was spent {ago:.0f} s ago: not asked again before {spent.rest:.0f} s"
            raise QuotaError(said).after(spent.rest - ago)

    def _hopeless(self, ticket: _Waiting) -> RateLimitedError | None:
        """Why it is no use to wait until the upstream opens again."""
        now = self.clock()
        rest = self.closed_until - now
        if rest <= min(LONGEST_CLOSED, ticket.since + ticket.patience - now) or rest <= 0:
            return None
        return RateLimitedError(f"the endpoint asked for {rest:.0f} s without calls").after(rest)

    def admit(self) -> None:
        """Let in whoever may go, in the order they came."""
        while self.waiting and self.inside + 1 <= self.allowed:
            ticket = self._next()
            if ticket is None or not self._has_rate(ticket):
                return
            self.waiting.remove(ticket)
            ticket.inside = True
            self._let_in(ticket.model, ticket.tokens)
            if not ticket.place.done():
                ticket.place.set_result(None)

    def _wide_open(self) -> bool:
        """No one waits, and nothing says that anyone should."""
        return (
            not self.waiting
            and self.inside + 1 <= self.allowed
            and not self.limits.one_model
            and not self.limits.by_the_minute
            and self.closed_until <= self.clock()
        )

    def _let_in(self, model: str, needed: int) -> None:
        self.inside += 1
        self.serving = model
        if self.limits.by_the_minute:
            self.recent.append((self.clock(), needed))

    def _next(self) -> _Waiting | None:
        """The first in the queue; with one model at a time, the first for that model."""
        first = self.waiting[0]
        if not self.limits.one_model or not self.inside or first.model == self.serving:
            return first
        if self.clock() - first.since > PATIENT:
            return None  # its turn comes when the calls inside are done
        return next((t for t in self.waiting if t.model == self.serving), None)

    def _has_rate(self, ticket: _Waiting) -> bool:
        """Whether the minute has room for it; if not, look again when it has."""
        now = self.clock()
        if now < self.closed_until:
            self._look_again(self.closed_until - now)
            return False
        while self.recent and self.recent[0][0] <= now - MINUTE:
            self.recent.popleft()
        requests, most = self.limits.requests_per_minute, self.limits.tokens_per_minute
        full = requests is not None and len(self.recent) >= requests
        if most is not None and self.recent:
            full = full or sum(n for _, n in self.recent) + ticket.tokens > most
        if full:
            self._look_again(self.recent[0][0] + MINUTE - now)
        return not full

    def _look_again(self, seconds: float) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
        self.alarm = asyncio.get_running_loop().call_later(max(seconds, 0.001), self.admit)

    def refused(self, retry_after: float | None) -> None:
        """A 429: fewer at once, and no one before the upstream's time."""
        now = self.clock()
        self.closed_until = max(self.closed_until, now + (bounded_wait(retry_after) or 0.0))
        for ticket in tuple(self.waiting):
            if error := self._hopeless(ticket):
                self.waiting.remove(ticket)
                if not ticket.place.done():
                    ticket.place.set_exception(error)
        if now - self.last_decrease >= CALM:
            at_once = min(self.allowed, float(max(self.inside, 1)))
            self.allowed = max(1.0, at_once * DECREASE)
            self.last_decrease = now

    def rested(self, model: str, request: Request) -> None:
        """Raises RestingError while it rests and others can do without it."""
        failing = self.failing.get(model)
        if failing is None or (rest := failing.until - self.clock()) <= 0:
            return
        if stands_back(request):
            said = f"failed {failing.failures} times in a row: not asked for {rest:.0f} s more"
            raise RestingError(said)

    def failed(self, model: str) -> None:
        """It was unavailable."""
        if model not in self.failing:
            _make_room(self.failing)
            self.failing[model] = _Failing()
        self.failing[model].failed(self.clock())

    def answered(self, model: str) -> None:
        self.failing.pop(model, None)
        most = float(self.limits.concurrency or "inf")
        if self.allowed < most:
            self.allowed = min(most, self.allowed + 1.0 / self.allowed)


class Limited(Wrapper):
    """Asks *model* only when *gate* lets it."""

    def __init__(self, model: Model, gate: Gate) -> None:
        super().__init__(model)
        self._gate = gate

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        door = self._gate.door()
        door.rested(self.name, request)
        counts = self._gate.limits.tokens_per_minute is not None
        await door.enter(self.name, _size(request) if counts else 0)
        try:
            answer = await self._model.complete(request, emit)
        except RateLimitedError as error:
            if isinstance(error, QuotaError):
                _make_room(door.spent)
                rest = bounded_wait(error.retry_after) or SPENT
                door.spent[self.name] = _Spent(door.clock(), rest)
            else:
                door.refused(error.retry_after)
            raise
        except UnavailableError:
            door.failed(self.name)
            raise
        else:
            door.answered(self.name)
            return answer
        finally:
            door.leave()


def _make_room(table: dict[str, T]) -> None:
    """What is known longest of a model goes: clients may name any number of them."""
    if len(table) >= MOST_MODELS:
        del table[next(iter(table))]


def _size(request: Request) -> int:
    own = sum(provider_bytes(message) for message in request.messages) // BYTES_A_TOKEN
    asked = request_tokens(request, tokens, picture=A_PICTURE) + own
    return asked + (request.sampling.max_tokens or UNKNOWN_ANSWER)
