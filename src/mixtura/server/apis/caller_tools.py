"""Tools of the APIs' own that the caller runs: offered as functions, called in the API's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

import msgspec

from mixtura.core.types import Json, ToolCall
from mixtura.server.apis.base import ApiError
from mixtura.server.apis.tool_names import Tool

TEXT_SCHEMA: Json = {"type": "string"}
INTEGER_SCHEMA: Json = {"type": "integer"}
TEXT_LIST_SCHEMA: Json = {"type": "array", "items": TEXT_SCHEMA}


ToolName = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_.:-]{1,128}$")]


class FunctionBody(msgspec.Struct):
    """A function, as both of OpenAI's APIs describe one."""

    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def as_tool(self, namespace: str | None = None) -> Tool:
        return Tool(
            self.name, "function", namespace, self.description, self.parameters, self.strict
        )


def _object_schema(required: Mapping[str, Any], **optional: Any) -> Json:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        # OpenAI's strict mode wants every object closed.
        "additionalProperties": False,
    }


def _enum_schema(*values: str) -> Json:
    return {"type": "string", "enum": list(values)}


# ---- custom tools: their input is a text


def custom_tool(
    name: str,
    description: str | None,
    grammar: tuple[str, str] | None = None,
    namespace: str | None = None,
) -> Tool:
    """A tool whose input is free text; *grammar*: its syntax and definition, where it has one."""
    rule = "The input is free text, written as it is."
    if grammar:
        syntax, definition = grammar
        rule = f"The input is text that follows this {syntax} grammar:\n{definition}"
    described = "\n\n".join(filter(None, (description, rule)))
    return Tool(name, "custom", namespace, described, _object_schema({"input": TEXT_SCHEMA}))


def custom_arguments(given: str) -> str:
    """A custom tool's input as a function's arguments."""
    return msgspec.json.encode({"input": given}).decode()


def custom_input(arguments: str) -> str:
    """The text that a model wrote for a custom tool, whatever form it gave it."""
    data = parse_json_object(arguments)
    if data is None:
        return arguments
    if isinstance(text := data.get("input"), str):
        return text
    # Models rename the field, or write the bare text: what cannot be a call is taken as it is.
    texts = [value for value in data.values() if isinstance(value, str)]
    if len(texts) == len(data) <= 1:
        return texts[0] if texts else ""
    return arguments


def parse_json_object(text: str) -> dict[str, Any] | None:
    """*text* as a JSON object; None where it is none."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


# ---- OpenAI's responses

_POINT_FIELDS = {"x": INTEGER_SCHEMA, "y": INTEGER_SCHEMA}
_COMPUTER_ACTIONS = (
    "click", "double_click", "drag", "keypress", "move", "screenshot", "scroll", "type", "wait",
)  # fmt: skip
_PATCH_OPERATIONS = ("create_file", "update_file", "delete_file")


def parse_openai_tool(given: Json) -> Tool | None:
    """A tool of OpenAI's responses that the caller runs, by its type; None for any other."""
    kind = given.get("type")
    match kind:
        case "local_shell":
            description = "Run a command on the user's machine."
            shape = _object_schema(
                {"command": TEXT_LIST_SCHEMA}, working_directory=TEXT_SCHEMA,
                timeout_ms=INTEGER_SCHEMA,
                env={"type": "object", "additionalProperties": TEXT_SCHEMA},
            )  # fmt: skip
            return Tool(kind, kind, None, description, shape)
        case "shell" if _is_local_shell(given.get("environment")):
            description = "Run shell commands on the user's machine."
            shape = _object_schema(
                {"commands": TEXT_LIST_SCHEMA},
                timeout_ms=INTEGER_SCHEMA,
                max_output_length=INTEGER_SCHEMA,
            )
            return Tool(kind, kind, None, description, shape)
        case "apply_patch":
            description = (
                "Create, update or delete one file. `diff` is in the V4A format: lines that begin "
                "with +, - or a space, behind @@ where a section begins; delete_file has none."
            )
            shape = _object_schema(
                {"type": _enum_schema(*_PATCH_OPERATIONS), "path": TEXT_SCHEMA}, diff=TEXT_SCHEMA
            )
            return Tool(kind, kind, None, description, shape)
        case "computer" | "computer_use_preview":
            return Tool("computer", kind, None, _describe_computer(given), _COMPUTER_ACTION_SCHEMA)
        case "tool_search" if given.get("execution") == "client":
            shape = given.get("parameters") or _object_schema({"query": TEXT_SCHEMA})
            description = given.get("description") or "Search for further tools."
            return Tool(kind, kind, None, str(description), cast("Json", shape))
        case _:
            return None


