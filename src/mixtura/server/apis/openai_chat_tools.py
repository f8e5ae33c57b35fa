"""The tools of chat completions, the choice among them, and the two older forms of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from mixtura.core.types import Completion, Json, ToolCall
from mixtura.protocols.provider_data.fields import add_call_fields
from mixtura.server.apis import hosted_tools
from mixtura.server.apis.base import ApiCall, ApiError
from mixtura.server.apis.caller_tools import (
    FunctionBody,
    ToolName,
    custom_arguments,
    custom_input,
    custom_tool,
)
from mixtura.server.apis.tool_names import Tool, Toolbox
from mixtura.server.apis.validation import (
    NotEmpty,
    as_dict,
    check_tool_names,
    convert_struct,
)


class ChatToolBody(msgspec.Struct):
    """Any tool; of an unknown type only the type is checked."""

    type: NotEmpty = "function"


class NamedFunction(msgspec.Struct):
    name: NotEmpty


class _ChatGrammar(msgspec.Struct):
    syntax: str
    definition: str


class _CustomToolFormat(msgspec.Struct):
    type: Literal["text", "grammar"]
    grammar: _ChatGrammar | None = None


class _CustomBody(msgspec.Struct):
    name: ToolName
    description: str | None = None
    format: _CustomToolFormat | None = None


class _FunctionTool(msgspec.Struct):
    function: FunctionBody


class _CustomTool(msgspec.Struct):
    custom: _CustomBody


class _FunctionChoice(msgspec.Struct):
    function: NamedFunction


class _CustomChoice(msgspec.Struct):
    custom: NamedFunction


class _AllowedTools(msgspec.Struct):
    tools: Annotated[list[ChatToolBody], msgspec.Meta(min_length=1)]
    mode: Literal["auto", "required"] = "auto"


class _AllowedChoice(msgspec.Struct):
    allowed_tools: _AllowedTools


_ALLOWED_VALUES = {
    "tools[].custom.format.type": "text or grammar",
    "tool_choice.allowed_tools.mode": "auto or required",
}


class ChatToolOffer(NamedTuple):
    """The tools that models are offered, and the choice among them."""

    toolbox: Toolbox
    choice: str | Json | None
    extra: Json
    """Whether they may call several at once."""


def has_legacy_functions(body: Mapping[str, Any]) -> bool:
    """Whether a request has its tools as `functions`, and wants its answer so."""
    return bool(body.get("functions")) and not body.get("tools")


def read_tool_offer(body: Mapping[str, Any]) -> ChatToolOffer:
    """The tools of a body whose types are right. Raises ApiError naming the field that is wrong."""
    if has_legacy_functions(body):
        return _read_legacy_offer(body)
    own_tools: list[Tool] = []
    hosted: list[str] = []
    for number, given in enumerate(body.get("tools") or ()):
        if (own := _read_caller_tool(given, f"tools[{number}]")) is not None:
            own_tools.append(own)
        else:
            hosted.append(hosted_tools.tool_label(given))
    if body.get("web_search_options") is not None:
        hosted.append("web_search_options")
    check_tool_names([tool.name for tool in own_tools], [], where="tools")
    toolbox, choice = _apply_tool_choice(Toolbox(own_tools, hosted), body.get("tool_choice"))
    # OpenAI refuses this parameter where there are no tools.
    parallel = body.get("parallel_tool_calls") if toolbox.tools else None
    return ChatToolOffer(
        toolbox, choice, {} if parallel is None else {"parallel_tool_calls": parallel}
    )


def _read_caller_tool(given: Json, where: str) -> Tool | None:
    """
    A tool that the caller runs; None for one of a provider's. Raises ApiError naming the field that
    is wrong.
    """
    match given.get("type", "function"):
        case "function":
            own = convert_struct(given, _FunctionTool, _ALLOWED_VALUES, where).function
            return own.as_tool()
        case "custom":
            own = convert_struct(given, _CustomTool, _ALLOWED_VALUES, where).custom
            grammar = own.format.grammar if own.format else None
            rule = (grammar.syntax, grammar.definition) if grammar else None
            return custom_tool(own.name, own.description, rule)
        case _:
            return None


def _read_legacy_offer(body: Mapping[str, Any]) -> ChatToolOffer:
    functions = msgspec.convert(body["functions"], list[FunctionBody])
    check_tool_names([own.name for own in functions], [], where="functions")
    toolbox = Toolbox([own.as_tool() for own in functions])
    choice = body.get("function_call")
    if isinstance(choice, dict):
        name = str(as_dict(choice).get("name"))
        if toolbox.find_tool(name) is None:
            message = f"`function_call.name`: there is no function {name!r} in `functions`"
            raise ApiError(400, message, param="function_call.name")
        choice = {"type": "function", "function": {"name": toolbox.flat_name(name)}}
    return ChatToolOffer(
        toolbox, choice, {"parallel_tool_calls": False}
    )  # its answers hold one call


_MODES = ("none", "auto", "required")


def _apply_tool_choice(toolbox: Toolbox, choice: Any) -> tuple[Toolbox, str | Json | None]:
    # Anthropic's form of the same words.
    choice = next((mode for mode in _MODES if choice == {"type": mode}), choice)
    if isinstance(choice, dict):
        table = as_dict(choice)
        if table.get("type") == "allowed_tools":
            return _choose_allowed(toolbox, table)
        return toolbox, _choose_by_name(toolbox, table)
    if toolbox.tools:
        return toolbox, choice
    if choice == "required":
        if toolbox.left_out:
            raise hosted_tools.unavailable_tool_error(toolbox.left_out)
        raise _missing_tools_error()
    return toolbox, None  # beside no tools it says nothing


def _missing_tools_error() -> ApiError:
    return ApiError(400, "this `tool_choice` goes with `tools`", param="tool_choice")


def _choose_allowed(toolbox: Toolbox, choice: Json) -> tuple[Toolbox, str | None]:
    allowed = convert_struct(choice, _AllowedChoice, _ALLOWED_VALUES, "tool_choice").allowed_tools
    rows: Sequence[Json] = choice["allowed_tools"]["tools"]
    shown = [
        _find_chosen_tool(toolbox, row, f"tool_choice.allowed_tools.tools[{i}]")
        for i, row in enumerate(rows)
    ]
    tools = [tool for tool in shown if isinstance(tool, Tool)]
    if not tools and allowed.mode == "required":
        raise hosted_tools.unavailable_tool_error([one for one in shown if isinstance(one, str)])
    return toolbox.keep_only(tools), allowed.mode if tools else None


def _choose_by_name(toolbox: Toolbox, choice: Json) -> Json:
    tool = _find_chosen_tool(toolbox, choice, "tool_choice")
    if isinstance(tool, str):
        raise hosted_tools.unavailable_tool_error([tool])
    return {"type": "function", "function": {"name": toolbox.flat_name(tool.name, None, tool.kind)}}


def _find_chosen_tool(toolbox: Toolbox, chosen: Json, where: str) -> Tool | str:
    """
    The tool that a choice names; the label of one of a provider's. Raises ApiError for an unknown
    tool.
    """
    kind = chosen.get("type", "function")
    if kind not in ("function", "custom"):
        wanted = hosted_tools.tool_label(chosen)
        if any(name == wanted or name.startswith(f"{kind}:") for name in toolbox.left_out):
            return wanted
        message = f"`{where}`: it can be none, auto, required or one of `tools`"
        raise ApiError(400, message, param=where)
    if kind == "custom":
        name = convert_struct(chosen, _CustomChoice, _ALLOWED_VALUES, where).custom.name
    else:
        name = convert_struct(chosen, _FunctionChoice, _ALLOWED_VALUES, where).function.name
    if not (toolbox.tools or toolbox.left_out):
        raise _missing_tools_error()
    tool = toolbox.find_tool(name, None, kind)
    if tool is None:
        raise ApiError(400, f"`{where}`: there is no tool {name!r} in `tools`", param=where)
    return tool


# ---- messages of a conversation


def normalize_messages(messages: Sequence[Json], toolbox: Toolbox) -> list[Json]:
    """
    Messages with every call in the form of today, under its flat name: custom tools' calls, and
    the calls and results of `functions`, which have no ids.
    """
    called = ""
    plain: list[Json] = []
    for number, message in enumerate(messages):
        if message["role"] == "function":
            left_out = ("name", "tool_calls")  # a result calls nothing
            brought = {key: value for key, value in message.items() if key not in left_out}
            plain.append({**brought, "role": "tool", "tool_call_id": called})
        elif function := message.get("function_call"):
            # The older form has no ids: a result belongs to the call before it.
            called = f"call_{number}"
            rest = {key: value for key, value in message.items() if key != "function_call"}
            rows = [_function_call_row({"id": called, "function": function}, toolbox)]
            plain.append({**rest, "tool_calls": rows})
        elif rows := message.get("tool_calls"):
            plain.append(
                {**message, "tool_calls": [_function_call_row(row, toolbox) for row in rows]}
            )
        else:
            plain.append(message)
    return plain


def _function_call_row(row: Json, toolbox: Toolbox) -> Json:
    if row.get("type") == "custom":
        custom = row["custom"]
        name = toolbox.flat_name(custom["name"], None, "custom")
        function = {"name": name, "arguments": custom_arguments(custom["input"])}
    else:
        function = {**row["function"], "name": toolbox.flat_name(row["function"]["name"])}
    # A provider's own fields on the call stay: it wants them back.
    kept = {key: value for key, value in row.items() if key != "custom"}
    return {**kept, "type": "function", "function": function}


# ---- the calls of an answer


def write_calls(calls: Sequence[ToolCall], call: ApiCall) -> dict[str, Any]:
    """Calls as fields of a message, in the form in which the client has its tools."""
    rows = [_write_call(made, call.toolbox) for made in calls]
    if not rows:
        return {}
    return (
        {"function_call": rows[0]["function"]}
        if has_legacy_functions(call.body)
        else {"tool_calls": rows}
    )


def _write_call(made: ToolCall, toolbox: Toolbox) -> dict[str, Any]:
    tool = toolbox.find_by_flat_name(made.name)
    if tool.kind == "custom":
        custom = {"name": tool.name, "input": custom_input(made.arguments)}
        row = {"id": made.id, "type": "custom", "custom": custom}
        return add_call_fields(row, made.provider_fields)
    function = {"name": tool.name, "arguments": made.arguments}
    row = {"id": made.id, "type": "function", "function": function}
    return add_call_fields(row, made.provider_fields)


def chat_finish_reason(answer: Completion, call: ApiCall) -> str:
    """The finish reason of a choice, in the older form's word where the request has that form."""
    legacy = answer.finish_reason == "tool_calls" and has_legacy_functions(call.body)
    return "function_call" if legacy else answer.finish_reason


def with_dropped_calls(summary: Json, answers: Sequence[Completion], call: ApiCall) -> Json:
    """The ``mixtura`` object, with the calls that the older form has no room for."""
    more = [len(answer.message.tool_calls) - 1 for answer in answers]
    if not has_legacy_functions(call.body) or max(more) < 1:
        return summary
    notice = f"{sum(max(n, 0) for n in more)} further calls: a message has one `function_call`"
    return {**summary, "left_out": [*summary.get("left_out", ()), notice]}
