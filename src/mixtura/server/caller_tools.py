"""Tools of the APIs' own that the caller runs: offered as functions, called in the API's form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from mixtura.server.dialect import Refused
from mixtura.server.tools import Tool
from mixtura.types import Json, ToolCall

TEXT: Json = {"type": "string"}
NUMBER: Json = {"type": "integer"}
TEXTS: Json = {"type": "array", "items": TEXT}


def _object(required: Mapping[str, Any], **optional: Any) -> Json:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _one_of(*values: str) -> Json:
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
    return Tool(name, "custom", namespace, described, _object({"input": TEXT}))


def custom_arguments(given: str) -> str:
    """A custom tool's input as a function's arguments."""
    return msgspec.json.encode({"input": given}).decode()


def custom_input(arguments: str) -> str:
    """The text that a model wrote for a custom tool, in whatever form."""
    data = json_object(arguments)
    if data is None:
        return arguments
    if isinstance(text := data.get("input"), str):
        return text
    texts = [value for value in data.values() if isinstance(value, str)]
    if len(texts) == len(data) <= 1:
        return texts[0] if texts else ""
    return arguments


def json_object(text: str) -> dict[str, Any] | None:
    """*text* as a JSON object; None where it is none."""
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return None


# ---- OpenAI's responses

_POINT = {"x": NUMBER, "y": NUMBER}
_ACTIONS = (
    "click", "double_click", "drag", "keypress", "move", "screenshot", "scroll", "type", "wait",
)  # fmt: skip
_OPERATIONS = ("create_file", "update_file", "delete_file")


def openai_tool(given: Json) -> Tool | None:
    """A tool of OpenAI's responses that the caller runs, by its type; None for any other."""
    kind = given.get("type")
    match kind:
        case "local_shell":
            said = "Run a command on the user's machine."
            shape = _object(
                {"command": TEXTS}, working_directory=TEXT, timeout_ms=NUMBER,
                env={"type": "object", "additionalProperties": TEXT},
            )  # fmt: skip
            return Tool(kind, kind, None, said, shape)
        case "shell" if _is_local(given.get("environment")):
            said = "Run shell commands on the user's machine."
            shape = _object({"commands": TEXTS}, timeout_ms=NUMBER, max_output_length=NUMBER)
            return Tool(kind, kind, None, said, shape)
        case "apply_patch":
            said = (
                "Create, update or delete one file. `diff` is in the V4A format: lines that begin "
                "with +, - or a space, behind @@ where a section begins; delete_file has none."
            )
            shape = _object({"type": _one_of(*_OPERATIONS), "path": TEXT}, diff=TEXT)
            return Tool(kind, kind, None, said, shape)
        case "computer" | "computer_use_preview":
            return Tool("computer", kind, None, _screen(given), _ACTION)
        case "tool_search" if given.get("execution") == "client":
            shape = given.get("parameters") or _object({"query": TEXT})
            said = given.get("description") or "Search for further tools."
            return Tool(kind, kind, None, str(said), cast("Json", shape))
        case _:
            return None


_ACTION = _object(
    {"type": _one_of(*_ACTIONS)}, **_POINT, text=TEXT, keys=TEXTS,
    button=_one_of("left", "right", "wheel", "back", "forward"), scroll_x=NUMBER,
    scroll_y=NUMBER, path={"type": "array", "items": _object(_POINT)},
)  # fmt: skip


def _is_local(environment: Any) -> bool:
    """Whether a shell is the caller's, not a container of a provider's."""
    if not isinstance(environment, dict):
        return True
    return cast("dict[str, Any]", environment).get("type") in (None, "local")


def _screen(given: Json) -> str:
    size = [given.get(name) for name in ("display_width", "display_height")]
    told = f" Its screen is {size[0]} x {size[1]} points." if all(size) else ""
    return f"Do one action on the user's computer; a screenshot comes back.{told}"


PREFIXES = {
    "custom": "ctc", "local_shell": "lsh", "shell": "sh", "apply_patch": "apc",
    "computer": "cu", "computer_use_preview": "cu", "tool_search": "tsc",
}  # fmt: skip
"""What the ids of calls begin with."""


def openai_item(tool: Tool, call: ToolCall, status: str) -> dict[str, Any]:
    """A call as an item of OpenAI's responses, without its id. Raises Refused."""
    item: dict[str, Any] = {"status": status, "call_id": call.id}
    named: dict[str, Any] = {"name": tool.name}
    if tool.namespace:
        named["namespace"] = tool.namespace
    if tool.kind == "function":
        return {"type": "function_call", **item, **named, "arguments": call.arguments}
    if tool.kind == "custom":
        given = custom_input(call.arguments)
        return {"type": "custom_tool_call", **item, **named, "input": given}
    data = json_object(call.arguments)
    made = _own_item(tool.kind, data) if data is not None else None
    if made is None:
        said = f"the model called {tool.name} with arguments that it cannot have"
        raise Refused(502, said, kind="api_error", code="upstream_malformed")
    return made | item


