"""Connections to servers of the Model Context Protocol: no message is larger than it may be."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any

import anyio
import httpx2
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from mcp import StdioServerParameters
from mixtura.commands.environment import RUN_VARIABLE
from mixtura.commands.process import end_all_processes, wait_for_exit

MAX_MESSAGE_BYTES = 4 * 1024**2
"""Of one message of a server: what a search finds has some hundred thousand."""
CLOSING_SECONDS = 1.0
"""That a program has to end by itself when nothing more is asked of it."""

# Without a handler of its own a library's complaint goes to standard error, traceback and all;
# what went wrong is told as an error of the call.
for _name in ("mcp.client", "mcp.shared", "client"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


@contextlib.asynccontextmanager
async def open_address(
    url: str, headers: Mapping[str, str] | None, seconds: float
) -> AsyncGenerator[tuple[Any, Any]]:
    """The streams of the server at *url*; *seconds*: the longest wait for its next bytes."""

    async def bound_answer(response: httpx2.Response) -> None:
        # What is packed could come to a thousand times its size.
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise ValueError("the server compressed its answer, which was not requested")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _BoundStream(response.stream)

    async with (
        httpx2.AsyncClient(
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=seconds,
            event_hooks={"response": [bound_answer]},
        ) as client,
        streamable_http_client(
            url, http_client=client, max_sse_event_size=MAX_MESSAGE_BYTES
        ) as streams,
    ):
        yield streams


class _BoundStream(httpx2.AsyncByteStream):
    """The bytes of an answer, up to what one message may have."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MAX_MESSAGE_BYTES
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise ValueError(_too_large())
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()


@contextlib.asynccontextmanager
async def open_program(
    command: Sequence[str], environment: Mapping[str, str] | None
) -> AsyncGenerator[tuple[Any, Any]]:
    """
    The streams of a server that is a program. It sees PATH, HOME and *environment* alone, and has
    ended with all that it started when the block ends. Raises OSError where it cannot be started.
    """
    run = uuid.uuid4().hex
    seen = {**get_default_environment(), **(environment or {}), RUN_VARIABLE: run}
    given = StdioServerParameters(command=command[0], args=list(command[1:]), env=seen)
    process = await asyncio.create_subprocess_exec(
        given.command,
        *given.args,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,  # its log would stand between the lines of a terminal
        env=given.env,
        limit=MAX_MESSAGE_BYTES,
        start_new_session=True,
    )
    heard, messages = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    said, requests = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = (
        asyncio.create_task(_read_messages(process, heard)),
        asyncio.create_task(_write_messages(process, requests)),
    )
    try:
        yield messages, said
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for stream in (heard, messages, said, requests):
            stream.close()
        with anyio.CancelScope(shield=True):
            await _end_program(process, run)


async def _read_messages(process: asyncio.subprocess.Process, heard: Any) -> None:
    assert process.stdout is not None
    async with heard:
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                await heard.send(ValueError(_too_large()))
                return  # where the next message begins, no one knows
            if not line:
                return
            try:
                message = jsonrpc_message_adapter.validate_json(line, by_name=False)
            except ValueError as error:
                await heard.send(error)
            else:
                await heard.send(SessionMessage(message))


async def _write_messages(process: asyncio.subprocess.Process, requests: Any) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):
        async for one in requests:
            text = one.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(f"{text}\n".encode())
            await process.stdin.drain()


async def _end_program(process: asyncio.subprocess.Process, run: str) -> None:
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wait_for_exit(process), CLOSING_SECONDS)
    await end_all_processes(process, run)


def _too_large() -> str:
    return f"the server sent a message of more than {MAX_MESSAGE_BYTES / 1024**2:g} MB"