_COMPUTER_ACTION_SCHEMA = _object_schema(
    {"type": _enum_schema(*_COMPUTER_ACTIONS)},
    **_POINT_FIELDS, text=TEXT_SCHEMA, keys=TEXT_LIST_SCHEMA,
    button=_enum_schema("left", "right", "wheel", "back", "forward"), scroll_x=INTEGER_SCHEMA,
    scroll_y=INTEGER_SCHEMA, path={"type": "array", "items": _object_schema(_POINT_FIELDS)},
)  # fmt: skip


def _is_local_shell(environment: Any) -> bool:
    """Whether a shell is the caller's, not a container of a provider's."""
    if not isinstance(environment, dict):
        return True
    return cast("dict[str, Any]", environment).get("type") in (None, "local")


def _describe_computer(given: Json) -> str:
    size = [given.get(name) for name in ("display_width", "display_height")]
    screen = f" Its screen is {size[0]} x {size[1]} points." if all(size) else ""
    return f"Do one action on the user's computer; a screenshot comes back.{screen}"


CALL_ID_PREFIXES = {
    "custom": "ctc", "local_shell": "lsh", "shell": "sh", "apply_patch": "apc",
    "computer": "cu", "computer_use_preview": "cu", "tool_search": "tsc",
}  # fmt: skip
"""What the ids of calls begin with."""


def openai_call_item(tool: Tool, call: ToolCall, status: str) -> dict[str, Any]:
    """
    A call as an item of OpenAI's responses, without its id. Raises ApiError (502) for arguments
    that the tool cannot have.
    """
    item: dict[str, Any] = {"status": status, "call_id": call.id}
    named: dict[str, Any] = {"name": tool.name}
    if tool.namespace:
        named["namespace"] = tool.namespace
    if tool.kind == "function":
        return {"type": "function_call", **item, **named, "arguments": call.arguments}
    if tool.kind == "custom":
        given = custom_input(call.arguments)
        return {"type": "custom_tool_call", **item, **named, "input": given}
    data = parse_json_object(call.arguments)
    made = _builtin_call_item(tool.kind, data) if data is not None else None
    if made is None:
        message = f"the model called {tool.name} with arguments that it cannot have"
        raise ApiError(502, message, kind="api_error", code="upstream_malformed")
    return made | item


