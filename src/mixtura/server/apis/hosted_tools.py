"""Tools that a provider runs: none runs here, so they are left out and named, or refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec

from mixtura.core.types import Json
from mixtura.server.apis.base import ApiError, CannedResponse, event_frame
from mixtura.server.apis.validation import as_dict, as_list

LEFT_OUT_HEADER = "x-mixtura-tools-left-out"
"""The header that names the tools that no model was offered."""


def tool_label(tool: Json) -> str:
    """The name of such a tool in answers: its type, and its server's name where it has one."""
    whose = tool.get("server_label") or tool.get("mcp_server_name")
    words = [str(word) for word in (tool.get("type") or "a tool", whose) if word]
    # A client wrote it, and it becomes a header's value.
    return re.sub(r"[^\w.:-]+", "_", ":".join(words), flags=re.ASCII)[:100]


def describe_left_out(labels: Sequence[str]) -> list[str]:
    """Notes on such tools for the answer."""
    return [f"the tool {name}: tools that providers run are not available here" for name in labels]


def left_out_header(labels: Sequence[str]) -> dict[str, str]:
    """The header that names such tools; none where there are none."""
    return {LEFT_OUT_HEADER: ", ".join(labels)} if labels else {}


def unavailable_tool_error(labels: Sequence[str], param: str = "tool_choice") -> ApiError:
    """The error for a call that cannot do without such a tool."""
    names = ", ".join(labels)
    message = (
        f"`{param}` wants {names}, and tools that providers run are not available here: "
        "leave it out, or define a function of your own"
    )
    return ApiError(400, message, param=param, code="unsupported_value")


# ---- Anthropic's messages have a form for a tool that is not to be had

_TOOL_FAMILIES = {
    "web_search_2": ("web_search", "web_search_tool_result"),
    "web_fetch_2": ("web_fetch", "web_fetch_tool_result"),
    "code_execution_2": ("code_execution", "code_execution_tool_result"),
    "tool_search_tool_regex": ("tool_search_tool_regex", "tool_search_tool_result"),
    "tool_search_tool_bm25": ("tool_search_tool_bm25", "tool_search_tool_result"),
}


_SEARCH_PROMPT_START = "Perform a web search for the query: "
"""What Claude Code begins the only message of a request with that stands for a search."""


def web_search_query(body: Mapping[str, Any], hosted: Sequence[Json]) -> str | None:
    """
    The query of a request that is for a web search and nothing else; None for any other request.

    Its client takes whatever text comes back for what was found, even a model's inventions.
    """
    messages = as_list(body.get("messages"))
    # Anything more than that one search is a request for an answer.
    if len(hosted) != 1 or len(body["tools"]) != 1 or len(messages) != 1:
        return None
    if not str(hosted[0].get("type")).startswith("web_search_"):
        return None
    content = as_dict(messages[0]).get("content")
    blocks = as_list(content) or [{"text": content}]
    text = as_dict(blocks[-1]).get("text")
    if not isinstance(text, str) or not text.startswith(_SEARCH_PROMPT_START):
        return None
    return text.removeprefix(_SEARCH_PROMPT_START)


def unavailable_tool_response(
    model: str, tool: Json, left_out_labels: Sequence[str], query: str | None = None
) -> CannedResponse | None:
    """
    The answer to a request that wants *tool* used: it was tried and is not available.

    Clients that make a request for each use of such a tool, as Claude Code does for a search,
    take the text of an error for a result. None for a tool without such a form.
    """
    kind = str(tool.get("type"))
    family = next((row for prefix, row in _TOOL_FAMILIES.items() if kind.startswith(prefix)), None)
    if family is None:
        return None
    name, result = family
    number = uuid4().hex
    used = f"srvtoolu_{number}"
    error: dict[str, Any] = {"type": f"{result}_error", "error_code": "unavailable"}
    if result == "tool_search_tool_result":
        # The tool search's error has this field, the others have not.
        error["error_message"] = None
    given = {} if query is None else {"query": query}
    text = f"{name} is not available on this server: nothing was looked up or run."
    blocks: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": used, "name": name, "input": given},
        {"type": result, "tool_use_id": used, "content": error},
        {"type": "text", "text": text},
    ]
    message: dict[str, Any] = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 0, "output_tokens": 0},
    }
    ended = {"stop_reason": "end_turn", "stop_sequence": None, "stop_details": None}
    summary = {"left_out": describe_left_out(left_out_labels)}
    return CannedResponse(
        message | ended | {"content": blocks, "mixtura": summary},
        _response_frames(message, blocks, ended, summary),
        left_out_header(left_out_labels) | {"request-id": f"req_{number}"},
    )


_DELTA_FIELDS = {"text": ("text", "text_delta"), "server_tool_use": ("input", "input_json_delta")}
"""What of a block comes in a delta."""


def _response_frames(
    message: Json, blocks: Sequence[Json], ended: Json, summary: Mapping[str, Any]
) -> bytes:
    """The same as a stream."""
    out = _typed_event_frame("message_start", message=message)
    for index, block in enumerate(blocks):
        field, kind = _DELTA_FIELDS.get(block["type"], ("", ""))
        begun = {**block, field: type(block[field])()} if field else block
        out += _typed_event_frame("content_block_start", index=index, content_block=begun)
        if field:
            piece = block[field] if field == "text" else msgspec.json.encode(block[field]).decode()
            name = "text" if field == "text" else "partial_json"
            delta = {"type": kind, name: piece}
            out += _typed_event_frame("content_block_delta", index=index, delta=delta)
        out += _typed_event_frame("content_block_stop", index=index)
    out += _typed_event_frame("ping", mixtura=summary)
    out += _typed_event_frame("message_delta", delta=ended, usage=message["usage"])
    return out + _typed_event_frame("message_stop")


def _typed_event_frame(kind: str, **data: Any) -> bytes:
    return event_frame({"type": kind} | data, event=kind)
