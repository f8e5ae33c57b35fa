"""Limited: a Model that waits its turn at a RateLimiter it shares with others."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from mixtura.core.arguments import NumberField, check_flag, check_kind, check_number_fields
from mixtura.core.errors import CircuitOpenError, QuotaError, RateLimitedError, UnavailableError
from mixtura.core.events import Emit
from mixtura.core.model import Model, Wrapper, ask_model
from mixtura.core.quantities import POSITIVE_COUNT, clamp_wait
from mixtura.core.token_estimate import estimate_call_tokens
from mixtura.core.types import Completion, Request
from mixtura.engine.call_context import remaining_seconds, withdraw_draft
from mixtura.engine.endpoint_lease import EndpointLoad, EndpointUse, Lease
from mixtura.engine.wait_queue import Waiter, WaitQueue

T = TypeVar("T")
MINUTE = 60.0
CONCURRENCY_DECREASE = 0.7
"""What a 429 leaves of the calls at once (inspect takes 0.8, TCP 0.5)."""
FAILURE_WINDOW_SECONDS = 1.0
"""Seconds in which further failures say nothing new: they were sent before the first was heard."""
MAX_CLOSED_SECONDS = 60.0
"""Seconds: when an upstream wants to be left alone for longer, no one waits for it."""
MAX_OTHER_MODEL_WAIT = 60.0
"""Seconds that a call to another model waits at most while one model is served after another."""
SPENT_QUOTA_SECONDS = 300.0
"""Seconds in which a model whose quota is spent is not asked again, where no one says when."""
FAILURES_BEFORE_PAUSE = 5
"""Failures in a row after which a model is paused (Envoy's outlier detection takes as many)."""
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds without requests to a model; doubled each time that it fails again right after them."""
MAX_REMEMBERED_MODELS = 1000
"""Models of one endpoint whose failures are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
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
    def has_minute_limits(self) -> bool:
        """What was asked in the last minute has to be known."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def __post_init__(self) -> None:
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            check_number_fields(self, NumberField(name, POSITIVE_COUNT, whole=True))
        check_flag("one_model", self.one_model)


class RateLimiter:
    """
    Lets calls in, for every model that is given this limiter, in this process.

    A 429 lowers the calls at once and holds everyone back for as long as the upstream
    asks (``quantities.LONGEST_CLOSURE`` at most); answers raise them again, slowly, by one for
    every round of answers. A model whose quota is spent is left alone for a while; one that
    keeps failing is not asked for a while, where others can do without it.
    """

    def __init__(self, limits: RateLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        check_kind("limits", limits, RateLimits, "a RateLimits")
        self.stated_limits = limits  # by its models' settings, as long as no one has passed it
        self.default_concurrency: int | None = None  # where they state none
        self.of_one_process = False  # its models are within it: other processes have their own
        self._clock = clock
        # asyncio's futures belong to one event loop; a library user may run several.
        self._states: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState] = WeakKeyDictionary()

    @property
    def limits(self) -> RateLimits:
        """What it lets in: what is stated, and the default."""
        most = self.stated_limits.concurrency or self.default_concurrency
        return replace(self.stated_limits, concurrency=most)

    def current_load(self) -> EndpointLoad:
        """How busy the endpoint is, with calls of this event loop."""
        state = self.loop_state()
        most = None if state.allowed == float("inf") else int(state.allowed)
        return EndpointLoad(state.inside, len(state.waiting), most, state.rate_limited)

    def current_use(self) -> EndpointUse:
        """What an owner of the endpoint's limits must know before it lends anew."""
        return self.loop_state().current_use()

    def apply_lease(self, lease: Lease) -> None:
        """From now on only so much is let in, by calls of this event loop."""
        self.loop_state().apply_lease(lease)

    def hold_back(self) -> None:
        """Let no further call of this event loop in: those that wait go on waiting."""
        self.loop_state().held_back = True

    def loop_state(self) -> _LoopState:
        """This event loop's side of the limiter."""
        loop = asyncio.get_running_loop()
        if loop not in self._states:
            self._states[loop] = _LoopState(self.limits, self._clock)
        return self._states[loop]


@dataclass(slots=True)
class _QueuedCall:
    model: str
    tokens: int
    since: float
    seconds_left: float
    """Seconds from *since*: after them no one wants its answer any more."""


@dataclass(slots=True)
class _FailureStreak:
    """
    A model's failures in a row, and the pauses after them. Those of one breath count as one:
    many runs at once may meet the same short fault.
    """

    failures: int = 0
    last: float = float("-inf")
    pause: float = 0.0
    until: float = float("-inf")

    def record_failure(self, now: float) -> None:
        if now - self.last < FAILURE_WINDOW_SECONDS:
            return
        self.last = now
        self.failures += 1
        if now >= self.until and (self.failures >= FAILURES_BEFORE_PAUSE or self.pause):
            self.pause = min(2 * self.pause or FIRST_PAUSE, LONGEST_PAUSE)
            self.until = now + self.pause


class _SpentQuota(NamedTuple):
    """A quota that was *found* spent at a time of the clock, and the seconds to *wait* then."""

    found: float
    wait: float


@dataclass(slots=True)
class _LoopState:
    limits: RateLimits
    clock: Callable[[], float]
    inside: int = 0
    serving: str | None = None
    allowed: float = field(init=False)
    closed_until: float = 0.0
    last_decrease: float = float("-inf")
    spent: dict[str, _SpentQuota] = field(default_factory=dict[str, _SpentQuota])
    """Models whose quotas were found spent."""
    failing: dict[str, _FailureStreak] = field(default_factory=dict[str, _FailureStreak])
    """Models whose last calls all failed."""
    waiting: WaitQueue[_QueuedCall] = field(init=False)
    """All models' calls in one line, under one key."""
    recent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    alarm: asyncio.TimerHandle | None = None
    held_back: bool = False
    lease: Lease | None = None
    """What is lent of the limits, where processes share them."""
    rate_limited: int = 0
    """Answers so far that asked for fewer calls."""
    answered: int = 0

    def __post_init__(self) -> None:
        self.allowed = float(self.limits.concurrency or "inf")
        self.waiting = WaitQueue(lambda _: self.release_place())

    async def enter_queue(self, model: str, needed: int) -> None:
        """
        Wait for a place. Raises RateLimitedError when the upstream closed for too long,
        QuotaError when the model's quota was spent a while ago.
        """
        self._check_quota(model)
        if self._is_unrestricted():
            self._admit_call(model, needed)
            return
        call = _QueuedCall(model, needed, self.clock(), remaining_seconds())
        if error := self._hopeless_wait_error(call):
            raise error
        waiter = self.waiting.join("", call)
        self.admit_waiting()
        try:
            await self.waiting.wait(waiter)
        except asyncio.CancelledError:
            self.admit_waiting()  # who stood behind it may fit where it did not
            raise

    def current_use(self) -> EndpointUse:
        self._forget_old_calls()
        tokens = sum(n for _, n in self.recent)
        waiting = sum(one.about.tokens for one in self.waiting)
        return EndpointUse(
            self.inside, len(self.waiting), len(self.recent), tokens, waiting,
            self.rate_limited, self.answered, max(0.0, self.closed_until - self.clock()),
        )  # fmt: skip

    def apply_lease(self, lease: Lease) -> None:
        self.lease = lease
        self.allowed = float("inf") if lease.concurrency is None else float(lease.concurrency)
        self.closed_until = max(self.closed_until, self.clock() + lease.closed)
        self.admit_waiting()

    def release_place(self) -> None:
        self.inside -= 1
        self.admit_waiting()

    def _check_quota(self, model: str) -> None:
        if (spent := self.spent.get(model)) is None:
            return
        ago = self.clock() - spent.found
        if ago < spent.wait:
            said = f"its quota was used up {ago:.0f} s ago: no requests for {spent.wait:.0f} s"
            raise QuotaError(said).with_retry_after(spent.wait - ago)

    def _hopeless_wait_error(self, call: _QueuedCall) -> RateLimitedError | None:
        """Why it is no use to wait until the upstream opens again."""
        now = self.clock()
        rest = self.closed_until - now
        if rest <= min(MAX_CLOSED_SECONDS, call.since + call.seconds_left - now) or rest <= 0:
            return None
        return RateLimitedError(
            f"the endpoint accepts no calls for another {rest:.0f} s"
        ).with_retry_after(rest)

    def admit_waiting(self) -> None:
        """Let in whoever may go, in the order they came."""
        while self.inside + 1 <= self.allowed and not self.held_back:
            waiter = self._next_in_queue()
            if waiter is None or not self._fits_rate(waiter.about):
                return
            self._admit_call(waiter.about.model, waiter.about.tokens)
            self.waiting.let_in(waiter)

    def _is_unrestricted(self) -> bool:
        """No one waits, and nothing says that anyone should."""
        return (
            not self.waiting
            and self.inside + 1 <= self.allowed
            and not self.held_back
            and not self.limits.one_model
            and not self.limits.has_minute_limits
            and self.closed_until <= self.clock()
        )

    def _admit_call(self, model: str, needed: int) -> None:
        self.inside += 1
        self.serving = model
        if self.limits.has_minute_limits:
            self.recent.append((self.clock(), needed))

    def _next_in_queue(self) -> Waiter[_QueuedCall] | None:
        """The first in the queue; with one model at a time, the first for that model."""
        first = self.waiting.next_in_turn()
        if first is None or not self.limits.one_model or not self.inside:
            return first
        if first.about.model == self.serving:
            return first
        if self.clock() - first.about.since > MAX_OTHER_MODEL_WAIT:
            return None  # its turn comes when the calls inside are done
        return next((one for one in self.waiting if one.about.model == self.serving), None)

    def _fits_rate(self, call: _QueuedCall) -> bool:
        """Whether the minute has room for it; if not, look again when it has."""
        now = self.clock()
        if now < self.closed_until:
            self._schedule_admission(self.closed_until - now)
            return False
        self._forget_old_calls()
        if self.lease is not None:
            return self._fits_lease(call, self.lease)
        requests, most = self.limits.requests_per_minute, self.limits.tokens_per_minute
        full = requests is not None and len(self.recent) >= requests
        if most is not None and self.recent:
            full = full or sum(n for _, n in self.recent) + call.tokens > most
        if full:
            self._schedule_admission(self.recent[0][0] + MINUTE - now)
        return not full

    def _fits_lease(self, call: _QueuedCall, lease: Lease) -> bool:
        """Whether what is lent has room for it; if not, the next lease may have."""
        if lease.requests is not None and len(self.recent) >= lease.requests:
            return False
        if lease.tokens is None:
            return True
        # One that is larger than a minute's tokens goes when no other does, as without a lease.
        needed = min(call.tokens, self.limits.tokens_per_minute or call.tokens)
        return sum(n for _, n in self.recent) + needed <= lease.tokens

    def _forget_old_calls(self) -> None:
        now = self.clock()
        while self.recent and self.recent[0][0] <= now - MINUTE:
            self.recent.popleft()

    def _schedule_admission(self, seconds: float) -> None:
        if self.alarm is not None:
            self.alarm.cancel()
        self.alarm = asyncio.get_running_loop().call_later(max(seconds, 0.001), self.admit_waiting)

    def record_rate_limit(self, retry_after: float | None) -> None:
        """A 429: fewer at once, and no one before the upstream's time."""
        now = self.clock()
        self.rate_limited += 1
        self.closed_until = max(self.closed_until, now + (clamp_wait(retry_after) or 0.0))
        for waiter in tuple(self.waiting):
            if error := self._hopeless_wait_error(waiter.about):
                self.waiting.refuse(waiter, error)
        if now - self.last_decrease >= FAILURE_WINDOW_SECONDS:
            at_once = min(self.allowed, float(max(self.inside, 1)))
            self.allowed = max(1.0, at_once * CONCURRENCY_DECREASE)
            self.last_decrease = now

    def check_circuit(self, model: str, request: Request) -> None:
        """Raises CircuitOpenError after repeated failures, where others can do without it."""
        failing = self.failing.get(model)
        if failing is None or (rest := failing.until - self.clock()) <= 0:
            return
        if withdraw_draft(request):
            said = f"failed {failing.failures} times in a row: no requests for {rest:.0f} s"
            raise CircuitOpenError(said)

    def record_failure(self, model: str) -> None:
        """It was unavailable."""
        if model not in self.failing:
            _evict_oldest(self.failing)
            self.failing[model] = _FailureStreak()
        self.failing[model].record_failure(self.clock())

    def record_success(self, model: str) -> None:
        self.failing.pop(model, None)
        self.answered += 1
        if self.lease is not None:  # its owner knows the answers of all, and raises it
            return
        most = float(self.limits.concurrency or "inf")
        if self.allowed < most:
            self.allowed = min(most, self.allowed + 1.0 / self.allowed)


class Limited(Wrapper):
    """Asks *model* only when *limiter* lets it."""

    def __init__(self, model: Model, limiter: RateLimiter) -> None:
        super().__init__(model)
        check_kind("limiter", limiter, RateLimiter, "a RateLimiter(RateLimits(…))")
        self._limiter = limiter

    @property
    def limiter(self) -> RateLimiter:
        """What its endpoint takes, shared by all models there."""
        return self._limiter

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        state = self._limiter.loop_state()
        state.check_circuit(self.name, request)
        counts = state.limits.tokens_per_minute is not None
        await state.enter_queue(self.name, estimate_call_tokens(request) if counts else 0)
        try:
            answer = await ask_model(self._model, request, emit)
        except RateLimitedError as error:
            if isinstance(error, QuotaError):
                _evict_oldest(state.spent)
                rest = clamp_wait(error.retry_after) or SPENT_QUOTA_SECONDS
                state.spent[self.name] = _SpentQuota(state.clock(), rest)
            else:
                state.record_rate_limit(error.retry_after)
            raise
        except UnavailableError:
            state.record_failure(self.name)
            raise
        else:
            state.record_success(self.name)
            return answer
        finally:
            state.release_place()


def _evict_oldest(table: dict[str, T]) -> None:
    """Forget the model that came first when the table is full: clients may name any number."""
    if len(table) >= MAX_REMEMBERED_MODELS:
        del table[next(iter(table))]
