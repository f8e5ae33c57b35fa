"""The models of a batch: journalled, retried at rate limits, each endpoint with its own limit."""

from __future__ import annotations

from urllib.parse import urlsplit

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.journaled import Journaled
from mixtura.batch.outcome import EndpointProgress
from mixtura.batch.provider_batches import ProviderBatches
from mixtura.batch.rate_limit_retry import RateLimitRetrying
from mixtura.core.model import Model, Wrapper
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter

MAX_WINDOW = 4096
"""Rows under way at most, whatever the limits."""
BATCHED_WINDOW = 10_000
"""Rows under way where calls go out as a provider's batches: that many rows make a batch."""
WINDOW_PER_CALL = 2
"""Rows under way for each call that an endpoint takes: while one is journalled, another is sent."""


class JournaledModels:
    """
    Wraps each model that is built. *concurrency*: calls at once at an endpoint whose settings say
    none. ``calls`` is set before the first model is built.
    """

    def __init__(self, concurrency: int, provider_batches: ProviderBatches | None = None) -> None:
        self._concurrency = concurrency
        self.provider_batches = provider_batches
        """Where calls go out as their provider's batches."""
        self.calls: CallJournal | None = None
        self.limiters: dict[RateLimiter, str] = {}
        """The rate limiters of the endpoints, and the names of these."""
        self.identities: set[str] = set()
        """What the models are, wherever they are called something else."""

    def __call__(self, model: Model, identity: str) -> Model:
        assert self.calls is not None
        self.identities.add(identity)
        limiter = _find_limiter(model)
        if limiter is not None and limiter not in self.limiters:
            self.limiters[limiter] = _endpoint_name(identity)
            limiter.default_concurrency = limiter.default_concurrency or self._concurrency
        live: Model = RateLimitRetrying(model)
        if self.provider_batches is not None:
            self.provider_batches.calls = self.calls
            live = self.provider_batches.wrap_model(model, live)
        return Journaled(live, self.calls, identity=identity)

    @property
    def window(self) -> int:
        """Rows under way, so that every endpoint has enough to do."""
        if self.provider_batches is not None and self.provider_batches.used:
            return BATCHED_WINDOW
        return self.window_of(1)

    def window_of(self, processes: int) -> int:
        """Rows under way in all of so many processes, each with the models that run within it."""
        places = sum(
            (one.limits.concurrency or self._concurrency) * (processes if one.of_one_process else 1)
            for one in self.limiters
        )
        return min(max(WINDOW_PER_CALL * (places or self._concurrency), 1), MAX_WINDOW)

    def endpoints(self) -> tuple[EndpointProgress, ...]:
        return tuple(
            EndpointProgress(name, *limiter.current_load())
            for limiter, name in self.limiters.items()
        )


class SharedJournaledModels(JournaledModels):
    """
    Models of a process that runs several batches beside other work: each row names its journal,
    and the endpoints' limits are everyone's. *concurrency*: half the rows of a batch under way.
    """

    def __call__(self, model: Model, identity: str) -> Model:
        return Journaled(RateLimitRetrying(model), None, identity=identity)


def _find_limiter(model: Model) -> RateLimiter | None:
    while isinstance(model, Wrapper):
        if isinstance(model, Limited):
            return model.limiter
        model = model.inner_model
    return None


def _endpoint_name(identity: str) -> str:
    """The host of an address, or a file's name."""
    place = identity.split(" ", 1)[0]
    return urlsplit(place).netloc or place
