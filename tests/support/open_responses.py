"""
What the Open Responses specification requires of an answer: its fields and their types.

Written from the specification of 2026-04-24 (openresponses.org): every field that it requires of a
response, of its items and of each streaming event. Fields beside them are allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
Row = Mapping[str, Any]
"""Field names with their types; a type is a Python one, a row, a check, or a tuple of those."""


def one_of(*values: Any) -> Any:
    """One of these values."""
    return lambda value: value in values


def list_of(kind: Any) -> Any:
    """A list whose every member is of *kind*."""
    return lambda value: (
        isinstance(value, list)
        and not any(problem for member in value for problem in problems(member, kind))
    )


def by_type(kinds: Mapping[str, Row]) -> Any:
    """An object whose row is that of its ``type``."""
    return lambda value: (
        isinstance(value, dict)
        and value.get("type") in kinds
        and not list(problems(value, kinds[value["type"]]))
    )


NOTHING = type(None)
TEXT = (str, NOTHING)
COUNT = int
STATUS = one_of("in_progress", "completed", "incomplete")

TOP_LOGPROB = {"token": str, "logprob": float, "bytes": list_of(int)}
LOGPROB = TOP_LOGPROB | {"top_logprobs": list_of(TOP_LOGPROB)}
CITATION = {"type": str, "url": str, "start_index": int, "end_index": int, "title": str}
PARTS: Mapping[str, Row] = {
    "output_text": {"text": str, "annotations": list_of(CITATION), "logprobs": list_of(LOGPROB)},
    "refusal": {"refusal": str},
    "reasoning_text": {"text": str},
    "summary_text": {"text": str},
}
ITEMS: Mapping[str, Row] = {
    "message": {
        "id": str, "status": STATUS, "role": one_of("assistant"),
        "content": list_of(by_type(PARTS)),
    },
    "function_call": {"id": str, "call_id": str, "name": str, "arguments": str, "status": STATUS},
    "reasoning": {"id": str, "summary": list_of(by_type(PARTS))},
}  # fmt: skip
EXTENSIONS: Mapping[str, Row] = {
    "custom_tool_call": {"id": str, "call_id": str, "name": str, "input": str},
    "local_shell_call": {"id": str, "call_id": str, "action": dict, "status": STATUS},
    "shell_call": {"id": str, "call_id": str, "action": dict, "status": STATUS},
    "apply_patch_call": {"id": str, "call_id": str, "operation": dict, "status": STATUS},
    "computer_call": {"id": str, "call_id": str, "pending_safety_checks": list, "status": STATUS},
}
"""Items of OpenAI's own that the specification leaves to whoever has them."""
FUNCTION = {
    "type": one_of("function"), "name": str, "description": TEXT, "parameters": (dict, NOTHING),
    "strict": (bool, NOTHING),
}  # fmt: skip
FORMATS: Mapping[str, Row] = {
    "text": {},
    "json_object": {},
    "json_schema": {"name": str, "description": TEXT, "schema": dict, "strict": bool},
}
USAGE = {
    "input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT,
    "input_tokens_details": {"cached_tokens": COUNT},
    "output_tokens_details": {"reasoning_tokens": COUNT},
}  # fmt: skip
CHOICES: Mapping[str, Row] = {
    "function": {"name": str},
    "allowed_tools": {"mode": one_of("auto", "required", "none"), "tools": list},
}
EFFORTS = one_of(None, "none", "minimal", "low", "medium", "high", "xhigh", "max")
RESPONSE: Row = {
    "id": str, "object": one_of("response"), "created_at": int, "completed_at": (int, NOTHING),
    "status": one_of("in_progress", "completed", "incomplete", "failed"),
    "incomplete_details": ({"reason": str}, NOTHING), "model": str,
    "previous_response_id": TEXT, "instructions": TEXT,
    "output": list_of(by_type(ITEMS | EXTENSIONS)),
    "error": ({"code": str, "message": str}, NOTHING), "tools": list_of({"type": str}),
    "tool_choice": (one_of("none", "auto", "required"), by_type(CHOICES)),
    "truncation": one_of("auto", "disabled"), "parallel_tool_calls": bool,
    "text": {"format": by_type(FORMATS)}, "top_p": float, "presence_penalty": float,
    "frequency_penalty": float, "top_logprobs": COUNT, "temperature": float,
    "reasoning": ({"effort": EFFORTS, "summary": TEXT}, NOTHING), "usage": (USAGE, NOTHING),
    "max_output_tokens": (int, NOTHING), "max_tool_calls": (int, NOTHING), "store": bool,
    "background": bool, "service_tier": str, "metadata": dict, "safety_identifier": TEXT,
    "prompt_cache_key": TEXT,
}  # fmt: skip

