"""What a model call can ask about its caller: deadline, whether to cut drafts, layer quorum."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from mixtura.core.context_values import hold_value
from mixtura.core.events import (
    Position,
)
from mixtura.core.types import Request

_DEADLINE: ContextVar[float] = ContextVar("ends", default=float("inf"))


@contextmanager
def deadline_scope(seconds: float | None) -> Generator[None]:
    """In this block, calls have *seconds* left; then the caller goes on without an answer."""
    if seconds is None:
        yield
        return
    ends = asyncio.get_running_loop().time() + seconds
    # A mixture within a layer has no more time than that layer.
    with hold_value(_DEADLINE, min(ends, _DEADLINE.get())):
        yield


def remaining_seconds() -> float:
    """Seconds until the caller goes on without an answer; infinite without a deadline."""
    return _DEADLINE.get() - asyncio.get_running_loop().time()


_DRAFTS_TRUNCATABLE: ContextVar[bool] = ContextVar("cuttable", default=False)


def allow_draft_truncation(drafts: bool) -> AbstractContextManager[None]:
    """In this block, a call that does not fit is repeated with truncated drafts, if *drafts*."""
    # A context variable: the model's interface has no argument for what its caller could do.
    return hold_value(_DRAFTS_TRUNCATABLE, drafts)


def can_truncate_drafts() -> bool:
    """Whether the caller truncates drafts rather than have a shorter answer."""
    return _DRAFTS_TRUNCATABLE.get()


class LayerMembership:
    """The calls of a layer that have answered or still may answer, and the layer's quorum."""

    __slots__ = ("_alive", "_quorum")

    def __init__(self, quorum: int, members: Iterable[Position]) -> None:
        self._quorum = quorum
        self._alive = set(members)

    def add_member(self, position: Position) -> None:
        """Count the call at *position* among those that may answer."""
        self._alive.add(position)

    def remove_member(self, position: Position) -> None:
        """The call at *position* failed, or gave up."""
        self._alive.discard(position)

    def has_quorum_without(self, position: Position) -> bool:
        """Whether the other calls can still reach the quorum."""
        return len(self._alive - {position}) >= self._quorum


LAYER_POSITION: ContextVar[tuple[LayerMembership, Position] | None] = ContextVar(
    "place", default=None
)
"""The layer that a call is made for, and the call's position in it."""


def is_dispensable(request: Request) -> bool:
    """Whether *request* is a draft that its layer does not need to reach its quorum."""
    place = LAYER_POSITION.get()
    return request.draft and place is not None and place[0].has_quorum_without(place[1])


def withdraw_draft(request: Request) -> bool:
    """``is_dispensable``; if so, the layer no longer counts on this call."""
    place = LAYER_POSITION.get()
    if place is None or not is_dispensable(request):
        return False
    membership, position = place
    membership.remove_member(position)
    return True
