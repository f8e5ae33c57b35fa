"""Tools and tool choices as JSON of Anthropic's messages API."""

from __future__ import annotations

from collections.abc import Mapping

from mixtura.core.errors import RejectedError
from mixtura.core.types import Json, JsonObject, Request


def tool_json(tool: Json, *, native: bool) -> JsonObject:
    """A tool as this API takes it; *native*: in its native form where the tool has one."""
    if native and tool.get("native"):
        return dict(tool["native"])
    if tool.get("type") != "function":
        return dict(tool)  # a tool of Anthropic's own, given as its API wants it
    function = tool["function"]
    body: JsonObject = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for key in ("description", "strict"):
        if function.get(key):
            body[key] = function[key]
    return body


BETA_HEADERS: Mapping[str, str] = {
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "bash_20241022": "computer-use-2024-10-22",
    "text_editor_20241022": "computer-use-2024-10-22",
}
"""Values of the ``anthropic-beta`` header that some types of native tools need."""


def native_tool_types(body: JsonObject) -> list[str]:
    """The types of the native tools in a request's body."""
    return [tool["type"] for tool in body.get("tools") or () if "type" in tool]


def tool_choice_json(request: Request) -> JsonObject | None:
    """The ``tool_choice`` of *request*. Raises RejectedError for a choice unknown to this API."""
    alone = request.extra.get("parallel_tool_calls") is False
    choice = _convert_tool_choice(request.tool_choice)
    if not alone:
        return choice
    return {"type": "auto"} | (choice or {}) | {"disable_parallel_tool_use": True}


def _convert_tool_choice(choice: str | Json | None) -> JsonObject | None:
    match choice:
        case None:
            return None
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case {"type": "auto" | "none" | "any" | "tool"}:
            return dict(choice)
        case _:
            raise RejectedError(f"Anthropic's messages have no tool choice like {choice!r}")