def _builtin_call_item(kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
    """The fields of this type of call; None for arguments that it cannot have."""
    match kind:
        case "local_shell":
            action = _local_shell_action(data)
            return {"type": "local_shell_call", "action": action} if action else None
        case "shell":
            commands = _text_list(data.get("commands", data.get("command")))
            limits = {
                name: _integer_or_none(data.get(name))
                for name in ("timeout_ms", "max_output_length")
            }
            action = {"commands": commands, **limits}
            item = {"type": "shell_call", "action": action, "environment": None}
            return item if commands else None
        case "apply_patch":
            operation = _patch_operation(data)
            return {"type": "apply_patch_call", "operation": operation} if operation else None
        case "tool_search":
            return {"type": "tool_search_call", "execution": "client", "arguments": data}
        case _:
            action = _nested_object(data, "action")
            if action.get("type") not in _COMPUTER_ACTIONS:
                return None
            fields = {"actions": [action]} if kind == "computer" else {"action": action}
            return {"type": "computer_call", **fields, "pending_safety_checks": []}


def _local_shell_action(data: dict[str, Any]) -> dict[str, Any] | None:
    command = data.get("command")
    # Models write one line for a shell where the API wants the words of a command.
    texts = ["bash", "-lc", command] if isinstance(command, str) else _text_list(command)
    folder = data.get("working_directory", data.get("workdir"))
    env: Any = data.get("env")
    if not texts:
        return None
    return {
        "type": "exec",
        "command": texts,
        "env": env if isinstance(env, dict) else {},
        "timeout_ms": _integer_or_none(data.get("timeout_ms")),
        "working_directory": folder if isinstance(folder, str) else None,
        "user": None,
    }


def _patch_operation(data: dict[str, Any]) -> dict[str, Any] | None:
    given = _nested_object(data, "operation")
    kind, path, diff = (given.get(name) for name in ("type", "path", "diff"))
    if kind not in _PATCH_OPERATIONS or not isinstance(path, str):
        return None
    if kind == "delete_file":
        return {"type": kind, "path": path}
    return {"type": kind, "path": path, "diff": diff} if isinstance(diff, str) else None


def _nested_object(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under *name*, where a model wrote it so, else all of it."""
    # Models nest the arguments as the API's own items do, or leave that level out.
    inner = data.get(name)
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else data


def _text_list(value: Any) -> list[str] | None:
    """A list of texts; one text is a list of it."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    rows = cast("list[Any]", value)
    return rows if all(isinstance(row, str) for row in rows) else None


def _integer_or_none(value: Any) -> int | None:
    # In Python true is an int.
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# ---- Anthropic's messages

_ANTHROPIC_COMPUTER_ACTIONS = (
    "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click",
    "double_click", "triple_click", "left_mouse_down", "left_mouse_up", "scroll", "hold_key",
    "wait", "zoom", "screenshot", "cursor_position",
)  # fmt: skip
_COORDINATE_SCHEMA: Json = {"type": "array", "items": INTEGER_SCHEMA}
_ANTHROPIC_TOOLS: Mapping[str, tuple[str, Json]] = {
    "bash_": (
        "Run a command in a shell on the user's machine that stays open; `restart` begins it anew.",
        _object_schema({}, command=TEXT_SCHEMA, restart={"type": "boolean"}),
    ),
    "text_editor_": (
        "View, create and edit files on the user's machine. `old_str` must stand once in the file.",
        _object_schema(
            {
                "command": _enum_schema("view", "create", "str_replace", "insert"),
                "path": TEXT_SCHEMA,
            },
            file_text=TEXT_SCHEMA, old_str=TEXT_SCHEMA, new_str=TEXT_SCHEMA,
            insert_line=INTEGER_SCHEMA, insert_text=TEXT_SCHEMA, view_range=_COORDINATE_SCHEMA,
        ),
    ),
    "computer_2": (
        "Do one action on the user's computer. A screenshot comes back.",
        _object_schema(
            {"action": _enum_schema(*_ANTHROPIC_COMPUTER_ACTIONS)},
            coordinate=_COORDINATE_SCHEMA, start_coordinate=_COORDINATE_SCHEMA, text=TEXT_SCHEMA,
            scroll_direction=_enum_schema("up", "down", "left", "right"),
            scroll_amount=INTEGER_SCHEMA,
            duration={"type": "number"}, region=_COORDINATE_SCHEMA,
        ),
    ),
    "memory_": (
        "Keep notes in files under /memories, which stay after this conversation.",
        _object_schema(
            {
                "command": _enum_schema(
                    "view", "create", "str_replace", "insert", "delete", "rename"
                )
            },
            path=TEXT_SCHEMA, file_text=TEXT_SCHEMA, old_str=TEXT_SCHEMA, new_str=TEXT_SCHEMA,
            insert_line=INTEGER_SCHEMA, insert_text=TEXT_SCHEMA, view_range=_COORDINATE_SCHEMA,
            old_path=TEXT_SCHEMA, new_path=TEXT_SCHEMA,
        ),
    ),
}  # fmt: skip
_CLIENT_ONLY_FIELDS = ("cache_control", "allowed_callers", "defer_loading")
"""Fields of a tool that are about the client's cache or hosted tools, and are not passed on."""


def parse_anthropic_tool(given: Json) -> Tool | None:
    """A tool of Anthropic's that the caller runs, by its type; None for any other."""
    kind, name = given.get("type"), given.get("name")
    if not isinstance(kind, str) or not isinstance(name, str) or not name:
        return None
    for prefix, (description, shape) in _ANTHROPIC_TOOLS.items():
        if kind.startswith(prefix):
            size = [given.get(f"display_{side}_px") for side in ("width", "height")]
            screen = f" Its screen is {size[0]} x {size[1]} points." if all(size) else ""
            native = {key: value for key, value in given.items() if key not in _CLIENT_ONLY_FIELDS}
            return Tool(name, "function", None, description + screen, shape, native=native)
    return None
