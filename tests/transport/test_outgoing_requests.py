"""What every transport sends, and what it refuses to send."""

from __future__ import annotations

import asyncio

import pytest

from mixtura.core.errors import RejectedError
from tests.conftest import run
from tests.support import byte_server as wire

pytestmark = pytest.mark.usefixtures("each_transport")


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
        async with wire.serving(wire.answering(wire.sized(b""))) as server:
            servers.append(server)
            with pytest.raises(RejectedError, match="on one line") as error:
                await wire.got(server.url, headers={name: value})
            assert "a-secret" not in str(error.value)

    run(ask())
    assert not servers[0].peers


@pytest.mark.parametrize(
    "path", ["/a b", "/a\r\nX-Evil: 1", "/a HTTP/1.1\r\n\r\nGET /", "/ä?q=ö ü"]
)
def test_an_address_stays_in_its_line(path):
    async def ask() -> wire.Server:
        async with wire.serving(wire.answering(wire.sized(b""))) as server:
            await wire.got(f"http://{server.host}{path}")
            return server

    ((first, headers, _),) = run(ask()).requests
    assert first.count(" ") == 2
    assert "x-evil" not in headers


@pytest.mark.parametrize(
    "url", ["ftp://a/b", "http://", "http://a:99999/", "http://a b/", "nonsense"]
)
def test_an_address_that_is_none_is_refused(url):
    async def ask() -> None:
        with pytest.raises(RejectedError, match="not the address"):
            await wire.got(url)

    run(ask())


def test_the_framing_of_a_request_is_not_the_callers_to_choose():
    given = {"content-length": "7", "Transfer-Encoding": "chunked", "Host": "evil", "ACCEPT": "x/y"}
    _, server = wire.asked(wire.answering(wire.sized(b"")), headers=given, body=b"{}")

    ((_, headers, _),) = server.requests
    assert headers["content-length"] == "2"
    assert headers["host"] == server.host
    assert headers["accept"] == "x/y"
    assert "transfer-encoding" not in headers


def test_a_server_may_refuse_a_large_request_before_its_end():
    reply = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def play(peer: wire.Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(reply)
        await asyncio.sleep(0.2)

    async def ask() -> tuple[list[wire.Got], wire.Server]:
        async with wire.serving(play, wire.answering(wire.sized(b"yes"))) as server:
            bodies = (bytes(20 * 1024 * 1024), b"{}")
            return [await wire.got(server.url, body) for body in bodies], server

    (refused, taken), server = run(ask())
    assert (refused.status, refused.body) == (413, b"no")
    assert taken.body == b"yes"
    assert len(server.peers) == 2, "half a request is still on its way over the first"


@pytest.mark.parametrize("said", [b"", wire.STREAM, wire.STREAM + wire.chunk(b"data: x\n\n")])
def test_a_call_that_is_called_off_closes_its_connection(said):
    arrived, closed = asyncio.Event(), asyncio.Event()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(said)
        arrived.set()
        await peer.left()
        closed.set()

    async def ask() -> None:
        async with wire.serving(play) as server:
            task = asyncio.create_task(wire.got(server.url))
            await arrived.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await closed.wait()

    run(ask())
