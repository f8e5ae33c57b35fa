"""The HTTP client on real sockets: framings, connections kept, answers that go wrong or packed."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from mixtura.core.errors import MalformedError, UnavailableError
from mixtura.transport import pool
from mixtura.transport.client import CallTimeouts, get_json, post_stream
from mixtura.transport.decompression import DECOMPRESS_STEP_BYTES
from mixtura.transport.response_reader import LARGEST_HEAD
from tests.conftest import run
from tests.support.byte_server import (
    END,
    OK,
    Got,
    Peer,
    Play,
    Server,
    answering,
    asked,
    chunk,
    fails,
    got,
    serving,
    sized,
)

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