_ITEM = {"output_index": COUNT, "item": by_type(ITEMS | EXTENSIONS)}
_PLACE = {"item_id": str, "output_index": COUNT}
_IN_TEXT = _PLACE | {"content_index": COUNT}
_IN_SUMMARY = _PLACE | {"summary_index": COUNT}
EVENTS: Mapping[str, Row] = {
    **{
        f"response.{how}": {"response": RESPONSE}
        for how in ("created", "queued", "in_progress", "completed", "incomplete", "failed")
    },
    "response.output_item.added": _ITEM,
    "response.output_item.done": _ITEM,
    "response.content_part.added": _IN_TEXT | {"part": by_type(PARTS)},
    "response.content_part.done": _IN_TEXT | {"part": by_type(PARTS)},
    "response.output_text.delta": _IN_TEXT | {"delta": str, "logprobs": list_of(LOGPROB)},
    "response.output_text.done": _IN_TEXT | {"text": str, "logprobs": list_of(LOGPROB)},
    "response.refusal.delta": _IN_TEXT | {"delta": str},
    "response.refusal.done": _IN_TEXT | {"refusal": str},
    "response.function_call_arguments.delta": _PLACE | {"delta": str},
    "response.function_call_arguments.done": _PLACE | {"arguments": str},
    "response.custom_tool_call_input.delta": _PLACE | {"delta": str},
    "response.custom_tool_call_input.done": _PLACE | {"input": str},
    "response.reasoning.delta": _IN_TEXT | {"delta": str},
    "response.reasoning.done": _IN_TEXT | {"text": str},
    "response.reasoning_text.delta": _IN_TEXT | {"delta": str},
    "response.reasoning_text.done": _IN_TEXT | {"text": str},
    "response.reasoning_summary_part.added": _IN_SUMMARY | {"part": by_type(PARTS)},
    "response.reasoning_summary_part.done": _IN_SUMMARY | {"part": by_type(PARTS)},
    "response.reasoning_summary_text.delta": _IN_SUMMARY | {"delta": str},
    "response.reasoning_summary_text.done": _IN_SUMMARY | {"text": str},
    "error": {"error": {"type": str, "code": TEXT, "message": str, "param": TEXT}},
}


def problems(value: Any, kind: Any, at: str = "") -> Iterator[str]:
    """Where *value* is not of *kind*, and what it is there."""
    if isinstance(kind, tuple):
        if all(list(problems(value, other)) for other in kind):
            yield from problems(value, kind[0], at)
    elif isinstance(kind, Mapping):
        if not isinstance(value, dict):
            yield f"{at or 'it'} is {value!r}, no object"
            return
        for name, inner in kind.items():
            where = f"{at}.{name}" if at else name
            if name not in value:
                yield f"{where} is missing"
            else:
                yield from problems(value[name], inner, where)
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            yield f"{at} is {value!r}, no number"
    elif isinstance(kind, type):
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            yield f"{at} is {value!r}, no {kind.__name__}"
    elif not kind(value):
        yield f"{at} cannot be {value!r}"


def response_problems(response: Any) -> list[str]:
    return list(problems(response, RESPONSE))


def stream_problems(events: list[Json]) -> list[str]:
    """What is wrong with a stream's events, each and in their order."""
    found = [
        f"event {number} ({event.get('type')}): {problem}"
        for number, event in enumerate(events)
        for problem in (
            problems(event, EVENTS[event["type"]] | {"sequence_number": int})
            if event.get("type") in EVENTS
            else ["is no event of the specification"]
        )
    ]
    if [event.get("sequence_number") for event in events] != list(range(len(events))):
        found.append("the events are not numbered one by one")
    return found
