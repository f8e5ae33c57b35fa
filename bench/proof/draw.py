"""Draws what is not kept yet: the part of the proof that takes hours, and can be broken off."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from bench.proof.arms import Arm
from bench.proof.kept import KeptModel, labelled
from bench.proof.questions import Item

from mixtura import MixturaError

FAILURES_IN_A_ROW = 3
"""Items without an answer, one after another, from which on it is not the items' fault."""


async def draw_all(
    model: KeptModel, items: Sequence[Item], draws: Sequence[int], at_once: int
) -> list[str]:
    """
    Each item's *draws* that are not kept yet, *at_once* items side by side (a batch of llama.cpp).

    The draws of one item follow each other, so that its prompt is read once. Returns a line for
    each item that has no answer.
    """

    async def draw_item(item: Item) -> None:
        for draw in draws:
            with labelled(item.id, "draw"):
                await model.complete(replace(item.request, draw=draw))

    return await _side_by_side(items, draw_item, at_once, model.name)


async def draw_arms(arms: Sequence[Arm], items: Sequence[Item], at_once: int) -> list[str]:
    """
    The answers of *arms*, for the calls that are kept on the way; a line for each item without one.

    An item has all its arms before the next one begins: an item counts only when all items in
    front of it are whole, so that whenever this is ended as many as can be are of use.
    """

    async def answer_item(item: Item) -> None:
        for arm in arms:
            for draw in range(arm.draws):
                with labelled(item.id, arm.name):
                    await arm.model.complete(replace(item.request, draw=draw))

    return await _side_by_side(items, answer_item, at_once, ", ".join(arm.name for arm in arms))


async def _side_by_side(
    items: Sequence[Item], work: Callable[[Item], Awaitable[None]], at_once: int, name: str
) -> list[str]:
    waiting, started, done = iter(items), time.monotonic(), 0
    failed: list[str] = []
    in_a_row = 0

    async def take() -> None:
        nonlocal done, in_a_row
        for item in waiting:  # shared: each takes the next one
            try:
                await work(item)
            except MixturaError as error:
                failed.append(f"{item.id} has no answer: {' '.join(str(error).split())}")
                print(failed[-1], file=sys.stderr, flush=True)
                in_a_row += 1
                if in_a_row >= FAILURES_IN_A_ROW:
                    raise
                continue
            in_a_row = 0
            done += 1
            minutes = (time.monotonic() - started) / 60
            print(
                f"{name}: {done} of {len(items)} items in {minutes:.1f} min",
                file=sys.stderr, flush=True,
            )  # fmt: skip

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(take())
    return failed
