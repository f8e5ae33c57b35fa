"""Anthropic messages JSON to our words and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import msgspec

from mixtura import provider_data, wire
from mixtura.chunks import JsonObject, object_fields, unreadable
from mixtura.error_bodies import is_error_data
from mixtura.errors import ContentFilterError, RejectedError
from mixtura.finish_reasons import read_finish_reason
from mixtura.json_text import decoded, mended
from mixtura.lenient_json import decode_lenient
from mixtura.part_forms import CACHE_MARK, document_block, is_thought, kept_extra, parts_of
from mixtura.quantities import excerpt, is_null, token_count
from mixtura.sampling_words import SOFT, not_taken, wants_some_thought, wants_thought
from mixtura.types import (
    Charge,
    Completion,
    ImagePart,
    Json,
    Message,
    OtherPart,
    Part,
    ProviderData,
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

LEAST_THOUGHT = 1024
"""Tokens that thinking may have at least."""
MOST_MARKS = 4
"""Places where the cache may cut; a request with more is refused."""
SYSTEM_ROLES = ("system", "developer")

_CACHED: JsonObject = {"type": "ephemeral"}
_NATIVE = ("text", "image", "document", "search_result")


# ---- our words to JSON


def request_json(
    request: Request, model: str, origin: str | None = None, *, native: bool = True
) -> JsonObject:
    """
    The body of a messages request, without anything about streaming.

    *origin*: who it is for; the messages that this endpoint wrote get their thinking back.
    *native*: tools that have a form of this API's own are sent in it, not as functions.
    The seed has no counterpart and stays behind: it is best effort everywhere. Marks for
    the prompt cache stand after the instructions and after the history, never in the newest
    message, which is where drafts are. Raises RejectedError for what cannot be said.
    """
    sampling = request.sampling
    temperature = sampling.temperature
    instructions, conversation = _split_instructions(request.messages)
    system = [block for message in instructions for block in _blocks(message)]
    messages = _turns(conversation, origin)
    tools = [_tool_json(tool, native=native) for tool in request.tools]
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
        **_extra(request.extra, sampling.max_tokens or MAX_TOKENS),
    }


_OURS_TOO = ("top_k", "service_tier", "metadata", "inference_geo")
"""Further parameters of a request that this API has under the same name."""
_TIERS = ("auto", "standard_only")
_IN_OTHER_WORDS = ("parallel_tool_calls", "reasoning_effort", "thinking")


def left_out(extra: Json) -> list[str]:
    """Further words that this API has none for, and that an answer is possible without."""
    names = not_taken(extra, (*_OURS_TOO, *_IN_OTHER_WORDS))
    if _is_others_tier(extra.get("service_tier")):
        names.append("service_tier")
    known = wants_thought(extra) is not None
    return [name for name in names if not (known and wants_some_thought(name))]


def _is_others_tier(tier: Any) -> bool:
    """Whether it is one of OpenAI's, such as flex: an answer is possible without."""
    return tier is not None and tier not in _TIERS


def _extra(extra: Json, most: int) -> JsonObject:
    """
    Further parameters in this API's words; *most*: tokens of the answer. Raises RejectedError
    for what it has none for.
    """
    body: JsonObject = {}
    if (thinking := _thinking(extra, most)) is not None:
        body["thinking"] = thinking
    for name, value in extra.items():
        if name in _OURS_TOO and not (name == "service_tier" and _is_others_tier(value)):
            body[name] = value
        elif name not in _IN_OTHER_WORDS and name not in SOFT:
            error = RejectedError(f"this model takes no {name}")
            error.parameter = name
            raise error
    return body


