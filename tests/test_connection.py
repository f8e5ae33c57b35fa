"""The HTTP client on real sockets: framings, reuse, faults, proxies, TLS, drafts in frames."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import shutil
import socket
import ssl
import struct
import subprocess
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

import pytest

from mixtura.core.errors import MalformedError, RejectedError, TimedOutError, UnavailableError
from mixtura.transport import pool
from mixtura.transport.batch_timer import BatchTimer
from mixtura.transport.client import CallTimeouts, UpstreamResponse, get_json, post_stream
from mixtura.transport.decompression import DECOMPRESS_STEP_BYTES
from mixtura.transport.http1 import WRITE_SLICE_BYTES
from mixtura.transport.pool import ConnectionPool, get_connection_pool
from mixtura.transport.response_reader import LARGEST_HEAD
from mixtura.transport.socket_poller import MIN_BATCHED_CONNECTIONS
from tests.conftest import run

OK = b"HTTP/1.1 200 OK\r\n"
STREAM = OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FOR_EVER = 1000.0
"""A frame that no test sees the end of: what comes within it, came at once."""

LAST_EVENTS = (b"[DONE]", b"message_stop")
"""What a model's adapter says is near the end of its answers."""


# ---- a server, byte by byte


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
async def serving(*plays: Play, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
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
        async with asyncio.timeout(20):
            yield front
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


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


# ---- the client's end


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
    lines, answer = await get_connection_pool(), into or Got()
    line = await lines.send_request("POST", url, headers or {}, body, connect=5.0)

    def take(piece: bytes) -> bool:
        answer.pieces.append(piece)
        heard(piece)
        return until is not None and until in answer.body

    try:
        answer.status, answer.headers = line.response.status, line.response.headers
        await line.read_body(take, batch_seconds=frame, end_markers=LAST_EVENTS)
    finally:
        lines.release_connection(line)
    return answer


def asked(*plays: Play, times: int = 1, **how) -> tuple[list[Got], Server]:
    """Ask a server that plays these, some times in turn."""

    async def ask() -> tuple[list[Got], Server]:
        async with serving(*plays) as server:
            return [await got(server.url, **how) for _ in range(times)], server

    return run(ask())


# ---- framings


BODY = b"data: one\n\ndata: \xe2\x9c\x93 two\n\n" * 3
FRAMINGS = {
    "chunked": OK
    + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    + chunk(BODY[:7])
    + b"%x;why=not\r\n%b\r\n" % (len(BODY[7:]), BODY[7:])
    + b"0\r\nX-Sum: 7\r\n\r\n",
    "a length": sized(BODY),
    "until close": OK + b"Connection: close\r\n\r\n" + BODY,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "a length of nothing": sized(b""),
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
}


@pytest.mark.parametrize("step", [1, 2, 3, 7, 4096])
@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_comes_whole_however_it_is_framed_and_wherever_it_is_cut(framing, step):
    whole = FRAMINGS[framing]
    pieces = [whole[i : i + step] for i in range(0, len(whole), step)]

    (answer,), _ = asked(answering(*pieces, close=True))

    assert answer.body == (BODY if BODY in whole or framing == "chunked" else b"")
    assert answer.pieces[-1] == b"", "the end is told"
    assert "x-sum" not in answer.headers


def test_what_is_sent_is_one_plain_request():
    _, server = asked(answering(sized(b"")), headers={"X-Who": "me"}, body=b'{"a": 1}')

    ((first, headers, body),) = server.requests
    assert first == "POST /v1/chat HTTP/1.1"
    assert headers["host"] == server.host
    assert headers["accept-encoding"] == "identity"
    assert headers["x-who"] == "me"
    assert body == b'{"a": 1}'


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_what_comes_before_the_answer_is_passed_over(status):
    early = b"HTTP/1.1 %d Soon\r\nLink: </a>\r\n\r\n" % status

    (answer,), _ = asked(answering(early, early, sized(b"it", b"X-Is: it")))

    assert (answer.status, answer.body) == (200, b"it")
    assert "link" not in answer.headers


def test_headers_are_found_by_their_names_in_lower_case_and_repeated_ones_are_joined():
    (answer,), _ = asked(answering(sized(b"", b"X-LIMIT: a", b"x-limit: b", b"Retry-After: 3")))

    assert answer.headers["x-limit"] == "a, b"
    assert answer.headers["retry-after"] == "3"


# ---- connections kept


@pytest.mark.parametrize(
    ("reply", "connected"),
    [
        (sized(b"x"), 1),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"x") + END, 1),
        (sized(b"x", b"Keep-Alive: timeout=5, max=9"), 1),
        (sized(b"x", b"Keep-Alive: timeout=1"), 3),
        (sized(b"x", b"Connection: close"), 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 3),
        (OK + b"\r\nx", 3),
    ],
)
def test_a_connection_serves_the_next_request_where_the_server_lets_it(reply, connected):
    closes = b"Length" not in reply and b"chunked" not in reply

    answers, server = asked(answering(reply, close=closes), times=3)

    assert [answer.body for answer in answers] == [b"x"] * 3
    assert len(server.peers) == connected


