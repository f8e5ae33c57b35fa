"""Our own client alone: which connections it keeps, what it sends again, what it bounds."""

from __future__ import annotations

import asyncio

import pytest

from mixtura.core.errors import UnavailableError
from mixtura.transport import pool
from mixtura.transport.http1 import WRITE_SLICE_BYTES
from mixtura.transport.pool import BUILT_IN
from mixtura.transport.response_reader import LARGEST_HEAD
from tests.conftest import run
from tests.support import byte_server as wire

# ---- connections kept


@pytest.mark.parametrize(
    ("reply", "connected"),
    [
        (wire.sized(b"x"), 1),
        (wire.OK + b"Transfer-Encoding: chunked\r\n\r\n" + wire.chunk(b"x") + wire.END, 1),
        (wire.sized(b"x", b"Keep-Alive: timeout=5, max=9"), 1),
        (wire.sized(b"x", b"Keep-Alive: timeout=1"), 3),
        (wire.sized(b"x", b"Connection: close"), 3),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", 3),
        (wire.OK + b"\r\nx", 3),
    ],
)
def test_a_connection_serves_the_next_request_where_the_server_lets_it(reply, connected):
    closes = b"Length" not in reply and b"chunked" not in reply

    answers, server = wire.asked(wire.answering(reply, close=closes), times=3)

    assert [answer.body for answer in answers] == [b"x"] * 3
    assert len(server.peers) == connected


def test_a_connection_without_use_is_closed(monkeypatch):
    monkeypatch.setattr(pool, "MAX_IDLE_SECONDS", 0.01)
    closed = asyncio.Event()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.sized(b"x"))
        await peer.left()
        closed.set()

    async def ask() -> None:
        async with wire.serving(play) as server:
            await wire.got(server.url)
            await closed.wait()

    run(ask())


def test_a_connection_that_the_server_closed_meanwhile_is_not_used():
    async def ask() -> wire.Server:
        async with wire.serving(wire.answering(wire.sized(b"x"), close=True)) as server:
            for _ in range(3):
                await wire.got(server.url)
                await asyncio.sleep(0.02)
            return server

    assert len(run(ask()).peers) == 3


@pytest.mark.parametrize(
    "said",
    [
        (wire.sized(b"first") + wire.sized(b"unasked"),),
        (wire.sized(b"first"), wire.sized(b"unasked")),
    ],
)
def test_what_a_server_says_unasked_is_nobodys_answer(said):
    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(*said)
        await peer.left()

    async def ask() -> wire.Server:
        async with wire.serving(play) as server:
            for _ in range(2):
                assert (await wire.got(server.url)).body == b"first"
                await asyncio.sleep(0.02)
            return server

    assert len(run(ask()).peers) == 2


def closing_on_the_second(*some: bytes) -> wire.Play:
    """Answer one request, hear the next, and hang up."""

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.sized(b"x"))
        await peer.request()
        await peer.send(*some)

    return play


def test_a_connection_that_died_while_it_was_kept_is_replaced_once(monkeypatch):
    monkeypatch.setattr(pool, "STALE_SECONDS", 0.0)

    answers, server = wire.asked(closing_on_the_second(), wire.answering(wire.sized(b"y")), times=2)

    assert [answer.body for answer in answers] == [b"x", b"y"]
    assert [len(peer.requests) for peer in server.peers] == [2, 1]


@pytest.mark.parametrize(
    ("stale", "some"), [(1.0, ()), (0.0, (b"HTTP/1.1 20",)), (0.0, (wire.OK,))], ids=str
)
def test_a_request_that_may_have_been_read_is_never_sent_twice(stale, some, monkeypatch):
    monkeypatch.setattr(pool, "STALE_SECONDS", stale)
    servers = []

    async def ask() -> None:
        async with wire.serving(
            closing_on_the_second(*some), wire.answering(wire.sized(b"y"))
        ) as server:
            servers.append(server)
            await wire.got(server.url)
            with pytest.raises(UnavailableError, match="broke"):
                await wire.got(server.url)

    run(ask())
    assert [len(peer.requests) for peer in servers[0].peers] == [2]


def test_a_request_over_a_new_connection_is_never_sent_twice(monkeypatch):
    monkeypatch.setattr(pool, "STALE_SECONDS", 0.0)
    servers = []

    async def hang_up(peer: wire.Peer) -> None:
        await peer.request()

    async def ask() -> None:
        async with wire.serving(hang_up) as server:
            servers.append(server)
            with pytest.raises(UnavailableError, match="the server closed it"):
                await wire.got(server.url)

    run(ask())
    assert len(servers[0].requests) == 1


def test_a_large_request_waits_for_a_slow_server_and_does_not_pile_up():
    body = bytes(range(256)) * 4 * 20 * 1024
    begin, waiting = asyncio.Event(), []

    async def slow(peer: wire.Peer) -> None:
        await begin.wait()
        assert await peer.request() == body
        await peer.send(wire.sized(b"all of it"))

    async def ask() -> None:
        async with wire.serving(slow) as server:
            lines = await BUILT_IN.pools.get()
            task = asyncio.create_task(wire.got(server.url, body))
            while not lines._open or next(iter(lines._open))._full is False:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.05)
            waiting.append(next(iter(lines._open)).transport.get_write_buffer_size())
            begin.set()
            assert (await task).body == b"all of it"

    run(ask())
    assert waiting[0] <= 2 * WRITE_SLICE_BYTES


# ---- what other transports leave to the clocks, or do not see


def test_a_body_without_a_length_that_is_reset_is_not_whole():
    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.OK + b"\r\nhalf")
        peer.reset()

    assert str(wire.fails(play)) == "the connection broke before the end of the answer"


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * (LARGEST_HEAD // 12),
        wire.OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n1;" + b"e" * (3 * LARGEST_HEAD),
    ],
    ids=["many 100s", "a chunk's name"],
)  # fmt: skip
def test_a_flood_of_what_frames_a_body_ends_the_call(flood):
    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(flood)
        await peer.left()

    assert "bytes of headers" in str(wire.fails(play))


def test_a_connection_that_broke_takes_no_other_along_when_its_answer_is_let_go_late():
    """The system gives the number of a closed socket to the next one, which must still be read."""

    async def cut(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM, wire.events("half")[0])
        await asked_again.wait()

    async def ask() -> bytes:
        transport = BUILT_IN
        async with wire.serving(
            cut, wire.answering(wire.STREAM, *wire.events("whole"), wire.END)
        ) as server:
            first = await transport.send_request("POST", server.url, {}, b"{}", connect=5.0)
            asked_again.set()  # the server hangs up in the middle of the answer
            with pytest.raises(UnavailableError):
                await first.read_body(lambda _: False)
            await asyncio.sleep(0.01)  # until its socket is closed
            second = await transport.send_request("POST", server.url, {}, b"{}", connect=5.0)
            first.close()
            pieces: list[bytes] = []
            async with asyncio.timeout(5):
                await second.read_body(lambda piece: bool(pieces.append(piece)))
            second.close()
            return b"".join(pieces)

    asked_again = asyncio.Event()
    assert run(ask()) == b"data: whole\n\n"
