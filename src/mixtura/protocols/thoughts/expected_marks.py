"""Which marks of thoughts still count in a model's answer, after those that came."""

from __future__ import annotations

from mixtura.protocols.thoughts.mark_context import PiecesContext
from mixtura.protocols.thoughts.marks import ThinkMark, may_contain_mark

_MAX_QUOTED_MARKS = 8
"""Marks that an answer may quote; after so many no further one counts."""


class ExpectedMarks:
    """
    Which kinds of marks count. *thinks*: the model has thought or is known to, so that a further
    opening counts.
    """

    __slots__ = ("_few", "_framed", "_harmony", "stray", "thinks", "unopened")

    def __init__(self, *, thinks: bool) -> None:
        self.thinks = thinks
        self.stray = True
        """Whether a closing without an opening counts."""
        self.unopened = False
        """Whether such a closing came, so that another may."""
        self._harmony = self._framed = False
        self._few = _MAX_QUOTED_MARKS

    def are_any(self) -> bool:
        """Whether any mark may count."""
        return self.stray or self.thinks or self._harmony or self._framed

    def may_be_in(self, piece: str) -> bool:
        """Whether a mark that counts may stand or begin in *piece*."""
        return self.are_any() and may_contain_mark(piece)

    def closing_reverses_answer(self, context: PiecesContext) -> bool:
        """Whether a closing behind the answer whose *context* this is makes all of it thought."""
        if self.stray:
            return context.accepts_mark()
        # Its template leaves every opening out: but by now a mark in a sentence may be a quotation.
        return self.unopened and context.accepts_mark() and context.is_at_line_start()

    def add_frame(self) -> None:
        """The answer stands between marks that frame it."""
        self._framed = True

    def add_thought_mark(self, mark: ThinkMark) -> None:
        """*mark* opened or closed a thought."""
        self.stray, self.thinks = False, True
        self._harmony = self._harmony or mark.family == "harmony"
        self._framed = self._framed or mark.family == "bar"

    def add_quoted_mark(self, mark: ThinkMark) -> None:
        """*mark* is part of the answer's text."""
        if mark.kind == "open":  # a closing may be its other half
            self.stray = False
        # An answer about such marks quotes many of them.
        self._few -= 1
        if not self._few:
            self.stray = self.thinks = self.unopened = False

    def is_answer_frame(self, mark: ThinkMark) -> bool:
        """Whether *mark*, in the answer, only frames it and is left out."""
        return (self._harmony and mark.kind in ("end", "final")) or (
            self._framed and mark.kind == "frame"
        )