def test_a_connection_without_use_is_closed(monkeypatch):
    monkeypatch.setattr(pool, "MAX_IDLE_SECONDS", 0.01)
    closed = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"x"))
        await peer.left()
        closed.set()

    async def ask() -> None:
        async with serving(play) as server:
            await got(server.url)
            await closed.wait()

    run(ask())


def test_a_connection_that_the_server_closed_meanwhile_is_not_used():
    async def ask() -> Server:
        async with serving(answering(sized(b"x"), close=True)) as server:
            for _ in range(3):
                await got(server.url)
                await asyncio.sleep(0.02)
            return server

    assert len(run(ask()).peers) == 3


@pytest.mark.parametrize(
    "said", [(sized(b"first") + sized(b"unasked"),), (sized(b"first"), sized(b"unasked"))]
)
def test_what_a_server_says_unasked_is_nobodys_answer(said):
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(*said)
        await peer.left()

    async def ask() -> Server:
        async with serving(play) as server:
            for _ in range(2):
                assert (await got(server.url)).body == b"first"
                await asyncio.sleep(0.02)
            return server

    assert len(run(ask()).peers) == 2


def closing_on_the_second(*some: bytes) -> Play:
    """Answer one request, hear the next, and hang up."""

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(sized(b"x"))
        await peer.request()
        await peer.send(*some)

    return play


def test_a_connection_that_died_while_it_was_kept_is_replaced_once(monkeypatch):
    monkeypatch.setattr(pool, "STALE_SECONDS", 0.0)

    answers, server = asked(closing_on_the_second(), answering(sized(b"y")), times=2)

    assert [answer.body for answer in answers] == [b"x", b"y"]
    assert [len(peer.requests) for peer in server.peers] == [2, 1]


@pytest.mark.parametrize(
    ("stale", "some"), [(1.0, ()), (0.0, (b"HTTP/1.1 20",)), (0.0, (OK,))], ids=str
)
def test_a_request_that_may_have_been_read_is_never_sent_twice(stale, some, monkeypatch):
    monkeypatch.setattr(pool, "STALE_SECONDS", stale)
    servers = []

    async def ask() -> None:
        async with serving(closing_on_the_second(*some), answering(sized(b"y"))) as server:
            servers.append(server)
            await got(server.url)
            with pytest.raises(UnavailableError, match="broke"):
                await got(server.url)

    run(ask())
    assert [len(peer.requests) for peer in servers[0].peers] == [2]


def test_a_request_over_a_new_connection_is_never_sent_twice(monkeypatch):
    monkeypatch.setattr(pool, "STALE_SECONDS", 0.0)
    servers = []

    async def hang_up(peer: Peer) -> None:
        await peer.request()

    async def ask() -> None:
        async with serving(hang_up) as server:
            servers.append(server)
            with pytest.raises(UnavailableError, match="the server hung up"):
                await got(server.url)

    run(ask())
    assert len(servers[0].requests) == 1


# ---- answers that go wrong


def fails(*plays: Play, into: Got | None = None, **how) -> UnavailableError | MalformedError:
    with pytest.raises((UnavailableError, MalformedError)) as error:
        asked(*plays, into=into or Got(), **how)
    return error.value


