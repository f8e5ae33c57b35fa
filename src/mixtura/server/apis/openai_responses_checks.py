"""Rules for a request of OpenAI's Responses API that its types cannot state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from mixtura.server.apis.base import (
    ApiError,
)
from mixtura.server.apis.openai_responses_body import (
    FunctionCallItem,
    FunctionOutputItem,
    Item,
    MessageItem,
    ResponsesBody,
)


def check_no_file_ids(items: Any) -> None:
    """Raises ApiError naming a content part that refers to a stored file or a file's URL."""
    if not isinstance(items, list):
        return
    for number, item in enumerate(cast("list[Any]", items)):
        if not isinstance(item, dict):
            continue
        table = cast("dict[str, Any]", item)
        for key in ("content", "output"):
            parts = table.get(key)
            for place, part in enumerate(
                cast("list[Any]", parts) if isinstance(parts, list) else ()
            ):
                _check_file_part(f"input[{number}].{key}[{place}]", part)


def _check_file_part(where: str, part: Any) -> None:
    match part:
        case {"type": "input_image" | "input_file", "file_id": str()}:
            message = f"`{where}.file_id`: no files are kept here, send the data itself"
            raise ApiError(400, message, param=f"{where}.file_id", code="unsupported_value")
        case {"type": "input_file", "file_url": str()}:
            message = f"`{where}.file_url`: no files are fetched here, send it as `file_data`"
            raise ApiError(400, message, param=f"{where}.file_url", code="unsupported_value")
        case _:
            pass


def check_body(body: ResponsesBody, before: Sequence[Item]) -> None:
    """
    Raises ApiError naming the parameter for contents and calls that do not fit; *before*: the items
    of the stored conversation.
    """
    own = [] if isinstance(body.input, str) else body.input
    _check_contents(own)
    _check_calls(before, own)


def _check_contents(items: Sequence[Item]) -> None:
    """Raises ApiError for a content that is null: only an assistant's may be."""
    for number, item in enumerate(items):
        if isinstance(item, MessageItem) and item.content is None and item.role != "assistant":
            where = f"input[{number}].content"
            raise ApiError(400, f"`{where}` is null: it can be text or parts", param=where)


def _check_calls(before: Sequence[Item], items: Sequence[Item]) -> None:
    """Raises ApiError unless every call has its output after it, and every output its call."""
    calls: dict[str, str] = {}
    # Negative numbers: the error of a stored item names the parameter that brought it in.
    for number, item in enumerate((*before, *items), start=-len(before)):
        where = f"input[{number}].call_id" if number >= 0 else "previous_response_id"
        match item:
            case FunctionCallItem(called):
                if called in calls:
                    message = f"`{where}`: there is a function_call {called!r} before it"
                    raise ApiError(400, message, param=where)
                calls[called] = where
            case FunctionOutputItem(called):
                if calls.pop(called, None) is None:
                    message = f"`{where}`: there is no function_call {called!r} before it"
                    raise ApiError(400, message, param=where)
            case _:
                pass
    for called, where in calls.items():
        message = f"`{where}`: the function_call {called!r} has no function_call_output"
        raise ApiError(400, message, param=where)
