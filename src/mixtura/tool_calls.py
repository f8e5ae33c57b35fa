"""Tool calls put together from the pieces in which they stream in."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from mixtura.errors import MalformedError
from mixtura.json_scan import JsonScan
from mixtura.provider_data import merge_into
from mixtura.types import ToolCall

NO_ARGUMENTS = "{}"
"""Of a call whose arguments never came, or came as an empty text: clients read them as JSON."""

LONGEST_NAME = 10_000
"""Characters of a name that comes in pieces."""


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

    @property
    def empty(self) -> bool:
        """Nothing is in it: some servers send such entries beside a text."""
        nothing = self.arguments is None or self.arguments == ""
        return nothing and not (self.id or self.name or self.provider_fields)


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
        "again", "arguments", "checked", "closed", "cumulative", "delta", "fresh", "held", "id",
        "index", "length", "name", "provider_fields", "scan", "shared", "streams", "told",
        "verdict", "whole", "whole_is_empty",
    )  # fmt: skip

    def __init__(self, index: int | None, delta: int) -> None:
        self.index = index
        self.delta = delta
        """The delta that its last piece came in."""
        self.id = self.name = ""
        self.arguments: list[str] = []
        self.fresh: list[str] = []
        """Arguments that no one has asked for yet."""
        self.scan = JsonScan()
        """How far the arguments are, without a look at all of them."""
        self.verdict: bool | None = None
        """Whether they are whole, once they were looked at: that is done once."""
        self.whole: str = ""
        """Arguments that came as an object, as JSON."""
        self.whole_is_empty = True
        self.provider_fields: dict[str, Any] = {}
        self.again: CallPiece | None = None
        """Its name once more when it was complete: another call, if arguments follow."""
        self.closed = False
        """The upstream said that it is over."""
        self.streams: bool | None = None
        """Whether its arguments can be told as they come; None while no one can say."""
        self.told = False
        """A part of its arguments was told."""
        self.shared = False
        """Another call was open at its index: what came may be of either."""
        self.length = 0
        """Characters of its arguments."""
        self.cumulative: str | None = None
        """The last piece, where each seems to have all that came before it in it once more."""
        self.checked: tuple[str, bool] = ("", False)
        """A text that had all before it in it, and whether it was whole."""
        self.held: list[str] = []
        """Those pieces, which may be a part of the arguments each, after all."""

    @property
    def text(self) -> str:
        """Its arguments as they came; an empty object does not stand against a full one."""
        if self.cumulative is not None:
            return self.cumulative
        if len(self.arguments) > 1:  # joined once, however often it is looked at
            self.arguments = ["".join(self.arguments)]
        if self.arguments and not (self.whole and _says_nothing(self.scan.begin)):
            return self.arguments[0]
        return self.whole

    @property
    def placeholder(self) -> bool:
        """Its arguments are an empty object: some servers send one before the real ones."""
        return not self.told and self.whole_is_empty and _says_nothing(self.scan.begin)

    @property
    def complete(self) -> bool:
        """Its arguments are whole: whatever comes with a name now is another call."""
        if self.whole:
            return True
        if self.cumulative is not None:
            if self.cumulative is not self.checked[0]:
                whole = self.cumulative.rstrip().endswith("}") and _is_whole(self.cumulative)
                self.checked = self.cumulative, whole
            return self.checked[1]
        if not self.scan.closed:
            return self.scan.begin.strip() == "null"
        if self.verdict is None:
            self.verdict = _is_whole(self.text)
        return self.verdict

    def take_whole(self, text: str) -> None:
        """All of its arguments at once."""
        self.whole = text
        self.whole_is_empty = _says_nothing(text)

    def take_fresh(self, *, over: bool) -> str:
        """Arguments that were not told by now; nothing while they may have to be changed."""
        if over and not self.told:
            text = plain_arguments(self.text) if self.text else ""
        elif over or (self.streams and not self.shared):
            text = "".join(self.fresh)
            if over and self.cumulative is not None:
                text += self.cumulative[self.length :]
        else:
            return ""
        self.fresh.clear()
        self.told = self.told or bool(text)
        return text

    def take_text(self, text: str) -> None:
        """More of its arguments, or all of them once more with what is new at the end."""
        if self._repeats(text):
            self.cumulative = text
            self.held.append(text)
            return
        held, self.held, self.cumulative = self.held, [], None
        for piece in (*held, text):
            self._append(piece)

    def begin_anew(self, text: str) -> None:
        """Forget its arguments, of which nothing was told, for *text*."""
        self.arguments.clear()
        self.fresh.clear()
        self.held, self.cumulative, self.streams, self.length = [], None, None, 0
        self.scan, self.verdict = JsonScan(), None
        self._append(text)

    def _repeats(self, text: str) -> bool:
        """Whether *text* begins with all that came before it."""
        if self.cumulative is not None:
            return text.startswith(self.cumulative)
        if not 0 < self.length <= len(text) or not text.startswith("{"):
            return False
        return not self.placeholder and text.startswith(self.text)

    def _append(self, text: str) -> None:
        begins = not self.told and text.lstrip().startswith("{")
        if begins and self.arguments and _says_nothing(self.scan.begin):
            self.arguments.clear()  # it was a placeholder
            self.fresh.clear()
            self.streams = self.verdict = None
            self.length, self.scan = 0, JsonScan()
        self.arguments.append(text)
        self.length += len(text)
        self.fresh.append(text)
        self.scan.add(text)
        if self.verdict and not text.isspace():
            self.verdict = False  # something stands behind its end
        if self.streams is None:
            begin = self.scan.begin.lstrip()
            inner = begin[1:].lstrip()
            if begin and not begin.startswith("{"):
                self.streams = False
            elif inner and not inner.startswith("}"):
                self.streams = True


class ToolCallAssembly:
    """
    Tells the calls of one answer apart: by their index, else by their id, else by position.

    Servers leave the index out, give all calls the index 0, repeat a call's name or id in
    every piece, or send a whole call at once.
    """

    __slots__ = (
        "_by_id", "_by_index", "_calls", "_deltas", "_open", "_place", "_shared", "_unfinished",
    )  # fmt: skip

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._open: dict[int, deque[_Call]] = {}
        """Calls that were begun at each index and are not said to be over."""
        self._shared: dict[int, tuple[list[_Call], list[str]]] = {}
        """Calls that are open at one index, and what came for them together."""
        self._unfinished: dict[int, deque[_Call]] = {}
        """Those of them that may be without the end of their arguments."""
        self._deltas = 0
        self._place = 0
        """The call that is looked at next: all before it are over."""

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Sequence[CallPiece]) -> None:
        """Take in the pieces of one delta: no two of them belong to one call."""
        self._deltas += 1
        if len(pieces) > len(self._calls):  # else an empty one keeps the others in their places
            pieces = [piece for piece in pieces if not piece.empty]
        if self._share_index(pieces):
            pieces = [replace(piece, index=None) for piece in pieces]
        for position, piece in enumerate(pieces):
            if not piece.empty:
                self._take(piece, position, len(pieces))

    def _share_index(self, pieces: Sequence[CallPiece]) -> bool:
        """Whether the calls that *pieces* go on with have one index, which tells nothing apart."""
        calls = self._calls[-len(pieces) :]
        if len(pieces) < 2 or len(calls) < len(pieces) or any(piece.name for piece in pieces):
            return False
        return len({one.index for one in (*pieces, *calls)}) == 1

    def _take(self, piece: CallPiece, position: int, together: int) -> None:
        call = self._belongs(piece, position, together)
        if call is not None and _names_again(call, piece):
            call.delta = self._deltas
            call.again = piece
            return
        if call is None:
            call = self._begin(piece.index)
        elif call.again is not None and not piece.name and _brings_arguments(piece):
            said, call.again = call.again, None
            call = self._begin(piece.index)
            _extend(call, said)
        call.delta = self._deltas
        _extend(call, piece)
        if piece.id:
            self._by_id[piece.id] = call

    def open(self, index: int, id: str, name: str, whole: str) -> None:  # noqa: A002
        """Begin a call of which the upstream says where it begins; *whole*: its arguments."""
        call = self._begin(index)
        call.id, call.name = id, name
        call.take_whole(whole)
        among = self._open.setdefault(index, deque())
        among.append(call)
        self._unfinished.setdefault(index, deque()).append(call)
        if len(among) > 1:
            shared = self._shared.setdefault(index, ([among[0]], []))
            shared[0].append(call)
            for one in among:
                one.shared = True

    def close(self, index: int) -> None:
        """The call that was begun first of those at *index* is over."""
        if among := self._open.get(index):
            call = among.popleft()
            if index not in self._shared:
                call.closed = True
            elif not among:
                self._deal(index)

    def _deal(self, index: int) -> None:
        """Nothing more comes for the calls that were open at one index together."""
        calls, pieces = self._shared.pop(index)
        _deal(calls, pieces)
        for call in calls:
            call.closed, call.shared = True, False

    def extend(self, index: int, arguments: Any) -> bool:
        """
        More arguments for the call at *index*; false when there is none. Of several at one
        index they are the first's until those are whole, then the next one's.
        """
        among = self._unfinished.get(index, ())
        while among and (among[0].closed or among[0].complete):
            among.popleft()
        call = among[0] if among else self._by_index.get(index)
        if call is None:
            return False
        if index in self._shared and isinstance(arguments, str):
            self._shared[index][1].append(arguments)
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
        for index in tuple(self._shared) if ended else ():
            self._deal(index)
        while self._place < len(self._calls):
            call = self._calls[self._place]
            followed = self._place + 1 < len(self._calls)
            complete = call.complete and not call.placeholder and not call.shared
            whole = call.closed or complete
            over = ended or (followed and whole)
            if call.name and ((text := call.take_fresh(over=over)) or over):
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
        return tuple(map(_made, rows))

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
        if call.complete:
            if _brings_arguments(piece):
                return call if _same(call, piece) else None
            if piece.name != call.name:
                return None
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


def _deal(calls: Sequence[_Call], pieces: Sequence[str]) -> None:
    """
    Give each of the *calls* of one index a piece in turn, where one after the other did not make
    them whole and this does.
    """
    dealt = ["".join(pieces[i :: len(calls)]) for i in range(len(calls))]
    if any(call.told for call in calls) or all(call.complete for call in calls):
        return
    if all(text and _is_whole(text) for text in dealt):
        for call, text in zip(calls, dealt, strict=True):
            call.begin_anew(text)


def _made(call: _Call) -> ToolCall:
    id = call.id  # noqa: A001
    if call.again is not None:  # nothing followed: it was the end of this call
        id = id or call.again.id  # noqa: A001
        merge_into(call.provider_fields, call.again.provider_fields)
    return ToolCall(id, call.name, plain_arguments(call.text), call.provider_fields)


_EMPTY = re.compile(r"\s*\{\s*\}\s*\Z")


def _says_nothing(text: str) -> bool:
    return text.strip() in ("", "null") or _EMPTY.match(text) is not None


def plain_arguments(text: str) -> str:
    """
    Arguments as the text of an object where they are one: nothing and null are an empty one,
    an object inside a JSON text is taken out of it. Others stay as they are.
    """
    if text.strip() in ("", "null"):
        return NO_ARGUMENTS
    if not text.lstrip().startswith('"'):
        return text
    try:
        inner = msgspec.json.decode(text, type=str)
        if inner.strip() in ("", "null"):
            return NO_ARGUMENTS
        msgspec.json.decode(inner, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return text
    return inner


def _is_whole(text: str) -> bool:
    if text.strip() == "null":
        return True
    try:
        msgspec.json.decode(plain_arguments(text), type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _brings_arguments(piece: CallPiece) -> bool:
    said = piece.arguments
    return bool(said.strip()) if isinstance(said, str) else said not in (None, {})


def _names_again(call: _Call, piece: CallPiece) -> bool:
    """Whether a piece has only the name of a call that is complete, not its id."""
    if not piece.name or piece.name != call.name or _brings_arguments(piece):
        return False
    return call.complete and not (piece.id and piece.id == call.id)


def _same(call: _Call, piece: CallPiece) -> bool:
    """Whether a piece tells a whole call once more, or brings what it had a placeholder for."""
    if not piece.id or piece.id != call.id or piece.name != call.name:
        return False
    if call.placeholder:
        return True
    said = piece.arguments
    return _same_data(said if isinstance(said, str) else _json(said), call.text)


def _same_data(one: str, other: str) -> bool:
    """Whether two texts are the same, or JSON of the same objects."""
    if one == other:
        return True
    try:
        return msgspec.json.decode(one) == msgspec.json.decode(other)
    except (msgspec.DecodeError, RecursionError):
        return False


def _extend(call: _Call, piece: CallPiece) -> None:
    call.id = call.id or piece.id
    merge_into(call.provider_fields, piece.provider_fields)
    _extend_name(call, piece.name)
    said = piece.arguments
    if isinstance(said, str):
        if said and not (piece.name and call.complete and _same_data(said, call.text)):
            call.take_text(said)
    elif said is not None and (said or not call.whole):
        call.take_whole(_json(said))


def _json(data: Any) -> str:
    return msgspec.json.encode(data).decode()


def _extend_name(call: _Call, name: str) -> None:
    """A name comes whole, again and again, or in pieces before the arguments."""
    if not name or name == call.name:
        return
    if not call.name or name.startswith(call.name):
        call.name = name
    elif not call.arguments:
        if len(call.name) + len(name) > LONGEST_NAME:
            raise MalformedError(f"a tool call's name has more than {LONGEST_NAME:,} characters")
        call.name += name
