"""Values that hold within a block of code and in the tasks begun there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def hold_value(variable: ContextVar[T], value: T) -> Generator[None]:
    """In this block, and in tasks begun there, *variable* is *value*; then what it was before."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
