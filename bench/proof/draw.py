"""Draws what is not kept yet: the part of the proof that takes hours, and can be broken off."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from bench.proof.arms import Arm
from bench.proof.kept import KeptModel, labelled
from bench.proof.questions import Item


async def draw_all(
    model: KeptModel, items: Sequence[Item], draws: Sequence[int], at_once: int
) -> None:
    """
    Each item's *draws* that are not kept yet, *at_once* items side by side (a batch of llama.cpp).

    The draws of one item follow each other, so that its prompt is read once.
    """

    async def draw_item(item: Item) -> None:
        for draw in draws:
            with labelled(item.id, "draw"):
                await model.complete(replace(item.request, draw=draw))

    await _side_by_side(items, draw_item, at_once, model.name)


async def draw_arms(arms: Sequence[Arm], items: Sequence[Item], at_once: int) -> None:
    """The answers of *arms*, for the calls that are kept on the way."""
    for arm in arms:

        async def answer(item: Item, arm: Arm = arm) -> None:
            for draw in range(arm.draws):
                with labelled(item.id, arm.name):
                    await arm.model.complete(replace(item.request, draw=draw))

        await _side_by_side(items, answer, at_once, arm.name)


async def _side_by_side(
    items: Iterable[Item], work: Callable[[Item], Awaitable[None]], at_once: int, name: str
) -> None:
    waiting, started, done = iter(items), time.monotonic(), 0

    async def take() -> None:
        nonlocal done
        for item in waiting:  # shared: each takes the next one
            await work(item)
            done += 1
            minutes = (time.monotonic() - started) / 60
            print(f"{name}: {done} items in {minutes:.1f} min", file=sys.stderr, flush=True)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(take())
