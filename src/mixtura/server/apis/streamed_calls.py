"""The tool calls of one streamed answer: what was sent of them, and what remains at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mixtura.core.events import ToolCallChunk
from mixtura.core.types import Completion, ToolCall
from mixtura.server.apis.tool_names import Toolbox
from mixtura.server.apis.validation import calls_with_ids


@dataclass(slots=True)
class SentCall:
    """A call of which a part was sent; its *place* among the calls."""

    place: int
    id: str
    name: str
    over: bool = False
    _pieces: list[str] = field(default_factory=list[str])

    @property
    def arguments(self) -> str:
        """The arguments that were sent; joined when they are read, not with every piece."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def extend(self, text: str) -> None:
        """Note *text* as sent."""
        self._pieces.append(text)


class StreamedCalls:
    """Calls as they are sent, one after the other; *prefix*: of the ids of those without one."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._ids: set[str] = set()
        self.sent: list[SentCall] = []
        self._whole = False
        """Whether further calls are sent at the end, in one piece."""

    @property
    def open_call(self) -> SentCall | None:
        """The call of which more may come."""
        return self.sent[-1] if self.sent and not self.sent[-1].over else None

    def can_stream(self, piece: ToolCallChunk, toolbox: Toolbox) -> bool:
        """
        Whether *piece* is sent as it comes: calls of functions are. A call in another form is made
        of all its arguments, and those behind it are sent after it.
        """
        if self.is_new_call(piece) and toolbox.find_by_flat_name(piece.name).kind != "function":
            self._whole = True
        return not self._whole

    def is_new_call(self, piece: ToolCallChunk) -> bool:
        """Whether *piece* begins a call."""
        return piece.index >= len(self.sent)

    def add_piece(self, piece: ToolCallChunk) -> SentCall:
        """Note a piece as sent."""
        if self.is_new_call(piece):
            place = len(self.sent)
            # Some models give no id, or one to several calls.
            new = piece.id and piece.id not in self._ids
            self._ids.add(piece.id)
            self.sent.append(
                SentCall(place, piece.id if new else f"{self._prefix}{place}", piece.name)
            )
        call = self.sent[piece.index]
        call.extend(piece.arguments)
        return call

    def remaining_calls(
        self, answer: Completion, calls: Sequence[ToolCall] | None = None
    ) -> tuple[list[tuple[SentCall, str]], list[ToolCall]]:
        """
        What is missing of the calls that were begun, and the calls that were not.

        *calls*: those of the answer that its API has a form for; all by default.
        """
        left = list(calls_with_ids(answer, self._prefix) if calls is None else calls)
        missing: list[tuple[SentCall, str]] = []
        for sent in self.sent:
            # By what was sent of it: ids may have been made up here, and names repeat.
            whole = next((c for c in left if _is_continued_by(sent, c)), None)
            same_call = whole or next((c for c in left if c.name == sent.name), None)
            if same_call is not None:
                left.remove(same_call)
            if not sent.over:
                missing.append((sent, whole.arguments[len(sent.arguments) :] if whole else ""))
        return missing, [replace(c, id=self._unique_id(c, i)) for i, c in enumerate(left)]

    def _unique_id(self, call: ToolCall, number: int) -> str:
        used = {sent.id for sent in self.sent}
        return call.id if call.id not in used else f"{self._prefix}{len(self.sent) + number}"


def _is_continued_by(sent: SentCall, call: ToolCall) -> bool:
    return sent.name == call.name and call.arguments.startswith(sent.arguments)
