"""The queue of the server: no turn is lost, and no client takes all of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.server.apis.base import ApiError
from mixtura.server.fair_queue import FairQueue
from tests.conftest import run


async def steps(count=1):
    for _ in range(count):
        await asyncio.sleep(0)


async def held(queue, who, until, order=None):
    async with queue.hold_slot(who):
        if order is not None:
            order.append(who)
        await until.wait()


def test_a_turn_that_comes_in_the_moment_its_client_leaves_goes_to_the_next():
    async def main():
        queue, go = FairQueue(1, 10), asyncio.Event()
        first = asyncio.create_task(held(queue, "a", go))
        await steps()
        second = asyncio.create_task(held(queue, "b", go))
        await steps()
        go.set()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with asyncio.timeout(5), queue.hold_slot("c"):
            return queue.inside

    assert run(main()) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 4)), max_size=14),
    st.integers(1, 3),
)
def test_whoever_leaves_and_whenever_every_turn_is_free_again_at_the_end(asked, at_once):
    async def main():
        queue, go = FairQueue(at_once, 100), asyncio.Event()
        tasks = []
        for who, leaves, after in asked:
            tasks.append((asyncio.create_task(held(queue, who, go)), leaves, after))
            await steps()
        go.set()
        for task, leaves, after in tasks:
            await steps(after)
            if leaves:
                task.cancel()
        await asyncio.gather(*(task for task, _, _ in tasks), return_exceptions=True)
        async with asyncio.timeout(5):
            for _ in range(at_once):
                await queue.acquire_slot("z")
        return queue.waiting_count

    assert run(main()) == 0


def test_clients_take_turns_whoever_asks_most():
    async def main():
        queue, order, go = FairQueue(1, 10), [], asyncio.Event()
        tasks = [asyncio.create_task(held(queue, w, go, order)) for w in "aaaab"]
        await steps(2)
        go.set()
        await asyncio.gather(*tasks)
        return order

    assert "".join(run(main())) == "aabaa"


def test_a_full_line_makes_room_for_a_client_that_has_none_in_it():
    async def main():
        queue, order, go = FairQueue(1, 3), [], asyncio.Event()
        greedy = [asyncio.create_task(held(queue, "a", go, order)) for _ in range(4)]
        await steps(2)
        modest = asyncio.create_task(held(queue, "b", go, order))
        await steps(2)
        with pytest.raises(ApiError):
            await queue.acquire_slot("a")
        go.set()
        done = await asyncio.gather(*greedy, modest, return_exceptions=True)
        return [d for d in done if isinstance(d, ApiError)], order

    refused, order = run(main())
    assert len(refused) == 1
    assert "b" in order
