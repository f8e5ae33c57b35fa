"""Whether a mark behind some text counts, or is only quoted there."""

from __future__ import annotations

import re

_CODE_FENCE = re.compile(r"```|~~~")
_PARTIAL_FENCE = re.compile(r"(?:`{1,2}|~{1,2})\Z")
_SENTENCE_ENDS = ".!?…。！？:"
_CHARACTERS_BEFORE_MARK = frozenset(_SENTENCE_ENDS + ";)]}*|>")


class MarkContext:
    """The context of a mark behind the text read so far; each piece is read once."""

    __slots__ = ("_carried", "_fenced", "_last", "_line", "_ticks")

    def __init__(self) -> None:
        self._fenced = False
        self._carried: str = ""
        self._line = False
        """Whether the line has anything but white space."""
        self._ticks = 0
        self._last: str = ""
        """The last character of the line, with one space if white space follows it."""

    def add_text(self, text: str) -> None:
        """Read on behind the text so far."""
        if not text:
            return
        whole = self._carried + text
        end = 0
        for fence in _CODE_FENCE.finditer(whole):
            self._fenced = not self._fenced
            end = fence.end()
        # A fence may be cut between two pieces.
        begun = _PARTIAL_FENCE.search(whole, end)
        self._carried = begun[0] if begun else ""
        line = text[text.rfind("\n") + 1 :]
        if "\n" in text:
            self._line, self._ticks, self._last = False, 0, ""
        self._ticks += line.count("`")
        if bare := line.rstrip():
            self._line = True
            self._last = bare[-1]
        if line != bare and not self._last.endswith(" "):
            self._last += " "

    def accepts_mark(self, *, spaced: bool = False) -> bool:
        """
        Whether a mark that follows counts, and is not only quoted. *spaced*: a space may stand
        between the end of a sentence and the mark.
        """
        if self._fenced:
            return False
        if not self._line:
            return True
        # Within `code` of one line it is quoted.
        if self._ticks % 2:
            return False
        last = self._last
        return (
            last.isalnum()
            or last in _CHARACTERS_BEFORE_MARK
            or (spaced and last[0] in _SENTENCE_ENDS)
        )

    def is_at_line_start(self) -> bool:
        """Whether a mark that follows begins a line."""
        return not self._line and not self._fenced


class PiecesContext:
    """The context behind a growing list of *pieces* of text."""

    __slots__ = ("_context", "_pieces", "_read")

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces
        self._context = MarkContext()
        self._read = 0
        """How many pieces were read."""

    def _read_new(self) -> MarkContext:
        for text in self._pieces[self._read :]:
            self._context.add_text(text)
        self._read = len(self._pieces)
        return self._context

    def accepts_mark(self, *, spaced: bool = False) -> bool:
        """As ``MarkContext.accepts_mark``, behind the last piece."""
        return self._read_new().accepts_mark(spaced=spaced)

    def is_at_line_start(self) -> bool:
        """As ``MarkContext.is_at_line_start``, behind the last piece."""
        return self._read_new().is_at_line_start()
