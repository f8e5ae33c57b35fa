"""A search tool of a server of the Model Context Protocol: a program, or at an address."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

from mcp import Client
from mixtura.core.errors import ModelError, RejectedError, TimedOutError, UnavailableError
from mixtura.core.redaction import redact_secrets
from mixtura.core.text import to_one_line
from mixtura.models.mcp_connection import open_address, open_program
from mixtura.models.wrappers.web_search import MAX_RESULT_CHARS, FoundPages
from mixtura.protocols.web_sources import SourceCollector

_ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}|\\]+")
CLOSING_SECONDS = 5.0
"""That a connection has to end by itself."""
_QUERY_NAMES = ("query", "q", "search_query", "queries", "input", "text")


@asynccontextmanager
async def open_mcp_search(
    server: str | Sequence[str],
    *,
    tool: str | None = None,
    environment: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 30.0,
) -> AsyncGenerator[McpSearch]:
    """
    The search tool of *server*, a command or an address; *tool* is its name, else the one that has
    `search` in it. Its program sees PATH, HOME and *environment* alone, and ends with the block.

    Raises ModelError where the server cannot be reached or has no such tool.
    """
    session = _McpSession(server, tool, environment, headers, seconds)
    try:
        await session.begin()
        yield McpSearch(session)
    finally:
        await session.end()


class _McpSession:
    """
    A connection to a server, held by a task of its own: where the library's tasks break, it
    cancels the task that it was opened in.
    """

    def __init__(
        self,
        server: str | Sequence[str],
        tool: str | None,
        environment: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        seconds: float,
    ) -> None:
        self._tool = tool
        self._seconds = seconds
        if isinstance(server, str):
            self._transport = open_address(server, headers, seconds)
        else:
            self._transport = open_program(server, environment)
        loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = loop.create_future()
        self._queries: asyncio.Queue[tuple[str, asyncio.Future[Any]] | None] = asyncio.Queue()
        self._holding = asyncio.create_task(self._hold())

    async def begin(self) -> None:
        """Wait until it can be asked. Raises ModelError."""
        await self._wait_for(self._begun, "no connection to the search server")

    async def call_tool(self, query: str) -> Any:
        """What the tool answers. Raises ModelError."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queries.put_nowait((query, answer))
        return await self._wait_for(answer, "the search tool gave no result")

    async def end(self) -> None:
        """End the connection, and the program with all that it started."""
        self._queries.put_nowait(None)
        await asyncio.wait({self._holding}, timeout=CLOSING_SECONDS)
        self._holding.cancel()
        # What was found is there: how the server ended says nothing more.
        await asyncio.gather(self._holding, return_exceptions=True)

    async def _wait_for(self, wanted: asyncio.Future[Any], failed: str) -> Any:
        await asyncio.wait({wanted, self._holding}, return_when=asyncio.FIRST_COMPLETED)
        try:
            return wanted.result() if wanted.done() else self._holding.result()
        except TimeoutError:
            said = f"{failed} within {self._seconds:g} s"
            raise TimedOutError(said) from None
        except asyncio.CancelledError:
            raise UnavailableError(f"{failed}: the connection broke") from None
        except Exception as error:
            error = _innermost_error(error)
            if isinstance(error, ModelError):
                raise error from None
            raise UnavailableError(f"{failed}: {_describe(error)}") from None

    async def _hold(self) -> None:
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(self._seconds):
                client = await stack.enter_async_context(Client(self._transport))
                tools = (await client.list_tools()).tools
            chosen = _choose_tool(tools, self._tool)
            field = _query_field(chosen.input_schema)
            self._begun.set_result(None)
            while (asked := await self._queries.get()) is not None:
                query, answer = asked
                given = {field: [query] if field == "queries" else query}
                try:
                    async with asyncio.timeout(self._seconds):
                        result = await client.call_tool(chosen.name, given)
                except Exception as error:  # noqa: BLE001 - of a library
                    _finish(answer.set_exception, answer, error)
                else:
                    _finish(answer.set_result, answer, result)


def _finish(setter: Callable[[Any], None], answer: asyncio.Future[Any], value: Any) -> None:
    if not answer.done():  # whoever asked may have left
        setter(value)


class McpSearch:
    """An open search tool."""

    def __init__(self, session: _McpSession) -> None:
        self._session = session

    async def search(self, query: str) -> FoundPages:
        """What the tool finds. Raises ModelError where it fails, or says that it did."""
        result = await self._session.call_tool(query)
        text = "\n\n".join(_text_of(part) for part in result.content)
        text = redact_secrets(text[:MAX_RESULT_CHARS]).strip()
        if result.is_error:
            raise UnavailableError(f"the search tool failed: {to_one_line(text)[:200]}")
        collector = SourceCollector()
        _add_pages(collector, result.structured_content)
        collector.add_found(_ADDRESS.findall(text))
        return FoundPages(text or "Nothing was found.", collector.sources)


def _text_of(part: Any) -> str:
    """What a part of a result has to read: also a page that is given as a resource."""
    return getattr(getattr(part, "resource", part), "text", "")


def _add_pages(collector: SourceCollector, data: Any) -> None:
    """The pages anywhere in what a tool gave as data."""
    collector.add_found(data if isinstance(data, dict | list) else None)
    rows: list[Any] = []
    if isinstance(data, dict):
        rows = list(cast("dict[str, Any]", data).values())
    elif isinstance(data, list):
        rows = cast("list[Any]", data)
    for row in rows:
        _add_pages(collector, row)


def _choose_tool(tools: Sequence[Any], wanted: str | None) -> Any:
    names = [tool.name for tool in tools]
    found = [t for t in tools if (t.name == wanted if wanted else "search" in t.name.lower())]
    if not found:
        there = ", ".join(to_one_line(name)[:40] for name in names[:20]) or "none"
        asked = f"tool called '{wanted}'" if wanted else "tool with `search` in its name"
        raise RejectedError(f"the search server has no {asked}; its tools: {there}")
    return found[0]


def _query_field(schema: Mapping[str, Any]) -> str:
    """The argument that takes the query: by its name, else the first text that is required."""
    fields: Mapping[str, Any] = schema.get("properties") or {}
    named = [name for name in _QUERY_NAMES if name in fields]
    required = [name for name in schema.get("required") or () if name in fields]
    return next(iter([*named, *required, *fields]), "query")


def _describe(error: BaseException) -> str:
    error = _innermost_error(error)
    # Without secrets before it is cut: the beginning of one might pass for none.
    said = to_one_line(redact_secrets(str(error)[:MAX_RESULT_CHARS]))
    return f"{type(error).__name__}: {said[:200]}"


def _innermost_error(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
