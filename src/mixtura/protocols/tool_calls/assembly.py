"""Tool calls put together from the pieces in which they stream in."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mixtura.core.types import ToolCall
from mixtura.protocols.tool_calls.arguments import is_complete_json
from mixtura.protocols.tool_calls.deltas import ToolCallDelta, ToolCallUpdate
from mixtura.protocols.tool_calls.partial_call import PartialToolCall


class ToolCallAccumulator:
    """
    Assigns the pieces of one answer's calls: by their index, else by their id, else by position.

    Servers leave the index out, give all calls the index 0, repeat a call's name or id in
    every piece, or send a whole call at once.
    """

    __slots__ = (
        "_by_id", "_by_index", "_calls", "_deltas", "_open", "_place", "_shared", "_unfinished",
    )  # fmt: skip

    def __init__(self) -> None:
        self._calls: list[PartialToolCall] = []
        self._by_index: dict[int, PartialToolCall] = {}
        self._by_id: dict[str, PartialToolCall] = {}
        self._open: dict[int, deque[PartialToolCall]] = {}
        """Calls that ``open_call`` began at each index and ``close_call`` did not end."""
        self._shared: dict[int, tuple[list[PartialToolCall], list[str]]] = {}
        """Calls that are open at one index together, and the pieces that came for any of them."""
        self._unfinished: dict[int, deque[PartialToolCall]] = {}
        """Opened calls at each index whose arguments may not be complete."""
        self._deltas = 0
        """Deltas taken in by now."""
        self._place = 0
        """The first call that is not over."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add_deltas(self, pieces: Sequence[ToolCallDelta]) -> None:
        """
        Take in the pieces of one delta: each belongs to another call. Raises MalformedError for a
        name without an end.
        """
        self._deltas += 1
        if len(pieces) > len(self._calls):  # else an empty one keeps the others in their places
            pieces = [piece for piece in pieces if not piece.is_empty]
        if self._share_index(pieces):
            pieces = [replace(piece, index=None) for piece in pieces]
        for position, piece in enumerate(pieces):
            if not piece.is_empty:
                self._add_delta(piece, position, len(pieces))

    def _share_index(self, pieces: Sequence[ToolCallDelta]) -> bool:
        """Whether *pieces* and the calls they continue all have the same index."""
        calls = self._calls[-len(pieces) :]
        if len(pieces) < 2 or len(calls) < len(pieces) or any(piece.name for piece in pieces):
            return False
        return len({one.index for one in (*pieces, *calls)}) == 1

    def _add_delta(self, piece: ToolCallDelta, position: int, together: int) -> None:
        call = self._find_call(piece, position, together)
        if call is not None and call.is_name_repeated_by(piece):
            call.delta = self._deltas
            # It may be the end of this call or the beginning of another: the next piece decides.
            call.repetition = piece
            return
        if call is None:
            call = self._begin_call(piece.index)
        elif call.repetition is not None and not piece.name and piece.has_arguments:
            repetition, call.repetition = call.repetition, None
            call = self._begin_call(piece.index)
            call.add_delta(repetition)
        call.delta = self._deltas
        call.add_delta(piece)
        if piece.id:
            self._by_id[piece.id] = call

    def open_call(self, index: int, id: str, name: str, whole: str) -> None:  # noqa: A002
        """Begin a call that the upstream says begins; *whole*: its arguments as JSON, or empty."""
        call = self._begin_call(index)
        call.id, call.name = id, name
        call.arguments.set_whole(whole)
        among = self._open.setdefault(index, deque())
        among.append(call)
        self._unfinished.setdefault(index, deque()).append(call)
        if len(among) > 1:
            shared = self._shared.setdefault(index, ([among[0]], []))
            shared[0].append(call)
            for one in among:
                one.shares_index = True

    def close_call(self, index: int) -> None:
        """End the call that was opened first of those at *index*."""
        if among := self._open.get(index):
            call = among.popleft()
            if index not in self._shared:
                call.is_closed = True
            elif not among:
                self._close_shared(index)

    def _close_shared(self, index: int) -> None:
        """End the calls that were open at one index together."""
        calls, pieces = self._shared.pop(index)
        _distribute_pieces(calls, pieces)
        for call in calls:
            call.is_closed, call.shares_index = True, False

    def extend_call(self, index: int, arguments: Any) -> bool:
        """
        Add arguments to the call at *index*; false when there is none.

        Of several at one index the first gets them until its arguments are complete, then the
        next one. Raises MalformedError for a name without an end.
        """
        among = self._unfinished.get(index, ())
        while among and (among[0].is_closed or among[0].arguments.is_complete):
            among.popleft()
        call = among[0] if among else self._by_index.get(index)
        if call is None:
            return False
        if index in self._shared and isinstance(arguments, str):
            self._shared[index][1].append(arguments)
        call.add_delta(ToolCallDelta(index, "", "", arguments))
        return True

    def _begin_call(self, index: int | None) -> PartialToolCall:
        call = PartialToolCall(index, self._deltas)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def take_updates(self, *, ended: bool = False) -> list[ToolCallUpdate]:
        """
        What came since the last time, call by call; *ended*: nothing more comes.

        A call waits until the one before it is complete, since servers may go back to that.
        """
        updates: list[ToolCallUpdate] = []
        for index in tuple(self._shared) if ended else ():
            self._close_shared(index)
        while self._place < len(self._calls):
            call = self._calls[self._place]
            followed = self._place + 1 < len(self._calls)
            over = ended or (followed and (call.is_closed or call.is_settled))
            if call.name and ((text := call.take_new_arguments(is_final=over)) or over):
                updates.append(ToolCallUpdate(self._place, call.id, call.name, text, over))
            if not over:
                break
            self._place += 1
        return updates

    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls by now, ordered by index where each has its own; without arguments: ``{}``."""
        indexes = [call.index for call in self._calls]
        # Indexes that are shared or missing say nothing of the order.
        distinct = None not in indexes and len(set(indexes)) == len(indexes)
        rows = sorted(self._calls, key=lambda call: call.index or 0) if distinct else self._calls
        return tuple(call.to_tool_call() for call in rows)

    def _find_call(
        self, piece: ToolCallDelta, position: int, together: int
    ) -> PartialToolCall | None:
        """The call that a piece continues; None where it begins one."""
        call = self._candidate_call(piece, position, together)
        if call is None or (call.delta == self._deltas and (piece.name or piece.index is None)):
            return None
        if not piece.name:  # some servers make a new id up for every piece
            return call
        if piece.id and call.id and piece.id != call.id:
            return None
        named = (
            not call.name or call.name.startswith(piece.name) or piece.name.startswith(call.name)
        )
        if call.arguments.is_complete:
            if piece.has_arguments:
                return call if call.is_repeated_by(piece) else None
            if piece.name != call.name:
                return None
        if piece.index is None and not piece.id and not named:
            return None
        return call

    def _candidate_call(
        self, piece: ToolCallDelta, position: int, together: int
    ) -> PartialToolCall | None:
        """The call at a piece's index, id or position, if any."""
        known = self._by_id.get(piece.id)
        if piece.index is not None:
            return (
                known if known and known.index == piece.index else self._by_index.get(piece.index)
            )
        if known is not None:
            return known
        if piece.id and piece.name:
            return None
        # More pieces at once than there are calls: these begin calls of their own.
        if together > len(self._calls):
            return None
        return self._calls[position - together]


def _distribute_pieces(calls: Sequence[PartialToolCall], pieces: Sequence[str]) -> None:
    """
    Give each of the *calls* at one index a piece in turn, where that makes all of them complete
    and one after the other did not.
    """
    dealt = ["".join(pieces[i :: len(calls)]) for i in range(len(calls))]
    grown = [call.arguments for call in calls]
    if any(one.begun for one in grown) or all(one.is_complete for one in grown):
        return
    if all(text and is_complete_json(text) for text in dealt):
        for one, text in zip(grown, dealt, strict=True):
            one.replace_text(text)
