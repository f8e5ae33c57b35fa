"""Characters that a stream cuts in two: each event's text has a half."""

from __future__ import annotations

import re

_ESCAPED_HALF = re.compile(
    rb"\\u([dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)
"""Half of a surrogate pair, as JSON writes it."""
_SURROGATES, _BYTES = 0x10D800, 0x10EE00
"""
Private characters stand for halves until the rest comes: JSON's decoder takes no half. Only texts
that it refused have them.
"""
_PAIR = re.compile("([\U0010d800-\U0010dbff])([\U0010dc00-\U0010dfff])")
_BYTE_RUN = re.compile("[\U0010ee80-\U0010eeff]+")
_HALF = re.compile("[\U0010d800-\U0010dfff]")
_OPEN_END = re.compile(
    "(?:[\U0010d800-\U0010dbff]|[\U0010eec2-\U0010eef4][\U0010ee80-\U0010eebf]{0,2})\\Z"
)
"""What may be the first part of a character."""


def mark_half_characters(data: bytes) -> bytes:
    """JSON with a private character for each half of a surrogate pair and each stray byte."""

    def mark_surrogate(found: re.Match[bytes]) -> bytes:
        half = int(found[1] or found[2], 16)
        return chr(_SURROGATES + half - 0xD800).encode()

    text = _ESCAPED_HALF.sub(mark_surrogate, data).decode("utf-8", "surrogateescape")
    # What is left of surrogates are bytes that are no UTF-8.
    return re.sub("[\udc80-\udcff]", lambda c: chr(_BYTES + ord(c[0]) - 0xDC00), text).encode()


class HalfCharacterJoiner:
    """Puts halves of characters in consecutive pieces of a text together; others are U+FFFD."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def join_piece(self, name: str, piece: str) -> str:
        """The next *piece* of the text *name*, without a half at its end, which is kept."""
        text = self._kept.pop(name, "") + piece
        if end := _OPEN_END.search(text):
            self._kept[name] = end[0]
            text = text[: end.start()]
        return _read_halves(text)

    def take_rest(self) -> dict[str, str]:
        """What no other half came for, by the text's name."""
        kept, self._kept = self._kept, {}
        return {name: _read_halves(text) for name, text in kept.items()}


def _read_halves(text: str) -> str:
    def read_pair(found: re.Match[str]) -> str:
        high, low = (ord(half) - _SURROGATES for half in found.groups())
        return chr(0x10000 + (high << 10) + low - 0x400)

    def read_bytes(found: re.Match[str]) -> str:
        return bytes(ord(byte) - _BYTES for byte in found[0]).decode("utf-8", "replace")

    return _HALF.sub("\ufffd", _BYTE_RUN.sub(read_bytes, _PAIR.sub(read_pair, text)))
