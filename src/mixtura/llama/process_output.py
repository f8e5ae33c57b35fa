"""What a process with llama.cpp writes about itself: the pipe that it comes by, and its log."""

from __future__ import annotations

import os
import select
from collections.abc import Iterable

from mixtura.llama.log import LlamaLog


class ProcessOutput:
    """The reading end of a process's standard output and error; keeps what its log says."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.log = LlamaLog()

    def read_available(self) -> bytes:
        """Add what can be read without waiting to the log; empty at the end, too."""
        if not readable_descriptors((self.descriptor,), 0.0):
            return b""
        data = os.read(self.descriptor, 1 << 16)
        self.log.add_output(data)
        return data

    def close(self) -> None:
        os.close(self.descriptor)


def readable_descriptors(numbers: Iterable[int], seconds: float) -> set[int]:
    """Wait at most *seconds* until some of the file descriptors can be read; those."""
    poll = select.poll()  # select() takes no descriptor beyond 1,023
    for number in numbers:
        poll.register(number, select.POLLIN)
    return {number for number, _ in poll.poll(seconds * 1000)}
