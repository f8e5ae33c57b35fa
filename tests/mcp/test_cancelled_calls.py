"""How soon the calls to models end when an agent gives up a tool: measured, not judged."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

import pytest

from mcp import Client, StdioServerParameters, stdio_client
from tests.support import command_line
from tests.support.batches import team_toml
from tests.support.upstream import Script, running

pytestmark = pytest.mark.soak

desk = command_line.desk
TIMES = 50


async def cancel_calls(client, upstream):
    """Seconds from each cancellation until the last of two models was left."""
    took = []
    for number in range(TIMES):
        before = len(upstream.records)
        call = asyncio.create_task(client.call_tool("ask", {"question": f"Why {number}?"}))
        while sum(bool(record.sends) for record in upstream.records[before:]) < 2:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        call.cancel()
        await asyncio.wait([call])
        asked = upstream.records[before:]
        while any(record.status == "open" for record in asked):
            await asyncio.sleep(0.005)
        assert {record.status for record in asked} == {"left"}
        took.append(max(record.over for record in asked) - began)
    return sorted(took)


@pytest.mark.parametrize("over_http", [False, True])
def test_every_cancelled_call_leaves_every_model(desk, over_http):
    async def work(upstream):
        if over_http:
            client = Client(
                desk.start("mcp", "--http", "0").stdout.readline().decode().split()[-1][:-1]
            )
        else:
            program = StdioServerParameters(
                command=sys.executable, args=["-m", "mixtura", "mcp"], env=desk.env, cwd=desk.folder
            )
            client = Client(stdio_client(program))
        async with client:
            return await cancel_calls(client, upstream)

    with running(lambda _: Script("word " * 20_000, pace=0.002)) as upstream:
        desk.write(f'default = "team"\n{team_toml(upstream.base_url())}')
        took = asyncio.run(work(upstream))

    assert len(upstream.records) == 2 * TIMES
    print(f"median {statistics.median(took) * 1000:.0f} ms, longest {took[-1] * 1000:.0f} ms")
