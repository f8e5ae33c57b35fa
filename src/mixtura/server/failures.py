"""Our errors as HTTP refusals: the only place where statuses are chosen."""

from __future__ import annotations

from typing import NamedTuple

from mixtura.errors import (
    BudgetExceededError,
    ConfigError,
    ContentFilterError,
    ContextOverflowError,
    MalformedError,
    MixturaError,
    OutOfTimeError,
    QuorumNotMetError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    StoreError,
    TimedOutError,
    UnavailableError,
)
from mixtura.server.dialect import Refused
from mixtura.text import one_line

LEAST_WAIT = 1.0
"""Seconds that a client is asked to wait where no upstream says how long."""


class _Kind(NamedTuple):
    status: int
    kind: str
    code: str
    param: str | None = None
    later: bool = False
    """It may work after a while."""


_WRONG, _API = "invalid_request_error", "api_error"
_KINDS: tuple[tuple[type[MixturaError], _Kind], ...] = (  # the first that fits
    (StoreError, _Kind(503, _API, "store_unavailable", later=True)),
    (ConfigError, _Kind(400, _WRONG, "not_possible")),
    (OutOfTimeError, _Kind(504, "timeout_error", "timeout")),
    (BudgetExceededError, _Kind(402, "billing_error", "budget_exceeded")),
    (QuotaError, _Kind(429, "insufficient_quota", "insufficient_quota", later=True)),
    (RateLimitedError, _Kind(429, "rate_limit_error", "rate_limit_exceeded", later=True)),
    (TimedOutError, _Kind(504, "timeout_error", "timeout")),
    (UnavailableError, _Kind(503, _API, "upstream_unavailable", later=True)),
    (ContextOverflowError, _Kind(400, _WRONG, "context_length_exceeded", "messages")),
    (ContentFilterError, _Kind(400, _WRONG, "content_filter")),
    (RejectedError, _Kind(400, _WRONG, "rejected_by_the_model")),
    (MalformedError, _Kind(502, _API, "upstream_malformed")),
    (MixturaError, _Kind(502, _API, "upstream_failed")),
)


def refusal(error: MixturaError | Refused) -> Refused:
    """What a client is told of *error*."""
    if isinstance(error, Refused):
        return error
    said = one_line(error)
    if isinstance(error, QuorumNotMetError):
        return _quorum(error, said)
    known = next(kind for family, kind in _KINDS if isinstance(error, family))
    if isinstance(error, RejectedError) and error.status in (401, 403, 404):
        known = _Kind(502, _API, "upstream_refused")  # our key, our model's name
    wait = (getattr(error, "retry_after", None) or LEAST_WAIT) if known.later else None
    param = getattr(error, "parameter", None) or known.param
    return Refused(
        known.status, said, kind=known.kind, code=known.code, param=param, retry_after=wait
    )


def _quorum(error: QuorumNotMetError, said: str) -> Refused:
    """Too few of a layer: as its failures were, where they were all of one kind."""
    causes = [refusal(cause) for cause in error.causes]
    if len({cause.status for cause in causes}) != 1:
        return Refused(503, said, kind=_API, code="quorum_not_met", retry_after=LEAST_WAIT)
    first = causes[0]
    waits = [cause.retry_after for cause in causes if cause.retry_after is not None]
    if first.code == "rate_limit_exceeded":  # ours to wait for, not this client's
        return Refused(
            503, said, kind=_API, code="upstream_rate_limited", retry_after=min(waits, default=None)
        )  # fmt: skip
    return Refused(
        first.status, said, kind=first.kind, code=first.code, param=first.param,
        retry_after=min(waits, default=None),
    )  # fmt: skip
