"""How busy an endpoint is, and the part of its limits that is lent to one process of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """
    The part of an endpoint's limits that is lent to this process. ``None`` is no limit.

    *requests*, *tokens*: of a minute; *closed*: seconds in which the endpoint wants no calls.
    """

    concurrency: int | None = None
    requests: int | None = None
    tokens: int | None = None
    closed: float = 0.0


class EndpointUse(NamedTuple):
    """What this process has in use of an endpoint's limits, and what waits for a place."""

    inside: int
    waiting: int
    requests: int
    tokens: int
    waiting_tokens: int
    rate_limited: int
    answered: int
    closed: float


class EndpointLoad(NamedTuple):
    """Calls in flight and waiting at one endpoint; how many it takes at once, None for any."""

    in_flight: int
    waiting: int
    allowed: int | None
    rate_limited: int
    """Answers so far that asked for fewer calls."""
