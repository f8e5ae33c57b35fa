"""OpenAI's responses, from the side that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura.events import ToolPiece
from mixtura.provider_data import pack
from mixtura.redaction import current
from mixtura.server.bodies import named_calls, used
from mixtura.server.caller_tools import PREFIXES, json_object, openai_item
from mixtura.server.dialect import KEEP_ALIVE, About, Call, Referring, Refused, event_frame
from mixtura.server.responses_asked import ResponsesBody, read
from mixtura.server.streamed_calls import SentCall, StreamedCalls
from mixtura.server.tools import Toolbox
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
    rows = [
        _logprob(row) | {"top_logprobs": [_logprob(best) for best in row.get("top_logprobs") or ()]}
        for row in logprobs
    ]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": rows}


def _part(answer: Completion) -> dict[str, Any]:
    """An answer's text, or what was said in place of one."""
    if answer.refusal:
        return {"type": "refusal", "refusal": answer.text}
    return _text(answer.text, answer.logprobs)


def _logprob(row: Json) -> dict[str, Any]:
    """A token's log-probability with the bytes that it has to have here."""
    token = str(row.get("token", ""))
    told: Any = row.get("bytes")
    return {**row, "token": token, "bytes": list(token.encode()) if told is None else told}


def _reasoning(call: Call, answer: Completion, number: str) -> list[dict[str, Any]]:
    """What the upstream wants back, for clients that hold it."""
    if "reasoning.encrypted_content" not in (call.body.get("include") or ()):
        return []
    if answer.message.provider_data is None:
        return []
    held: dict[str, Any] = {"summary": [], "encrypted_content": pack(answer.message)}
    return [{"id": f"rs_{number}", "type": "reasoning", "status": "completed", **held}]


def _call_item(
    toolbox: Toolbox, number: str, place: int, call: ToolCall, status: str
) -> list[dict[str, Any]]:
    """
    A call in its client's form; none for one that was cut off before it was a call: the response
    says that it is incomplete. Raises Refused for a call that the API has no form for.
    """
    tool = toolbox.find_called(call.name)
    if status == "incomplete" and tool.kind != "function" and json_object(call.arguments) is None:
        return []
    prefix = PREFIXES.get(tool.kind, "fc")
    return [{"id": f"{prefix}_{number}{place}", **openai_item(tool, call, status)}]


def _items(call: Call, answer: Completion, number: str) -> list[dict[str, Any]]:
    """What an answer puts out: what the upstream wants back, its text, then its calls."""
    status = "incomplete" if answer.finish_reason in _INCOMPLETE else "completed"
    calls = list(named_calls(answer, f"call_{number}"))
    items = _reasoning(call, answer, number)
    if answer.text or not calls:
        items.append(_message(number, [_part(answer)], status))
    for place, called in enumerate(calls, start=1):
        ended = status if place == len(calls) else "completed"  # only the last can be cut off
        items += _call_item(call.toolbox, number, place, called, ended)
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


def _tools(call: Call) -> list[Json]:
    """The tools that were offered, with every field that a function has."""
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


def _format(text: Mapping[str, Any]) -> dict[str, Any]:
    """How the text was asked for, with every field that a schema has."""
    given: dict[str, Any] = text.get("format") or {"type": "text"}
    if given.get("type") != "json_schema":
        return given
    strict = given.get("strict")
    return {"description": None} | given | {"strict": False if strict is None else strict}


_USUAL: Mapping[str, Any] = {
    "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
    "top_logprobs": 0, "service_tier": "default",
}  # fmt: skip
"""What is told of a parameter that no one asked for, where null is not in its type."""
_REPEATED: Mapping[str, type] = {
    "instructions": str, "max_output_tokens": int, "max_tool_calls": int, "prompt_cache_key": str,
    "safety_identifier": str, "user": str,
}  # fmt: skip


def _asked(body: Json) -> dict[str, Any]:
    """The parameters of a request as its answer repeats them."""
    told = {name: body.get(name) for name in _REPEATED}
    for name, value in told.items():
        if not isinstance(value, _REPEATED[name]):
            told[name] = None
    usual = {
        name: value if body.get(name) is None else body[name] for name, value in _USUAL.items()
    }
    if usual["service_tier"] == "auto":
        usual["service_tier"] = "default"
    return told | usual


