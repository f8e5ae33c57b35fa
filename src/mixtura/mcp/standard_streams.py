"""The protocol over standard input and output: it ends when it is to end, whatever still waits."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any, cast

from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from mixtura.mcp.protocol_lines import read_protocol_line, refuse_long_line

MAX_LINE_BYTES = 64 * 1024**2
"""Of one message: a picture and the files beside it fit; a line without end fills no memory."""
_PIECE_BYTES = 256 * 1024
_MAX_WAITING = 1_000
"""Refusals that a client has not read."""
_LAST_SECONDS = 1.0
"""That the last lines are waited for: nobody may be reading them."""


async def serve_standard_streams(server: Server[Any], most: int = MAX_LINE_BYTES) -> OSError | None:
    """
    Serve until standard input ends, the client no longer reads, or a signal ends it; what runs
    then is cancelled and written down. Returns why nothing more could be written, if so.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[OSError | None] = loop.create_future()

    def end_serving(reason: OSError | None) -> None:
        if not ended.done():
            ended.set_result(reason)

    def end_from_thread(reason: OSError) -> None:
        with suppress(RuntimeError):  # the loop is closed: it has ended
            loop.call_soon_threadsafe(end_serving, reason)

    with suppress(NotImplementedError):  # Windows
        loop.add_signal_handler(signal.SIGTERM, end_serving, None)
    with _claimed_descriptors() as (reads, writes):
        output = _OutputLines(writes, end_from_thread)
        lines = _InputLines(reads, output, most)
        task = asyncio.create_task(_serve_lines(server, lines, output))
        try:
            await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            await asyncio.wait([task])
        with suppress(TimeoutError):  # what was refused last is still under way
            async with asyncio.timeout(_LAST_SECONDS):
                await output.write("")
    if not task.cancelled() and (error := task.exception()):
        raise error
    return ended.result() if ended.done() else None


async def _serve_lines(server: Server[Any], lines: _InputLines, output: _OutputLines) -> None:
    async with stdio_server(cast(Any, lines), cast(Any, output)) as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


class _OutputLines:
    """
    Lines for the client, written by a thread of their own: one that blocks because nobody reads
    holds up neither the others' end nor the program's.
    """

    def __init__(self, descriptor: int, lose: Callable[[OSError], None]) -> None:
        self._descriptor = descriptor
        self._lose = lose
        self._waiting: SimpleQueue[tuple[bytes, Future[None] | None]] = SimpleQueue()
        self._room = Semaphore(_MAX_WAITING)
        Thread(target=self._write_lines, daemon=True).start()

    def add_line(self, line: bytes) -> None:
        """
        Write a line, from a thread, without waiting for it; but a client that writes nonsense and
        reads no answers has to wait.
        """
        self._room.acquire()
        self._waiting.put((line, None))

    async def write(self, text: str) -> None:
        """Write a line, as the SDK does; what nobody reads any more is dropped."""
        written: Future[None] = Future()
        self._waiting.put((text.encode("utf-8", "replace"), written))
        await asyncio.wrap_future(written)

    async def flush(self) -> None:
        """Nothing is kept back: here because the SDK calls it."""

    def _write_lines(self) -> None:
        lost = False
        while True:
            line, written = self._waiting.get()
            rest = memoryview(line)
            try:
                while rest and not lost:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                lost = True
                self._lose(error)
            if written is None:
                self._room.release()
            elif written.set_running_or_notify_cancel():
                written.set_result(None)


class _InputLines:
    """
    The client's lines that the SDK can read, as an asynchronous iterator; the others are answered
    at once. A thread reads them, so that no read that waits keeps the program from ending.
    """

    def __init__(self, descriptor: int, output: _OutputLines, most: int) -> None:
        self._descriptor = descriptor
        self._output = output
        self._most = most
        self._loop = asyncio.get_running_loop()
        # One at a time: a client that writes faster than it is served has to wait.
        self._lines: asyncio.Queue[str | None] = asyncio.Queue(1)
        Thread(target=self._read_lines, daemon=True).start()

    def __aiter__(self) -> _InputLines:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read_lines(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits for them
            for line in self._split_lines():
                read = read_protocol_line(line)
                if read.refusal:
                    self._output.add_line(read.refusal)
                if read.message is not None:
                    self._hand_over(read.message)
            self._hand_over(None)

    def _hand_over(self, line: str | None) -> None:
        asyncio.run_coroutine_threadsafe(self._lines.put(line), self._loop).result()

    def _split_lines(self) -> Generator[bytes]:
        begun = bytearray()
        is_skipped = False
        while piece := self._read_piece():
            *whole, rest = piece.split(b"\n")
            for line in whole:
                if not is_skipped:
                    yield bytes(begun + line)
                begun.clear()
                is_skipped = False
            if not is_skipped:
                begun += rest
            if len(begun) > self._most:
                self._output.add_line(refuse_long_line(bytes(begun[:_PIECE_BYTES]), self._most))
                begun.clear()
                is_skipped = True
        yield bytes(begun)  # a last line without its end

    def _read_piece(self) -> bytes:
        try:
            return os.read(self._descriptor, _PIECE_BYTES)
        except OSError:  # as from a terminal that is gone: there is no more
            return b""


@contextmanager
def _claimed_descriptors() -> Generator[tuple[int, int]]:
    """
    What to read from and to write to. Meanwhile standard input is empty and standard output is
    standard error: what a library or a program prints would break the protocol.
    """
    reads, writes = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # it is closed
        os.dup2(nothing, 1)
    os.close(nothing)
    try:
        yield reads, writes
    finally:
        # Both copies stay open: a thread may still be reading or writing there.
        os.dup2(reads, 0)
        os.dup2(writes, 1)
