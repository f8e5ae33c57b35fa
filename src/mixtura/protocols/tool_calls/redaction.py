"""Tool calls as they stream, without secrets, even those cut over several strings or calls."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mixtura.core.events import ToolCallChunk
from mixtura.core.redacting_stream import RedactingStream
from mixtura.core.redaction import Redactor
from mixtura.protocols.tool_calls.deltas import ToolCallUpdate

_ESCAPED = re.compile(r"\\.", re.DOTALL)
_KEY = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"\s*+:', re.DOTALL)
_MANY = 64
"""Strings in a piece from which on it is first looked at as a whole."""


class ArgumentsStream:
    """
    Takes secrets out of the strings in the arguments of one answer's calls, one after the other.

    The strings of all calls are read as one text, names of fields aside: where one ends with what
    may be the beginning of a secret, what follows waits until that is decided. A secret that is
    cut over several strings is ``***`` in the first of them and nothing in the others, so that
    the JSON stays one.
    Each call's text has gone through a stream of its own before: that is for what is no string.
    """

    __slots__ = (
        "_between", "_escape", "_listed", "_place", "_queue", "_quoted", "_safe", "_stream",
        "_value",
    )  # fmt: skip

    def __init__(self, redactor: Redactor) -> None:
        self._stream = redactor.create_stream()
        self._queue: list[tuple[int, str, bool]] = []
        """Of which call, what, and whether it stands in a string."""
        self._safe: list[str] = []
        """What of the strings in the queue may be passed on."""
        self._place = -1
        self._quoted = False
        self._escape = False
        self._between = ""
        """What stands before the next string, as far as it says what that is."""
        self._listed = False
        """The last string is an element of a list."""
        self._value = False
        """It is no name of a field."""

    def feed(self, place: int, text: str) -> list[tuple[int, str]]:
        """Take in more of a call's arguments; what can be passed on now, by its call's place."""
        if place != self._place:
            self._place, self._quoted, self._escape, self._between = place, False, False, ""
        parts = self._split(text)
        if not self._queue and len(parts) > _MANY:
            values = _KEY.sub("", text).split('"')
            # One look at all of its strings: a piece of many strings is nearly always without a
            # secret.
            if self._stream.take_if_safe("".join(values[not self._quoted :: 2])):
                self._quoted ^= len(parts) % 2 == 0
                return [(place, text)]
        released: list[tuple[int, str]] = []
        for number, part in enumerate(parts):
            if number:
                self._toggle_string()
                released += self._take(place, '"', value=False)
            if not self._quoted:
                self._between = _signs_between(self._between + part)
            released += self._take(place, part, value=self._quoted and self._value)
        return released

    def _toggle_string(self) -> None:
        """A string begins or ends."""
        self._quoted = not self._quoted
        if self._quoted:
            before = self._between
            self._listed = before.endswith("[") or (before == "," and self._listed)
            self._value = self._listed or before.endswith(":")
        self._between = ""

    def finish(self) -> list[tuple[int, str]]:
        """What is left at the answer's end."""
        self._safe.append(self._stream.finish())
        return self._release_queue()

    def _split(self, text: str) -> list[str]:
        """*text* at the quotes that begin and end strings."""
        if "\\" not in text and not self._escape:
            return text.split('"')
        blank = ("x" + text[1:]) if self._escape and text else text
        blank = _ESCAPED.sub("xx", blank)  # as long, and without the quotes that are no ends
        if text:
            self._escape = blank.endswith("\\")
        parts: list[str] = []
        at = 0
        for part in blank.split('"'):
            parts.append(text[at : at + len(part)])
            at += len(part) + 1
        return parts

    def _take(self, place: int, text: str, *, value: bool) -> list[tuple[int, str]]:
        self._queue.append((place, text, value))
        if value:
            self._safe.append(self._stream.feed_text(text))
        return [] if self._stream.holds_back_text else self._release_queue()

    def _release_queue(self) -> list[tuple[int, str]]:
        safe = "".join(self._safe)
        whole = "".join(text for _, text, value in self._queue if value)
        hidden = safe != whole
        released: list[tuple[int, str]] = []
        for place, text, value in self._queue:
            if hidden and value:
                released.append((place, safe))
                safe = ""
            else:
                released.append((place, text))
        self._queue.clear()
        self._safe.clear()
        return released


def _signs_between(text: str) -> str:
    """The last signs between two strings: enough to say what the next one is."""
    return "".join(text[-200:].split())[-2:]


class _SafeCall:
    """A call that streams; its id and its name are looked through when they change."""

    __slots__ = ("_safe", "_seen", "arguments", "begun", "head")

    def __init__(self, arguments: RedactingStream) -> None:
        self.arguments = arguments
        self.begun = False
        """Whether a piece of it was passed on."""
        self.head: tuple[str, str] = ("", "")
        self._seen = self._safe = self.head

    def safe_head(self, hide: Redactor) -> tuple[str, str]:
        """The id and the name."""
        if self._seen != self.head:
            id, name = self._seen = self.head  # noqa: A001
            self._safe = (hide.redact_text(id), hide.redact_text(name))
        return self._safe


class CallStreams:
    """The tool calls of one answer on their way to the client, without secrets."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._calls: dict[int, _SafeCall] = {}
        self._arguments = ArgumentsStream(redactor)

    def pieces(self, fresh: Iterable[ToolCallUpdate], *, ended: bool) -> list[ToolCallChunk]:
        """What can be passed on of the updates *fresh*; *ended*: nothing more comes."""
        released: list[tuple[int, str]] = []
        for call in fresh:
            safe = self._calls.setdefault(call.place, _SafeCall(self._redactor.create_stream()))
            text = safe.arguments.feed_text(call.arguments)
            text += safe.arguments.finish() if call.over else ""
            safe.head = (call.id, call.name)
            released += self._arguments.feed(call.place, text)
        if ended:
            released += self._arguments.finish()
        texts: dict[int, list[str]] = {}
        for place, text in released:
            texts.setdefault(place, []).append(text)
        return [
            piece for place in texts if (piece := self._call_piece(place, "".join(texts[place])))
        ]

    def _call_piece(self, place: int, text: str) -> ToolCallChunk | None:
        call = self._calls[place]
        if not text and call.begun:
            return None
        call.begun = True
        return ToolCallChunk(place, *call.safe_head(self._redactor), text)
