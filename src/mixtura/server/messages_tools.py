"""The tools of Anthropic's messages, the choice among them, and blocks of a provider's tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from mixtura.server import hosted_tools
from mixtura.server.bodies import NotEmpty, as_list, as_table, check_tools, converted
from mixtura.server.caller_tools import anthropic_tool
from mixtura.server.dialect import Refused, Reply
from mixtura.server.tools import Tool, Toolbox
from mixtura.types import Json


class ToolBody(msgspec.Struct):
    """Any tool: of a type that is not known here, nothing else is looked at."""

    type: NotEmpty | None = None


class _Custom(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]{1,128}$")]
    input_schema: dict[str, Any]
    description: str | None = None
    strict: bool | None = None
    input_examples: list[dict[str, Any]] | None = None


class Offer(NamedTuple):
    """What models are offered, and how they are told to choose."""

    toolbox: Toolbox
    choice: str | Json | None
    reply: Reply | None = None
    """The answer, where a tool is wanted that cannot be had and the API has a form for that."""


def read_offer(raw: Mapping[str, Any]) -> Offer:
    """Of a body whose types are right. Raises Refused naming the field that is wrong."""
    declared: Sequence[Json] = raw.get("tools") or ()
    given = _apply_tool_changes(declared, raw.get("messages"))
    found: list[Tool] = []
    hosted: list[Json] = []
    for number, tool in enumerate(given):
        if (own := _read_caller_tool(tool, f"tools[{number}]")) is not None:
            found.append(own)
        else:
            hosted.append(tool)
    check_tools([tool.name for tool in found], [], where="tools")
    servers = as_list(raw.get("mcp_servers"))
    labels = [hosted_tools.tool_label(tool) for tool in hosted]
    labels += [
        hosted_tools.tool_label({"type": "mcp", "server_label": as_table(server).get("name")})
        for server in servers
    ]
    toolbox = Toolbox(found, labels)
    chosen: dict[str, Any] = raw.get("tool_choice") or {}
    query = hosted_tools.web_search_query(raw, hosted) if hosted else None
    if query is not None:
        reply = hosted_tools.answer_unavailable(str(raw.get("model")), hosted[0], labels, query)
        return Offer(toolbox, None, reply)
    return _choose(toolbox, chosen, hosted, str(raw.get("model")))


def _apply_tool_changes(tools: Sequence[Json], messages: Any) -> list[Json]:
    """*tools* as the conversation's last words on each leave them: added to, or taken away."""
    found = list(tools)
    gone: set[str] = set()
    for message in map(as_table, as_list(messages)):
        for block in map(as_table, as_list(message.get("content"))):
            tool = as_table(block.get("tool"))
            if block.get("type") == "tool_addition":
                if definition := as_table(tool.get("definition")):
                    found = [other for other in found if _name(other) != _name(definition)]
                    found.append(definition)
                gone.discard(_changed_name(tool))
            elif block.get("type") == "tool_removal":
                gone.add(_changed_name(tool))
    return [tool for tool in found if _name(tool) not in gone - {""}]


def _name(tool: Json) -> str:
    name = tool.get("name")
    return name if isinstance(name, str) else ""


def _changed_name(tool: Json) -> str:
    """The name of a tool that a block refers to or defines."""
    told = tool.get("tool_name")
    known = _name(as_table(tool.get("definition"))) or _name(tool)
    return known or (told if isinstance(told, str) else "")


def _read_caller_tool(given: Json, where: str) -> Tool | None:
    """A tool that the caller runs; None for one of a provider's. Raises Refused."""
    if given.get("type") not in (None, "custom") and "input_schema" not in given:
        return anthropic_tool(given)
    tool = converted(given, _Custom, {}, where)
    described = tool.description
    if tool.input_examples:
        rows = "\n".join(msgspec.json.encode(row).decode() for row in tool.input_examples)
        described = "\n\n".join(filter(None, (described, f"Examples of its input:\n{rows}")))
    return Tool(tool.name, "function", None, described, tool.input_schema, tool.strict)


