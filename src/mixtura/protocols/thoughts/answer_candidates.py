"""Text that was taken for thought and is the answer after all if no other one comes."""

from __future__ import annotations


class AnswerCandidates:
    """Remembers such text; what it gives back it removes from the list of thoughts."""

    __slots__ = ("_last_turned", "_marked", "_raw")

    def __init__(self) -> None:
        self._raw: list[str] = []
        self._marked: list[str] = []
        self._last_turned: int | None = None

    def add_piece(self, piece: str) -> None:
        """A *piece* of the stream before the answer, marks included."""
        self._raw.append(piece)

    def add_thought(self, thought: str) -> None:
        """A *thought* that was found in these pieces by its marks."""
        self._marked.append(thought)

    def set_turned(self, at: int) -> None:
        """At index *at* of the thoughts stands text that was the answer until a closing came."""
        self._last_turned = at

    def take_pieces(self, thoughts: list[str]) -> str:
        """All the pieces, marks included."""
        raw = "".join(self._raw)
        if raw:
            marked = set(map(id, self._marked))
            thoughts[:] = [text for text in thoughts if id(text) not in marked]
        return raw

    def take_turned(self, thoughts: list[str]) -> str | None:
        """What turned last, and the thoughts after it; None where nothing did."""
        if self._last_turned is None:
            return None
        said = "".join(thoughts[self._last_turned :])
        del thoughts[self._last_turned :]
        return said
