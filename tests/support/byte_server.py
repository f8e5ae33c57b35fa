"""A server that says byte by byte what it is told, and a call to it through a transport."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import pytest

from mixtura.core.errors import MalformedError, UnavailableError
from mixtura.transport.base import Transport
from mixtura.transport.pool import BUILT_IN
from tests.conftest import run

OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

TRANSPORT: ContextVar[Transport] = ContextVar("transport", default=BUILT_IN)
"""What sends the requests of a test: `tests/transport` runs the same tests over several."""

LAST_EVENTS = (b"[DONE]", b"message_stop")
"""What a model's adapter says is near the end of its answers."""


class Peer:
    """The server's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    async def request(self) -> bytes:
        """Read one request; its body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head.strip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in rest)
        body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        self.requests.append((first, headers, body))
        return body

    async def send(self, *pieces: bytes) -> None:
        """Each of *pieces* in a segment of its own."""
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0.001)

    async def left(self) -> None:
        """Return when the other side has hung up."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def reset(self) -> None:
        """Break the line as a crashed machine does."""
        sock: socket.socket = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Play = Callable[[Peer], Awaitable[None]]


class Server:
    """What a test sees: the address, and who connected."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.host = ""

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1/chat"

    @property
    def requests(self) -> list[tuple[str, dict[str, str], bytes]]:
        return [request for peer in self.peers for request in peer.requests]


@asynccontextmanager
async def serving(
    *plays: Play, tls: ssl.SSLContext | None = None, seconds: float = 20
) -> AsyncIterator[Server]:
    """The first connection is served by the first of *plays*, all later ones by the last."""
    front, tasks = Server(), set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        peer = Peer(reader, writer)
        front.peers.append(peer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await plays[min(len(front.peers), len(plays)) - 1](peer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    front.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        async with asyncio.timeout(seconds):
            yield front
    finally:
        server.close()
        # A client that gave up while its connection was taken leaves asyncio's task for that.
        if taking := [task for task in asyncio.all_tasks() if _takes_connection(task)]:
            await asyncio.wait(taking, timeout=seconds)
        await asyncio.sleep(0)  # a task that is cancelled before its start is not among *tasks*
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _takes_connection(task: asyncio.Task[object]) -> bool:
    return getattr(task.get_coro(), "__name__", "") == "_accept_connection2"


def answering(*pieces: bytes, times: int = 1000, close: bool = False) -> Play:
    """Answer every request with these bytes."""

    async def play(peer: Peer) -> None:
        for _ in range(times):
            await peer.request()
            await peer.send(*pieces)
            if close:
                return

    return play


def sized(body: bytes, *headers: bytes) -> bytes:
    return (
        OK
        + b"".join(h + b"\r\n" for h in headers)
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


END = chunk(b"")

FOR_EVER = 1000.0
"""A frame that no test sees the end of: what comes within it, came at once."""


def events(*words: str) -> list[bytes]:
    return [chunk(f"data: {word}\n\n".encode()) for word in words]


def quick(then: Callable[[Peer, Callable[[bytes], Awaitable[None]]], Awaitable[None]]):
    """A play of a draft so quick that it is read a few pieces at a time; *then* it goes on."""
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def told(peer: Peer, *pieces: bytes) -> None:
        """Send these, and return when the last was handed on."""
        await peer.send(*pieces)
        while pieces[-1].split(b"\r\n")[1] not in await seen.get():
            pass

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for number in range(4):
            await told(peer, *events(*(f"{number}-{i}" for i in range(9))))
        await then(peer, lambda *pieces: told(peer, *pieces))

    return play, seen.put_nowait


class Got:
    """An answer, and the pieces in which it was handed on."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def got(
    url: str,
    body: bytes = b"{}",
    *,
    headers: dict[str, str] | None = None,
    frame: float | None = None,
    until: bytes | None = None,
    heard: Callable[[bytes], None] = lambda _: None,
    into: Got | None = None,
) -> Got:
    """Ask, and read to the end, or until something has come."""
    answer = into or Got()
    response = await TRANSPORT.get().send_request("POST", url, headers or {}, body, connect=5.0)

    def take(piece: bytes) -> bool:
        answer.pieces.append(piece)
        heard(piece)
        return until is not None and until in answer.body

    try:
        answer.status, answer.headers = response.status, dict(response.headers)
        await response.read_body(take, batch_seconds=frame, end_markers=LAST_EVENTS)
    finally:
        response.close()
    return answer


def asked(*plays: Play, times: int = 1, **how) -> tuple[list[Got], Server]:
    """Ask a server that plays these, some times in turn."""

    async def ask() -> tuple[list[Got], Server]:
        async with serving(*plays) as server:
            return [await got(server.url, **how) for _ in range(times)], server

    return run(ask())


def fails(*plays: Play, into: Got | None = None, **how) -> UnavailableError | MalformedError:
    with pytest.raises((UnavailableError, MalformedError)) as error:
        asked(*plays, into=into or Got(), **how)
    return error.value
