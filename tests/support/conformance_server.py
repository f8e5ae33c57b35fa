"""What MCP's conformance run calls by name, served by the SDK behind the checks of ours."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import Server

from mixtura.config.config import load
from mixtura.mcp.http_app import CheckedHttpApp

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)
NAMES = (
    "test_simple_text", "test_image_content", "test_audio_content", "test_embedded_resource",
    "test_multiple_content_types", "test_tool_with_logging", "test_tool_with_progress",
    "test_error_handling", "test_sampling", "test_elicitation", "test_reconnection",
    "test_elicitation_sep1034_defaults", "test_elicitation_sep1330_enums",
)  # fmt: skip
SCHEMA_2020: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": {"type": "object", "properties": {"city": {"type": "string"}}}},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def _words(*names: str) -> list[dict[str, str]]:
    return [{"const": name, "title": name.title()} for name in names]


FORMS: dict[str, dict[str, Any]] = {
    "test_elicitation": {"username": {"type": "string"}, "email": {"type": "string"}},
    "test_elicitation_sep1034_defaults": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string", "enum": ["active", "inactive", "pending"], "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
    "test_elicitation_sep1330_enums": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": _words("value1", "value2", "value3")},
        "legacyEnum": {
            "type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array", "items": {"anyOf": _words("value1", "value2", "value3")},
        },
    },
}  # fmt: skip


def text(said: str) -> Any:
    return types.TextContent(type="text", text=said)


def resource(uri: str) -> Any:
    kept = types.TextResourceContents(uri=uri, mime_type="text/plain", text="What it holds.")
    return types.EmbeddedResource(type="resource", resource=kept)


IMAGE: Any = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
CONTENTS: dict[str, list[Any]] = {
    "test_image_content": [IMAGE],
    "test_audio_content": [types.AudioContent(type="audio", data=PIXEL, mime_type="audio/wav")],
    "test_embedded_resource": [resource("test://embedded")],
    "test_multiple_content_types": [text("All:"), IMAGE, resource("test://mixed")],
}


async def list_tools(_ctx: Any, _params: Any) -> Any:
    plain = {"type": "object"}
    tools = [types.Tool(name=name, description=name, input_schema=plain) for name in NAMES]
    special = "json_schema_2020_12_tool"
    tools.append(types.Tool(name=special, description=special, input_schema=SCHEMA_2020))
    return types.ListToolsResult(tools=tools)


async def call_tool(ctx: Any, params: Any) -> Any:
    name, session = params.name, ctx.session
    content = CONTENTS.get(name, [text("This is a simple text response for testing.")])
    if name == "test_error_handling":
        return types.CallToolResult(content=[text("It fails as it should.")], is_error=True)
    if name == "test_tool_with_logging":
        for said in ("started", "processing", "completed"):
            await session.send_log_message("info", said, related_request_id=ctx.request_id)
            await asyncio.sleep(0.05)
    if name == "test_tool_with_progress":
        for done in (0, 50, 100):
            await session.report_progress(done, 100)
            await asyncio.sleep(0.05)
    if name == "test_sampling":
        asked = types.SamplingMessage(role="user", content=text(params.arguments["prompt"]))
        reply = await session.create_message(
            [asked], max_tokens=100, related_request_id=ctx.request_id
        )
        content = [text(f"LLM response: {reply.content}")]
    if name in FORMS:
        form: dict[str, Any] = {"type": "object", "properties": FORMS[name], "required": []}
        reply = await session.elicit_form("Please", form, related_request_id=ctx.request_id)
        content = [text(f"{reply.action} {reply.content}")]
    return types.CallToolResult(content=content)


async def set_level(_ctx: Any, _params: Any) -> Any:
    return types.EmptyResult()


def serve() -> None:
    """Until it is ended, on a free port that it prints; in the current folder, unconfigured."""
    config = load(None, environ={}, folder=Path.cwd(), home=Path.cwd())
    # Logging is called outdated, and the conformance run wants it still.
    server: Server[Any] = Server(  # pyright: ignore[reportDeprecated]
        "conformance", on_list_tools=list_tools, on_call_tool=call_tool,
        on_set_logging_level=set_level,
    )  # fmt: skip
    listening = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
    app = CheckedHttpApp(config, "127.0.0.1").build_app(server)
    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(settings).run(sockets=[listening])


if __name__ == "__main__":
    serve()