def _choose(toolbox: Toolbox, chosen: Json, hosted: Sequence[Json], model: str) -> Offer:
    match chosen.get("type"):
        case "tool":
            return _choose_by_name(toolbox, str(chosen.get("name")), hosted, model)
        case "any" if toolbox.tools:
            return Offer(toolbox, "required")
        case "any" if hosted:
            return _answer_unavailable(toolbox, hosted[0], model)
        case "any":
            raise Refused(400, "`tool_choice` goes with `tools`", param="tool_choice")
        case "auto" | "none" as mode if toolbox.tools:
            return Offer(toolbox, mode)
        case _:  # beside no tools it says nothing
            return Offer(toolbox, None)


def _choose_by_name(toolbox: Toolbox, name: str, hosted: Sequence[Json], model: str) -> Offer:
    if toolbox.find(name):
        return Offer(toolbox, {"type": "function", "function": {"name": toolbox.flat_name(name)}})
    wanted = next((tool for tool in hosted if tool.get("name") == name), None)
    if wanted is not None:
        return _answer_unavailable(toolbox, wanted, model)
    if not toolbox.tools and not hosted:
        raise Refused(400, "`tool_choice` goes with `tools`", param="tool_choice")
    said = f"`tool_choice.name`: there is no tool {name!r} in `tools`"
    raise Refused(400, said, param="tool_choice.name")


def _answer_unavailable(toolbox: Toolbox, tool: Json, model: str) -> Offer:
    reply = hosted_tools.answer_unavailable(model, tool, toolbox.left_out)
    if reply is None:
        raise hosted_tools.refuse_demand([hosted_tools.tool_label(tool)])
    return Offer(toolbox, None, reply)


# ---- blocks of a conversation


def plain_messages(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body with what a provider's tools did earlier told as text."""
    if not isinstance(raw.get("messages"), list):
        return raw
    return {**raw, "messages": [_plain_message(row) for row in raw["messages"]]}


def _plain_message(message: Any) -> Any:
    table = as_table(message)
    content = table.get("content")
    if not isinstance(content, list):
        return message
    as_text = _hosted_block_text if table.get("role") == "assistant" else _tool_change_text
    return {**table, "content": [as_text(block) for block in as_list(content)]}


_RESULTS = (
    "web_search_tool_result", "web_fetch_tool_result", "code_execution_tool_result",
    "bash_code_execution_tool_result", "text_editor_code_execution_tool_result",
    "tool_search_tool_result", "mcp_tool_result",
)  # fmt: skip
_SEALED = ("encrypted_content", "encrypted_stdout", "encrypted_index", "caller", "cache_control")
"""What only the provider can read, or what is not about the result."""


def _hosted_block_text(block: Any) -> Any:
    """A block of a provider's tool as text; any other block as it is."""
    table = as_table(block)
    kind = table.get("type")
    if kind in ("server_tool_use", "mcp_tool_use"):
        said = f"[called {table.get('name')} with {_json(table.get('input'))}]"
    elif kind in _RESULTS:
        name = str(kind).removesuffix("_tool_result")
        said = f"[{name} brought {_json(_without_sealed(table.get('content')))}]"
    elif kind == "compaction" and isinstance(table.get("content"), str):
        said = f"[What was said before, in short: {table['content']}]"
    else:
        return block
    return {"type": "text", "text": said}


def _without_sealed(data: Any) -> Any:
    """*data* without what only its provider can read."""
    if isinstance(data, list):
        return [_without_sealed(row) for row in as_list(data)]
    if not isinstance(data, dict):
        return data
    return {
        key: _without_sealed(value) for key, value in as_table(data).items() if key not in _SEALED
    }


def _json(data: Any) -> str:
    return msgspec.json.encode(data).decode()


def _tool_change_text(block: Any) -> Any:
    """What a caller's block says of tools, which are offered anyway, as text."""
    table = as_table(block)
    if table.get("type") in ("tool_addition", "tool_removal"):
        how = "can" if table["type"] == "tool_addition" else "cannot"
        name = _changed_name(as_table(table.get("tool")))
        return {"type": "text", "text": f"[The tool {name} {how} be called from now on.]"}
    rows = as_list(table.get("content"))
    if table.get("type") != "tool_result" or not any(map(_referenced_tool, rows)):
        return block
    told = [
        {"type": "text", "text": f"The tool {name} can be called now."}
        if (name := _referenced_tool(row))
        else row
        for row in rows
    ]
    return {**table, "content": told}


def _referenced_tool(block: Any) -> str | None:
    """The tool that a block refers to."""
    table = as_table(block)
    return str(table.get("tool_name")) if table.get("type") == "tool_reference" else None
