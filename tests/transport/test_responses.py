"""Answers over every transport, on real sockets: how they are framed, go wrong, are packed."""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from functools import cache

import pytest

from mixtura.core.errors import MalformedError, UnavailableError
from mixtura.transport.client import CallTimeouts, get_json, post_stream
from mixtura.transport.decompression import DECOMPRESS_STEP_BYTES
from mixtura.transport.response_reader import LARGEST_HEAD
from tests.conftest import run
from tests.support.byte_server import (
    END,
    OK,
    TRANSPORT,
    Got,
    Peer,
    answering,
    asked,
    chunk,
    fails,
    serving,
    sized,
)

pytestmark = pytest.mark.usefixtures("each_transport")

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

    assert str(error) == "the connection broke before the end of the answer"
    assert half.body.startswith(b"half") or b"gzip" in reply


@pytest.mark.parametrize(
    "flood",
    [
        OK + b"X-A: " + b"p" * (2 * LARGEST_HEAD),
        OK + b"X-A: y\r\n" * (LARGEST_HEAD // 4),
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X-A: y\r\n" * (LARGEST_HEAD // 3),
    ],
    ids=["a long header", "many headers", "trailers"],
)  # fmt: skip
def test_a_flood_of_what_is_no_body_ends_the_call(flood):
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(flood)
        await peer.left()

    assert re.search("more .*headers|too long headers", str(fails(play)))


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
                async with post_stream(
                    server.url, {}, headers={}, timeouts=CallTimeouts(), transport=TRANSPORT.get()
                ):
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
    assert "compressed" in str(error)


def test_a_little_that_unpacks_to_much_is_handed_on_little_by_little():
    reply = sized(gzip.compress(bytes(20 * DECOMPRESS_STEP_BYTES), 9), b"Content-Encoding: gzip")

    (answer,), _ = asked(answering(reply))

    assert sum(map(len, answer.pieces)) == 20 * DECOMPRESS_STEP_BYTES
    assert max(map(len, answer.pieces)) <= DECOMPRESS_STEP_BYTES


@cache
def bomb() -> bytes:
    return gzip.compress(bytes(400 * 1024 * 1024), 1)


def test_a_little_that_unpacks_to_very_much_is_given_up_early():
    reply = sized(bomb(), b"Content-Type: application/json", b"Content-Encoding: gzip")

    async def ask() -> None:
        async with serving(answering(reply)) as server:
            with pytest.raises(MalformedError, match="more than 67108864 bytes"):
                await get_json(server.url, headers={}, seconds=20.0, transport=TRANSPORT.get())

    run(ask())
