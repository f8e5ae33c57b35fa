"""The tools of OpenAI's responses, the choice among them, and the items of their calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from mixtura.core.types import Json
from mixtura.server.apis import hosted_tools
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.caller_tools import (
    FunctionBody,
    ToolName,
    custom_arguments,
    custom_tool,
    parse_openai_tool,
)
from mixtura.server.apis.tool_names import Tool, Toolbox
from mixtura.server.apis.validation import (
    NotEmpty,
    as_dict,
    as_list,
    check_tool_names,
    convert_struct,
)


class ResponsesToolBody(msgspec.Struct):
    """Any tool; of an unknown type only the type is checked."""

    type: NotEmpty


class ChoiceBody(msgspec.Struct):
    """A choice that is an object: one tool, or some that are allowed."""

    type: NotEmpty


class _ResponsesGrammar(msgspec.Struct, tag="grammar"):
    syntax: str
    definition: str


class _TextFormat(msgspec.Struct, tag="text"):
    pass


class _ResponsesCustomTool(msgspec.Struct):
    name: ToolName
    description: str | None = None
    format: _ResponsesGrammar | _TextFormat | None = None


class _NamespaceTool(msgspec.Struct):
    name: NotEmpty
    tools: list[ResponsesToolBody]
    description: str | None = None


class _NamedChoice(msgspec.Struct):
    name: NotEmpty
    namespace: str | None = None


class _AllowedToolsChoice(msgspec.Struct):
    tools: Annotated[list[ChoiceBody], msgspec.Meta(min_length=1)]
    mode: Literal["auto", "required"] = "auto"


_ALLOWED_VALUES = {
    "tools[].format.type": "text or grammar",
    "tools[].tools[].format.type": "text or grammar",
    "tool_choice.mode": "auto or required",
}


# ---- tools


def read_tools(tools: Sequence[Json], more: Sequence[Json] = ()) -> Toolbox:
    """
    The tools of a request; *more*: those that its conversation brought, perhaps the same again.

    Raises ApiError naming the field that is wrong.
    """
    own_tools, hosted = _read_tool_list(tools, "tools", None)
    check_tool_names(
        [" ".join(filter(None, tool.unique_key)) for tool in own_tools], [], where="tools"
    )
    known = {tool.unique_key for tool in own_tools}
    added, also = _read_tool_list(more, "input", None)
    for tool in added:
        if tool.unique_key not in known:
            known.add(tool.unique_key)
            own_tools.append(tool)
    return Toolbox(own_tools, hosted + also)


def _read_tool_list(
    tools: Sequence[Json], at: str, namespace: str | None
) -> tuple[list[Tool], list[str]]:
    own_tools: list[Tool] = []
    hosted: list[str] = []
    for number, given in enumerate(tools):
        where = f"{at}[{number}]"
        match given["type"]:
            case "function":
                own = convert_struct(given, FunctionBody, _ALLOWED_VALUES, where)
                own_tools.append(own.as_tool(namespace))
            case "custom":
                own = convert_struct(given, _ResponsesCustomTool, _ALLOWED_VALUES, where)
                form = own.format
                grammar = (
                    (form.syntax, form.definition) if isinstance(form, _ResponsesGrammar) else None
                )
                own_tools.append(custom_tool(own.name, own.description, grammar, namespace))
            case "namespace":
                group = convert_struct(given, _NamespaceTool, _ALLOWED_VALUES, where)
                inner, also = _read_tool_list(given["tools"], f"{where}.tools", group.name)
                own_tools += _with_group_description(inner, group)
                hosted += also
            case _ if tool := parse_openai_tool(given):
                own_tools.append(tool)
            case _:
                hosted.append(hosted_tools.tool_label(given))
    return own_tools, hosted


def _with_group_description(tools: Sequence[Tool], group: _NamespaceTool) -> list[Tool]:
    """A namespace's tools; the description of the namespace is added to the first."""
    if not group.description or not tools:
        return list(tools)
    first = tools[0]
    description = "\n\n".join(
        filter(None, (first.description, f"{group.name}: {group.description}"))
    )
    described = Tool(
        first.name, first.kind, first.namespace, description, first.parameters, first.strict
    )
    return [described, *tools[1:]]


# ---- the choice among them


class ToolSelection(NamedTuple):
    """The tools that models are offered, and the choice among them."""

    toolbox: Toolbox
    choice: str | Json | None


