"""OpenAI's responses, from the side that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mixtura.redaction import current
from mixtura.server.bodies import named_calls, used
from mixtura.server.dialect import KEEP_ALIVE, About, Call, Referring, Refused, event_frame
from mixtura.server.responses_asked import ResponsesBody, read
from mixtura.types import Completion, Json, ToolCall

EVENT = "mixtura:event"
"""The type of the events for clients of ours: a name of no one else's, as its first part says."""

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _message(number: str, parts: list[dict[str, Any]], status: str) -> dict[str, Any]:
    return {
        "id": f"msg_{number}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def _text(text: str, logprobs: Sequence[Json] = ()) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": list(logprobs)}


def _function_call(number: str, index: int, call: ToolCall, status: str) -> dict[str, Any]:
    return {
        "id": f"fc_{number}{index}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _items(answer: Completion, number: str, *, spoken: bool = False) -> list[dict[str, Any]]:
    """What an answer puts out: its text first (always, when it has *spoken*), then its calls."""
    status = "incomplete" if answer.finish_reason in _INCOMPLETE else "completed"
    calls = list(named_calls(answer, f"call_{number}"))
    items: list[dict[str, Any]] = []
    if answer.text or spoken or not calls:
        items.append(_message(number, [_text(answer.text, answer.logprobs)], status))
    for place, call in enumerate(calls, start=1):
        ended = status if place == len(calls) else "completed"  # only the last can be cut off
        items.append(_function_call(number, place, call, ended))
    return items


def _usage(answers: Sequence[Completion]) -> dict[str, Any]:
    whole = used(answers)
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


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": None, "parameters": None, "strict": None, **tool}


def _response(call: Call, about: About) -> dict[str, Any]:
    """A response that has just begun: what was asked for, repeated."""
    body = call.body
    repeated = (
        "instructions", "max_output_tokens", "max_tool_calls", "prompt_cache_key",
        "safety_identifier", "temperature", "top_logprobs", "top_p", "user",
    )  # fmt: skip
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
        "text": {"format": {"type": "text"}}
        | {name: value for name, value in text.items() if value is not None},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in body.get("tools") or ()],
        "truncation": body.get("truncation") or "disabled",
        "metadata": body.get("metadata") or {},
        "usage": None,
        **{name: body.get(name) for name in repeated},
    }
    return current().data(response)


def _ended(
    begun: Mapping[str, Any],
    items: Sequence[Json],
    answers: Sequence[Completion],
    summary: Json,
) -> dict[str, Any]:
    """The same response, answered."""
    reason = _INCOMPLETE.get(answers[0].finish_reason)
    if reason is None:
        done = begun["created_at"] + round(summary.get("seconds") or 0)
        how = {"status": "completed", "completed_at": done}
    else:
        how = {"status": "incomplete", "incomplete_details": {"reason": reason}}
    told = {"output": list(items), "usage": _usage(answers), "mixtura": summary}
    return {**begun, **how, **told}


class Responses:
    """``POST /v1/responses``."""

    path = "/v1/responses"
    BODY = ResponsesBody
    ANSWER: Mapping[str, Any] = {
        "type": "object",
        "required": ["id", "object", "created_at", "status", "model", "output", "usage"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "response"},
            "created_at": {"type": "integer"},
            "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
            "error": {"type": ["object", "null"]},
            "incomplete_details": {"type": ["object", "null"]},
            "model": {"type": "string"},
            "output": {"type": "array", "items": {"type": "object"}},
            "usage": {"type": ["object", "null"]},
            "mixtura": {"type": "object"},
        },
    }

    def read(self, body: bytes) -> Call | Referring:
        return read(body)

    def whole(
        self, call: Call, answers: Sequence[Completion], about: About, summary: Json
    ) -> Mapping[str, Any]:
        items = _items(answers[0], about.number)
        return _ended(_response(call, about), items, answers, summary)

    def writer(self, call: Call, about: About) -> ResponsesWriter:
        return ResponsesWriter(call, about)

    def refusal(self, refused: Refused) -> Mapping[str, Any]:
        return {"error": _error(refused)}


