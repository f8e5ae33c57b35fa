"""Threads for what takes its time with programs: those that all else needs stay free."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

T = TypeVar("T")


async def run_in_program_thread(job: Callable[[], T]) -> T:
    """
    The result of *job*. As many run at once as there are processors, the others wait their turn;
    one whose caller is cancelled before its turn is not run. Raises what *job* raises.
    """
    return await asyncio.get_running_loop().run_in_executor(_open_pool(os.getpid()), job)


@cache
def _open_pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  (after a fork there are none)
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="mixtura-programs")
