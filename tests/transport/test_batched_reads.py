"""What reading in batches saves; that nothing is lost by it, `test_streamed_pieces` tries."""

from __future__ import annotations

import asyncio

from mixtura.transport.batched_reads import BatchTimer
from mixtura.transport.pool import BUILT_IN
from mixtura.transport.socket_poller import MIN_BATCHED_CONNECTIONS
from tests.conftest import run
from tests.support.byte_server import (
    END,
    FOR_EVER,
    STREAM,
    Peer,
    answering,
    asked,
    events,
    got,
    quick,
    serving,
)


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


def test_connections_that_have_been_heard_to_the_end_are_heard_one_by_one_again():
    async def ask() -> int:
        async with serving(answering(STREAM, *events("a"), END)) as server:
            await asyncio.gather(*(got(server.url) for _ in range(2 * MIN_BATCHED_CONNECTIONS)))
            batched = (await BUILT_IN.pools.get())._batched
            return batched.poller.speaking if batched and batched.poller else 0

    assert run(ask()) == 0
