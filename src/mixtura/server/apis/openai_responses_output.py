"""The JSON of a response of OpenAI's Responses API: its output items, usage and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixtura.core.redaction import current_redactor
from mixtura.core.types import Completion, Json, ToolCall
from mixtura.protocols.provider_data.packing import pack_provider_data
from mixtura.server.apis.base import (
    ApiCall,
    ApiError,
    ResponseMeta,
)
from mixtura.server.apis.caller_tools import CALL_ID_PREFIXES, openai_call_item, parse_json_object
from mixtura.server.apis.tool_names import Toolbox
from mixtura.server.apis.validation import calls_with_ids, total_usage

INCOMPLETE_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def message_item(number: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    """The item of the answer's message."""
    return {
        "id": f"msg_{number}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def text_part(text: str, logprobs: Sequence[Json] = ()) -> dict[str, Any]:
    """A content part with the answer's text and its log-probabilities."""
    rows = [
        _logprob_json(row)
        | {"top_logprobs": [_logprob_json(best) for best in row.get("top_logprobs") or ()]}
        for row in logprobs
    ]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": rows}


def answer_part(answer: Completion) -> dict[str, Any]:
    """The content part of an answer: its text or its refusal."""
    if answer.refusal:
        return {"type": "refusal", "refusal": answer.text}
    return text_part(answer.text, answer.logprobs)


def _logprob_json(row: Json) -> dict[str, Any]:
    """A token's log-probability, with the ``bytes`` that this API requires."""
    token = str(row.get("token", ""))
    octets: Any = row.get("bytes")
    return {**row, "token": token, "bytes": list(token.encode()) if octets is None else octets}


def reasoning_items(call: ApiCall, answer: Completion, number: str) -> list[dict[str, Any]]:
    """The encrypted reasoning that the provider wants back, where the client asked for it."""
    if "reasoning.encrypted_content" not in (call.body.get("include") or ()):
        return []
    if answer.message.provider_data is None:
        return []
    held: dict[str, Any] = {"summary": [], "encrypted_content": pack_provider_data(answer.message)}
    return [{"id": f"rs_{number}", "type": "reasoning", "status": "completed", **held}]


def call_items(
    toolbox: Toolbox, number: str, place: int, call: ToolCall, status: str
) -> list[dict[str, Any]]:
    """
    The item of a call in its client's form; none for a call that was cut off before its arguments
    were complete. Raises ApiError (502) for arguments that its tool cannot have.
    """
    tool = toolbox.find_by_flat_name(call.name)
    if (
        status == "incomplete"
        and tool.kind != "function"
        and parse_json_object(call.arguments) is None
    ):
        return []
    prefix = CALL_ID_PREFIXES.get(tool.kind, "fc")
    return [{"id": f"{prefix}_{number}{place}", **openai_call_item(tool, call, status)}]


def output_items(call: ApiCall, answer: Completion, number: str) -> list[dict[str, Any]]:
    """
    The items of an answer: its reasoning, its text, then its calls. Raises ApiError (502) for a
    call with arguments that its tool cannot have.
    """
    status = "incomplete" if answer.finish_reason in INCOMPLETE_REASONS else "completed"
    calls = list(calls_with_ids(answer, f"call_{number}"))
    items = reasoning_items(call, answer, number)
    # A response without any item would be no answer.
    if answer.text or not calls:
        items.append(message_item(number, [answer_part(answer)], status))
    for place, called in enumerate(calls, start=1):
        ended = status if place == len(calls) else "completed"  # only the last can be cut off
        items += call_items(call.toolbox, number, place, called, ended)
    return items


def _usage_json(answers: Sequence[Completion]) -> dict[str, Any]:
    whole = total_usage(answers)
    return {
        "input_tokens": whole.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": whole.cached_tokens,
            "cache_write_tokens": whole.cache_write_tokens,
        },
        "output_tokens": whole.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": whole.reasoning_tokens},
        "total_tokens": whole.total_tokens,
    }