@pytest.mark.parametrize(
    "reply",
    [
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"half"),
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"9\r\nhalf",
        OK + b"Content-Length: 99\r\n\r\nhalf",
        OK + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(range(256)), mtime=0)[:99],
    ],
)  # fmt: skip
def test_a_body_that_ends_early_is_an_error_and_what_came_of_it_was_handed_on(reply):
    half = Got()

    error = fails(answering(reply, close=True), into=half)

    assert str(error) == "the answer broke off before its end"
    assert half.body.startswith(b"half") or b"gzip" in reply


def test_a_body_without_a_length_that_is_reset_is_not_whole():
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK + b"\r\nhalf")
        peer.reset()

    assert str(fails(play)) == "the answer broke off before its end"


@pytest.mark.parametrize(
    "flood",
    [
        OK + b"X-A: " + b"p" * (2 * LARGEST_HEAD),
        OK + b"X-A: y\r\n" * (LARGEST_HEAD // 4),
        b"HTTP/1.1 100 Continue\r\n\r\n" * (LARGEST_HEAD // 12),
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1;" + b"e" * (3 * LARGEST_HEAD),
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-A: y\r\n" * (LARGEST_HEAD // 3),
    ],
    ids=["a long header", "many headers", "many 100s", "a chunk's name", "trailers"],
)  # fmt: skip
def test_a_flood_of_what_is_no_body_ends_the_call(flood):
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(flood)
        await peer.left()

    assert "bytes of headers" in str(fails(play))


@pytest.mark.parametrize(
    "nonsense",
    [
        b"SSH-2.0-nothing of yours\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_not_http_is_said_to_be_none(nonsense):
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(nonsense)
        await peer.left()

    assert "not HTTP" in str(fails(play))


def test_an_answer_that_is_too_large_is_not_read_to_its_end():
    async def endless(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await peer.send(chunk(b"x" * 9999))

    async def ask() -> None:
        async with serving(endless) as server:
            with pytest.raises(UnavailableError, match="HTTP 500: xxx"):
                async with post_stream(server.url, {}, headers={}, clocks=CallTimeouts()):
                    pass

    run(ask())


# ---- packed answers


def deflated(body: bytes, bits: int) -> bytes:
    packer = zlib.compressobj(wbits=bits)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("name", "packed"),
    [
        (b"gzip", gzip.compress(BODY, mtime=0)),
        (b"X-GZIP", gzip.compress(BODY, mtime=0)),
        (b"deflate", deflated(BODY, zlib.MAX_WBITS)),
        (b"deflate", deflated(BODY, -zlib.MAX_WBITS)),
        (b"identity", BODY),
    ],
)
def test_an_answer_that_is_packed_unasked_is_unpacked(name, packed):
    reply = sized(packed, b"Content-Encoding: " + name)

    (answer,), _ = asked(answering(*(reply[i : i + 5] for i in range(0, len(reply), 5))))

    assert answer.body == BODY


def test_a_packed_stream_is_unpacked_as_it_comes():
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    head = OK + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    seen = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        first = packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)
        await peer.send(head + chunk(first))
        await seen.wait()
        await peer.send(chunk(packer.compress(b"two") + packer.flush()) + END)

    (answer,), _ = asked(play, heard=lambda _: seen.set())

    assert answer.body == b"onetwo"


@pytest.mark.parametrize("name", [b"br", b"gzip"])
def test_what_cannot_be_unpacked_is_malformed(name):
    error = fails(answering(sized(b"no such packing", b"Content-Encoding: " + name)))

    assert isinstance(error, MalformedError)
    assert "packed" in str(error)


def test_a_little_that_unpacks_to_much_is_handed_on_little_by_little():
    reply = sized(gzip.compress(bytes(20 * DECOMPRESS_STEP_BYTES), 9), b"Content-Encoding: gzip")

    (answer,), _ = asked(answering(reply))

    assert sum(map(len, answer.pieces)) == 20 * DECOMPRESS_STEP_BYTES
    assert max(map(len, answer.pieces)) <= DECOMPRESS_STEP_BYTES


def test_a_little_that_unpacks_to_very_much_is_given_up_early():
    bomb = gzip.compress(bytes(400 * 1024 * 1024), 9)
    reply = sized(bomb, b"Content-Type: application/json", b"Content-Encoding: gzip")

    async def ask() -> None:
        async with serving(answering(reply)) as server:
            with pytest.raises(MalformedError, match="more than 67108864 bytes"):
                await get_json(server.url, headers={}, seconds=20.0)

    run(ask())


# ---- requests


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer a-secret\r\nX-Evil: 1"),
        ("X-A", "a-secret\nHost: evil"),
        ("X-A", "a-secret\r"),
        ("X-A", "a-secret\0"),
        ("X-A: 1\r\nX-B", "a-secret"),
        ("", "a-secret"),
        ("X A", "a-secret"),
    ],
)
def test_a_header_cannot_become_two_and_is_refused_before_anything_is_sent(name, value):
    servers = []

    async def ask() -> None:
        async with serving(answering(sized(b""))) as server:
            servers.append(server)
            with pytest.raises(RejectedError, match="not one line") as error:
                await got(server.url, headers={name: value})
            assert "a-secret" not in str(error.value)

    run(ask())
    assert not servers[0].peers


@pytest.mark.parametrize(
    "path", ["/a b", "/a\r\nX-Evil: 1", "/a HTTP/1.1\r\n\r\nGET /", "/ä?q=ö ü"]
)
def test_an_address_stays_in_its_line(path):
    async def ask() -> Server:
        async with serving(answering(sized(b""))) as server:
            await got(f"http://{server.host}{path}")
            return server

    ((first, headers, _),) = run(ask()).requests
    assert first.count(" ") == 2
    assert "x-evil" not in headers


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http://", "http://a:99999/", "http://a b/", "nonsense"]
)
def test_an_address_that_is_none_is_refused(url):
    async def ask() -> None:
        with pytest.raises(RejectedError, match="no address"):
            await got(url)

    run(ask())


