"""The tools of Anthropic's messages, the choice among them, and blocks of a provider's tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from mixtura.core.types import Json
from mixtura.server.apis import hosted_tools
from mixtura.server.apis.base import ApiError, CannedResponse
from mixtura.server.apis.caller_tools import parse_anthropic_tool
from mixtura.server.apis.tool_names import Tool, Toolbox
from mixtura.server.apis.validation import (
    NotEmpty,
    as_dict,
    as_list,
    check_tool_names,
    convert_struct,
)


class MessagesToolBody(msgspec.Struct):
    """Any tool; of an unknown type only the type is checked."""

    type: NotEmpty | None = None


class _MessagesCustomTool(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
    input_examples: list[dict[str, Any]] | None = None


class MessagesToolOffer(NamedTuple):
    """The tools that models are offered, and the choice among them."""

    toolbox: Toolbox
    choice: str | Json | None
    reply: CannedResponse | None = None
    """The answer, where a tool is wanted that is unavailable and the API has a form for that."""


def read_tool_offer(raw: Mapping[str, Any]) -> MessagesToolOffer:
    """The tools of a body whose types are right. Raises ApiError naming the field that is wrong."""
    declared: Sequence[Json] = raw.get("tools") or ()
    given = _apply_tool_changes(declared, raw.get("messages"))
    own_tools: list[Tool] = []
    hosted: list[Json] = []
    for number, tool in enumerate(given):
        if (own := _read_caller_tool(tool, f"tools[{number}]")) is not None:
            own_tools.append(own)
        else:
            hosted.append(tool)
    check_tool_names([tool.name for tool in own_tools], [], where="tools")
    servers = as_list(raw.get("mcp_servers"))
    labels = [hosted_tools.tool_label(tool) for tool in hosted]
    labels += [
        hosted_tools.tool_label({"type": "mcp", "server_label": as_dict(server).get("name")})
        for server in servers
    ]
    toolbox = Toolbox(own_tools, labels)
    chosen: dict[str, Any] = raw.get("tool_choice") or {}
    query = hosted_tools.web_search_query(raw, hosted) if hosted else None
    if query is not None:
        reply = hosted_tools.unavailable_tool_response(
            str(raw.get("model")), hosted[0], labels, query
        )
        return MessagesToolOffer(toolbox, None, reply)
    return _apply_tool_choice(toolbox, chosen, hosted, str(raw.get("model")))


def _apply_tool_changes(tools: Sequence[Json], messages: Any) -> list[Json]:
    """*tools* as the conversation leaves them: each added or removed by its last mention."""
    current = list(tools)
    gone: set[str] = set()
    for message in map(as_dict, as_list(messages)):
        for block in map(as_dict, as_list(message.get("content"))):
            tool = as_dict(block.get("tool"))
            if block.get("type") == "tool_addition":
                if definition := as_dict(tool.get("definition")):
                    current = [
                        other for other in current if _tool_name(other) != _tool_name(definition)
                    ]
                    current.append(definition)
                gone.discard(_changed_tool_name(tool))
            elif block.get("type") == "tool_removal":
                gone.add(_changed_tool_name(tool))
    # A tool without a name cannot be removed by one.
    return [tool for tool in current if _tool_name(tool) not in gone - {""}]


def _tool_name(tool: Json) -> str:
    name = tool.get("name")
    return name if isinstance(name, str) else ""


def _changed_tool_name(tool: Json) -> str:
    """The name of a tool that a block refers to or defines."""
    reference = tool.get("tool_name")
    known = _tool_name(as_dict(tool.get("definition"))) or _tool_name(tool)
    return known or (reference if isinstance(reference, str) else "")


def _read_caller_tool(given: Json, where: str) -> Tool | None:
    """
    A tool that the caller runs; None for one of a provider's. Raises ApiError naming the field that
    is wrong.
    """
    if given.get("type") not in (None, "custom") and "input_schema" not in given:
        return parse_anthropic_tool(given)
    tool = convert_struct(given, _MessagesCustomTool, {}, where)
    described = tool.description
    if tool.input_examples:
        # Other APIs have no field for examples: they go into the description.
        rows = "\n".join(msgspec.json.encode(row).decode() for row in tool.input_examples)
        described = "\n\n".join(filter(None, (described, f"Examples of its input:\n{rows}")))
    return Tool(tool.name, "function", None, described, tool.input_schema, tool.strict)


def _apply_tool_choice(
    toolbox: Toolbox, chosen: Json, hosted: Sequence[Json], model: str
) -> MessagesToolOffer:
    match chosen.get("type"):
        case "tool":
            return _choose_by_name(toolbox, str(chosen.get("name")), hosted, model)
        case "any" if toolbox.tools:
            return MessagesToolOffer(toolbox, "required")
        case "any" if hosted:
            return _unavailable_tool_offer(toolbox, hosted[0], model)
        case "any":
            raise ApiError(400, "`tool_choice` goes with `tools`", param="tool_choice")
        case "auto" | "none" as mode if toolbox.tools:
            return MessagesToolOffer(toolbox, mode)
        case _:  # beside no tools it says nothing
            return MessagesToolOffer(toolbox, None)


def _choose_by_name(
    toolbox: Toolbox, name: str, hosted: Sequence[Json], model: str
) -> MessagesToolOffer:
    if toolbox.find_tool(name):
        return MessagesToolOffer(
            toolbox, {"type": "function", "function": {"name": toolbox.flat_name(name)}}
        )
    wanted = next((tool for tool in hosted if tool.get("name") == name), None)
    if wanted is not None:
        return _unavailable_tool_offer(toolbox, wanted, model)
    if not toolbox.tools and not hosted:
        raise ApiError(400, "`tool_choice` goes with `tools`", param="tool_choice")
    message = f"`tool_choice.name`: there is no tool {name!r} in `tools`"
    raise ApiError(400, message, param="tool_choice.name")


def _unavailable_tool_offer(toolbox: Toolbox, tool: Json, model: str) -> MessagesToolOffer:
    reply = hosted_tools.unavailable_tool_response(model, tool, toolbox.left_out)
    if reply is None:
        raise hosted_tools.unavailable_tool_error([hosted_tools.tool_label(tool)])
    return MessagesToolOffer(toolbox, None, reply)


# ---- blocks of a conversation


def normalize_messages(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with earlier calls of a provider's tools as text."""
    if not isinstance(raw.get("messages"), list):
        return raw
    return {**raw, "messages": [_normalize_message(row) for row in raw["messages"]]}


