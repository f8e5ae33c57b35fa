"""Work on large data in a thread, so that the event loop goes on."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

from mixtura.core.types import OtherPart, Request, TextPart
from mixtura.protocols.provider_data.messages import provider_data_bytes

P = ParamSpec("P")
T = TypeVar("T")

LARGE_BYTES = 128 * 1024
"""Bytes from which on work is worth another thread."""
MAX_INSPECTED = 256
"""Messages, parts or calls that are measured; more of them are large in any case."""

# One thread: several would take turns with the loop, and it would come last each time.
_worker = ThreadPoolExecutor(1, thread_name_prefix="mixtura-apart")


async def run_in_thread_if_large(
    size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """
    What *work* returns: at once where *size* (in bytes, about) is small, else from a thread. It
    must touch nothing that belongs to the loop. Raises what *work* raises.
    """
    if size < LARGE_BYTES:
        return work(*args, **kwargs)
    # The redactor of the call is a context variable, which a thread does not inherit.
    call = partial(copy_context().run, partial(_run_with_collection_paused, work, *args, **kwargs))
    return await asyncio.get_running_loop().run_in_executor(_worker, call)


def _run_with_collection_paused(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    with collection_paused():
        return work(*args, **kwargs)


_pausing = threading.Lock()
_paused = 0
_collects = True
"""The collector was on before."""


@contextmanager
def collection_paused() -> Generator[None]:
    """
    In this block the garbage collector does not run: while a great many objects are made it would
    visit all of them again and again, and it stops every thread.
    """
    global _collects, _paused  # noqa: PLW0603 - there is one collector
    with _pausing:
        _collects = gc.isenabled() if not _paused else _collects
        _paused += 1
        gc.disable()
    try:
        yield
    finally:
        with _pausing:
            _paused -= 1
            # A program that runs without the collector keeps it off.
            if not _paused and _collects:
                gc.enable()


def estimate_request_bytes(request: Request) -> int:
    """
    About how many bytes a request has, without looking at all of it; LARGE_BYTES stands for any
    larger size.
    """
    messages = request.messages
    if len(messages) > MAX_INSPECTED or len(request.tools) > MAX_INSPECTED:
        return LARGE_BYTES
    size = 0
    for message in messages:
        content = message.content
        if isinstance(content, str):
            size += len(content)
        elif len(content) > MAX_INSPECTED:
            return LARGE_BYTES
        else:
            size += sum(
                LARGE_BYTES
                # A file or sound in base64: nearly always large, and its size is deep inside.
                if isinstance(part, OtherPart)
                else len(part.text if isinstance(part, TextPart) else part.url)
                for part in content
            )
        if message.tool_calls:
            if len(message.tool_calls) > MAX_INSPECTED:
                return LARGE_BYTES
            size += sum(len(call.arguments) for call in message.tool_calls)
        if message.provider_data is not None:
            size += provider_data_bytes(message)
        if size >= LARGE_BYTES:
            return LARGE_BYTES
    return size
