"""What llama.cpp writes about itself, read for the one line that says what went wrong."""

from __future__ import annotations

import re

from mixtura.core.text import to_one_line

LONGEST_LINE = 4096
_LOG_LINE = re.compile(r"\d+(?:\.\d+)+ (?P<level>[A-Z]) (?:\S+ +)?(?P<said>\S.*)")
_ITS_OWN_NAME = re.compile(r"^(?:\w+: )+")
_WEIGHTS_LOADED = b"initializing, n_slots"
"""What it says when the weights are in place, before it looks at the chat template."""


class LlamaLog:
    """Takes its output as it comes and keeps three lines of it."""

    def __init__(self) -> None:
        self.weights_loaded = False
        self._rest = b""
        self._first_error = ""
        self._last_error = ""
        self._last_words = ""

    def add_output(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[-LONGEST_LINE:]
        for line in lines:
            self.weights_loaded = self.weights_loaded or _WEIGHTS_LOADED in line
            self._add_line(line[:LONGEST_LINE].decode("utf-8", "replace"))

    def _add_line(self, line: str) -> None:
        logged = _LOG_LINE.match(line)
        if logged is None:
            self._last_words = line.strip() or self._last_words
        elif logged["level"] == "E":
            said = _ITS_OWN_NAME.sub("", logged["said"])
            self._first_error = self._first_error or said
            self._last_error = said

    def cause_of_refusal(self) -> str:
        """Its first error; later ones say what came of that. Empty when there was none."""
        cause = self._first_error
        return _shorten_line(f"{cause} {self._last_words}" if cause.endswith(":") else cause)

    def cause_of_crash(self) -> str:
        """What it wrote past its log, as a failed assertion is; else its last error."""
        return _shorten_line(self._last_words or self._last_error)


def _shorten_line(text: str) -> str:
    return to_one_line(text)[:200]
