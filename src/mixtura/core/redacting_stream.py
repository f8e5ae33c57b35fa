"""Takes secrets out of a text that arrives in pieces."""

from __future__ import annotations

from mixtura.core.secret_search import (
    MAX_ESCAPED_HEAD,
    MIN_HELD_CHARS,
    SecretSearch,
    replace_spans,
)


class RedactingStream:
    """
    Takes secrets out of a text that arrives in pieces, cut anywhere.

    Returns each piece at once; from the third character of a possible secret on, it holds text
    back until the next pieces decide.
    """

    __slots__ = ("_head_searches", "_held", "_search", "_shown")

    def __init__(self, search: SecretSearch) -> None:
        self._search = search
        self._head_searches = tuple(group.head_pattern.search for group in search.groups)
        self._shown: str = ""
        """The last characters that were returned."""
        self._held: str = ""
        """Text that is held back until the next piece."""

    def feed_text(self, piece: str) -> str:
        """Take in *piece*; the text that is safe to show now."""
        if not self._head_searches:
            return piece
        if self._held:
            return self._release_decided(piece, ended=False)
        # A secret may begin at the end of what was already returned: that is looked at again.
        seen = self._shown + piece
        for search in self._head_searches:
            if search(seen):
                return self._release_decided(piece, ended=False)
        # Nearly every piece comes here: no secret in it. Of escaped text more has to be remembered.
        escaped = "%" in seen or "\\" in seen or "&" in seen
        self._shown = seen[-MAX_ESCAPED_HEAD:] if escaped else seen[1 - MIN_HELD_CHARS :]
        return piece

    @property
    def holds_back_text(self) -> bool:
        """Whether text is held back: it may be the beginning of a secret."""
        return bool(self._held)

    def take_if_safe(self, piece: str) -> bool:
        """Take in *piece* and return True, or False and change nothing if it may be of a secret."""
        before = self._shown, self._held
        if self._held or self.feed_text(piece) != piece:
            self._shown, self._held = before
            return False
        return True

    def finish(self) -> str:
        """The rest of the text, at its end."""
        return self._release_decided("", ended=True) if self._held else ""

    def _release_decided(self, piece: str, *, ended: bool) -> str:
        text = self._shown + self._held + piece
        out = len(self._shown)
        result = self._search.find_secrets(text, ended=ended)
        spans = [(max(begin, out), end) for begin, end in result.spans]
        after = max((end for _, end in spans), default=0)
        if result.held is None:
            self._held = ""
            self._shown = text[max(after, len(text) - MAX_ESCAPED_HEAD) :]
            return replace_spans(text, out, spans)
        until = max(result.held, out)
        self._shown, self._held = text[result.held : until], text[until:]
        return replace_spans(text[:until], out, spans)