def read_tool_choice(toolbox: Toolbox, choice: str | Json | None) -> ToolSelection:
    """
    The tools after the choice among them. Raises ApiError for a choice of an unavailable tool.
    """
    if isinstance(choice, Mapping):
        if choice["type"] == "allowed_tools":
            return _choose_allowed(toolbox, choice)
        return ToolSelection(toolbox, _choose_by_name(toolbox, choice))
    if toolbox.tools:
        return ToolSelection(toolbox, choice)
    if choice == "required":
        raise _missing_tools_error(toolbox)
    return ToolSelection(toolbox, None)  # beside no tools it says nothing


def _missing_tools_error(toolbox: Toolbox) -> ApiError:
    if toolbox.left_out:
        return hosted_tools.unavailable_tool_error(toolbox.left_out)
    return ApiError(400, "`tool_choice`: required goes with `tools`", param="tool_choice")


def _choose_allowed(toolbox: Toolbox, choice: Json) -> ToolSelection:
    allowed = convert_struct(choice, _AllowedToolsChoice, _ALLOWED_VALUES, "tool_choice")
    shown = [_find_chosen_tool(toolbox, row, "tool_choice.tools") for row in choice["tools"]]
    tools = [tool for tool in shown if tool is not None]
    if not tools:
        if allowed.mode == "required":
            raise hosted_tools.unavailable_tool_error(
                [hosted_tools.tool_label(row) for row in choice["tools"]]
            )
        return ToolSelection(toolbox.keep_only([]), None)
    return ToolSelection(toolbox.keep_only(tools), allowed.mode)


def _choose_by_name(toolbox: Toolbox, choice: Json) -> Json:
    tool = _find_chosen_tool(toolbox, choice, "tool_choice.name")
    if tool is None:
        raise hosted_tools.unavailable_tool_error([hosted_tools.tool_label(choice)])
    name = toolbox.flat_name(tool.name, tool.namespace, tool.kind)
    return {"type": "function", "function": {"name": name}}


def _find_chosen_tool(toolbox: Toolbox, chosen: Json, where: str) -> Tool | None:
    """
    The tool that a choice names; None for one of a provider's. Raises ApiError for an unknown tool.
    """
    kind = chosen["type"]
    if kind in ("function", "custom"):
        named = convert_struct(chosen, _NamedChoice, _ALLOWED_VALUES, where.rpartition(".")[0])
        tool = toolbox.find_tool(named.name, named.namespace, kind)
        if tool is None:
            message = f"`{where}`: there is no tool {named.name!r} in `tools`"
            raise ApiError(400, message, param=where)
        return tool
    # Three names of one tool, by the age of the client.
    computers = ("computer", "computer_use", "computer_use_preview")
    kinds = computers if kind in computers else (kind,)
    return toolbox.first_of_kinds(kinds)


# ---- items of a conversation: calls of every type become calls of functions


class NormalizedItems(NamedTuple):
    """Items with function calls only, and notes on those that reach no model."""

    items: Any
    left_out: list[str]


def tools_in_items(items: Any) -> list[Json]:
    """Tools that came in a conversation: found by a search of the client's, or added to it."""
    brought: list[Json] = []
    for row in as_list(items):
        item = as_dict(row)
        if item.get("type") in ("tool_search_output", "additional_tools"):
            tools = map(as_dict, as_list(item.get("tools")))
            brought += [tool for tool in tools if isinstance(tool.get("type"), str)]
    return brought


def normalize_items(items: Any, toolbox: Toolbox, before: Sequence[Json] = ()) -> NormalizedItems:
    """
    *items* with every call as a function's, under its flat name, and what a provider's tools
    did as text. Items keep their places. An output may name its call among those *before* by
    the id of its item.
    """
    if not isinstance(items, list):
        return NormalizedItems(items, [])
    left_out: list[str] = []
    ids: dict[str, Any] = {}
    for item in before:
        if isinstance(item.get("type"), str):
            _call_as_function(dict(item), toolbox, ids)
    out: list[Any] = []
    for number, item in enumerate(as_list(items)):
        table = as_dict(item)
        if not isinstance(table.get("type"), str):
            out.append(item)
            continue
        if (made := _call_as_function(table, toolbox, ids)) is None:
            made = _output_as_function(table, ids)
        if made is None:
            made, notice = _hosted_item_text(table)
            left_out += [f"input[{number}]: {notice}"] if notice else []
        out.append(made)
    return NormalizedItems(out, left_out)


_EMPTY_ITEM = {"type": "reasoning"}
"""Replaces an item that no model is shown, so that the others keep their places."""
_META_FIELDS = ("type", "id", "status", "call_id", "created_by", "caller")


