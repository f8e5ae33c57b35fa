"""What a conversation consists of so far: its turns, and the question asked last."""

from __future__ import annotations

from pathlib import Path

from mixtura.catalog.user_files import expand_home, path_kind
from mixtura.cli.attachments import Attachment, message_content
from mixtura.cli.chat_file import ChatTurn, save_turns
from mixtura.core.errors import ConfigError
from mixtura.core.types import Message, Request
from mixtura.storage.run_record import Record


class Conversation:
    """Turns that were answered, the next request with all of them, and files of them."""

    def __init__(self, system: str | None) -> None:
        self.turns: list[ChatTurn] = []
        self._opening = (Message("system", system),) if system else ()
        self._last_question: Message | None = None
        self._attached: list[Attachment] = []
        self._draw = 0
        self._own_files: set[Path] = set()

    def attach(self, one: Attachment) -> None:
        """Put a file beside the next question."""
        self._attached.append(one)

    def ask(self, question: str) -> Request:
        """The request for a new *question* with the files that wait for it."""
        message = Message("user", message_content(question, self._attached))
        self._attached.clear()
        if message != self._last_question:
            self._last_question, self._draw = message, 0
        return self.last_request()

    def last_request(self) -> Request:
        """The request for the question asked last, after all the turns so far."""
        if self._last_question is None:
            raise ConfigError("nothing was asked yet")
        earlier = [message for turn in self.turns for message in turn.messages]
        return Request((*self._opening, *earlier, self._last_question), draw=self._draw)

    def add_answer(self, answer: str, run: Record) -> None:
        """Keep the question asked last with its answer and its run. Raises ConfigError."""
        if self._last_question is None:
            raise ConfigError("nothing was asked yet")
        self.turns.append(ChatTurn(self._last_question, answer, run))

    def withdraw_answer(self) -> None:
        """Take back the turn of the question asked last. Raises ConfigError where there is none."""
        if self._last_question is None:
            raise ConfigError("nothing was asked yet")
        if self.turns and self.turns[-1].question == self._last_question:
            self.turns.pop()
        self._draw += 1  # a fresh draw: not the answer that a cache has

    def save_file(self, name: str) -> Path:
        """Write the turns to the file *name*, or one named after the first run; returns its path.


        Raises ConfigError where nothing was said, the file is not ours, or cannot be written.
        """
        if not self.turns:
            raise ConfigError("nothing was said yet that could be saved")
        file = expand_home(name or f"mixtura-chat-{self.turns[0].run['id']}.md")
        # Its own file it may write again, with more turns; any other is someone's work.
        if path_kind(file) and file.absolute() not in self._own_files:
            raise ConfigError(f"{file} exists already: name another")
        try:
            save_turns(self.turns, file)
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
        self._own_files.add(file.absolute())
        return file

    def clear_turns(self) -> None:
        """Forget all turns, the last question and the files that wait for the next one."""
        self.turns.clear()
        self._attached.clear()
        self._last_question = None
