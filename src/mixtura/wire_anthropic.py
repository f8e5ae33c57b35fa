"""Anthropic messages JSON to our words and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from mixtura import wire
from mixtura.chunks import JsonObject, object_fields, unreadable
from mixtura.errors import ContentFilterError, RejectedError
from mixtura.finish_reasons import read_finish_reason
from mixtura.json_text import decoded, mended
from mixtura.lenient_json import decode_lenient
from mixtura.quantities import excerpt, is_null, token_count
from mixtura.types import (
    Charge,
    Completion,
    ImagePart,
    Json,
    Message,
    OtherPart,
    Part,
    Request,
    TextPart,
    ToolCall,
    Usage,
)

MAX_TOKENS = 16_384
"""Tokens of an answer when no one says: the API wants a number, and thinking counts, too."""
WORTH_CACHING = 1024
"""Tokens, estimated: a shorter prefix is not kept by most models, and marking costs a write."""
HOTTEST = 1.0
"""The highest temperature of this API; OpenAI's goes to 2."""

_CACHED: JsonObject = {"type": "ephemeral"}
_NATIVE = ("text", "image", "document", "search_result")


# ---- our words to JSON


def request_json(request: Request, model: str) -> JsonObject:
    """
    The body of a messages request, without anything about streaming.

    The seed has no counterpart and stays behind: it is best effort everywhere. Marks for
    the prompt cache stand after the instructions and after the history, never in the newest
    message, which is where drafts are. Raises RejectedError for what cannot be said.
    """
    sampling = request.sampling
    temperature = sampling.temperature
    system = [
        {"type": "text", "text": message.text}
        for message in request.messages
        if message.role in ("system", "developer") and message.text.strip()
    ]
    messages = _turns([m for m in request.messages if m.role not in ("system", "developer")])
    tools = [_tool_json(tool) for tool in request.tools]
    _mark(tools, system, messages)
    optional: JsonObject = {
        "system": system or None,
        "temperature": None if temperature is None else min(temperature, HOTTEST),
        "top_p": sampling.top_p,
        "stop_sequences": list(sampling.stop) if sampling.stop else None,
        "tools": tools or None,
        "tool_choice": _tool_choice(request) if tools else None,
        "output_config": _output_config(request),
    }
    return {
        "model": model,
        "max_tokens": sampling.max_tokens or MAX_TOKENS,
        "messages": messages,
        **{key: value for key, value in optional.items() if value is not None},
        **_extra(request.extra),
    }


_OURS_TOO = ("top_k", "thinking", "service_tier", "metadata", "inference_geo")
"""Further parameters of a request that this API has under the same name."""


def _extra(extra: Json) -> JsonObject:
    """Further parameters in this API's words. Raises RejectedError for what it has none for."""
    body: JsonObject = {}
    for name, value in extra.items():
        if name in _OURS_TOO:
            body[name] = value
        elif name not in ("parallel_tool_calls", "reasoning_effort"):  # said in other words
            error = RejectedError(f"this model takes no {name}")
            error.parameter = name
            raise error
    return body


def _turns(messages: Sequence[Message]) -> list[JsonObject]:
    """User and assistant in turn: neighbours of one role become one message."""
    turns: list[JsonObject] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        if not (blocks := _blocks(message)):
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # a begun answer may not end in white space
    return turns


def _blocks(message: Message) -> list[JsonObject]:
    parts: Sequence[Part] = (
        (TextPart(message.content),) if isinstance(message.content, str) else message.content
    )
    blocks = [
        _part_json(part)
        for part in parts
        if not (isinstance(part, TextPart) and not part.text.strip())
    ]
    if message.role == "tool":
        result: JsonObject = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        return [result | ({"content": blocks} if blocks else {})]
    for call in message.tool_calls:
        arguments = _arguments(call.arguments)
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return blocks


def _arguments(text: str) -> JsonObject:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise RejectedError(
            "a tool call in the conversation has arguments that are not a JSON object"
        ) from None


def _part_json(part: Part) -> JsonObject:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ImagePart(url):
            return {"type": "image", "source": _source(url)}
        case OtherPart(raw):
            if (kind := raw.get("type")) in _NATIVE:
                return dict(raw)
            raise RejectedError(f"Anthropic's messages have no part of the type {kind!r}")


def _source(url: str) -> JsonObject:
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    kind, comma, data = url.removeprefix("data:").partition(";base64,")
    if not url.startswith("data:") or not comma:
        raise RejectedError("a picture is neither an http address nor base64 data")
    return {"type": "base64", "media_type": kind, "data": data}