def _response(call: Call, about: About) -> dict[str, Any]:
    """A response that has just begun: what was asked for, repeated."""
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
        | {"format": _format(text)},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": _tools(call),
        "truncation": body.get("truncation") or "disabled",
        "metadata": body.get("metadata") or {},
        "usage": None,
        **_asked(body),
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
        items = _items(call, answers[0], about.number)
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


_WRITTEN = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
}
"""What of a call comes in deltas, and what those events are called."""


class ResponsesWriter:
    """The events of a stream, numbered."""

    def __init__(self, call: Call, about: About) -> None:
        self._asked = call
        self._number = about.number
        self._response = _response(call, about)
        self._toolbox = call.toolbox
        self._over = False
        self._count = 0
        self._spoken = False
        self._calls = StreamedCalls(f"call_{about.number}")
        self._done: list[dict[str, Any]] = []
        """The calls' items that are over."""
        self._late: list[str] = []
        """Text that came behind a call: its message follows the calls."""
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
        if self._calls.sent and not self._spoken:
            self._late.append(text)
            return b""
        begin = self._begin_text()
        data = self._head + b'%d,"delta":' % self._next() + msgspec.json.encode(text)
        return begin + data + b"}\n\n"

    def declined(self, choice: int, text: str) -> bytes:  # noqa: ARG002 - its message says it
        return b""

    def tool(self, choice: int, piece: ToolPiece) -> bytes:  # noqa: ARG002 - there is one
        out = b""
        if not self._calls.streams(piece, self._toolbox):
            return out
        begins = self._calls.begins(piece)
        if begins and (last := self._calls.open):
            out += self._end_call(last, "completed")
        call = self._calls.add(piece)
        if begins:
            out += self._begin_call(self._index(call), self._item(call, "in_progress", ""))
        return out + self._arguments(call, piece.arguments)

    def _index(self, call: SentCall) -> int:
        return call.place + int(self._spoken)

    def _item(self, call: SentCall, status: str, arguments: str | None = None) -> dict[str, Any]:
        said = call.arguments if arguments is None else arguments
        whole = ToolCall(call.id, call.name, said)
        return _call_item(self._toolbox, self._number, call.place + 1, whole, status)[0]

    def _arguments(self, call: SentCall, text: str) -> bytes:
        if not text:
            return b""
        place = {"item_id": f"fc_{self._number}{call.place + 1}", "output_index": self._index(call)}
        return self._event("response.function_call_arguments.delta", **place, delta=text)

    def _end_call(self, call: SentCall, status: str) -> bytes:
        call.over = True
        self._done.append(self._item(call, status))
        return self._end_item(self._index(call), self._done[-1])

    def aside(self, data: Json) -> bytes:
        return self._event(EVENT, mixtura=data)

    def finished(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002 - there is one
        try:
            return self._rest(answer)
        except Refused as refused:
            return self.failed(refused)

    def _rest(self, answer: Completion) -> bytes:
        status = "incomplete" if answer.finish_reason in _INCOMPLETE else "completed"
        missing, left = self._calls.rest(answer)
        spoken = replace(answer, refusal=answer.refusal and not self._spoken)
        said = _message(self._number, [_part(spoken)], status)
        calls = bool(self._calls.sent or left)
        first = self._spoken or not calls or bool(answer.text and not self._late)
        items: list[dict[str, Any]] = []
        thought = _reasoning(self._asked, answer, self._number)
        begun = self._spoken or bool(self._calls.sent)
        out = b"" if begun else self._thoughts(items, thought)
        if first:
            out += self._said(len(items), said)
            items.append(said)
        for place, (sent, rest) in enumerate(missing, start=1):
            last = place == len(missing) and not left
            sent.extend(rest)
            out += self._arguments(sent, rest)
            out += self._end_call(sent, status if last else "completed")
        items += self._done
        if begun:  # its place in front is taken
            out += self._thoughts(items, thought)
        for place, call in enumerate(left, start=1):
            ended = status if place == len(left) else "completed"  # only the last can be cut off
            number = len(self._calls.sent) + place
            for item in _call_item(self._toolbox, self._number, number, call, ended):
                out += self._call(len(items), item)
                items.append(item)
        if self._late and not first:
            out += self._said(len(items), said)
            items.append(said)
        self._items = items
        return out

    def _thoughts(self, items: list[dict[str, Any]], more: list[dict[str, Any]]) -> bytes:
        """Put items of reasoning behind *items*."""
        out = b""
        for item in more:
            out += self._thought(len(items), item)
            items.append(item)
        return out

    def closed(self, answers: Sequence[Completion], summary: Json) -> bytes:
        if self._over:
            return b""
        whole = _ended(self._response, self._items, answers, summary)
        return self._event(f"response.{whole['status']}", response=whole)

    def failed(self, refused: Refused) -> bytes:
        self._over = True
        said = _error(refused)
        flat = {"message": said["message"], "param": said["param"], "code": said["code"]}
        failed = {"status": "failed", "error": _failure(refused)}
        return self._event("error", **flat, error=said) + self._event(
            "response.failed", response=self._response | failed
        )

    def alive(self) -> bytes:
        return KEEP_ALIVE

    def _begin_text(self, index: int = 0) -> bytes:
        if self._spoken:
            return b""
        self._spoken = True
        item = _message(self._number, [], "in_progress")
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        return self._event(
            "response.output_item.added", output_index=index, item=item
        ) + self._event("response.content_part.added", **place, part=_text(""))

    def _said(self, index: int, item: Json) -> bytes:
        """The end of the message, with what of its text was held back."""
        part = item["content"][0]
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        if part["type"] == "refusal":
            return self._refused(place, part, item)
        out = self._begin_text(index)
        if late := "".join(self._late):
            out += self._event("response.output_text.delta", **place, logprobs=[], delta=late)
        return (
            out
            + self._event(
                "response.output_text.done", **place, text=part["text"], logprobs=part["logprobs"]
            )
            + self._event("response.content_part.done", **place, part=part)
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _refused(self, place: Json, part: Json, item: Json) -> bytes:
        """A message that says something in place of an answer."""
        begun = _message(self._number, [], "in_progress")
        empty = {"type": "refusal", "refusal": ""}
        index = place["output_index"]
        return (
            self._event("response.output_item.added", output_index=index, item=begun)
            + self._event("response.content_part.added", **place, part=empty)
            + self._event("response.refusal.delta", **place, delta=part["refusal"])
            + self._event("response.refusal.done", **place, refusal=part["refusal"])
            + self._event("response.content_part.done", **place, part=part)
            + self._event("response.output_item.done", output_index=index, item=item)
        )

    def _thought(self, index: int, item: Json) -> bytes:
        begun = {**item, "status": "in_progress"}
        return self._event(
            "response.output_item.added", output_index=index, item=begun
        ) + self._event("response.output_item.done", output_index=index, item=item)

    def _call(self, index: int, item: Json) -> bytes:
        """A call in one piece: its text comes in a delta of its own, where it has one."""
        field, kind = _WRITTEN.get(item["type"], ("", ""))
        out = self._begin_call(index, item)
        if field:
            place = {"item_id": item["id"], "output_index": index}
            out += self._event(f"{kind}.delta", **place, delta=item[field])
        return out + self._end_item(index, item)

    def _begin_call(self, index: int, item: Json) -> bytes:
        field, _ = _WRITTEN.get(item["type"], ("", ""))
        begun = {**item, "status": "in_progress"} | ({field: ""} if field else {})
        return self._event("response.output_item.added", output_index=index, item=begun)

    def _end_item(self, index: int, item: Json) -> bytes:
        out = b""
        field, kind = _WRITTEN.get(item["type"], ("", ""))
        if field:
            place = {"item_id": item["id"], "output_index": index}
            named = {"name": item["name"]} if field == "arguments" else {}
            out += self._event(f"{kind}.done", **place, **named, **{field: item[field]})
        return out + self._event("response.output_item.done", output_index=index, item=item)

    def _event(self, kind: str, **data: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._next()} | data
        return event_frame(body, event=kind)

    def _next(self) -> int:
        self._count += 1
        return self._count - 1