def _call_as_function(
    item: dict[str, Any], toolbox: Toolbox, ids: dict[str, Any]
) -> dict[str, Any] | None:
    kind, name, space = item["type"], item.get("name"), item.get("namespace")
    given: Any
    match kind:
        case "function_call" if isinstance(name, str) and name:
            return item | {
                "name": toolbox.flat_name(name, space if isinstance(space, str) else None)
            }
        case "custom_tool_call" if isinstance(name, str) and isinstance(item.get("input"), str):
            name = toolbox.flat_name(name, space if isinstance(space, str) else None, "custom")
            return _function_call_item(item, name, custom_arguments(item["input"]))
        case "local_shell_call" | "shell_call":
            given = item.get("action")
        case "apply_patch_call":
            given = item.get("operation")
        case "computer_call":
            given = item.get("action") or {"actions": item.get("actions")}
        case "tool_search_call" if item.get("execution") == "client":
            given = item.get("arguments")
        case _:
            return None
    if item.get("call_id") is None:
        # Older forms of these calls have an id and no call_id.
        item = item | {"call_id": item.get("id")}
    if isinstance(item.get("id"), str):
        ids[item["id"]] = item["call_id"]
    arguments = as_dict(given)
    if kind == "local_shell_call":
        arguments = {key: value for key, value in arguments.items() if key != "type"}
    present = {key: value for key, value in arguments.items() if value is not None}
    return _function_call_item(
        item, _builtin_tool_name(toolbox, kind), msgspec.json.encode(present).decode()
    )


def _builtin_tool_name(toolbox: Toolbox, kind: str) -> str:
    """The flat name of a tool of the API's own, by the type of its calls."""
    own = kind.removesuffix("_call")
    kinds = ("computer", "computer_use_preview") if own == "computer" else (own,)
    offered = toolbox.first_of_kinds(kinds)
    return toolbox.flat_name(own, None, offered.kind if offered else own)


def _function_call_item(item: dict[str, Any], name: str, arguments: str) -> dict[str, Any]:
    called = {"call_id": item["call_id"]} if "call_id" in item else {}
    return {"type": "function_call", "name": name, "arguments": arguments, **called}


def _output_as_function(item: dict[str, Any], ids: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a tool of the caller's brought, as a function's output; None for any other item."""
    output: Any = item.get("output")
    match item["type"]:
        case "custom_tool_call_output" | "local_shell_call_output":
            pass
        case "shell_call_output" if isinstance(output, list):
            output = "\n".join(map(_shell_output_text, as_list(output)))
        case "shell_call_output":
            pass
        case "apply_patch_call_output":
            output = "\n".join(str(text) for text in (item.get("status"), output) if text)
        case "computer_call_output":
            # A screenshot: a picture to every model that sees.
            output = [{**as_dict(output), "type": "input_image"}]
        case "tool_search_output" if item.get("execution") == "client":
            names = [str(tool.get("name") or tool["type"]) for tool in tools_in_items([item])]
            output = f"Tools found: {', '.join(names) or 'none'}"
        case _:
            return None
    called = item.get("call_id") or item.get("id")
    called = ids.get(called, called) if isinstance(called, str) else called
    made = {"type": "function_call_output", "output": output}
    return made if called is None else made | {"call_id": called}


def _shell_output_text(row: Any) -> str:
    """What one command of a shell wrote, and how it ended."""
    table = as_dict(row)
    ended = as_dict(table.get("outcome"))
    outcome = "[timed out]" if ended.get("type") == "timeout" else ""
    if ended.get("exit_code") is not None:
        outcome = f"[exit code {ended['exit_code']}]"
    texts = (table.get("stdout"), table.get("stderr"), outcome)
    return "\n".join(text.rstrip("\n") for text in texts if isinstance(text, str) and text)


_TEXT_ITEM_TYPES = ("web_search_call", "file_search_call", "code_interpreter_call", "mcp_call")
_DROPPED_ITEM_TYPES = (
    "image_generation_call", "mcp_list_tools", "mcp_approval_request", "mcp_approval_response",
    "tool_search_call", "tool_search_output", "compaction", "compaction_trigger", "program",
    "program_output", "configuration_update",
)  # fmt: skip


def _hosted_item_text(item: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """An item of a provider's tool: as text, or an empty item and a note on it."""
    kind = item["type"]
    if kind in _TEXT_ITEM_TYPES:
        # What the tool did helps a model; ids and states do not.
        did = {k: v for k, v in item.items() if k not in _META_FIELDS and v is not None}
        text = f"[{kind} {msgspec.json.encode(did).decode()}]"
        return {"type": "message", "role": "assistant", "content": text}, ""
    if kind in _DROPPED_ITEM_TYPES:
        return _EMPTY_ITEM, f"a {kind} of another server's, which no model here can read"
    return (_EMPTY_ITEM if kind == "additional_tools" else item), ""
