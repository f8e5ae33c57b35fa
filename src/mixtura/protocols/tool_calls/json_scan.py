"""Whether a JSON text that comes in pieces is whole: each piece is looked at once."""

from __future__ import annotations

import re

_ESCAPED = re.compile(r"\\.", re.DOTALL)
_SPACES = re.compile(r"\s+")
_SHORT = 8
"""Characters in which it shows whether a text is empty, null or an empty object."""


class JsonScan:
    """
    Follows the strings and brackets of a JSON text as it grows.

    *begin*: its first characters, white space as one space. *is_closed*: everything that was opened
    is closed again; a text that is not JSON then will never be, whatever follows.
    """

    __slots__ = ("_depth", "_escape", "_quoted", "_quotes", "begin")

    def __init__(self) -> None:
        self.begin = ""
        self._depth = 0
        self._quoted = False
        self._escape = ""
        """A backslash at the end, of which the next piece has the other half."""
        self._quotes = False
        """It has a string in it."""

    def add(self, piece: str) -> None:
        """Read on; *piece* is looked at once."""
        if len(self.begin) <= _SHORT:
            # enough of it for the longest text that says nothing, with its white space
            self.begin = _SPACES.sub(" ", self.begin + piece)[: _SHORT + 1]
        if self._escape or "\\" in piece:
            piece = _ESCAPED.sub("", self._escape + piece)
            self._escape = "\\" if piece.endswith("\\") else ""
        if '"' in piece:
            self._quotes = True
            # What stands in strings is skipped: its brackets do not count.
            parts = piece.split('"')
            piece = "".join(parts[self._quoted :: 2])
            self._quoted ^= len(parts) % 2 == 0
        elif self._quoted:
            return
        for bracket in "{[":
            self._depth += piece.count(bracket)
        for bracket in "}]":
            self._depth -= piece.count(bracket)

    @property
    def is_closed(self) -> bool:
        """Whether a value has begun and is over; of numbers and words that cannot be known."""
        begun = self._quotes or "{" in self.begin or "[" in self.begin
        return begun and self._depth <= 0 and not self._quoted
