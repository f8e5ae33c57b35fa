"""Rules for a request of OpenAI's Chat Completions API that its types cannot state."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mixtura.server.apis.base import (
    ApiError,
)
from mixtura.server.apis.openai_chat_body import ChatBody, MessageBody, PartBody

MAX_STOP_SEQUENCES = 4


def check_body(body: ChatBody) -> None:
    """Raises ApiError naming the parameter, or the message, that breaks a rule."""
    if body.modalities not in (None, [], ["text"]):
        message = 'answers are text: `modalities` can only be ["text"]'
        raise ApiError(400, message, param="modalities", code="unsupported_value")
    if body.top_logprobs and not body.logprobs:
        said = "`top_logprobs` goes with `logprobs`: true"
        raise ApiError(400, said, param="top_logprobs")
    form = body.response_format
    if form is not None and form.type == "json_schema" and form.json_schema is None:
        where = "response_format.json_schema"
        raise ApiError(400, f"`{where}` is missing", param=where, code="missing_required_parameter")
    check_call_bodies(body.messages)
    _check_messages(body.messages)


def check_call_bodies(messages: Sequence[MessageBody]) -> None:
    """Raises ApiError naming the field that a tool call of its type lacks."""
    for number, message in enumerate(messages):
        for place, call in enumerate(message.tool_calls or ()):
            if (call.custom if call.type == "custom" else call.function) is None:
                param = f"messages[{number}].tool_calls[{place}].{call.type}"
                problem, code = f"`{param}` is missing", "missing_required_parameter"
                raise ApiError(400, problem, param=param, code=code)


def _check_messages(messages: Sequence[MessageBody]) -> None:
    """
    Raises ApiError naming the message for a result without an earlier call, or a missing content.
    """
    called: set[str] = set()
    legacy = False
    for number, message in enumerate(messages):
        # Calls of the older form have no ids: any earlier one will do.
        legacy = legacy or message.function_call is not None
        plain = message.role not in ("function", "tool") and not message.tool_calls
        if plain and (isinstance(message.content, str) or message.function_call):
            continue  # nearly all of them
        where = f"messages[{number}]"
        called |= {call.id for call in message.tool_calls or ()}
        if message.role == "tool" and message.tool_call_id not in called:
            problem = (
                f"`{where}`: a tool's message answers a `tool_calls` entry before it, by its id"
            )
            raise ApiError(400, problem, param=f"{where}.tool_call_id")
        if message.role == "function" and not legacy:
            problem = f"`{where}`: a function's message answers a `function_call` before it"
            raise ApiError(400, problem, param=where)
        if message.content is None and message.role not in ("assistant", "tool", "function"):
            raise ApiError(400, f"`{where}.content` is missing", param=f"{where}.content")
        for place, part in enumerate(message.content if isinstance(message.content, list) else ()):
            _check_content_part(f"{where}.content[{place}]", part)


def _check_content_part(where: str, part: PartBody) -> None:
    if part.type == "text" and part.text is msgspec.UNSET:
        raise ApiError(400, f"`{where}.text` is missing", param=f"{where}.text")
    if part.type == "image_url":
        address = part.image_url.get("url") if part.image_url else None
        if not isinstance(address, str) or not address.startswith(("http://", "https://", "data:")):
            message = f"`{where}.image_url.url` must be an http, https or data: address"
            raise ApiError(400, message, param=f"{where}.image_url.url")
