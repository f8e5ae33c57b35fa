"""Threads for what takes its time with programs: those that all else needs stay free."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


async def run_in_program_thread(job: Callable[[], T]) -> T:
    """
    The result of *job*. As many run at once as there are processors, the others wait their turn;
    one whose caller is cancelled before its turn is not run. Raises what *job* raises.
    """
    return await asyncio.get_running_loop().run_in_executor(_open_pool(os.getpid()), job)


async def gather_all(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all, side by side. Raises the first error, when none of them goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in coroutines]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


@cache
def _open_pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  (after a fork there are none)
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mixtura-programs")