def _tool_json(tool: Json) -> JsonObject:
    if tool.get("type") != "function":
        return dict(tool)  # a tool of Anthropic's own, given as its API wants it
    function = tool["function"]
    body: JsonObject = {
        "name": function["name"],
        "input_schema": function.get("parameters") or {"type": "object", "properties": {}},
    }
    for key in ("description", "strict"):
        if function.get(key):
            body[key] = function[key]
    return body


def _tool_choice(request: Request) -> JsonObject | None:
    alone = request.extra.get("parallel_tool_calls") is False
    choice = _chosen(request.tool_choice)
    if not alone:
        return choice
    return {"type": "auto"} | (choice or {}) | {"disable_parallel_tool_use": True}


def _chosen(choice: str | Json | None) -> JsonObject | None:
    match choice:
        case None:
            return None
        case "auto" | "none":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case {"type": "auto" | "none" | "any" | "tool"}:
            return dict(choice)
        case _:
            raise RejectedError(f"Anthropic's messages have no tool choice like {choice!r}")


_EFFORTS = {"none": "low", "minimal": "low", "xhigh": "max"}
"""OpenAI's words for how hard to think that this API has other words for."""


def _output_config(request: Request) -> JsonObject | None:
    form = _form(request.response_format)
    if effort := request.extra.get("reasoning_effort"):
        return (form or {}) | {"effort": _EFFORTS.get(str(effort), str(effort))}
    return form


def _form(response_format: Json | None) -> JsonObject | None:
    match response_format:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": {**schema}}}:
            return {"format": {"type": "json_schema", "schema": schema}}
        case _:
            raise RejectedError(
                "Anthropic's messages have no such response format: give a json_schema"
            )


def _mark(tools: list[JsonObject], system: list[JsonObject], messages: list[JsonObject]) -> None:
    """Where the prompt cache may cut: after what stays the same from call to call."""
    before = _tokens(tools) + _tokens(system)
    if before >= WORTH_CACHING and system:
        system[-1]["cache_control"] = _CACHED
    newest = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    history = [block for message in messages[:newest] for block in message["content"]]
    if history and before + _tokens(history) >= WORTH_CACHING:
        history[-1]["cache_control"] = _CACHED


def _tokens(blocks: Sequence[JsonObject]) -> int:
    """About four bytes a token; pictures not counted."""
    return sum(len(msgspec.json.encode(b)) for b in blocks if b.get("type") != "image") // 4


# ---- an answer as it streams in


