"""How every transport hands on the pieces of an answer: one stream, or many at once."""

from __future__ import annotations

import asyncio
import json
import socket
from contextvars import ContextVar

import pytest

from mixtura.core.errors import TimedOutError
from mixtura.transport.client import CallTimeouts, UpstreamResponse, post_stream
from mixtura.transport.socket_poller import MIN_BATCHED_CONNECTIONS
from tests.conftest import run
from tests.support import byte_server as wire

pytestmark = pytest.mark.usefixtures("each_transport")

# ---- how pieces are handed on


def test_every_piece_of_an_answer_that_is_no_draft_is_handed_on_at_once():
    seen: asyncio.Queue[bytes] = asyncio.Queue()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM)
        for piece in wire.events(*"abcdefgh"):  # the next one only when this one has been read
            await peer.send(piece)
            await seen.get()
        await peer.send(wire.END)

    (answer,), _ = wire.asked(play, heard=seen.put_nowait)

    assert len(answer.pieces) == 8 + 1


@pytest.mark.parametrize(
    "last",
    [
        [wire.END],
        wire.events("[DONE]"),
        [wire.chunk(b'event: message_stop\ndata: {"type":"message_stop"}\n\n'), wire.END],
        [wire.chunk(b"x" * 10_000), wire.END],
    ],
)
def test_a_draft_loses_nothing_however_it_ends(last):
    words = [str(i) for i in range(50)]

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM, *wire.events(*words), *last)
        if last[-1] != wire.END:
            await peer.send(wire.END)
        await peer.left()

    (answer,), _ = wire.asked(play, frame=wire.FOR_EVER)

    assert [w for w in answer.body.decode().replace("data: ", "").split() if w.isdigit()] == words


def test_a_draft_that_breaks_off_loses_nothing_either():
    half = wire.Got()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM, *wire.events(*"abcdef"))

    error = wire.fails(play, frame=wire.FOR_EVER, into=half)

    assert str(error) == "the connection broke before the end of the answer"
    assert half.body.decode().replace("data: ", "").split() == [*"abcdef"]


def test_a_frame_ends_though_nothing_more_comes():
    enough = asyncio.Event()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM, *wire.events("a", "b"))
        await enough.wait()
        await peer.send(wire.END)

    def heard(piece: bytes) -> None:
        if b"b" in piece:
            enough.set()

    (answer,), _ = wire.asked(play, frame=0.02, heard=heard)

    assert answer.body == b"data: a\n\ndata: b\n\n"


@pytest.mark.parametrize("last", [[wire.END], [*wire.events("[DONE]"), wire.END]])
def test_a_quick_draft_that_slows_down_keeps_nothing_back(last):
    async def then(peer: wire.Peer, told) -> None:
        for word in "xyz":  # each by itself, frames after this one has been read
            await told(*wire.events(word))
            await asyncio.sleep(0.06)
        for piece in last:
            await peer.send(piece)
            await asyncio.sleep(0.01)

    play, heard = wire.quick(then)
    (answer,), _ = wire.asked(play, frame=0.02, heard=heard)

    words = answer.body.decode().replace("data: ", "").split()
    assert [w for w in words if len(w) == 1] == [*"xyz"]


@pytest.mark.parametrize(
    "sign", [wire.chunk(b"data: [DONE]\n\n"), wire.chunk(b"message_stop\n\n"), wire.END]
)
def test_the_sign_of_a_drafts_end_is_seen_wherever_it_is_cut(sign):
    for cut in range(1, len(sign)):
        began = asyncio.Event()

        async def play(peer: wire.Peer, cut: int = cut, began: asyncio.Event = began) -> None:
            await peer.request()
            await peer.send(wire.STREAM, wire.events("first")[0])
            await began.wait()
            await peer.send(sign[:cut])
            await asyncio.sleep(0.002)
            await peer.send(sign[cut:])
            await peer.left()

        until = None if sign == wire.END else sign.split(b"\r\n")[1]
        (answer,), _ = wire.asked(
            play, heard=lambda _, began=began: began.set(), frame=wire.FOR_EVER, until=until
        )
        assert answer.body.startswith(b"data: first\n\n")


def test_a_draft_whose_length_is_known_is_read_to_its_end_at_once():
    began = asyncio.Event()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc")
        await began.wait()
        await peer.send(b"def")
        await peer.left()

    (answer,), _ = wire.asked(play, heard=lambda _: began.set(), frame=wire.FOR_EVER)

    assert answer.body == b"abcdef"


def test_a_quick_draft_that_speaks_of_its_end_goes_on_piece_by_piece():
    async def then(peer: wire.Peer, told) -> None:
        await told(*wire.events("so [DONE] ends it", "a", "b", "c", "d"))
        for word in "xyz":
            await told(*wire.events(word))
        await peer.send(wire.END)

    play, heard = wire.quick(then)
    (answer,), _ = wire.asked(play, frame=0.02, heard=heard)

    assert answer.body.endswith(b"data: x\n\ndata: y\n\ndata: z\n\n")


def test_after_a_quick_draft_the_next_answer_over_its_line_may_be_short():
    async def then(peer: wire.Peer, told) -> None:
        await peer.send(*wire.events("[DONE]"), wire.END)
        await peer.request()
        await peer.send(wire.STREAM)
        for piece in (wire.chunk(b"x"), wire.END):
            await asyncio.sleep(0.02)
            await peer.send(piece)

    play, heard = wire.quick(then)
    (_, short), server = wire.asked(play, times=2, frame=0.02, heard=heard)

    assert short.body == b"x"
    assert len(server.peers) == 1


