"""The log of requests sent to models, as a context variable."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Protocol

from mixtura.core.types import Charge, Request


class RequestLog(Protocol):
    """Records every request that is sent to a model (as ``batch.journaled``)."""

    def record_request(self, model: str, request: Request) -> int:
        """Record *request* before it is sent; returns the number of the call."""
        ...

    def record_charges(self, call: int, charges: Sequence[Charge]) -> None:
        """Record what the call of that number has cost."""
        ...


REQUEST_LOG: ContextVar[RequestLog | None] = ContextVar("requests", default=None)
"""The log that records the requests of this task."""
