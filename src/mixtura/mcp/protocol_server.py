"""The tools and runs as a server of the Model Context Protocol, over any transport."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import mcp_types as types
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError

from mixtura.config.config import Config
from mixtura.core import large_json
from mixtura.core.errors import MixturaError
from mixtura.core.redaction import Redactor, redact_secrets, use_redactor
from mixtura.mcp.recorded_runs import ProgressNotifier
from mixtura.mcp.tool_calls import ToolCalls, ToolClient
from mixtura.mcp.tool_schemas import TOOLS
from mixtura.server.shown_texts import shorten_texts
from mixtura.storage.run_record import without_replaced_items

RUN_ADDRESS = "mixtura://runs/"
"""What the address of a run begins with; its id follows."""
LISTED_RUNS = 50
"""Runs that a client is shown when it asks for resources."""
INSTRUCTIONS = (
    "Mixtura asks several language models at once and makes one answer of theirs. Use `ask` for"
    " a second opinion or a hard question, `review` for a diff or a text, `compare` to see"
    " answers side by side; `models` lists what can answer. Every call but `models` may cost money."
)
_log = logging.getLogger("mixtura.mcp")
FindClient = Callable[[Any], ToolClient]
"""Finds the client of a request by the request's HTTP scope, None in its place over stdio."""


class ProtocolServer:
    """The handlers of the protocol's requests over one configuration."""

    def __init__(self, config: Config, calls: ToolCalls, find_client: FindClient) -> None:
        self._config = config
        self._calls = calls
        self._find_client = find_client

    def build_server(self) -> Server[Any]:
        """The SDK's server with our handlers."""
        return Server(
            "mixtura",
            version=version("mixtura"),
            title="Mixtura",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(self, ctx: Any, params: Any) -> types.ListToolsResult:  # noqa: ARG002
        tools = [
            types.Tool(
                name=tool.name,
                title=tool.title,
                description=tool.description,
                input_schema=tool.takes,
                output_schema=tool.gives,
                annotations=types.ToolAnnotations(
                    read_only_hint=True, destructive_hint=False, open_world_hint=True
                ),
            )
            for tool in TOOLS.values()
        ]
        return types.ListToolsResult(tools=tools)

    async def _call_tool(
        self, ctx: Any, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        client = self._find_client(ctx.request)
        # A session's task knows only the secrets of the request that began it.
        with use_redactor(client.redactor):
            return await self._call_for(client, ctx, params)

    async def _call_for(
        self, client: ToolClient, ctx: Any, params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        try:
            async with ProgressNotifier(ctx.session.report_progress) as progress:
                given = params.arguments or {}
                result = await self._calls.call_tool(params.name, given, progress, client)
        except MixturaError as error:
            return _failed_result(str(error))
        except Exception:  # noqa: BLE001 - a fault of ours must not end the agent's session
            _log.exception("the tool %s failed", params.name[:80])
            return _failed_result("an internal error: the server's log has the details")
        content: list[Any] = [types.TextContent(type="text", text=_result_text(result))]
        if isinstance(run := result.get("run"), str):
            content.append(_run_link(run))
        return types.CallToolResult(content=content, structured_content=result)

    # ---- runs

    async def _list_resources(self, ctx: Any, params: Any) -> types.ListResourcesResult:  # noqa: ARG002
        who = self._find_client(ctx.request).name or None
        try:
            rows = await asyncio.to_thread(self._config.runs.list_runs, limit=LISTED_RUNS, who=who)
        except MixturaError as error:
            raise MCPError(types.INTERNAL_ERROR, str(error)) from None
        return types.ListResourcesResult(
            resources=[
                types.Resource(
                    uri=RUN_ADDRESS + row["id"],
                    name=row["id"],
                    title=row["question"] or row["id"],
                    mime_type="application/json",
                )
                for row in rows
            ]
        )

    async def _list_templates(self, ctx: Any, params: Any) -> types.ListResourceTemplatesResult:  # noqa: ARG002
        run = types.ResourceTemplate(
            name="run",
            title="A past run",
            uri_template=RUN_ADDRESS + "{id}",
            description="All of a run: what each model was asked and answered, and its cost.",
            mime_type="application/json",
        )
        return types.ListResourceTemplatesResult(resource_templates=[run])

    async def _read_resource(
        self, ctx: Any, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        address = str(params.uri)
        client = self._find_client(ctx.request)
        run = None
        if address.startswith(RUN_ADDRESS):
            name = address.removeprefix(RUN_ADDRESS)
            try:
                run = await asyncio.to_thread(self._config.runs.get_run, name)
            except MixturaError as error:
                raise MCPError(types.INVALID_PARAMS, str(error)) from None
        # Another client's run is none: its question is not for everyone.
        if run is None or (client.name and run.get("who") != client.name):
            said = f"there is no run at {redact_secrets(address)[:200]}: it is {RUN_ADDRESS}ID"
            raise MCPError(types.INVALID_PARAMS, said, data={"uri": address[:200]})
        # One run may be of many megabytes: others go on meanwhile. Its reader is a model, most
        # often a hosted one.
        known = without_replaced_items(run)
        text = await asyncio.to_thread(_encode_run, known, client.redactor)
        whole = types.TextResourceContents(uri=address, mime_type="application/json", text=text)
        return types.ReadResourceResult(contents=[whole])


def _encode_run(run: Any, redactor: Redactor) -> str:
    return large_json.encode(shorten_texts(redactor.redact_data(run))).decode()


def _failed_result(said: str) -> types.CallToolResult:
    text = types.TextContent(type="text", text=redact_secrets(said))
    return types.CallToolResult(content=[text], is_error=True)


def _result_text(result: dict[str, Any]) -> str:
    """For clients that show no structured content: the answer, else all of it as JSON."""
    answer = result.get("answer")
    return answer if isinstance(answer, str) else json.dumps(result, ensure_ascii=False)


def _run_link(run: str) -> types.ResourceLink:
    return types.ResourceLink(
        type="resource_link", uri=RUN_ADDRESS + run, name=run, mime_type="application/json"
    )
