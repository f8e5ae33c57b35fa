"""Whoever waits for a turn, at the server or at an endpoint: in order, once, and never lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.engine.wait_queue import WaitQueue
from mixtura.models.wrappers.rate_limit import RateLimiter, RateLimits
from mixtura.server.fair_queue import FairQueue
from tests.conftest import run


class ServerDoor:
    """The server's queue of runs: clients take turns."""

    def __init__(self, most):
        self._queue = FairQueue(most, waiting=10**6)

    async def enter(self, who):
        await self._queue.acquire_slot(who)

    def leave(self):
        self._queue.release_slot()


class EndpointDoor:
    """An endpoint's limit of calls at once: one line for all models."""

    def __init__(self, most):
        self._gate = RateLimiter(RateLimits(concurrency=most))

    async def enter(self, who):
        await self._gate.loop_state().enter_queue(who, 1)

    def leave(self):
        self._gate.loop_state().release_place()


class Visits:
    """Callers of a door, numbered as they come; what a test does to them, and what came of it."""

    def __init__(self, door):
        self._door = door
        self.inside, self.most_inside = set(), 0
        self.entered, self.called_off = [], set()
        self._tasks, self._keys, self._done = [], [], []

    def come(self, key):
        self._keys.append(key)
        self._done.append(asyncio.Event())
        self._tasks.append(asyncio.create_task(self._visit(len(self._tasks))))

    def call_off(self, number):
        """One of those that are still there."""
        there = [n for n, task in enumerate(self._tasks) if not task.done()]
        if there:
            number = there[number % len(there)]
            self._tasks[number].cancel()
            self.called_off.add(number)

    def finish_one(self):
        if self.inside:
            self._done[min(self.inside)].set()

    async def finish_all(self):
        for event in self._done:
            event.set()
        async with asyncio.timeout(10):
            await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def count(self):
        return len(self._tasks)

    async def _visit(self, number):
        await self._door.enter(self._keys[number])
        self.entered.append(number)
        self.inside.add(number)
        self.most_inside = max(self.most_inside, len(self.inside))
        try:
            await self._done[number].wait()
        finally:
            self.inside.remove(number)
            self._door.leave()


COME = st.tuples(st.just("come"), st.sampled_from("abc"))
STEPS = st.lists(
    st.tuples(
        COME
        | COME
        | st.tuples(st.just("call off"), st.integers(0, 30))
        | st.tuples(st.just("finish"), st.none()),
        st.integers(0, 3),  # turns of the event loop until the next step
    ),
    min_size=15,
    max_size=60,
)


async def play(visits, steps):
    for (what, detail), turns in steps:
        if what == "come":
            visits.come(detail)
        elif what == "call off":
            visits.call_off(detail)
        else:
            visits.finish_one()
        for _ in range(turns):
            await asyncio.sleep(0)
    await visits.finish_all()


@pytest.mark.parametrize("door", [ServerDoor, EndpointDoor])
@given(steps=STEPS, most=st.integers(1, 3))
def test_no_waiter_is_lost_or_let_in_twice_and_no_limit_passed_whoever_is_called_off(
    door, steps, most
):
    async def main():
        opened = door(most)
        visits = Visits(opened)
        await play(visits, steps)
        async with asyncio.timeout(10):
            for _ in range(most):  # every place is free again
                await opened.enter("z")
        return visits

    visits = run(main())

    assert visits.most_inside <= most
    assert all(times == 1 for times in Counter(visits.entered).values())
    assert set(range(visits.count)) - visits.called_off <= set(visits.entered)


@pytest.mark.parametrize("door", [ServerDoor, EndpointDoor])
def test_a_turn_that_comes_in_the_moment_its_caller_leaves_goes_to_the_next(door):
    async def main():
        opened = door(1)
        await opened.enter("a")
        leaving, patient = (asyncio.create_task(opened.enter(who)) for who in "bc")
        await asyncio.sleep(0)
        opened.leave()
        leaving.cancel()
        async with asyncio.timeout(10):
            await patient

    run(main())


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=30))
def test_keys_take_turns_and_those_of_one_key_go_in_as_they_came(callers):
    async def main():
        queue, order = WaitQueue(lambda _: None), []
        waiters = [queue.join(key, number) for number, (key, _) in enumerate(callers)]
        tasks = [asyncio.create_task(queue.wait(one)) for one in waiters]
        await asyncio.sleep(0)
        for task, (_, stays) in zip(tasks, callers, strict=True):
            if not stays:
                task.cancel()
        while (one := queue.next_in_turn()) is not None:
            queue.let_in(one)
            order.append((one.key, one.about))
        await asyncio.gather(*tasks, return_exceptions=True)
        return order, len(queue)

    order, left_over = run(main())

    staying = [(key, number) for number, (key, stays) in enumerate(callers) if stays]
    assert (sorted(order), left_over) == (sorted(staying), 0)
    for key in "abcd":
        assert [n for k, n in order if k == key] == [n for k, n in staying if k == key]
    left = Counter(key for key, _ in staying)
    while left:
        rounds, order = order[: len(left)], order[len(left) :]
        assert sorted(key for key, _ in rounds) == sorted(left)
        left -= Counter(list(left))


def test_whoever_stood_behind_a_call_that_is_called_off_goes_in_where_it_fits():
    async def main():
        limits = RateLimits(tokens_per_minute=1000)
        door = RateLimiter(limits, clock=lambda: 1000.0).loop_state()
        await door.enter_queue("m", 600)
        large = asyncio.create_task(door.enter_queue("m", 800))
        await asyncio.sleep(0)
        small = asyncio.create_task(door.enter_queue("m", 100))
        await asyncio.sleep(0)
        assert not small.done()
        large.cancel()
        async with asyncio.timeout(10):
            await small

    run(main())


def test_a_call_that_is_called_off_in_the_queue_takes_nothing_of_the_minute():
    async def main():
        limits = RateLimits(concurrency=1, requests_per_minute=2)
        door = RateLimiter(limits, clock=lambda: 1000.0).loop_state()
        await door.enter_queue("m", 1)
        waiting = [asyncio.create_task(door.enter_queue("m", 1)) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        door.release_place()  # the one called off has not heard of it yet
        async with asyncio.timeout(10):
            await waiting[1]

    run(main())