def test_the_framing_of_a_request_is_not_the_callers_to_choose():
    given = {"content-length": "7", "Transfer-Encoding": "chunked", "Host": "evil", "ACCEPT": "x/y"}
    _, server = asked(answering(sized(b"")), headers=given, body=b"{}")

    ((_, headers, _),) = server.requests
    assert headers["content-length"] == "2"
    assert headers["host"] == server.host
    assert headers["accept"] == "x/y"
    assert "transfer-encoding" not in headers


def test_a_large_request_waits_for_a_slow_server_and_does_not_pile_up():
    body = bytes(range(256)) * 4 * 20 * 1024
    begin, waiting = asyncio.Event(), []

    async def slow(peer: Peer) -> None:
        await begin.wait()
        assert await peer.request() == body
        await peer.send(sized(b"all of it"))

    async def ask() -> None:
        async with serving(slow) as server:
            lines = await get_connection_pool()
            task = asyncio.create_task(got(server.url, body))
            while not lines._open or next(iter(lines._open))._full is False:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            waiting.append(next(iter(lines._open)).transport.get_write_buffer_size())
            begin.set()
            assert (await task).body == b"all of it"

    run(ask())
    assert waiting[0] <= 2 * WRITE_SLICE_BYTES


def test_a_server_may_refuse_a_large_request_before_its_end():
    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def play(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(refused)
        await asyncio.sleep(0.2)

    async def ask() -> tuple[Got, Server]:
        async with serving(play) as server:
            answer = await got(server.url, bytes(20 * 1024 * 1024))
            assert not (await get_connection_pool())._idle, (
                "half a request is still on its way there"
            )
            return answer, server

    answer, _ = run(ask())
    assert (answer.status, answer.body) == (413, b"no")


@pytest.mark.parametrize("said", [b"", STREAM, STREAM + chunk(b"data: x\n\n")])
def test_a_call_that_is_called_off_closes_its_connection(said):
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(said)
        arrived.set()
        await peer.left()
        closed.set()

    async def ask() -> None:
        async with serving(play) as server:
            task = asyncio.create_task(got(server.url))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await closed.wait()

    run(ask())


# ---- proxies and TLS


@pytest.fixture
def alone(monkeypatch):
    """An environment without proxies of its own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_plain_requests_name_their_server_to_the_proxy(alone):
    async def ask() -> Server:
        async with serving(answering(sized(b"through"))) as proxy:
            alone.setenv("http_proxy", f"http://us%40er:pass@{proxy.host}")
            alone.setenv("no_proxy", "elsewhere.example")
            assert (await got("http://nowhere.example/v1?a=b")).body == b"through"
            return proxy

    ((first, headers, _),) = run(ask()).requests
    assert first == "POST http://nowhere.example/v1?a=b HTTP/1.1"
    assert headers["host"] == "nowhere.example"
    login = base64.b64encode(b"us@er:pass").decode().lower()
    assert headers["proxy-authorization"] == f"basic {login}"


def test_plain_requests_go_through_a_proxy_that_speaks_tls(alone, certificate):
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    async def ask() -> Server:
        async with serving(answering(sized(b"through")), tls=speaking_tls(certificate)) as proxy:
            alone.setenv("http_proxy", f"https://localhost:{proxy.host.rpartition(':')[2]}")
            for _ in range(2):
                assert (await got("http://nowhere.example/v1")).body == b"through"
            return proxy

    assert run(ask()).requests[0][0] == "POST http://nowhere.example/v1 HTTP/1.1"


@pytest.mark.parametrize("spared", ["127.0.0.1", "*", "localhost,127.0.0.1"])
def test_servers_that_the_environment_spares_are_reached_without_the_proxy(spared, alone):
    alone.setenv("http_proxy", "http://127.0.0.1:9")
    alone.setenv("no_proxy", spared)

    (answer,), server = asked(answering(sized(b"x")))

    assert answer.body == b"x"
    assert server.requests[0][0].startswith("POST /v1")


def test_a_netrc_is_nobodys_business(alone, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    alone.setenv("HOME", str(tmp_path))
    alone.setenv("NETRC", str(netrc))

    _, server = asked(answering(sized(b"x")))

    assert "authorization" not in server.requests[0][1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for «localhost» that nobody has signed, and its key."""
    if not (openssl := shutil.which("openssl")):
        pytest.fail("this test wants the openssl command: apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def speaking_tls(folder) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def over_tls(server: Server, host: str = "localhost") -> str:
    return f"https://{host}:{server.host.split(':')[1]}/v1"


def test_tls_with_a_trusted_certificate_works_like_any_other_line(alone, certificate):
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    async def ask() -> tuple[list[Got], Server]:
        async with serving(
            answering(STREAM, *(chunk(b"%d " % i) for i in range(40)), chunk(b"[DONE]"), END),
            tls=speaking_tls(certificate),
        ) as server:
            return [await got(over_tls(server), frame=frame) for frame in (None, 0.01)], server

    answers, server = run(ask())
    assert [a.body for a in answers] == [b" ".join(b"%d" % i for i in range(40)) + b" [DONE]"] * 2
    assert len(server.peers) == 1


@pytest.mark.parametrize(("trusted", "host"), [(False, "localhost"), (True, "127.0.0.1")])
def test_a_certificate_of_somebody_else_ends_the_call(trusted, host, alone, certificate):
    if trusted:
        alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    async def ask() -> None:
        async with serving(answering(sized(b"x")), tls=speaking_tls(certificate)) as server:
            with pytest.raises(UnavailableError, match="certificate is not trusted"):
                await got(over_tls(server, host))
            assert not server.requests
            await asyncio.sleep(0.05)  # the server's half of the handshake ends, too

    run(ask())


def tunnel(to: Callable[[], str], seen: list[str]) -> Play:
    """A proxy that connects and hands bytes on, both ways."""

    async def play(peer: Peer) -> None:
        seen.append((await peer.reader.readuntil(b"\r\n\r\n")).decode())
        host, port = to().split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\nVia: us\r\n\r\n")

        async def carried(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        try:
            await asyncio.gather(carried(peer.reader, writer), carried(reader, peer.writer))
        finally:
            writer.close()

    return play


def test_tls_goes_through_a_tunnel_and_the_proxy_sees_nothing_of_it(alone, certificate):
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    seen: list[str] = []

    async def ask() -> Server:
        async with (
            serving(answering(sized(b"secret")), tls=speaking_tls(certificate)) as server,
            serving(tunnel(lambda: server.host, seen)) as proxy,
        ):
            alone.setenv("https_proxy", f"http://user:pass@{proxy.host}")
            for _ in range(2):
                answer = await got(over_tls(server), headers={"Authorization": "Bearer key"})
                assert answer.body == b"secret"
            return server

    server = run(ask())
    assert len(server.requests) == 2
    (connect,) = seen
    port = server.host.split(":")[1]
    assert connect.startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in connect
    assert "Bearer" not in connect
    assert "proxy-authorization" not in server.requests[0][1]


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", RejectedError, "HTTP 407"),
        (b"HTTP/1.1 502 No\r\n\r\nwhat", UnavailableError, "HTTP 502"),
        (b"", UnavailableError, "hung up"),
    ],
)
def test_a_proxy_that_refuses_is_named_as_the_one_who_did(reply, error, said, alone):
    async def ask() -> None:
        async with serving(answering(reply, close=True)) as proxy:
            alone.setenv("https_proxy", f"http://{proxy.host}")
            with pytest.raises(error, match=said):
                await got("https://nowhere.example/v1")

    run(ask())


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])  # the second may be two addresses
def test_a_server_that_is_not_there_is_named_with_the_systems_reason(name):
    async def ask() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            host = f"{name}:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError) as error:
            await got(f"http://{host}/v1")
        assert str(error.value) == f"no connection to {host} (Connection refused)"

    run(ask())


