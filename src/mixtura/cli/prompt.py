"""What a person types in a conversation: lines and pasted texts, unseen while an answer comes."""

from __future__ import annotations

import select
import sys
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from types import ModuleType

from mixtura.cli.common import decode_utf8

MARK, MORE = "> ", "… "
"""What stands before a line, and before one that goes on with it."""
_BOLD, _PLAIN = "\x01\x1b[1;36m\x02", "\x01\x1b[0m\x02"  # readline must not count these
PASTE_GAP_SECONDS = 0.03
"""Seconds within which the lines of one paste follow each other."""


class LinePrompt:
    """
    Turns from standard input: with line editing and a history at a terminal.

    A line that ends with a backslash goes on in the next one. At a terminal a paste of
    several lines is one turn; in a pipe every line is one.
    """

    def __init__(self) -> None:
        self.person = sys.stdin.isatty() and sys.stdout.isatty()
        self._readline = _load_readline() if self.person else None
        self._has_bracketed_paste = bool(self._readline and not _is_libedit(self._readline))

    def add_history(self, questions: Iterable[str]) -> None:
        """Put what was asked before into the history, the oldest first."""
        if self._readline:
            for question in questions:
                self._readline.add_history(question)

    def enable_completion(self, complete: Callable[[str, str], list[str]]) -> None:
        """*complete*: what may stand for a word, given all of the line before it and the word."""
        readline = self._readline
        if readline is None:
            return

        def complete_word(word: str, number: int) -> str | None:
            choices = complete(readline.get_line_buffer()[: readline.get_begidx()], word)
            return choices[number] if number < len(choices) else None

        readline.set_completer_delims(" \t\n")
        readline.set_completer(complete_word)

    def read_turn(self) -> str:
        """The next turn.

        Raises EOFError at the end, KeyboardInterrupt for Ctrl-C, UnicodeError for what is no text.
        """
        lines = [self._read_line(MARK)]
        while True:
            lines += self._read_pasted_lines()
            if not lines[-1].endswith("\\"):
                return "\n".join(lines)
            lines[-1] = lines[-1][:-1]
            try:
                lines.append(self._read_line(MORE))
            # The input ended behind a backslash: what came by then is a turn all the same.
            except EOFError:
                return "\n".join(lines)

    def _read_line(self, mark: str) -> str:
        if self.person:
            return decode_utf8(input(f"{_BOLD}{mark}{_PLAIN}" if self._readline else mark))
        # Not on standard output: that has the answers, for whoever reads the pipe.
        if sys.stdin.isatty():
            sys.stderr.write(mark)
        line = sys.stdin.buffer.readline()
        if not line:
            raise EOFError
        # A file from an editor of Windows begins with a byte order mark.
        return line.decode("utf-8-sig").rstrip("\r\n")

    def _read_pasted_lines(self) -> list[str]:
        """Lines that came at once with the last one, where line editing cannot tell a paste."""
        lines: list[str] = []
        if self.person and not self._has_bracketed_paste:
            with suppress(OSError, ValueError, EOFError):
                # Without bracketed paste only the clock tells a paste from typing: its lines are
                # there already.
                while select.select([sys.stdin], [], [], PASTE_GAP_SECONDS)[0]:
                    lines.append(decode_utf8(input()))
        return lines

    @contextmanager
    def suppress_echo(self) -> Generator[None, None, None]:
        """Keys that are pressed meanwhile do not show between the words of an answer."""
        restore = _disable_echo() if self.person else None
        try:
            yield
        finally:
            if restore:
                restore()


def _load_readline() -> ModuleType | None:
    """Line editing, where Python has it; where it can, a paste of several lines is one text."""
    try:
        import readline
    except ImportError:
        return None
    # libedit, which stands in for readline on macOS, has a syntax of its own for bindings.
    if _is_libedit(readline):
        readline.parse_and_bind("bind ^I rl_complete")
    else:
        readline.parse_and_bind("set enable-bracketed-paste on")
        readline.parse_and_bind("tab: complete")
    return readline


def _is_libedit(readline: ModuleType) -> bool:
    return "libedit" in (readline.__doc__ or "")


def _disable_echo() -> Callable[[], None] | None:
    try:
        import termios
    except ImportError:  # Windows
        return None
    try:
        before = termios.tcgetattr(0)
        quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
        # After what is being written: the prompt's own line must still appear.
        termios.tcsetattr(0, termios.TCSADRAIN, quiet)
    except termios.error:
        return None
    return lambda: termios.tcsetattr(0, termios.TCSADRAIN, before)