def _offered_tools(call: ApiCall) -> list[Json]:
    """The tools of the request that models were offered, with every field that a function has."""
    kinds = {tool.kind for tool in call.toolbox.tools}
    spaces = {tool.namespace for tool in call.toolbox.tools}
    empty = {"description": None, "parameters": None, "strict": None}
    given: list[Json] = call.body.get("tools") or []
    offered = [
        tool
        for tool in given
        if (tool["name"] in spaces if tool["type"] == "namespace" else tool["type"] in kinds)
    ]
    return [empty | dict(tool) if tool["type"] == "function" else tool for tool in offered]


def _text_format(text: Mapping[str, Any]) -> dict[str, Any]:
    """The requested format of the text, with every field that a schema has."""
    given: dict[str, Any] = text.get("format") or {"type": "text"}
    if given.get("type") != "json_schema":
        return given
    strict = given.get("strict")
    return {"description": None} | given | {"strict": False if strict is None else strict}


_DEFAULT_PARAMETERS: Mapping[str, Any] = {
    "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "top_logprobs": 0, "service_tier": "default",
}  # fmt: skip
"""Values of parameters that the request leaves out, where the API does not allow null."""


_REPEATED_TYPES: Mapping[str, type] = {
    "instructions": str, "max_output_tokens": int, "max_tool_calls": int, "prompt_cache_key": str,
    "safety_identifier": str, "user": str,
}  # fmt: skip


def _repeated_parameters(body: Json) -> dict[str, Any]:
    """The parameters of a request as its response repeats them."""
    repeated = {name: body.get(name) for name in _REPEATED_TYPES}
    for name, value in repeated.items():
        if not isinstance(value, _REPEATED_TYPES[name]):
            repeated[name] = None
    usual = {
        name: value if body.get(name) is None else body[name]
        for name, value in _DEFAULT_PARAMETERS.items()
    }
    # A response names the tier that was used, and "auto" is none.
    if usual["service_tier"] == "auto":
        usual["service_tier"] = "default"
    return repeated | usual


def started_response(call: ApiCall, about: ResponseMeta) -> dict[str, Any]:
    """A response that has just begun: the parameters of its request, and no output."""
    body = call.body
    parallel = body.get("parallel_tool_calls")
    text: dict[str, Any] = body.get("text") or {}
    response: dict[str, Any] = {
        "id": f"resp_{about.number}",
        "object": "response",
        "created_at": about.created,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": call.model,
        "output": [],
        "previous_response_id": body.get("previous_response_id"),
        "parallel_tool_calls": True if parallel is None else parallel,
        "reasoning": {"effort": None, "summary": None} | (body.get("reasoning") or {}),
        "store": call.store is not None,
        "text": {name: value for name, value in text.items() if value is not None}
        | {"format": _text_format(text)},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": _offered_tools(call),
        "truncation": body.get("truncation") or "disabled",
        "metadata": body.get("metadata") or {},
        "usage": None,
        **_repeated_parameters(body),
    }
    # A response repeats its request, in which a key may stand.
    return current_redactor().redact_data(response)


def finished_response(
    begun: Mapping[str, Any],
    items: Sequence[Json],
    answers: Sequence[Completion],
    summary: Json,
) -> dict[str, Any]:
    """The response *begun*, completed with its output, its usage and the ``mixtura`` summary."""
    reason = INCOMPLETE_REASONS.get(answers[0].finish_reason)
    if reason is None:
        done = begun["created_at"] + round(summary.get("seconds") or 0)
        how = {"status": "completed", "completed_at": done}
    else:
        how = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    results = {"output": list(items), "usage": _usage_json(answers), "mixtura": summary}
    return {**begun, **how, **results}


def error_json(refused: ApiError) -> dict[str, Any]:
    """An error as the API writes it."""
    return {
        "message": refused.message,
        "type": refused.kind,
        "param": refused.param,
        "code": refused.code,
    }


def failed_response_error(refused: ApiError) -> dict[str, Any]:
    """The ``error`` of a failed response: the API has only a few codes for it."""
    usual = "server_error" if refused.status >= 500 else "invalid_prompt"
    code = "rate_limit_exceeded" if refused.status == 429 else usual
    return error_json(refused) | {"code": code}
