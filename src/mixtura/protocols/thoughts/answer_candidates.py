"""Text that was taken for thought, and is the answer after all if no other one comes."""

from __future__ import annotations


class AnswerCandidates:
    """Remembers such text; what it gives back it removes from the list of thoughts."""

    __slots__ = ("_marked", "_raw", "_reversal_index")

    def __init__(self) -> None:
        self._raw: list[str] = []
        self._marked: list[str] = []
        self._reversal_index: int | None = None

    def add_piece(self, piece: str) -> None:
        """A *piece* of the stream before the answer, marks included."""
        self._raw.append(piece)

    def add_thought(self, thought: str) -> None:
        """A *thought* that was found in these pieces by its marks."""
        self._marked.append(thought)

    def set_reversal(self, at: int) -> None:
        """At index *at* of the thoughts stands text that was the answer until a closing came."""
        self._reversal_index = at

    def take_pieces(self, thoughts: list[str]) -> str:
        """All the pieces of the stream, marks included; empty where there are none."""
        raw = "".join(self._raw)
        if raw:
            marked = set(map(id, self._marked))
            thoughts[:] = [text for text in thoughts if id(text) not in marked]
        return raw

    def take_reversed(self, thoughts: list[str]) -> str | None:
        """
        The text that was the answer until a closing came, with the thoughts after it; None where
        there is none.
        """
        if self._reversal_index is None:
            return None
        text = "".join(thoughts[self._reversal_index :])
        del thoughts[self._reversal_index :]
        return text
