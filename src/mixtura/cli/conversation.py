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
        self._last_question: str | None = None
        self._draw = 0
        self._own_files: set[Path] = set()

    def next_request(self, question: str) -> Request:
        """The request for *question*, after all the turns so far."""
        if question != self._last_question:
            self._last_question, self._draw = question, 0
        earlier = [message for turn in self.turns for message in turn.messages]
        return Request((*self._opening, *earlier, Message("user", question)), draw=self._draw)

    def add_turn(self, question: str, answer: str, run: Record) -> None:
        """Keep a question that was answered, its answer and its run."""
        self.turns.append(ChatTurn(question, answer, run))

    def withdraw_question(self) -> str:
        """The question asked last, its turn taken back. Raises ConfigError where there is none."""
        if self._last_question is None:
            raise ConfigError("nothing was asked yet")
        if self.turns and self.turns[-1].question == self._last_question:
            self.turns.pop()
        self._draw += 1  # a fresh draw: not the answer that a cache has
        return self._last_question

    def save_file(self, name: str) -> Path:
        """Write the turns to the file *name*, or one named after the first run; returns its path.


        Raises ConfigError where nothing was said, the file is not ours, or cannot be written.
        """
        if not self.turns:
            raise ConfigError("nothing was said yet that could be saved")
        file = Path(name or f"mixtura-chat-{self.turns[0].run['id']}.md").expanduser()
        # Its own file it may write again, with more turns; any other is someone's work.
        if file.exists() and file.absolute() not in self._own_files:
            raise ConfigError(f"{file} is there already: name another")
        try:
            save_turns(self.turns, file)
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
        self._own_files.add(file.absolute())
        return file

    def clear_turns(self) -> None:
        """Forget all turns and the last question."""
        self.turns.clear()
        self._last_question = None