def test_a_quick_draft_that_breaks_off_says_so_at_once():
    half = wire.Got()

    async def then(peer: wire.Peer, told) -> None:
        await peer.send(wire.events("x")[0])

    play, heard = wire.quick(then)
    error = wire.fails(play, frame=0.05, heard=heard, into=half)

    assert str(error) == "the connection broke before the end of the answer"
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
    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM, *wire.events("a", "b", "c"))
        while more:
            await peer.send(wire.chunk(more))
            await asyncio.sleep(0.02)
        await peer.left()

    async def ask() -> None:
        timeouts = CallTimeouts(first_token=15.0, progress=0.3, total=15.0)
        async with wire.serving(play) as server:
            with pytest.raises(TimedOutError, match="stalled"):
                async with post_stream(
                    server.url,
                    {},
                    headers={},
                    timeouts=timeouts,
                    draft=draft,
                    transport=wire.TRANSPORT.get(),
                ) as reply:
                    await taken(reply)

    run(ask())


def test_an_answer_that_is_over_gives_its_connection_back_when_the_body_ends_a_little_later():
    later, over = asyncio.Event(), asyncio.Event()

    async def play(peer: wire.Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(wire.STREAM, *wire.events("a", "[DONE]"))
            await later.wait()
            await peer.send(wire.END)
            over.set()
        await peer.left()

    async def ask() -> wire.Server:
        async with wire.serving(play) as server:
            await wire.got(server.url, until=b"[DONE]")
            later.set()
            await over.wait()
            await asyncio.sleep(0.01)  # the end lies there: it is read in the next round
            await wire.got(server.url, until=b"[DONE]")
            return server

    assert len(run(ask()).peers) == 1


def test_an_answer_that_is_over_and_whose_body_never_ends_leaves_no_connection():
    closed = asyncio.Event()

    async def play(peer: wire.Peer) -> None:
        await peer.request()
        await peer.send(wire.STREAM, *wire.events("a", "[DONE]"))
        await peer.left()
        closed.set()

    async def ask() -> None:
        async with wire.serving(play) as server:
            await wire.got(server.url, until=b"[DONE]")
            await closed.wait()

    run(ask())


def test_what_goes_wrong_in_a_listener_is_raised_where_the_answer_is_awaited():
    class OddError(Exception):
        pass

    def heard(_: bytes) -> None:
        raise OddError

    with pytest.raises(OddError):
        wire.asked(wire.answering(wire.STREAM, *wire.events("a"), wire.END), heard=heard)


def test_a_listener_sees_the_context_of_whoever_asked():
    whose: ContextVar[str] = ContextVar("whose", default="nobody's")
    seen = set()

    async def one(server: wire.Server, name: str) -> None:
        whose.set(name)
        await wire.got(server.url, heard=lambda _: seen.add((name, whose.get())))

    async def ask() -> None:
        async with wire.serving(
            wire.answering(wire.STREAM, *wire.events(*"abc"), wire.END)
        ) as server:
            for names in ("ab", "cd"):  # the second two over the connections of the first
                await asyncio.gather(*(one(server, name) for name in names))

    run(ask())
    assert seen == {(name, name) for name in "abcd"}


# ---- many at once


@pytest.mark.parametrize("frame", [None, 0.03])
def test_when_many_speak_at_once_everyone_is_heard_to_the_end(frame):
    many = 2 * MIN_BATCHED_CONNECTIONS

    async def play(peer: wire.Peer) -> None:
        while True:
            who = json.loads(await peer.request())
            await peer.send(wire.STREAM)
            for i in range(20):
                await peer.send(*wire.events(f"{who}.{i}"))
                await asyncio.sleep(0.004)
            await peer.send(*wire.events("[DONE]"), wire.END)

    async def ask() -> list[wire.Got]:
        async with wire.serving(play) as server:
            found = await asyncio.gather(
                *(wire.got(server.url, str(i).encode(), frame=frame) for i in range(many))
            )
            again = await wire.got(server.url, b'"again"')  # and few are heard afterwards, too
            return [*found, again]

    for i, answer in enumerate(run(ask())):
        who = str(i) if i < many else "again"
        words = answer.body.decode().replace("data: ", "").split()
        assert words == [*(f"{who}.{k}" for k in range(20)), "[DONE]"]


def test_when_many_speak_at_once_whoever_breaks_off_is_noticed():
    async def play(peer: wire.Peer) -> None:
        who = json.loads(await peer.request())
        await peer.send(wire.STREAM, *wire.events("a"))
        await asyncio.sleep(0.05)
        if who % 3 == 0:
            peer.reset()
        elif who % 3 == 1:
            await peer.send(wire.END)

    async def ask() -> list[wire.Got | BaseException]:
        async with wire.serving(play) as server:
            asking = (
                wire.got(server.url, str(i).encode()) for i in range(2 * MIN_BATCHED_CONNECTIONS)
            )
            return await asyncio.gather(*asking, return_exceptions=True)

    for i, answer in enumerate(run(ask())):
        if i % 3 == 1:
            assert isinstance(answer, wire.Got)
        else:
            assert str(answer) == "the connection broke before the end of the answer"


def test_connections_close_with_their_loop():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"

        async def ask() -> socket.socket:
            transport = wire.TRANSPORT.get()
            asking = asyncio.create_task(transport.send_request("GET", url, {}, b"", connect=5.0))
            served, _ = await asyncio.to_thread(server.accept)
            served.sendall(wire.sized(b"x"))
            answer = await asking
            await answer.read_body(lambda _: False)
            answer.close()
            return served

        with run(ask()) as served:
            served.settimeout(10)
            assert b"GET /v1" in served.recv(65536)
            assert served.recv(65536) == b""
