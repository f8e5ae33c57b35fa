"""A run watched from outside: its events and its answer, however often they are read."""

from __future__ import annotations

import asyncio

import pytest

from mixtura import (
    CallStarted,
    Mixture,
    QuorumNotMetError,
    RunCompleted,
    UnavailableError,
    ask,
    streamed,
)
from mixtura.models.fake import echo, failing_model, slow_model

ASK = ask("Hello")


async def read_events(run):
    return [event async for event in run]


def team():
    return Mixture.of([echo("a"), echo("b")], echo("chief"))


async def left_early(leave):
    """Calls that are still under way after *leave* has left a run."""
    slow = [slow_model(600, name="x"), slow_model(600, name="y")]
    await leave(Mixture.of(slow, echo("chief")))
    return [model.in_flight for model in slow]


async def read_until_call(model):
    async with streamed(model, ASK) as run:
        async for event in run:
            if isinstance(event, CallStarted):
                return


async def by_break(model):
    await read_until_call(model)


async def by_error(model):
    async def read():
        async with streamed(model, ASK) as run:
            async for event in run:
                if isinstance(event, CallStarted):
                    raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await read()


async def by_timeout(model):
    async def read():
        async with streamed(model, ASK) as run:
            await run.wait_for_answer()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(), 0.05)


async def by_task_group(model):
    async def fail():
        await asyncio.sleep(0)
        raise ValueError("other")

    async def read():
        async with streamed(model, ASK) as run:
            await run.wait_for_answer()

    async def read_beside_a_failure():
        async with asyncio.TaskGroup() as group:
            group.create_task(read())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        await read_beside_a_failure()


@pytest.mark.parametrize("leave", [by_break, by_error, by_timeout, by_task_group])
def test_no_call_outlives_a_run_however_it_is_left(leave):
    assert asyncio.run(left_early(leave)) == [0, 0]


def test_a_run_that_is_read_to_its_end_can_be_read_again():
    async def read_twice():
        async with streamed(team(), ASK) as run:
            first = [event async for event in run]
            async with asyncio.timeout(60):
                second = [event async for event in run]
            return first, second, await run.wait_for_answer()

    first, second, answer = asyncio.run(read_twice())

    assert isinstance(first[-1], RunCompleted)
    assert second == []
    assert answer == first[-1].completion


def test_two_loops_over_one_run_share_its_events_and_both_end():
    async def read_side_by_side():
        async with streamed(team(), ASK) as run, asyncio.timeout(60):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read_events(run)) for _ in range(2)]
            return [task.result() for task in tasks]

    one, other = asyncio.run(read_side_by_side())

    ends = [event for event in (*one, *other) if isinstance(event, RunCompleted)]
    assert len(ends) == 1


def test_every_loop_over_a_run_that_failed_raises_its_error():
    async def read_twice():
        async with streamed(
            Mixture.of([failing_model(UnavailableError("down"))], echo()), ASK
        ) as run:
            for _ in range(2):
                with pytest.raises(QuorumNotMetError, match="down"):
                    await asyncio.wait_for(read_events(run), 60)
            with pytest.raises(QuorumNotMetError, match="down"):
                await run.wait_for_answer()

    asyncio.run(read_twice())


def test_a_run_that_was_left_says_so_when_it_is_read():
    """A task group takes CancelledError for its own, and ends as if nothing had happened."""

    async def read_behind():
        async with streamed(slow_model(600), ASK) as run:
            pass
        with pytest.raises(RuntimeError, match="within `async with streamed"):
            await run.wait_for_answer()
        with pytest.raises(RuntimeError, match="the run was cancelled before it had answered"):
            async for _ in run:
                pass

    asyncio.run(read_behind())