def test_a_server_that_does_not_take_the_call_is_not_waited_for():
    async def ask() -> None:
        async with serving(lambda peer: peer.left()) as server:
            lines = await get_connection_pool()
            with pytest.raises(TimedOutError, match=r"no connection within 0.05 s"):
                await lines.send_request("GET", over_tls(server), {}, b"", connect=0.05)

    run(ask())


# ---- how pieces are handed on


def events(*words: str) -> list[bytes]:
    return [chunk(f"data: {word}\n\n".encode()) for word in words]


def test_every_piece_of_an_answer_that_is_no_draft_is_handed_on_at_once():
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in events(*"abcdefgh"):  # the next one only when this one has been read
            await peer.send(piece)
            await seen.get()
        await peer.send(END)

    (answer,), _ = asked(play, heard=seen.put_nowait)

    assert len(answer.pieces) == 8 + 1


def test_the_first_piece_of_a_draft_and_its_end_are_handed_on_at_once_the_rest_together():
    began = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM, events("first")[0])
        await began.wait()
        await peer.send(*events(*"abcdef"), *events("[DONE]"))
        await peer.left()  # the body's end never comes

    (answer,), _ = asked(play, heard=lambda _: began.set(), frame=FOR_EVER, until=b"[DONE]")

    words = answer.body.decode().replace("data: ", "").split()
    assert words == ["first", *"abcdef", "[DONE]"]
    assert len(answer.pieces) < 5