def _error(refused: Refused) -> dict[str, Any]:
    return {
        "message": refused.message,
        "type": refused.kind,
        "param": refused.param,
        "code": refused.code,
    }


def _failure(refused: Refused) -> dict[str, Any]:
    """The error of a failed response, which has few codes."""
    usual = "server_error" if refused.status >= 500 else "invalid_prompt"
    code = "rate_limit_exceeded" if refused.status == 429 else usual
    return _error(refused) | {"code": code}


class ResponsesWriter:
    """The events of a stream, numbered."""

    def __init__(self, call: Call, about: About) -> None:
        self._number = about.number
        self._response = _response(call, about)
        self._count = 0
        self._spoken = False
        self._items: list[dict[str, Any]] = []
        # A token's frame is this head, its number, its text and a tail.
        self._head = (
            b"event: response.output_text.delta\n"
            b'data: {"type":"response.output_text.delta","item_id":"msg_%s","output_index":0,'
            b'"content_index":0,"logprobs":[],"sequence_number":' % about.number.encode()
        )

    def begun(self) -> bytes:
        return self._event("response.created", response=self._response) + self._event(
            "response.in_progress", response=self._response
        )

    def token(self, choice: int, text: str) -> bytes:  # noqa: ARG002 - there is one
        if not text:
            return b""
        begin = self._begin_text()
        data = self._head + b'%d,"delta":' % self._next() + msgspec.json.encode(text)
        return begin + data + b"}\n\n"

    def aside(self, data: Json) -> bytes:
        return self._event(EVENT, mixtura=data)

    def finished(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002 - there is one
        self._items = _items(answer, self._number, spoken=self._spoken)
        out = b""
        for index, item in enumerate(self._items):
            out += self._message(item) if item["type"] == "message" else self._call(index, item)
        return out

    def closed(self, answers: Sequence[Completion], summary: Json) -> bytes:
        whole = _ended(self._response, self._items, answers, summary)
        return self._event(f"response.{whole['status']}", response=whole)

    def failed(self, refused: Refused) -> bytes:
        said = _error(refused)
        flat = {"message": said["message"], "param": said["param"], "code": said["code"]}
        failed = {"status": "failed", "error": _failure(refused)}
        return self._event("error", **flat, error=said) + self._event(
            "response.failed", response=self._response | failed
        )

    def alive(self) -> bytes:
        return KEEP_ALIVE

    def _begin_text(self) -> bytes:
        if self._spoken:
            return b""
        self._spoken = True
        item = _message(self._number, [], "in_progress")
        part = {"item_id": item["id"], "output_index": 0, "content_index": 0, "part": _text("")}
        return self._event("response.output_item.added", output_index=0, item=item) + self._event(
            "response.content_part.added", **part
        )

    def _message(self, item: Json) -> bytes:
        part = item["content"][0]
        place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        return (
            self._begin_text()
            + self._event(
                "response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"]
            )
            + self._event("response.content_part.done", **place, part=part)
            + self._event("response.output_item.done", output_index=0, item=item)
        )

    def _call(self, index: int, item: Json) -> bytes:
        begun = {**item, "status": "in_progress", "arguments": ""}
        place = {"item_id": item["id"], "output_index": index}
        arguments = item["arguments"]
        written = "response.function_call_arguments"
        return (
            self._event("response.output_item.added", output_index=index, item=begun)
            + self._event(f"{written}.delta", **place, delta=arguments)
            + self._event(f"{written}.done", **place, name=item["name"], arguments=arguments)
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _event(self, kind: str, **data: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._next()} | data
        return event_frame(body, event=kind)

    def _next(self) -> int:
        self._count += 1
        return self._count - 1
