"""Tool calls put together from the pieces in which they stream in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mixtura.provider_data import merged
from mixtura.types import ToolCall

NO_ARGUMENTS = "{}"
"""Of a call whose arguments never came, or came as an empty text: clients read them as JSON."""


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a tool call, as far as the upstream says what it belongs to."""

    index: int | None
    id: str
    name: str
    arguments: Any
    """Text, or an object where the upstream parsed it already."""
    provider_fields: dict[str, Any] = field(default_factory=dict[str, Any])
    """What the upstream wants back with the call."""


@dataclass(frozen=True, slots=True)
class FreshCall:
    """What came of the call number *place*; *over*: there will be no more of it."""

    place: int
    id: str
    name: str
    arguments: str
    over: bool


class _Call:
    """A call as far as it came."""

    __slots__ = (
        "arguments", "delta", "fresh", "id", "index", "name", "provider_fields", "whole",
    )  # fmt: skip

    def __init__(self, index: int | None, delta: int) -> None:
        self.index = index
        self.delta = delta
        """The delta that its last piece came in."""
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.fresh: list[str] = []
        """Arguments that no one has asked for yet."""
        self.whole: str = ""
        """Arguments that came as an object, as JSON."""
        self.provider_fields: dict[str, Any] = {}

    @property
    def text(self) -> str:
        if len(self.arguments) > 1:  # joined once, however often it is looked at
            self.arguments = ["".join(self.arguments)]
        if self.arguments:
            return self.arguments[0]
        return self.whole

    @property
    def complete(self) -> bool:
        """Its arguments are a JSON object: whatever comes with a name now is another call."""
        if self.whole:
            return True
        if not (self.arguments and self.arguments[-1].rstrip().endswith("}")):
            return False
        text = self.text
        try:
            msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            return False
        return True


class ToolCallAssembly:
    """
    Tells the calls of one answer apart: by their index, else by their id, else by position.

    Servers leave the index out, give all calls the index 0, repeat a call's name or id in
    every piece, or send a whole call at once.
    """

    __slots__ = ("_by_id", "_by_index", "_calls", "_deltas", "_place")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._deltas = 0
        self._place = 0
        """The call that is looked at next: all before it are over."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Sequence[CallPiece]) -> None:
        """Take in the pieces of one delta: no two of them belong to one call."""
        self._deltas += 1
        for position, piece in enumerate(pieces):
            call = self._belongs(piece, position, len(pieces))
            if call is None:
                call = self._begin(piece.index)
            call.delta = self._deltas
            _extend(call, piece)
            if piece.id:
                self._by_id[piece.id] = call

    def open(self, index: int, id: str, name: str, whole: str) -> None:  # noqa: A002
        """Begin a call of which the upstream says where it begins; *whole*: its arguments."""
        call = self._begin(index)
        call.id, call.name = id, name
        call.whole = whole

    def extend(self, index: int, arguments: Any) -> bool:
        """More arguments for the call that was begun last at *index*; false when none was."""
        if (call := self._by_index.get(index)) is None:
            return False
        _extend(call, CallPiece(index, "", "", arguments))
        return True

    def _begin(self, index: int | None) -> _Call:
        call = _Call(index, self._deltas)
        self._calls.append(call)
        if index is not None:
            self._by_index[index] = call
        return call

    def fresh(self, *, ended: bool = False) -> list[FreshCall]:
        """
        What came since this was last asked, call by call: of a later one nothing is told before
        the one before it is whole, since servers may go back to that.
        """
        found: list[FreshCall] = []
        while self._place < len(self._calls):
            call = self._calls[self._place]
            over = ended or (self._place + 1 < len(self._calls) and call.complete)
            if call.name and (call.fresh or over):
                text = "".join(call.fresh) if call.arguments else call.whole if over else ""
                call.fresh.clear()
                found.append(FreshCall(self._place, call.id, call.name, text, over))
            if not over:
                break
            self._place += 1
        return found

    def calls(self) -> tuple[ToolCall, ...]:
        """The calls by now; one without arguments has none: ``{}``."""
        indexes = [call.index for call in self._calls]
        told = None not in indexes and len(set(indexes)) == len(indexes)
        rows = sorted(self._calls, key=lambda call: call.index or 0) if told else self._calls
        return tuple(
            ToolCall(call.id, call.name, call.text or NO_ARGUMENTS, call.provider_fields)
            for call in rows
        )

    def _belongs(self, piece: CallPiece, position: int, together: int) -> _Call | None:
        """The call that a piece goes on with; None where it begins one."""
        call = self._candidate(piece, position, together)
        if call is None or (call.delta == self._deltas and (piece.name or piece.index is None)):
            return None
        if not piece.name:  # some servers make a new id up for every piece
            return call
        if piece.id and call.id and piece.id != call.id:
            return None
        named = (
            not call.name or call.name.startswith(piece.name) or piece.name.startswith(call.name)
        )
        if call.complete and piece.arguments not in (None, "", {}):
            return call if _same(call, piece) else None
        if piece.index is None and not piece.id and not named:
            return None
        return call

    def _candidate(self, piece: CallPiece, position: int, together: int) -> _Call | None:
        known = self._by_id.get(piece.id)
        if piece.index is not None:
            return (
                known if known and known.index == piece.index else self._by_index.get(piece.index)
            )
        if known is not None:
            return known
        if piece.id and piece.name:
            return None
        if together > len(self._calls):
            return None
        return self._calls[position - together]


def _same(call: _Call, piece: CallPiece) -> bool:
    """Whether a piece tells a whole call once more."""
    if not piece.id or piece.id != call.id or piece.name != call.name:
        return False
    said = piece.arguments
    return (said if isinstance(said, str) else _json(said)) == call.text


def _extend(call: _Call, piece: CallPiece) -> None:
    call.id = call.id or piece.id
    if piece.provider_fields:
        call.provider_fields = merged(call.provider_fields, piece.provider_fields)
    _extend_name(call, piece.name)
    said = piece.arguments
    if isinstance(said, str):
        if said and not (piece.name and call.complete and said == call.text):
            call.arguments.append(said)
            call.fresh.append(said)
    elif said is not None:
        call.whole = _json(said)


def _json(data: Any) -> str:
    return msgspec.json.encode(data).decode()


def _extend_name(call: _Call, name: str) -> None:
    """A name comes whole, again and again, or in pieces before the arguments."""
    if not name or name == call.name:
        return
    if not call.name or name.startswith(call.name):
        call.name = name
    elif not call.arguments:
        call.name += name