@pytest.mark.parametrize(
    "last",
    [
        [END],
        events("[DONE]"),
        [chunk(b'event: message_stop\ndata: {"type":"message_stop"}\n\n'), END],
        [chunk(b"x" * 10_000), END],
    ],
)
def test_a_draft_loses_nothing_however_it_ends(last):
    words = [str(i) for i in range(50)]

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM, *events(*words), *last)
        if last[-1] != END:
            await peer.send(END)
        await peer.left()

    (answer,), _ = asked(play, frame=FOR_EVER)

    assert [w for w in answer.body.decode().replace("data: ", "").split() if w.isdigit()] == words


def test_a_draft_that_breaks_off_loses_nothing_either():
    half = Got()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM, *events(*"abcdef"))

    error = fails(play, frame=FOR_EVER, into=half)

    assert str(error) == "the answer broke off before its end"
    assert half.body.decode().replace("data: ", "").split() == [*"abcdef"]


def test_a_frame_ends_though_nothing_more_comes():
    enough = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM, *events("a", "b"))
        await enough.wait()
        await peer.send(END)

    def heard(piece: bytes) -> None:
        if b"b" in piece:
            enough.set()

    (answer,), _ = asked(play, frame=0.02, heard=heard)

    assert answer.body == b"data: a\n\ndata: b\n\n"


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


@pytest.mark.parametrize("last", [[END], [*events("[DONE]"), END]])
def test_a_quick_draft_that_slows_down_keeps_nothing_back(last):
    async def then(peer: Peer, told) -> None:
        for word in "xyz":  # each by itself, frames after this one has been read
            await told(*events(word))
            await asyncio.sleep(0.06)
        for piece in last:
            await peer.send(piece)
            await asyncio.sleep(0.01)

    play, heard = quick(then)
    (answer,), _ = asked(play, frame=0.02, heard=heard)

    words = answer.body.decode().replace("data: ", "").split()
    assert [w for w in words if len(w) == 1] == [*"xyz"]


