"""Messages in JSON over a pair of pipes; a length first, and none longer than is read."""

from __future__ import annotations

import json
import os
from typing import Any

MAX_MESSAGE_BYTES = 8 * 1024**2


class PipeChannel:
    """One end of a pair of pipes; what the other end sends is JSON or raises, and is never run."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing

    def send(self, message: object) -> None:
        """Send one message. Raises ValueError where it is too long, OSError where no one reads."""
        content = json.dumps(message).encode()
        if len(content) > MAX_MESSAGE_BYTES:
            raise ValueError("the message is too long")
        # A pipe takes only as much as it has room for.
        rest = memoryview(len(content).to_bytes(4, "big") + content)
        while rest:
            rest = rest[os.write(self._writing, rest) :]

    def receive(self) -> Any:
        """The next message. Raises EOFError where none comes, ValueError for what is none."""
        length = int.from_bytes(self._read_exactly(4), "big")
        # Refused before it is read: the other end may promise a length that fills the memory.
        if length > MAX_MESSAGE_BYTES:
            raise ValueError("the message is too long")
        try:
            return json.loads(self._read_exactly(length))
        except RecursionError:
            raise ValueError("the message is nested too deep") from None

    def _read_exactly(self, length: int) -> bytes:
        read = bytearray()
        while len(read) < length:
            more = os.read(self._reading, length - len(read))
            if not more:
                raise EOFError("the other end is gone")
            read += more
        return bytes(read)
