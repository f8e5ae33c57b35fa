"""Hears many connections as one: when hundreds speak at once, the loop need not wake for each."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from typing import Protocol

MIN_BATCHED_CONNECTIONS = 32
"""Connections with an answer under way, from which on they are heard together."""
EACH, LONGEST = 60e-6, 1 / 60
"""Seconds that the loop looks away: for each of them, and for all of them at most."""
READ_SIZE = 32 * 1024


class SocketReader(Protocol):
    """What is heard."""

    def handle_data(self, data: bytes) -> None:
        """A piece came."""

    def handle_close(self, error: OSError | None) -> None:
        """The other side closed, or the line broke."""


class SocketPoller:
    """
    Reads the sockets it is given; exists only where ``epoll`` does.

    They stand in a set of their own, which the event loop watches as a single file. A piece
    of a stream takes a few microseconds to read and several times that to wake up for: so
    while many connections speak, the loop looks at the set only every few milliseconds and
    finds many pieces there. While few speak, nothing waits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.speaking = 0
        """Connections with an answer under way."""
        self._loop = loop
        self._speakers: dict[int, SocketReader] = {}
        self._set = select.epoll()
        self._waits = False
        self._start_watching()

    @staticmethod
    def is_supported(loop: asyncio.AbstractEventLoop) -> bool:
        return sys.platform == "linux" and isinstance(loop, asyncio.SelectorEventLoop)

    def register_reader(self, fd: int, speaker: SocketReader) -> None:
        """From now on, this is the only one who reads from *fd*."""
        self._speakers[fd] = speaker
        self._set.register(fd, select.EPOLLIN)

    def unregister_reader(self, fd: int, speaker: SocketReader) -> None:
        """
        To be called before *fd* is closed. A later call does nothing: by then the number may be
        another connection's.
        """
        if self._speakers.get(fd) is speaker:
            del self._speakers[fd]
            self._set.unregister(fd)

    def read_socket(self, fd: int) -> None:
        """Hand on what lies there by now."""
        if (speaker := self._speakers.get(fd)) is None:  # forgotten a moment ago
            return
        try:
            data = os.read(fd, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            speaker.handle_close(error)
        else:
            if data:
                speaker.handle_data(data)
            else:
                speaker.handle_close(None)

    def close(self) -> None:
        if self._waits:
            self._loop.remove_reader(self._set.fileno())
        self._set.close()
        self._speakers.clear()

    def _start_watching(self) -> None:
        self._loop.add_reader(self._set.fileno(), self._poll_sockets)
        self._waits = True

    def _poll_sockets(self) -> None:
        if self._set.closed:
            return
        try:
            for fd, _ in self._set.poll(0):
                self.read_socket(fd)
        finally:  # whatever one reader raises, the others are heard
            self._look_again()

    def _look_again(self) -> None:
        """Look again when something comes, or soon where many speak."""
        if self.speaking >= MIN_BATCHED_CONNECTIONS:
            if self._waits:
                self._loop.remove_reader(self._set.fileno())
                self._waits = False
            self._loop.call_later(min(EACH * self.speaking, LONGEST), self._poll_sockets)
        elif not self._waits:
            self._start_watching()