def test_the_end_of_a_quick_draft_is_read_at_once_however_small_it_is(monkeypatch):
    async def then(peer: Peer, told) -> None:
        monkeypatch.setattr(
            BatchTimer, "schedule_flush", lambda *_: None
        )  # the frame under way is the last
        await told(*events(*(f"4-{i}" for i in range(9))))
        await peer.send(*events("[DONE]"))
        await peer.left()  # the body's end never comes

    play, heard = quick(then)
    (answer,), _ = asked(play, frame=0.02, heard=heard, until=b"[DONE]")

    assert answer.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("sign", [chunk(b"data: [DONE]\n\n"), chunk(b"message_stop\n\n"), END])
def test_the_sign_of_a_drafts_end_is_seen_wherever_it_is_cut(sign):
    for cut in range(1, len(sign)):
        began = asyncio.Event()

        async def play(peer: Peer, cut: int = cut, began: asyncio.Event = began) -> None:
            await peer.request()
            await peer.send(STREAM, events("first")[0])
            await began.wait()
            await peer.send(sign[:cut])
            await asyncio.sleep(0.002)
            await peer.send(sign[cut:])
            await peer.left()

        until = None if sign == END else sign.split(b"\r\n")[1]
        (answer,), _ = asked(
            play, heard=lambda _, began=began: began.set(), frame=FOR_EVER, until=until
        )
        assert answer.body.startswith(b"data: first\n\n")


def test_a_draft_whose_length_is_known_is_read_to_its_end_at_once():
    began = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await began.wait()
        await peer.send(b"def")
        await peer.left()

    (answer,), _ = asked(play, heard=lambda _: began.set(), frame=FOR_EVER)

    assert answer.body == b"abcdef"


def test_a_quick_draft_that_speaks_of_its_end_goes_on_piece_by_piece():
    async def then(peer: Peer, told) -> None:
        await told(*events("so [DONE] ends it", "a", "b", "c", "d"))
        for word in "xyz":
            await told(*events(word))
        await peer.send(END)

    play, heard = quick(then)
    (answer,), _ = asked(play, frame=0.02, heard=heard)

    assert answer.body.endswith(b"data: x\n\ndata: y\n\ndata: z\n\n")


def test_after_a_quick_draft_the_next_answer_over_its_line_may_be_short():
    async def then(peer: Peer, told) -> None:
        await peer.send(*events("[DONE]"), END)
        await peer.request()
        await peer.send(STREAM)
        for piece in (chunk(b"x"), END):
            await asyncio.sleep(0.02)
            await peer.send(piece)

    play, heard = quick(then)
    (_, short), server = asked(play, times=2, frame=0.02, heard=heard)

    assert short.body == b"x"
    assert len(server.peers) == 1


def test_a_quick_draft_that_breaks_off_says_so_at_once():
    half = Got()

    async def then(peer: Peer, told) -> None:
        await peer.send(events("x")[0])

    play, heard = quick(then)
    error = fails(play, frame=0.05, heard=heard, into=half)

    assert str(error) == "the answer broke off before its end"
    assert half.body.endswith(b"data: x\n\n")


async def taken(reply: UpstreamResponse) -> list[bytes]:
    found: list[bytes] = []

    def take(batch: list[bytes]) -> bool:
        found.extend(batch)
        reply.note_progress()
        return b"[DONE]" in batch

    await reply.read_events(take)
    return found


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize("more", [b"", b": still here\n\n"])
def test_a_stall_is_seen_also_in_a_draft_and_comments_do_not_hide_it(draft, more):
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM, *events("a", "b", "c"))
        while more:
            await peer.send(chunk(more))
            await asyncio.sleep(0.02)
        await peer.left()

    async def ask() -> None:
        clocks = CallTimeouts(first_token=15.0, progress=0.3, total=15.0)
        async with serving(play) as server:
            with pytest.raises(TimedOutError, match="stalled"):
                async with post_stream(
                    server.url, {}, headers={}, clocks=clocks, draft=draft
                ) as reply:
                    await taken(reply)

    run(ask())