def _thinking(extra: Json, most: int) -> Json | None:
    """
    How to think in this API's words: its own, else for half of the answer where an open
    server's switch says so. Without any word it does not think.
    """
    own = extra.get("thinking")
    if isinstance(own, dict) and (
        "budget_tokens" in own or own.get("type") not in ("enabled", "auto", None)  # pyright: ignore
    ):
        return own  # pyright: ignore[reportUnknownVariableType]
    if wants_thought(extra) is not True or most // 2 < LEAST_THOUGHT:
        return None
    return {"type": "enabled", "budget_tokens": most // 2}


def takes(part: Part) -> bool:
    """Whether this API has a form for *part*."""
    return not isinstance(part, OtherPart) or (
        part.raw.get("type") in _NATIVE or part.raw.get("type") == "file"
    )


def _split_instructions(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """
    The instructions in front, and the conversation.

    Instructions that come later stay at their place, in the user's words: in front they would
    make a prefix that was cached useless. So do their pictures: instructions are text.
    """
    instructions: list[Message] = []
    conversation: list[Message] = []
    for message in messages:
        if message.role not in SYSTEM_ROLES:
            conversation.append(message)
            continue
        in_front = not conversation
        texts = tuple(p for p in parts_of(message) if isinstance(p, TextPart) and in_front)
        others = tuple(p for p in parts_of(message) if p not in texts)
        if texts:
            instructions.append(replace(message, content=texts))
        if others:
            conversation.append(Message("user", others))
    return instructions, conversation


def _turns(messages: Sequence[Message], origin: str | None) -> list[JsonObject]:
    """User and assistant in turn: neighbours of one role become one message."""
    turns: list[JsonObject] = []
    for message in messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _blocks(message)
        data = provider_data.wanted_by(origin, message)
        if data is not None and blocks:  # thinking alone is no message
            blocks = _with_thinking(data.blocks, blocks)
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"].extend(blocks)
        else:
            turns.append({"role": role, "content": blocks})
        turns[-1]["content"].sort(key=_is_no_result)
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"][-1]["type"] == "text":
        last = turns[-1]["content"][-1]
        last["text"] = last["text"].rstrip()  # a begun answer may not end in white space
    return turns


def _is_no_result(block: JsonObject) -> bool:
    return block["type"] != "tool_result"


def _blocks(message: Message) -> list[JsonObject]:
    parts: Sequence[Part] = (
        (TextPart(message.content),) if isinstance(message.content, str) else message.content
    )
    blocks = [
        _part_json(part)
        for part in parts
        if not is_thought(part) and not (isinstance(part, TextPart) and not part.text.strip())
    ]
    if message.role == "tool":
        result: JsonObject = {"type": "tool_result", "tool_use_id": message.tool_call_id or ""}
        return [result | ({"content": blocks} if blocks else {})]
    for call in message.tool_calls:
        arguments = _arguments(call.arguments)
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": arguments})
    return blocks


def _with_thinking(thinking: Sequence[Json], blocks: list[JsonObject]) -> list[JsonObject]:
    """A message's *blocks* with its thinking where it stood."""
    calls = [block for block in blocks if block["type"] == "tool_use"]
    texts = [block for block in blocks if block["type"] != "tool_use"]
    return provider_data.thinking_in_place(thinking, texts, calls)


def _arguments(text: str) -> JsonObject:
    try:
        return msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise RejectedError(
            "a tool call in the conversation has arguments that are not a JSON object"
        ) from None


def _part_json(part: Part) -> JsonObject:
    match part:
        case TextPart(text, extra):
            return {"type": "text", "text": text, **kept_extra(extra)}
        case ImagePart(url, _, extra):
            return {"type": "image", "source": _source(url), **kept_extra(extra)}
        case OtherPart(raw):
            if (kind := raw.get("type")) in _NATIVE:
                return dict(raw)
            if (block := document_block(raw)) is not None:
                return block
            raise RejectedError(f"Anthropic's messages have no part of the type {kind!r}")


def _source(url: str) -> JsonObject:
    if url.startswith(("http://", "https://")):
        return {"type": "url", "url": url}
    kind, comma, data = url.removeprefix("data:").partition(";base64,")
    if not url.startswith("data:") or not comma:
        raise RejectedError("a picture is neither an http address nor base64 data")
    return {"type": "base64", "media_type": kind, "data": data}


def _tool_json(tool: Json, *, native: bool) -> JsonObject:
    if native and tool.get("native"):
        return dict(tool["native"])
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


BETAS: Mapping[str, str] = {
    "computer_20241022": "computer-use-2024-10-22",
    "computer_20250124": "computer-use-2025-01-24",
    "computer_20251124": "computer-use-2025-11-24",
    "bash_20241022": "computer-use-2024-10-22",
    "text_editor_20241022": "computer-use-2024-10-22",
}
"""What the ``anthropic-beta`` header must say for some of this API's own tools."""


def native_types(body: JsonObject) -> list[str]:
    """The types of the API's own tools in a request."""
    return [tool["type"] for tool in body.get("tools") or () if "type" in tool]


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
    """
    Where the prompt cache may cut: after what stays the same from call to call. Where the
    caller has marks of their own, those count: the API takes four.
    """
    blocks = [*system, *(block for message in messages for block in message["content"])]
    marked = [block for block in blocks if CACHE_MARK in block]
    for block in marked[:-MOST_MARKS]:
        del block[CACHE_MARK]
    if marked:
        return
    before = _tokens(tools) + _tokens(system)
    if before >= WORTH_CACHING and system:
        system[-1]["cache_control"] = _CACHED
    newest = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=0)
    history = [
        block
        for message in messages[:newest]
        for block in message["content"]
        if block["type"] not in provider_data.THINKING  # which takes no mark
    ]
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
    signature: str | None = None
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw()


class _StopDetails(msgspec.Struct, gc=False):
    category: str | None = None
    explanation: str | None = None


class _Delta(msgspec.Struct, gc=False):
    text: str = ""
    thinking: str = ""
    signature: str = ""
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


def is_error(piece: Event, data: bytes) -> bool:
    """Whether an event is an error, in this API's form or in another's."""
    return bool(piece.error) or piece.type == "error" or (not piece.type and is_error_data(data))


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
        if not isinstance(found, dict):
            return Event()
        row = cast("JsonObject", found)
        if isinstance(text := row.get("content"), str):  # a whole answer's, not in blocks
            row["content"] = [{"type": "text", "text": text}]
        return decode_lenient(row, _decoder)
    except msgspec.DecodeError as odd:
        raise unreadable("a messages event", data, odd) from None


@dataclass(slots=True)
class _Place:
    """A block of an answer: a thinking one as it came, of others the place."""

    type: str
    id: str = ""
    thinking: list[str] = field(default_factory=list[str])
    signature: list[str] = field(default_factory=list[str])
    data: str = ""

    def block(self) -> JsonObject:
        match self.type:
            case "thinking":
                signed = {"signature": "".join(self.signature)} if self.signature else {}
                return {"type": "thinking", "thinking": "".join(self.thinking)} | signed
            case "redacted_thinking":
                return {"type": "redacted_thinking", "data": self.data}
            case "tool_use":
                return {"type": "tool_use", "id": self.id}
            case _:
                return {"type": "text"}


class Assembly(wire.Assembly):
    """Events put together; what an answer is, and when it is none, as for chat completions."""

    __slots__ = ("_counts", "_declined", "_open", "_places", "ended")

    def __init__(self, *, origin: str | None = None) -> None:
        super().__init__(origin=origin)
        self._split.off()  # thinking has blocks of its own here
        self._counts: dict[str, int | None] = {}
        """The last of each count; None for one that makes no sense."""
        self._declined: _StopDetails | None = None
        self._places: list[_Place] = []
        """The blocks of the answer in their order."""
        self._open: dict[int, _Place] = {}
        """Those that begun last at each index."""
        self.ended = False
        """The stream said that it is over."""

    def add(self, event: Event) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one event in."""
        match event.type:
            case "content_block_delta" if event.delta is not None:
                self._added(event.index, event.delta)
            case "content_block_start" if event.content_block is not None:
                self._block(event.index, event.content_block)
            case "content_block_stop":
                self._calls.close(event.index)
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
            case _:  # ping, and what a later version may add
                pass

    def _added(self, index: int, delta: _Delta) -> None:
        if delta.text:  # nearly always
            self._texts.append(delta.text)
            return
        place = self._open.get(index)
        if delta.thinking:
            self._thoughts.append(delta.thinking)
        if place is not None:
            place.thinking += [delta.thinking] if delta.thinking else []
            place.signature += [delta.signature] if delta.signature else []
        elif delta.partial_json and (last := self._last_call()) is not None:
            index = last  # of a block that no one began
        if delta.partial_json and self._calls.extend(index, delta.partial_json):
            self._came = True

    def _last_call(self) -> int | None:
        """The index of the call that began last; None where something else did."""
        index, place = next(reversed(self._open.items()), (0, None))
        return index if place is not None and place.type == "tool_use" else None

    def _block(self, index: int, block: _Block) -> None:
        self._open.pop(index, None)  # the last in it is the one that began last
        place = self._open[index] = _Place(block.type, block.id, data=block.data)
        self._places.append(place)
        if block.signature is not None:
            place.signature.append(block.signature)
        if block.type == "tool_use":
            given = bytes(block.input)
            self._calls.open(
                index, block.id, block.name, "" if given in _NO_INPUT else given.decode()
            )
            self._came = True
        elif block.type in ("text", "thinking"):
            self._added(index, _Delta(text=block.text, thinking=block.thinking))
        elif block.type and not block.type.startswith("redacted"):
            self._left_out.add(block.type)

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

    def _wanted_back(self, prompt: Request) -> ProviderData | None:  # noqa: ARG002
        if self._origin is None or not any(p.type in provider_data.THINKING for p in self._places):
            return None
        rows = self._redactor.across([place.block() for place in self._places])
        return ProviderData(self._origin, blocks=tuple(rows))

    def _refused(self) -> str:
        category = self._declined.category if self._declined else None
        return "the model's filter refused" + (f" ({category})" if category else "")