class _Block(msgspec.Struct, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()


class _StopDetails(msgspec.Struct, gc=False):
    category: str | None = None
    explanation: str | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str = ""
    thinking: str = ""
    partial_json: Any = ""
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None


class _Message(msgspec.Struct, gc=False):
    usage: msgspec.Raw = msgspec.Raw()


class Event(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer (then its type is ``message``)."""

    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: _Message | None = None
    usage: msgspec.Raw = msgspec.Raw()
    content: list[_Block] = []
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    error: Any = None


_COUNTED = (
    "input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens",
)  # fmt: skip

_NO_INPUT = (b"", b"null", b"{}")
"""What stands for the input of a call where it comes in pieces."""

_decoder = msgspec.json.Decoder(Event)


def event(data: bytes, *, as_it_is: bool = False) -> Event:
    """One event's data, mended unless it is to be taken *as_it_is*. Raises MalformedError."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = mended(data)
        if whole != data and not as_it_is:
            return event(whole, as_it_is=True)
        return _odd_event(data, error)


def _odd_event(data: bytes, error: Exception) -> Event:
    """An event with fields of other types than the protocol's. Raises MalformedError."""
    if not data.lstrip().startswith((b"{", b"[")):  # a comment that stands in data
        return Event()
    if not isinstance(error, msgspec.ValidationError):
        raise unreadable("a messages event", data, error) from None
    try:
        found = decoded(data)
        if isinstance(found, list) and found:
            raise error
        return decode_lenient(found, _decoder) if isinstance(found, dict) else Event()
    except msgspec.DecodeError as odd:
        raise unreadable("a messages event", data, odd) from None


class Assembly(wire.Assembly):
    """Events put together; what an answer is, and when it is none, as for chat completions."""

    __slots__ = ("_counts", "_declined", "ended")

    def __init__(self) -> None:
        super().__init__()
        self._split.off()  # thinking has blocks of its own here
        self._counts: dict[str, int | None] = {}
        """The last of each count; None for one that makes no sense."""
        self._declined: _StopDetails | None = None
        self.ended = False
        """The stream said that it is over."""

    def add(self, event: Event) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one event in."""
        match event.type:
            case "content_block_delta" if event.delta is not None:
                self._added(event.index, event.delta)
            case "content_block_start" if event.content_block is not None:
                self._block(event.index, event.content_block)
            case "message_start" if event.message is not None:
                self._count(event.message.usage)
            case "message_delta":
                self._count(event.usage, final=True)
                if event.delta is not None:
                    self._stopped(event.delta.stop_reason, event.delta.stop_details)
            case "message_stop":
                self.ended = True
            case "message":
                self._whole(event)
            case _:  # ping, content_block_stop, and what a later version may add
                pass

    def _added(self, index: int, delta: _Delta) -> None:
        if delta.text:  # nearly always
            self._texts.append(delta.text)
        elif delta.thinking:
            self._thoughts.append(delta.thinking)
        elif delta.partial_json and self._calls.extend(index, delta.partial_json):
            self._came = True

    def _block(self, index: int, block: _Block) -> None:
        if block.type == "tool_use":
            given = bytes(block.input)
            self._calls.open(
                index, block.id, block.name, "" if given in _NO_INPUT else given.decode()
            )
            self._came = True
        elif block.type in ("text", "thinking"):
            self._added(index, _Delta(text=block.text, thinking=block.thinking))

    def _whole(self, message: Event) -> None:
        for index, block in enumerate(message.content):
            self._block(index, block)
        self._count(message.usage, final=True)
        self._stopped(message.stop_reason, message.stop_details)

    def _stopped(self, reason: str | None, details: _StopDetails | None) -> None:
        if reason is not None:
            self.finish_reason = read_finish_reason(reason) or self.finish_reason
            self._declined = details

    def _count(self, usage: msgspec.Raw, *, final: bool = False) -> None:
        """Counts are cumulative, and what an event leaves out stays as it was."""
        if is_null(usage):
            return
        fields = object_fields(usage, "usage", self.doubts)
        details = fields.get("output_tokens_details")
        inner = object_fields(details, "output_tokens_details", self.doubts)
        told = {name: fields.get(name) for name in _COUNTED}
        told["thinking_tokens"] = inner.get("thinking_tokens")
        for name, value in told.items():
            if not is_null(value):
                self._counts[name] = token_count(value)
                if self._counts[name] is None:
                    self.doubts.append(f"{name} {excerpt(value)}")
        self.usage = self._sum(final=final)

    def _sum(self, *, final: bool) -> Usage | None:
        """None where a count makes no sense: then the call is counted here."""
        found = {name: self._counts.get(name, 0) for name in _COUNTED}
        counts = {name: count for name, count in found.items() if count is not None}
        if len(counts) < len(_COUNTED):
            return None
        read, wrote = counts["cache_read_input_tokens"], counts["output_tokens"]
        written = counts["cache_creation_input_tokens"]
        thought = self._counts.get("thinking_tokens") or 0
        if thought > wrote and final:
            self.doubts.append(f"thinking_tokens {thought} of {wrote}")
        return Usage(
            # their input_tokens leave the cache out; our prompt has everything in it
            prompt_tokens=counts["input_tokens"] + read + written,
            completion_tokens=wrote,
            cached_tokens=read,
            cache_write_tokens=written,
            reasoning_tokens=thought if thought <= wrote else 0,
            estimated=not final,
        )

    def charge(self, model: str, prompt: Request, *, failed: bool = False) -> Charge:
        """What this call used by now; the part that was not counted before a break, estimated."""
        charge = super().charge(model, prompt, failed=failed)
        if self.usage is None or not self.usage.estimated:
            return charge
        guess = wire.estimate(prompt, "".join((*self.reasoning, *self.text))).completion_tokens
        wrote = max(self.usage.completion_tokens, guess)
        return charge._replace(usage=replace(self.usage, completion_tokens=wrote))

    def completion(self, model: str, prompt: Request) -> Completion:
        """The whole answer. Raises as for chat completions; a refusal says its category."""
        try:
            return super().completion(model, prompt)
        except ContentFilterError as error:
            raise ContentFilterError(self._refused(), charges=error.charges) from None

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        return self._calls.calls()

    def _refused(self) -> str:
        category = self._declined.category if self._declined else None
        return "the model's filter refused" + (f" ({category})" if category else "")
