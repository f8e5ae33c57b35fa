"""The thought that a model is in: which mark opened it, and so which mark closes it."""

from __future__ import annotations

from mixtura.protocols.thoughts.mark_context import MarkContext
from mixtura.protocols.thoughts.marks import ThinkMark

UNSEEN_OPENING = ThinkMark("open", "")
"""Stands for the opening of a thought that begins without a mark."""


class OpenThought:
    """A thought that is not closed yet, begun by *opening*, and the thoughts opened inside it."""

    __slots__ = ("_depth", "_opening", "_others", "_text", "resumes")

    def __init__(self, opening: ThinkMark) -> None:
        self._opening = opening
        self._depth = 0
        """How many thoughts with the opening's name are open inside this one."""
        self._others: dict[str, int] = {}
        """How many marks of each other name are open inside this thought."""
        self._text = MarkContext()
        self.resumes: tuple[int, str] | None = None
        """If this thought is never closed: the index in the list of thoughts where the answer
        begins, and the text that comes before it in the answer."""

    @property
    def is_unseen(self) -> bool:
        """Whether the thought began without a mark."""
        return self._opening is UNSEEN_OPENING

    @property
    def is_bare(self) -> bool:
        """Whether its marks are mere words."""
        return self._opening.family == "bare"

    @property
    def depth(self) -> int:
        """How many thoughts of the same name are open inside this one."""
        return self._depth

    def add_text(self, text: str) -> None:
        """Read on: *text* of the thought, marks that do not close it included."""
        self._text.add_text(text)

    def is_closed_by(self, mark: ThinkMark) -> bool:
        """Whether *mark*, right behind the text so far, closes this thought; to be asked once."""
        opening = self._opening
        if self.is_unseen:
            return mark.kind in ("close", "final")
        if mark.family != opening.family:
            return False
        if opening.family == "harmony":
            return mark.kind in ("end", "final")
        if mark.kind == "open":
            self._open_inside(mark)
            return False
        if mark.kind != "close":
            return False
        if self._others.get(mark.name):
            self._others[mark.name] -= 1
            return False
        if mark.name != opening.name:
            return self._text.accepts_mark(spaced=True)
        self._depth -= 1
        return self._depth < 0

    def take_answer(self, thoughts: list[str], held: str, *, is_first: bool) -> str:
        """
        The answer if this thought is never closed, removed from *thoughts*; empty where all is
        thought. *held*: the end of the text; *is_first*: no answer came before.
        """
        if self.resumes is None:
            return ""
        at, before = self.resumes
        answer = "".join((before, *thoughts[at:], held))
        answer = answer.lstrip() if is_first else answer
        if answer:
            del thoughts[at:]
        return answer

    def _open_inside(self, mark: ThinkMark) -> None:
        if mark.name != self._opening.name:
            self._others[mark.name] = self._others.get(mark.name, 0) + 1
        elif self._text.accepts_mark(spaced=True):
            self._depth += 1
