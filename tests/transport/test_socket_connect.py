"""A socket to the first address that answers, and none left open behind it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from pathlib import Path

import pytest

from mixtura.transport.socket_connect import connect_to_first, connect_to_host
from tests.conftest import run


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield server


def refusing_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def loopback(port: int, *last: int):
    return [(socket.AF_INET, (f"127.0.0.{each}", port)) for each in last]


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


def test_the_first_address_that_takes_a_connection_gets_it(listening):
    port = listening.getsockname()[1]
    refused = (socket.AF_INET, ("127.0.0.1", refusing_port()))

    async def peers():
        found = []
        for places in (
            loopback(port, 1),
            [refused, *loopback(port, 1)],
            [refused] * 3 + loopback(port, 1),
        ):
            with await connect_to_first(places) as made:
                found.append(made.getpeername())
        with await connect_to_host("localhost", port) as made:
            found.append(made.getpeername())
        return found

    assert run(peers()) == [("127.0.0.1", port)] * 4


def test_when_every_address_refuses_each_reason_is_said_once():
    places = [(socket.AF_INET, ("127.0.0.1", refusing_port()))] * 3
    with pytest.raises(OSError, match=r"^Connection refused$"):
        run(connect_to_first(places))


def test_an_unknown_name_is_said_to_be_one():
    with pytest.raises(socket.gaierror):
        run(connect_to_host("no-such-host.invalid", 80))


@pytest.mark.parametrize("addresses", [1, 2, 3])
def test_a_connection_cancelled_at_any_moment_leaves_no_socket_open(listening, addresses):
    places = loopback(listening.getsockname()[1], *[1] * addresses)

    async def cancelled_after(rounds: int) -> bool:
        task = asyncio.ensure_future(connect_to_first(places))
        for _ in range(rounds):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            (await task).close()
            return True
        await asyncio.sleep(0)
        return False

    async def every_moment():
        before, connected = open_files(), []
        gc.disable()
        try:
            for rounds in range(12):
                connected.append(await cancelled_after(rounds))
                assert open_files() == before, f"cancelled after {rounds} rounds of the loop"
        finally:
            gc.enable()
        return connected

    connected = run(every_moment())
    assert not connected[0]
    assert connected[-1]
