"""Many calls beside each other to a server whose connections break: none waits for ever."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from mixtura.core.errors import ModelError
from mixtura.transport.pool import Http1Transport
from tests.conftest import run
from tests.support.byte_server import END, STREAM, Peer, events, serving

WORKERS, CALLS = 12, 150
BREAKS = 0.06
"""The share of pieces after which a connection breaks."""


def unreliable(dice: random.Random):
    """Answers that end, break off, or end with their connection."""

    async def play(peer: Peer) -> None:
        while dice.random() > 0.1:
            await peer.request()
            peer.writer.write(STREAM)
            for piece in events(*"abcdefgh"[: dice.randint(1, 8)]):
                peer.writer.write(piece)
                await peer.writer.drain()
                await asyncio.sleep(dice.random() * 0.004)
                if dice.random() < BREAKS:
                    return peer.reset() if dice.random() < 0.5 else None
            peer.writer.write(*events("[DONE]"))
            if dice.random() < 0.1:
                return None
            peer.writer.write(END)
            await peer.writer.drain()
            if dice.random() < 0.15:
                return None
        return None

    return play


def test_no_call_waits_for_ever_beside_others_whose_connections_break():
    dice = random.Random(1)
    found: Counter[str] = Counter()

    async def call(transport: Http1Transport, url: str) -> None:
        answer = await transport.send_request("POST", url, {}, b"{}", connect=5.0)
        try:
            await answer.read_body(
                lambda piece: b"[DONE]" in piece,
                batch_seconds=dice.choice([None, 0.02]),
                end_markers=(b"[DONE]",),
            )
            await asyncio.sleep(dice.random() * 0.003)
        finally:
            answer.close()

    async def work(transport: Http1Transport, url: str) -> None:
        for _ in range(CALLS):
            task = asyncio.create_task(call(transport, url))
            if dice.random() < 0.1:
                await asyncio.sleep(dice.random() * 0.02)
                task.cancel()
            try:
                await task
            except ModelError:
                found["broken"] += 1
            except asyncio.CancelledError:
                found["left"] += 1
            else:
                found["whole"] += 1

    async def play() -> None:
        transport = Http1Transport()
        async with serving(unreliable(dice), seconds=120) as server:
            await asyncio.gather(*(work(transport, server.url) for _ in range(WORKERS)))
            await transport.close()

    run(play())

    assert found.total() == WORKERS * CALLS
    assert found["whole"] > found["broken"] > 50
