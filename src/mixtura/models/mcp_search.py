"""A search tool of a server of the Model Context Protocol: a program, or at an address."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TextIO, cast

from mcp import Client, StdioServerParameters, stdio_client
from mixtura.core.errors import ModelError, RejectedError, TimedOutError, UnavailableError
from mixtura.models.wrappers.web_search import MAX_RESULT_CHARS, FoundPages
from mixtura.protocols.web_sources import SourceCollector

_ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}|\\]+")
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
    async with AsyncExitStack() as stack:
        # What the program logs would stand between the lines of a terminal.
        log = stack.enter_context(_open_null())
        try:
            async with asyncio.timeout(seconds):
                client = await stack.enter_async_context(
                    _create_client(server, environment, headers, log)
                )
                tools = (await client.list_tools()).tools
        except TimeoutError:
            raise TimedOutError(f"the search server did not begin within {seconds:g} s") from None
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - of a library, and of its task groups
            raise UnavailableError(
                f"the search server cannot be used: {_describe(error)}"
            ) from None
        chosen = _choose_tool(tools, tool)
        yield McpSearch(client, chosen.name, _query_field(chosen.input_schema), seconds)


class McpSearch:
    """An open search tool."""

    def __init__(self, client: Any, tool: str, field: str, seconds: float) -> None:
        self._client = client
        self._tool = tool
        self._field = field
        self._seconds = seconds

    async def search(self, query: str) -> FoundPages:
        """What the tool finds. Raises ModelError where it fails, or says that it did."""
        given = {self._field: [query] if self._field == "queries" else query}
        try:
            async with asyncio.timeout(self._seconds):
                result = await self._client.call_tool(self._tool, given)
        except TimeoutError:
            raise TimedOutError(f"the search took more than {self._seconds:g} s") from None
        except Exception as error:  # noqa: BLE001 - of a library
            raise UnavailableError(f"the search failed: {_describe(error)}") from None
        text = "\n\n".join(getattr(part, "text", "") for part in result.content).strip()
        if result.is_error:
            raise UnavailableError(f"the search tool says: {text[:200]}")
        collector = SourceCollector()
        _add_pages(collector, result.structured_content)
        collector.add_found(_ADDRESS.findall(text[:MAX_RESULT_CHARS]))
        return FoundPages(text or "Nothing was found.", collector.sources)


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


def _create_client(
    server: str | Sequence[str],
    environment: Mapping[str, str] | None,
    headers: Mapping[str, str] | None,
    log: TextIO,
) -> Any:
    if isinstance(server, str):
        if not headers:
            return Client(server)
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        known = httpx2.AsyncClient(headers=dict(headers))
        return Client(streamable_http_client(server, http_client=known))
    command, *arguments = server
    program = StdioServerParameters(command=command, args=arguments, env=dict(environment or {}))
    return Client(stdio_client(program, errlog=log))


def _open_null() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


def _choose_tool(tools: Sequence[Any], wanted: str | None) -> Any:
    names = [tool.name for tool in tools]
    found = [t for t in tools if (t.name == wanted if wanted else "search" in t.name.lower())]
    if not found:
        there = ", ".join(names[:20]) or "none"
        asked = f"tool called '{wanted}'" if wanted else "tool with `search` in its name"
        raise RejectedError(f"the search server has no {asked}; it has {there}")
    return found[0]


def _query_field(schema: Mapping[str, Any]) -> str:
    """The argument that takes the query: by its name, else the first text that is required."""
    fields: Mapping[str, Any] = schema.get("properties") or {}
    named = [name for name in _QUERY_NAMES if name in fields]
    required = [name for name in schema.get("required") or () if name in fields]
    return next(iter([*named, *required, *fields]), "query")


def _describe(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return f"{type(error).__name__}: {str(error)[:200]}"
