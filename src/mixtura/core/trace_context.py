"""Which trace a request belongs to (W3C Trace Context): where it came from, what is sent on."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from contextvars import ContextVar

from mixtura.core.context_values import hold_value

_PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_CALLER: ContextVar[str | None] = ContextVar("caller_trace", default=None)
_SENT: ContextVar[str | None] = ContextVar("sent_trace", default=None)


def caller_trace() -> str | None:
    """The ``traceparent`` that came with the request under way."""
    return _CALLER.get()


def sent_trace() -> str | None:
    """The ``traceparent`` that calls made here send on; None where nothing is traced."""
    return _SENT.get()


def use_caller_trace(given: str) -> AbstractContextManager[None]:
    """In this block, and in tasks begun there, runs continue the trace *given*, if it is one."""
    return hold_value(_CALLER, given if _PARENT.fullmatch(given) else None)


def set_sent_trace(parent: str | None) -> None:
    """From now on, calls of this task and of those that it begins send *parent* to their models."""
    _SENT.set(parent)


def use_sent_trace(parent: str | None) -> AbstractContextManager[None]:
    """In this block, and in tasks begun there, calls to models send *parent* on."""
    return hold_value(_SENT, parent)