def _own_item(kind: str, data: dict[str, Any]) -> dict[str, Any] | None:
    """What only this type of call has; None for arguments that are not its own."""
    match kind:
        case "local_shell":
            action = _local_command(data)
            return {"type": "local_shell_call", "action": action} if action else None
        case "shell":
            commands = _texts(data.get("commands", data.get("command")))
            limits = {name: _number(data.get(name)) for name in ("timeout_ms", "max_output_length")}
            action = {"commands": commands, **limits}
            item = {"type": "shell_call", "action": action, "environment": None}
            return item if commands else None
        case "apply_patch":
            operation = _operation(data)
            return {"type": "apply_patch_call", "operation": operation} if operation else None
        case "tool_search":
            return {"type": "tool_search_call", "execution": "client", "arguments": data}
        case _:
            action = _inner(data, "action")
            if action.get("type") not in _ACTIONS:
                return None
            told = {"actions": [action]} if kind == "computer" else {"action": action}
            return {"type": "computer_call", **told, "pending_safety_checks": []}


def _local_command(data: dict[str, Any]) -> dict[str, Any] | None:
    command = data.get("command")
    texts = ["bash", "-lc", command] if isinstance(command, str) else _texts(command)
    folder = data.get("working_directory", data.get("workdir"))
    env: Any = data.get("env")
    if not texts:
        return None
    return {
        "type": "exec",
        "command": texts,
        "env": env if isinstance(env, dict) else {},
        "timeout_ms": _number(data.get("timeout_ms")),
        "working_directory": folder if isinstance(folder, str) else None,
        "user": None,
    }


def _operation(data: dict[str, Any]) -> dict[str, Any] | None:
    given = _inner(data, "operation")
    kind, path, diff = (given.get(name) for name in ("type", "path", "diff"))
    if kind not in _OPERATIONS or not isinstance(path, str):
        return None
    if kind == "delete_file":
        return {"type": kind, "path": path}
    return {"type": kind, "path": path, "diff": diff} if isinstance(diff, str) else None


def _inner(data: dict[str, Any], name: str) -> dict[str, Any]:
    """The object under *name*, where a model wrote it so, else all of it."""
    inner = data.get(name)
    return cast("dict[str, Any]", inner) if isinstance(inner, dict) else data


def _texts(value: Any) -> list[str] | None:
    """A list of texts; one text is a list of it."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        return None
    rows = cast("list[Any]", value)
    return rows if all(isinstance(row, str) for row in rows) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# ---- Anthropic's messages

_COMPUTER = (
    "key", "type", "mouse_move", "left_click", "left_click_drag", "right_click", "middle_click",
    "double_click", "triple_click", "left_mouse_down", "left_mouse_up", "scroll", "hold_key",
    "wait", "zoom", "screenshot", "cursor_position",
)  # fmt: skip
_PLACE: Json = {"type": "array", "items": NUMBER}
_ANTHROPIC: Mapping[str, tuple[str, Json]] = {
    "bash_": (
        "Run a command in a shell on the user's machine that stays open; `restart` begins it anew.",
        _object({}, command=TEXT, restart={"type": "boolean"}),
    ),
    "text_editor_": (
        "View, create and edit files on the user's machine. `old_str` must stand once in the file.",
        _object(
            {"command": _one_of("view", "create", "str_replace", "insert"), "path": TEXT},
            file_text=TEXT, old_str=TEXT, new_str=TEXT, insert_line=NUMBER, insert_text=TEXT,
            view_range=_PLACE,
        ),
    ),
    "computer_2": (
        "Do one action on the user's computer. A screenshot comes back.",
        _object(
            {"action": _one_of(*_COMPUTER)}, coordinate=_PLACE, start_coordinate=_PLACE, text=TEXT,
            scroll_direction=_one_of("up", "down", "left", "right"), scroll_amount=NUMBER,
            duration={"type": "number"}, region=_PLACE,
        ),
    ),
    "memory_": (
        "Keep notes in files under /memories, which stay after this conversation.",
        _object(
            {"command": _one_of("view", "create", "str_replace", "insert", "delete", "rename")},
            path=TEXT, file_text=TEXT, old_str=TEXT, new_str=TEXT, insert_line=NUMBER,
            insert_text=TEXT, view_range=_PLACE, old_path=TEXT, new_path=TEXT,
        ),
    ),
}  # fmt: skip
_NOT_OURS = ("cache_control", "allowed_callers", "defer_loading")
"""Of a tool that is passed on: what is about the client's own cache or about hosted tools."""


def anthropic_tool(given: Json) -> Tool | None:
    """A tool of Anthropic's that the caller runs, by its type; None for any other."""
    kind, name = given.get("type"), given.get("name")
    if not isinstance(kind, str) or not isinstance(name, str) or not name:
        return None
    for prefix, (said, shape) in _ANTHROPIC.items():
        if kind.startswith(prefix):
            size = [given.get(f"display_{side}_px") for side in ("width", "height")]
            told = f" Its screen is {size[0]} x {size[1]} points." if all(size) else ""
            native = {key: value for key, value in given.items() if key not in _NOT_OURS}
            return Tool(name, "function", None, said + told, shape, native=native)
    return None
