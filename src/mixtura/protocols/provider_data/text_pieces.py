"""Texts of JSON objects that come in pieces: joined once, not with every piece."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from mixtura.core.types import JsonObject

FEWEST_CUMULATIVE_PIECES = 3


class TextPieces(list[str]):
    """A text as the pieces that it came in."""

    def join_text(self) -> str:
        """The text. Some servers send in each piece all that came before."""
        if len(self) >= FEWEST_CUMULATIVE_PIECES and all(
            len(after) > len(before) and after.startswith(before)
            for before, after in pairwise(self)
        ):
            return self[-1]
        return "".join(self)


def extend_text(row: JsonObject, key: str, piece: str) -> None:
    """Append a *piece* to the text *key* of an object."""
    pieces = row.get(key)
    if not isinstance(pieces, TextPieces):
        pieces = row[key] = TextPieces([pieces] if isinstance(pieces, str) and pieces else ())
    if piece:
        pieces.append(piece)


def join_pieces(rows: Iterable[JsonObject]) -> list[JsonObject]:
    """The rows with the pieces of each text joined."""
    return [
        {k: v.join_text() if isinstance(v, TextPieces) else v for k, v in row.items()}
        for row in rows
    ]