def test_an_answer_that_is_over_gives_its_connection_back_when_the_body_ends_a_little_later():
    later = asyncio.Event()

    async def play(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(STREAM, *events("a", "[DONE]"))
            await later.wait()
            await peer.send(END)
        await peer.left()

    async def ask() -> Server:
        async with serving(play) as server:
            await got(server.url, until=b"[DONE]")
            later.set()
            lines = await get_connection_pool()
            while not lines._idle:
                await asyncio.sleep(0.001)
            await got(server.url, until=b"[DONE]")
            return server

    assert len(run(ask()).peers) == 1


def test_an_answer_that_is_over_and_whose_body_never_ends_leaves_no_connection():
    closed = asyncio.Event()

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM, *events("a", "[DONE]"))
        await peer.left()
        closed.set()

    async def ask() -> None:
        async with serving(play) as server:
            await got(server.url, until=b"[DONE]")
            await closed.wait()

    run(ask())


def test_what_goes_wrong_in_a_listener_is_raised_where_the_answer_is_awaited():
    class OddError(Exception):
        pass

    def heard(_: bytes) -> None:
        raise OddError

    with pytest.raises(OddError):
        asked(answering(STREAM, *events("a"), END), heard=heard)


def test_a_listener_sees_the_context_of_whoever_asked():
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen = set()

    async def one(server: Server, name: str) -> None:
        whose.set(name)
        await got(server.url, heard=lambda _: seen.add((name, whose.get())))

    async def ask() -> None:
        async with serving(answering(STREAM, *events(*"abc"), END)) as server:
            for names in ("ab", "cd"):  # the second two over the connections of the first
                await asyncio.gather(*(one(server, name) for name in names))

    run(ask())
    assert seen == {(name, name) for name in "abcd"}


# ---- many at once


@pytest.mark.parametrize("frame", [None, 0.03])
def test_when_many_speak_at_once_everyone_is_heard_to_the_end(frame):
    many = 2 * MIN_BATCHED_CONNECTIONS

    async def play(peer: Peer) -> None:
        while True:
            who = json.loads(await peer.request())
            await peer.send(STREAM)
            for i in range(20):
                await peer.send(*events(f"{who}.{i}"))
                await asyncio.sleep(0.004)
            await peer.send(*events("[DONE]"), END)

    async def ask() -> list[Got]:
        async with serving(play) as server:
            found = await asyncio.gather(
                *(got(server.url, str(i).encode(), frame=frame) for i in range(many))
            )
            again = await got(server.url, b'"again"')  # and few are heard afterwards, too
            lines = await get_connection_pool()
            assert lines._ear is None or lines._ear.speaking == 0
            return [*found, again]

    for i, answer in enumerate(run(ask())):
        who = str(i) if i < many else "again"
        words = answer.body.decode().replace("data: ", "").split()
        assert words == [*(f"{who}.{k}" for k in range(20)), "[DONE]"]


def test_when_many_speak_at_once_whoever_breaks_off_is_noticed():
    async def play(peer: Peer) -> None:
        who = json.loads(await peer.request())
        await peer.send(STREAM, *events("a"))
        await asyncio.sleep(0.05)
        if who % 3 == 0:
            peer.reset()
        elif who % 3 == 1:
            await peer.send(END)

    async def ask() -> list[Got | BaseException]:
        async with serving(play) as server:
            asking = (got(server.url, str(i).encode()) for i in range(2 * MIN_BATCHED_CONNECTIONS))
            return await asyncio.gather(*asking, return_exceptions=True)

    for i, answer in enumerate(run(ask())):
        if i % 3 == 1:
            assert isinstance(answer, Got)
        else:
            assert str(answer) == "the answer broke off before its end"


def test_connections_close_with_their_loop():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"

        async def ask() -> socket.socket:
            lines: ConnectionPool = await get_connection_pool()
            asking = asyncio.create_task(lines.send_request("GET", url, {}, b"", connect=5.0))
            await asyncio.sleep(0.02)
            served, _ = server.accept()
            served.sendall(sized(b"x"))
            line = await asking
            await line.read_body(lambda _: False)
            lines.release_connection(line)
            return served

        with run(ask()) as served:
            served.settimeout(10)
            assert b"GET /v1" in served.recv(65536)
            assert served.recv(65536) == b""
