"""Our errors as errors of the API: the only place where their statuses are chosen."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from mixtura.core import errors
from mixtura.core.text import to_one_line
from mixtura.server.apis.base import ApiError

MIN_RETRY_SECONDS = 1.0
"""Seconds that a client should wait where no upstream says how long."""


class _ErrorKind(NamedTuple):
    status: int
    kind: str
    code: str
    param: str | None = None
    later: bool = False
    """Whether it may work after a while."""


_WRONG, _API = "invalid_request_error", "api_error"
_ERROR_KINDS: tuple[tuple[type[errors.MixturaError], _ErrorKind], ...] = (  # the first that fits
    # A StoreError is a ConfigError, too, but none of the client's.
    (errors.StoreError, _ErrorKind(503, _API, "store_unavailable", later=True)),
    (errors.ConfigError, _ErrorKind(400, _WRONG, "not_possible")),
    (errors.DeadlineExceededError, _ErrorKind(504, "timeout_error", "timeout")),
    (errors.BudgetExceededError, _ErrorKind(402, "billing_error", "budget_exceeded")),
    (errors.QuotaError, _ErrorKind(429, "insufficient_quota", "insufficient_quota", later=True)),
    (
        errors.RateLimitedError,
        _ErrorKind(429, "rate_limit_error", "rate_limit_exceeded", later=True),
    ),
    (errors.TimedOutError, _ErrorKind(504, "timeout_error", "timeout")),
    (errors.UnavailableError, _ErrorKind(503, _API, "upstream_unavailable", later=True)),
    (errors.ContextOverflowError, _ErrorKind(400, _WRONG, "context_length_exceeded", "messages")),
    (errors.ContentFilterError, _ErrorKind(400, _WRONG, "content_filter")),
    (errors.RejectedError, _ErrorKind(400, _WRONG, "rejected_by_the_model")),
    (errors.MalformedError, _ErrorKind(502, _API, "upstream_malformed")),
    (errors.MixturaError, _ErrorKind(502, _API, "upstream_failed")),
)


def api_error_for(error: errors.MixturaError | ApiError) -> ApiError:
    """The error that a client gets for *error*."""
    if isinstance(error, ApiError):
        return error
    message = to_one_line(error)
    if isinstance(error, errors.QuorumNotMetError):
        return _quorum_error(error, message)
    known = next(kind for family, kind in _ERROR_KINDS if isinstance(error, family))
    if isinstance(error, errors.RejectedError) and error.status in (401, 403, 404):
        known = _ErrorKind(
            502, _API, "upstream_refused"
        )  # our key, or our name of a model: not the client's mistake
    wait = (getattr(error, "retry_after", None) or MIN_RETRY_SECONDS) if known.later else None
    param = getattr(error, "parameter", None) or known.param
    return ApiError(
        known.status, message, kind=known.kind, code=known.code, param=param, retry_after=wait
    )


def _quorum_error(error: errors.QuorumNotMetError, message: str) -> ApiError:
    """Too few of a layer: as its failures were, where they were all of one kind."""
    causes = [api_error_for(cause) for cause in error.causes]
    if len({cause.status for cause in causes}) != 1:
        return ApiError(
            503, message, kind=_API, code="quorum_not_met", retry_after=MIN_RETRY_SECONDS
        )
    first = causes[0]
    waits = [cause.retry_after for cause in causes if cause.retry_after is not None]
    if first.code == "rate_limit_exceeded":  # ours to wait for, not this client's
        wait, code = min(waits, default=None), "upstream_rate_limited"
        return ApiError(503, message, kind=_API, code=code, retry_after=wait)
    return ApiError(
        first.status, message, kind=first.kind, code=first.code, param=first.param,
        retry_after=min(waits, default=None),
    )  # fmt: skip


@contextmanager
def translate_store_errors() -> Generator[None, None, None]:
    """A store that cannot be read is said to the client. Raises ApiError."""
    try:
        yield
    except errors.MixturaError as error:
        raise api_error_for(error) from None
