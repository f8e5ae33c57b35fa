"""Reads a request of OpenAI's Responses API into an ApiCall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import msgspec

from mixtura.core.types import (
    Json,
    Message,
    Request,
    Sampling,
)
from mixtura.protocols.sampling_options import blocked_parameter_notices, extra_parameters
from mixtura.server.apis import hosted_tools
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
    ResolvedReferences,
    StorageOptions,
    UnresolvedCall,
    build_api_call,
)
from mixtura.server.apis.openai_responses_body import (
    ALLOWED_VALUES,
    Item,
    MessageItem,
    NamedSchemaFormat,
    ObjectFormat,
    PlainFormat,
    ResponsesBody,
)
from mixtura.server.apis.openai_responses_checks import check_body, check_no_file_ids
from mixtura.server.apis.openai_responses_conversation import build_messages
from mixtura.server.apis.openai_responses_tools import (
    ResponsesToolBody,
    ToolSelection,
    normalize_items,
    read_tool_choice,
    read_tools,
    tools_in_items,
)
from mixtura.server.apis.tool_names import Toolbox
from mixtura.server.apis.validation import (
    check_unsupported_parameters,
    convert_struct,
    decode_body,
)

_UNSUPPORTED_PARAMETERS = {
    "conversation": "no conversations are kept here, send the whole one as `input`",
    "background": "answers are sent only to a client that waits",
    "prompt": "no prompt templates are kept here",
    "moderation": "nothing is moderated here",
}


class _ToolsBody(msgspec.Struct):
    tools: list[ResponsesToolBody] | None = None


CONVERSION_CHUNK_SIZE = 1000
"""Items that are converted in one step: the step holds the interpreter lock."""


def parse_responses_request(body: bytes) -> ApiCall | UnresolvedCall:
    """
    The call that a body makes, or one that refers to stored responses. Raises ApiError naming the
    parameter that is wrong.
    """
    return parse_decoded_request(decode_body(body))


def parse_decoded_request(raw: dict[str, Any]) -> ApiCall | UnresolvedCall:
    """
    The call that a decoded body makes, or one that refers to stored responses. Raises ApiError
    naming the parameter that is wrong.
    """
    check_unsupported_parameters(raw, _UNSUPPORTED_PARAMETERS)
    previous = raw.get("previous_response_id")
    if previous is not None and not (isinstance(previous, str) and previous):
        param = "previous_response_id"
        raise ApiError(400, f"`{param}`: it is the id of a response, as text", param=param)
    if (wanted := tuple(_referenced_ids(raw.get("input")))) or previous is not None:
        return UnresolvedCall(previous, wanted, partial(_build_call, raw))
    return _build_call(raw, ResolvedReferences())


def _build_call(raw: dict[str, Any], references: ResolvedReferences) -> ApiCall:
    """
    The call, with stored items in place of the references. Raises ApiError naming the parameter
    that is wrong.
    """
    given = _resolve_items(raw.get("input"), references)
    convert_struct(raw, _ToolsBody, ALLOWED_VALUES)
    within = [*tools_in_items(list(references.context)), *tools_in_items(given)]
    toolbox = read_tools(raw.get("tools") or (), within)
    own, left_out = normalize_items(given, toolbox, references.context)
    own = _with_message_types(own)
    check_no_file_ids(own)
    parsed = convert_struct(
        raw | {"input": own} if "input" in raw else raw, ResponsesBody, ALLOWED_VALUES
    )
    chosen = read_tool_choice(toolbox, raw.get("tool_choice"))
    before = _context_items(references.context, toolbox)
    check_body(parsed, before)
    items = (
        [{"role": "user", "content": given}]
        if isinstance(given, str)
        else _with_message_types(given)
    )
    stored = StorageOptions(items, raw.get("previous_response_id"), parsed.store is True)
    return build_api_call(
        raw,
        parsed,
        _build_request(raw, parsed, chosen, before),
        usage_in_stream=True,
        notices=tuple(blocked_parameter_notices(raw)),
        toolbox=chosen.toolbox,
        left_out=(
            *hosted_tools.describe_left_out(toolbox.left_out),
            *left_out,
            *(
                f"context_management[{number}]: {edit.type}: conversations are not edited here"
                for number, edit in enumerate(parsed.context_management or ())
            ),
        ),
        store=None if parsed.store is False else stored,
        truncate=parsed.truncation == "auto",
    )


def _referenced_ids(items: Any) -> Iterator[str]:
    """The ids of the items that refer to stored ones. Raises ApiError for an id that is no text."""
    for number, item in enumerate(cast("list[Any]", items) if isinstance(items, list) else ()):
        if not _is_reference(item):
            continue
        if not (isinstance(item.get("id"), str) and item["id"]):
            where = f"input[{number}].id"
            raise ApiError(400, f"`{where}`: it is the id of an item, as text", param=where)
        yield item["id"]


def _is_reference(item: Any) -> bool:
    match item:
        case {"type": "item_reference"}:
            return True
        case {"id": _, **rest}:  # its type may be left out
            return not any(value is not None for value in rest.values())
        case _:
            return False


def _context_items(items: Sequence[Json], toolbox: Toolbox) -> list[Item]:
    """
    The items of the stored conversation that the call continues. Raises ApiError when they cannot
    be read.
    """
    try:
        rows = _with_message_types(normalize_items(list(items), toolbox).items)
        return [
            item
            for at in range(0, len(rows), CONVERSION_CHUNK_SIZE)  # other threads run in between
            for item in msgspec.convert(rows[at : at + CONVERSION_CHUNK_SIZE], list[Item])
        ]
    except msgspec.ValidationError as error:
        message = f"the stored conversation cannot be read: {error}: send it as `input`"
        raise ApiError(400, message, param="previous_response_id") from None


def _resolve_items(items: Any, references: ResolvedReferences) -> Any:
    """The items of an input, each reference replaced by the stored item."""
    if not isinstance(items, list):
        return items
    return [references.items[i["id"]] if _is_reference(i) else i for i in cast("list[Any]", items)]


def _with_message_types(items: Any) -> Any:
    """Add the type to messages that left it out: items are distinguished by their type."""
    if not isinstance(items, list):
        return items
    return [
        {"type": "message", **item} if isinstance(item, dict) and "role" in item else item  # pyright: ignore[reportUnknownVariableType]
        for item in cast("list[Any]", items)
    ]


def _build_request(
    raw: Json, body: ResponsesBody, chosen: ToolSelection, before: Sequence[Item]
) -> Request:
    own = [MessageItem("user", body.input)] if isinstance(body.input, str) else body.input
    messages = build_messages([*before, *own])
    if body.instructions:
        messages.insert(0, Message("system", body.instructions))
    return Request(
        tuple(messages),
        Sampling(body.temperature, body.top_p, body.max_output_tokens),
        tools=chosen.toolbox.as_functions(),
        tool_choice=chosen.choice,
        response_format=_response_format(body.text.format if body.text else None),
        extra=_extra_parameters(raw, body, tools=bool(chosen.toolbox.tools)),
    )


def _extra_parameters(raw: Json, body: ResponsesBody, *, tools: bool = False) -> Json:
    """Parameters that ``Request`` has no field for, under their Chat Completions names."""
    logprobs = "message.output_text.logprobs" in (body.include or ()) or bool(body.top_logprobs)
    tier = body.service_tier
    extra: dict[str, Any] = {
        "reasoning_effort": body.reasoning.effort if body.reasoning else None,
        "verbosity": body.text.verbosity if body.text else None,
        "parallel_tool_calls": body.parallel_tool_calls if tools else None,
        "presence_penalty": body.presence_penalty,
        "frequency_penalty": body.frequency_penalty,
        "logprobs": True if logprobs else None,
        "top_logprobs": body.top_logprobs or None,
        # Both mean what there is without the parameter.
        "service_tier": None if tier in ("auto", "default") else tier,
    }
    own = ("reasoning", "parallel_tool_calls", *extra)
    named = {name: value for name, value in extra.items() if value is not None}
    return {**extra_parameters(raw, own), **named}


def _response_format(
    form: PlainFormat | ObjectFormat | NamedSchemaFormat | None,
) -> Json | None:
    match form:
        case None | PlainFormat():
            return None
        case ObjectFormat():
            return {"type": "json_object"}
        case NamedSchemaFormat(name, schema, description, strict):
            optional = {"description": description, "strict": strict}
            given = {key: value for key, value in optional.items() if value is not None}
            return {"type": "json_schema", "json_schema": {"name": name, "schema": schema} | given}
