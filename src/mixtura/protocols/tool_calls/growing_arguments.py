"""The arguments of one tool call while they come in: pieces, repetitions, or whole at once."""

from __future__ import annotations

from mixtura.protocols.tool_calls.arguments import (
    is_complete_json,
    is_empty_arguments,
    normalize_arguments,
)
from mixtura.protocols.tool_calls.json_scan import JsonScan


class GrowingArguments:
    """
    Arguments of a tool call as far as they came, as JSON text.

    Servers send them in pieces, repeat in each piece all that came before it, send an empty
    object before the real ones, or send an object whole.
    """

    __slots__ = (
        "_checked", "_cumulative", "_held", "_is_whole_empty", "_length", "_pieces", "_scan",
        "_streams", "_untaken", "_verdict", "begun", "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.whole: str = ""
        """Arguments that came as an object, as JSON."""
        self.begun = False
        """A part of them was taken: what came before cannot change any more."""
        self._is_whole_empty = True
        self._pieces: list[str] = []
        self._untaken: list[str] = []
        """Pieces that were not taken yet."""
        self._length = 0
        """Characters in all pieces."""
        self._scan = JsonScan()
        """How far the JSON is, without a look at all of it."""
        self._verdict: bool | None = None
        """Whether the pieces are whole, once they were looked at: that is done once."""
        self._streams: bool | None = None
        """Whether they can be taken as they come; None while no one can say."""
        self._cumulative: str | None = None
        """The last piece, where each seems to have all that came before it in it once more."""
        self._held: list[str] = []
        """Those pieces, which may be a part of the arguments each, after all."""
        self._checked: tuple[str, bool] = ("", False)
        """A cumulative piece, and whether it was whole."""

    @property
    def has_pieces(self) -> bool:
        return bool(self._pieces)

    @property
    def current_text(self) -> str:
        """The arguments as they came; an empty object does not stand against a full one."""
        if self._cumulative is not None:
            return self._join_held() if self._are_held_pieces_apart() else self._cumulative
        if len(self._pieces) > 1:  # joined once, however often it is looked at
            self._pieces = ["".join(self._pieces)]
        if self._pieces and not (self.whole and is_empty_arguments(self._scan.begin)):
            return self._pieces[0]
        return self.whole

    @property
    def is_placeholder(self) -> bool:
        """They are an empty object: some servers send one before the real ones."""
        return not self.begun and self._is_whole_empty and is_empty_arguments(self._scan.begin)

    @property
    def is_complete(self) -> bool:
        """They are whole JSON: more of them would be of another call."""
        if self.whole:
            return True
        if self._cumulative is not None:
            return self._is_cumulative_complete(self._cumulative)
        if not self._scan.is_closed:
            return self._scan.begin.strip() == "null"
        if self._verdict is None:
            self._verdict = is_complete_json(self.current_text)
        return self._verdict

    def set_whole(self, text: str) -> None:
        """All of the arguments at once."""
        self.whole = text
        self._is_whole_empty = is_empty_arguments(text)

    def add_text(self, text: str) -> None:
        """More of the arguments, or all of them once more with what is new at the end."""
        if self._repeats_all(text):
            self._cumulative = text
            self._held.append(text)
            return
        held, self._held, self._cumulative = self._held, [], None
        for piece in (*held, text):
            self._append(piece)

    def replace_text(self, text: str) -> None:
        """Forget the pieces, of which none was taken, for *text*."""
        self._pieces.clear()
        self._untaken.clear()
        self._held, self._cumulative, self._streams, self._length = [], None, None, 0
        self._scan, self._verdict = JsonScan(), None
        self._append(text)

    def take_new(self, *, is_final: bool, can_stream: bool) -> str:
        """
        Text that was not taken by now; nothing while it may have to be changed.

        *is_final*: no more comes. *can_stream*: a part may be taken before that.
        """
        if is_final and not self.begun:
            text = normalize_arguments(self.current_text) if self.current_text else ""
        elif is_final or (self._streams and can_stream):
            text = "".join(self._untaken)
            if is_final and self._cumulative is not None:
                apart = self._are_held_pieces_apart()
                text += "".join(self._held) if apart else self._cumulative[self._length :]
        else:
            return ""
        self._untaken.clear()
        self.begun = self.begun or bool(text)
        return text

    def _repeats_all(self, text: str) -> bool:
        """Whether *text* begins with all that came before it."""
        if self._cumulative is not None:
            return text.startswith(self._cumulative)
        # Only whole objects can be repetitions, and comparing costs as much as they are long.
        if not 0 < self._length <= len(text) or not text.startswith("{"):
            return False
        return not self.is_placeholder and text.startswith(self.current_text)

    def _is_cumulative_complete(self, text: str) -> bool:
        if text is not self._checked[0]:
            self._checked = text, text.rstrip().endswith("}") and is_complete_json(text)
        return self._checked[1]

    def _join_held(self) -> str:
        return "".join((*self._pieces, *self._held))

    def _are_held_pieces_apart(self) -> bool:
        """
        The last piece only began like all before it: ``{"a": `` and ``{"a": 1}}`` are one object.
        """
        last = self._cumulative
        if last is None or self._is_cumulative_complete(last):
            return False
        return last.rstrip().endswith("}") and is_complete_json(self._join_held())

    def _append(self, text: str) -> None:
        begins = not self.begun and text.lstrip().startswith("{")
        if begins and self._pieces and is_empty_arguments(self._scan.begin):
            self._pieces.clear()  # it was a placeholder
            self._untaken.clear()
            self._streams = self._verdict = None
            self._length, self._scan = 0, JsonScan()
        self._pieces.append(text)
        self._length += len(text)
        self._untaken.append(text)
        self._scan.add(text)
        if self._verdict and not text.isspace():
            self._verdict = False  # something stands behind its end
        if self._streams is None:
            begin = self._scan.begin.lstrip()
            inner = begin[1:].lstrip()
            # A JSON string that holds the object has to be decoded as a whole.
            if begin and not begin.startswith("{"):
                self._streams = False
            elif inner and not inner.startswith("}"):
                self._streams = True