def _normalize_message(message: Any) -> Any:
    table = as_dict(message)
    content = table.get("content")
    if not isinstance(content, list):
        return message
    as_text = _hosted_block_text if table.get("role") == "assistant" else _tool_change_text
    return {**table, "content": [as_text(block) for block in as_list(content)]}


_RESULT_TYPES = (
    "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
    "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
    "tool_search_tool_result", "mcp_tool_result",
)  # fmt: skip
_ENCRYPTED_FIELDS = (
    "encrypted_content",
    "encrypted_stdout",
    "encrypted_index",
    "caller",
    "cache_control",
)
"""Fields that only the provider can read, or that are not about the result."""


def _hosted_block_text(block: Any) -> Any:
    """A block of a provider's tool as text; any other block as it is."""
    table = as_dict(block)
    kind = table.get("type")
    if kind in ("server_tool_use", "mcp_tool_use"):
        text = f"[called {table.get('name')} with {_encode_json(table.get('input'))}]"
    elif kind in _RESULT_TYPES:
        name = str(kind).removesuffix("_tool_result")
        text = f"[{name} brought {_encode_json(_without_encrypted_fields(table.get('content')))}]"
    elif kind == "compaction" and isinstance(table.get("content"), str):
        text = f"[What was said before, in short: {table['content']}]"
    else:
        return block
    # As text it reaches every model; the block itself only its provider.
    return {"type": "text", "text": text}


def _without_encrypted_fields(data: Any) -> Any:
    """*data* without what only its provider can read."""
    if isinstance(data, list):
        return [_without_encrypted_fields(row) for row in as_list(data)]
    if not isinstance(data, dict):
        return data
    return {
        key: _without_encrypted_fields(value)
        for key, value in as_dict(data).items()
        if key not in _ENCRYPTED_FIELDS
    }


def _encode_json(data: Any) -> str:
    return msgspec.json.encode(data).decode()


def _tool_change_text(block: Any) -> Any:
    """What a caller's block says of tools, which are offered anyway, as text."""
    table = as_dict(block)
    if table.get("type") in ("tool_addition", "tool_removal"):
        how = "can" if table["type"] == "tool_addition" else "cannot"
        name = _changed_tool_name(as_dict(table.get("tool")))
        return {"type": "text", "text": f"[The tool {name} {how} be called from now on.]"}
    rows = as_list(table.get("content"))
    if table.get("type") != "tool_result" or not any(map(_referenced_tool_name, rows)):
        return block
    content = [
        {"type": "text", "text": f"The tool {name} can be called now."}
        if (name := _referenced_tool_name(row))
        else row
        for row in rows
    ]
    return {**table, "content": content}


def _referenced_tool_name(block: Any) -> str | None:
    """The tool that a block refers to."""
    table = as_dict(block)
    return str(table.get("tool_name")) if table.get("type") == "tool_reference" else None
