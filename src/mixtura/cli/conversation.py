"""What a conversation consists of so far: its turns, and the question asked last."""

from __future__ import annotations

from pathlib import Path

from mixtura.cli.export import ChatTurn, save_turns
from mixtura.core.errors import ConfigError
from mixtura.core.types import Message, Request
from mixtura.storage.run_record import Record


class Conversation:
    """Turns that were answered, the next request with all of them, and files of them."""

    def __init__(self, system: str | None) -> None:
        self.turns: list[ChatTurn] = []
        self._opening = (Message("system", system),) if system else ()
        self._asked: str | None = None
        self._tries = 0
        self._saved: set[Path] = set()

    def next_request(self, question: str) -> Request:
        """The request for *question*, after all the turns so far."""
        if question != self._asked:
            self._asked, self._tries = question, 0
        said = [message for turn in self.turns for message in turn.messages]
        return Request((*self._opening, *said, Message("user", question)), draw=self._tries)

    def add_turn(self, question: str, answer: str, run: Record) -> None:
        """*question* was answered."""
        self.turns.append(ChatTurn(question, answer, run))

    def withdraw_question(self) -> str:
        """The question asked last, its turn taken back. Raises ConfigError where there is none."""
        if self._asked is None:
            raise ConfigError("nothing was asked yet")
        if self.turns and self.turns[-1].question == self._asked:
            self.turns.pop()
        self._tries += 1  # a fresh draw: not the answer that a cache has
        return self._asked

    def save_file(self, name: str) -> Path:
        """Write the turns to the file *name*, or one named after the first run; the file.

        Raises ConfigError where nothing was said, the file is not ours, or cannot be written.
        """
        if not self.turns:
            raise ConfigError("nothing was said yet that could be saved")
        file = Path(name or f"mixtura-chat-{self.turns[0].run['id']}.md").expanduser()
        if file.exists() and file.absolute() not in self._saved:
            raise ConfigError(f"{file} is there already: name another")
        try:
            save_turns(self.turns, file)
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
        self._saved.add(file.absolute())
        return file

    def clear_turns(self) -> None:
        """Begin anew."""
        self.turns.clear()
        self._asked = None
