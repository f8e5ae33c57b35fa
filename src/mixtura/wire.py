"""OpenAI chat JSON to our words and back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Annotated, Any

import msgspec

from mixtura.errors import (
    ContentFilterError,
    ContextOverflowError,
    EmptyAnswerError,
    MalformedError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.thoughts import Splitter
from mixtura.types import (
    Charge,
    Completion,
    FinishReason,
    ImagePart,
    Message,
    OtherPart,
    Part,
    Request,
    TextPart,
    ToolCall,
    Usage,
)

JsonObject = dict[str, Any]

_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_BROKEN = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of an upstream that gave up."""


# ---- our words to JSON


def request_json(request: Request, model: str) -> JsonObject:
    """The body of a chat completion request, without anything about streaming."""
    sampling = request.sampling
    body: JsonObject = {"model": model, "messages": _messages_json(request.messages)}
    optional: JsonObject = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) if sampling.stop else None,
        "seed": sampling.seed,
        "tools": list(request.tools) or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
    }
    body.update({key: value for key, value in optional.items() if value is not None})
    # How long to think is said by an effort here, not by the switch that others have.
    return body | {k: v for k, v in request.extra.items() if k != "thinking"}


def _messages_json(messages: Sequence[Message]) -> list[JsonObject]:
    """Messages; pictures that a tool brought follow in a message of the user's: only there."""
    rows: list[JsonObject] = []
    pictures: list[JsonObject] = []
    for message in messages:
        if message.role != "tool" and pictures:
            rows.append({"role": "user", "content": pictures})
            pictures = []
        row = message_json(message)
        if message.role == "tool" and isinstance(message.content, tuple):
            found = [part for part in message.content if isinstance(part, ImagePart)]
            pictures += map(_part_json, found)
            row["content"] = message.text + (BELOW if found else "")
        rows.append(row)
    return [*rows, {"role": "user", "content": pictures}] if pictures else rows


BELOW = "[What it returned is a picture: it follows.]"


def message_json(message: Message) -> JsonObject:
    body: JsonObject = {"role": message.role, "content": _content_json(message.content)}
    if message.name:
        body["name"] = message.name
    if message.tool_call_id:
        body["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        body["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
        body["content"] = body["content"] or None
    return body


def _content_json(content: str | tuple[Part, ...]) -> str | list[JsonObject]:
    return content if isinstance(content, str) else [_part_json(part) for part in content]


def _part_json(part: Part) -> JsonObject:
    match part:
        case TextPart(text):
            return {"type": "text", "text": text}
        case ImagePart(url, None):
            return {"type": "image_url", "image_url": {"url": url}}
        case ImagePart(url, detail):
            return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        case OtherPart(raw):
            return dict(raw)


def usage_json(usage: Usage) -> JsonObject:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated": usage.estimated,
    }


def completion_json(completion: Completion) -> JsonObject:
    """A completion as plain data that ``completion_from_json`` reads back."""
    return {
        "message": message_json(completion.message),
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "reasoning": completion.reasoning,
        "degraded": list(completion.degraded),
        **({"logprobs": list(completion.logprobs)} if completion.logprobs else {}),
        "charges": [
            {"model": c.model, "usage": usage_json(c.usage), "outcome": c.outcome}
            for c in completion.charges
        ],
    }


def fingerprint(request: Request, model: str) -> str:
    """The same text for the same request to the same model and draw, on any machine."""
    body = request_json(request, model)
    return fingerprint_json({**body, **request.extra, "draw": request.draw})


def fingerprint_json(body: Mapping[str, Any]) -> str:
    """The fingerprint of a request that is JSON already (with its model and draw)."""
    canonical = msgspec.json.encode(dict(body), order="deterministic")
    return blake2b(canonical, digest_size=20).hexdigest()


# ---- JSON to our words


def message_from_json(data: Mapping[str, Any]) -> Message:
    """One message of a chat request or answer. Raises MalformedError."""
    role = data.get("role", "assistant")
    if role not in ("system", "developer", "user", "assistant", "tool"):
        raise MalformedError(f"a message has the unknown role {role!r}")
    calls = tuple(
        ToolCall(
            call.get("id") or "",
            call["function"]["name"],
            call["function"].get("arguments") or "",
        )
        for call in data.get("tool_calls") or ()
    )
    content = _content_from_json(data.get("content"))
    return Message(role, content, calls, data.get("tool_call_id"), data.get("name"))


def _content_from_json(content: Any) -> str | tuple[Part, ...]:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MalformedError("the content of a message is neither text nor a list of parts")
    return tuple(_part_from_json(part) for part in content)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _part_from_json(part: Any) -> Part:
    match part:
        case {"type": "text", "text": str(text), **rest} if not rest:
            return TextPart(text)
        case {"type": "image_url", "image_url": {"url": str(url), **more}, **rest} if (
            not rest and set(more) <= {"detail"}
        ):
            return ImagePart(url, more.get("detail"))
        case dict():
            return OtherPart(part)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            raise MalformedError("a part of a message is not an object")


def completion_from_json(data: Mapping[str, Any]) -> Completion:
    """What ``completion_json`` wrote."""
    return Completion(
        message=message_from_json(data["message"]),
        model=data["model"],
        finish_reason=data["finish_reason"],
        charges=tuple(
            Charge(c["model"], usage_from_json(c["usage"]), c["outcome"]) for c in data["charges"]
        ),
        reasoning=data.get("reasoning", ""),
        degraded=tuple(data.get("degraded", ())),
        logprobs=tuple(data.get("logprobs", ())),
    )


def usage_from_json(data: Mapping[str, Any]) -> Usage:
    """What ``usage_json`` wrote."""
    return Usage(
        data["prompt_tokens"],
        data["completion_tokens"],
        data.get("cached_tokens", 0),
        data.get("cache_write_tokens", 0),
        data.get("reasoning_tokens", 0),
        data.get("estimated", False),
    )


# ---- an answer as it streams in


Count = Annotated[int, msgspec.Meta(ge=0)]


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None


class CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class WireUsage(msgspec.Struct, gc=False):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None
    prompt_cache_hit_tokens: Count | None = None  # DeepSeek's name for cached tokens

    def words(self) -> Usage:
        prompt = self.prompt_tokens_details or PromptDetails()
        completion = self.completion_tokens_details or CompletionDetails()
        asked, wrote = self.prompt_tokens or 0, self.completion_tokens or 0
        # Google and xAI count reasoning in the total only; it is billed like what was written.
        thought = max((self.total_tokens or 0) - asked - wrote, 0)
        cached = min(prompt.cached_tokens or self.prompt_cache_hit_tokens or 0, asked)
        return Usage(
            prompt_tokens=asked,
            completion_tokens=wrote + thought,
            cached_tokens=cached,
            cache_write_tokens=min(prompt.cache_write_tokens or 0, asked - cached),
            reasoning_tokens=min(completion.reasoning_tokens or thought, wrote + thought),
        )


class WireFunction(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class WireToolCall(msgspec.Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: WireFunction | None = None


class Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = msgspec.Raw()


class WireLogprobs(msgspec.Struct):
    content: list[JsonObject] | None = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer (then its choices have a message)."""

    choices: list[Choice] = []
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    object: str = ""


_decoder = msgspec.json.Decoder(Chunk)
_usage_decoder = msgspec.json.Decoder(WireUsage | None)


def chunk(data: bytes) -> Chunk:
    """One event's data. Raises MalformedError when it is not what the protocol says."""
    try:
        piece = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # ValidationError is one
        whole = _HALF_CHARACTER.sub(rb"\\ufffd", data)
        if whole != data:
            return chunk(whole)
        start = data[:80].decode("utf-8", "replace")
        raise MalformedError(
            f"not a chat completion chunk: {error} (it begins {start!r})"
        ) from None
    if piece.object == "error" and piece.error is None:  # vLLM's form
        piece.error = {}
    return piece


_HALF_CHARACTER = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Half of a pair that stands for one character: some servers cut an emoji in two."""


def usage_of(data: msgspec.Raw) -> Usage | None:
    """The tokens that a chunk tells; None when it tells none, or nonsense."""
    try:
        found = _usage_decoder.decode(data) if data else None
    except msgspec.DecodeError:
        return None
    return found.words() if found and found.prompt_tokens else None


_logprobs_decoder = msgspec.json.Decoder(WireLogprobs)


def logprobs_of(data: msgspec.Raw) -> list[JsonObject]:
    """The tokens' log-probabilities that a choice brings; none where it brings nonsense."""
    try:
        return _logprobs_decoder.decode(data).content or []
    except msgspec.DecodeError:
        return []


class Fresh(msgspec.Struct, gc=False):
    """What came since someone last asked: thought and answer, and the pieces that they came in."""

    text: str = ""
    thought: str = ""
    pieces: int = 1


@dataclass(slots=True)
class Called:
    """A tool's call as it comes: its name and its arguments in pieces."""

    id: str = ""
    name: list[str] = field(default_factory=list[str])
    arguments: list[str] = field(default_factory=list[str])

    def whole(self) -> ToolCall:
        return ToolCall(self.id, "".join(self.name), "".join(self.arguments))


class Assembly:
    """
    Chunks put together: the answer so far, and in the end a Completion.

    ``add`` takes a chunk in, ``fresh`` says what came since it was last asked: pieces that
    arrive together are looked at as one. *inside*: this model's answers begin in the middle
    of its thoughts.
    """

    __slots__ = (
        "_calls", "_came", "_finished", "_logprobs", "_pieces", "_refusal", "_refusals", "_split",
        "_texts", "_thoughts", "finish_reason", "shown", "turned", "usage",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False) -> None:
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.shown = False
        """A part of the answer has been reported as tokens."""
        self.turned = False
        """What had been taken for the answer turned out to be reasoning."""
        self._split = Splitter(inside=inside)
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._refusals: list[str] = []
        self._came = False
        self._pieces = 0
        self._finished = False
        self._refusal: list[str] = []
        self._calls: dict[int, Called] = {}
        self._logprobs: list[JsonObject] = []

    @property
    def text(self) -> list[str]:
        return self._split.answer

    @property
    def reasoning(self) -> list[str]:
        return self._split.thought

    def add(self, piece: Chunk) -> None:
        """Take one chunk in."""
        if len(piece.usage) > len("null"):
            self.usage = usage_of(piece.usage) or self.usage
        for choice in piece.choices:
            if choice.index != 0:
                continue
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
            if len(choice.logprobs) > len("null"):
                self._logprobs += logprobs_of(choice.logprobs)
            delta = choice.delta or choice.message
            if delta is None:
                continue
            if delta.content:
                self._texts.append(delta.content)
            if delta.reasoning_content or delta.reasoning or delta.refusal or delta.tool_calls:
                self._take(delta)

    def fresh(self) -> Fresh | None:
        """What was added since the last time, thought and answer apart; None for nothing."""
        texts, thoughts = self._texts, self._thoughts
        if not (texts or thoughts or self._came):
            return None
        pieces = len(texts) + len(thoughts)
        self._pieces += pieces
        thought, text = "".join(thoughts), ""
        if thought:
            self._split.thought.append(thought)
            thoughts.clear()
        if texts:
            more, text = self._split.feed(texts[0] if len(texts) == 1 else "".join(texts))
            thought += more
            self.turned = self._split.turned
            texts.clear()
        if self._refusals and not self.text:  # then it is the answer
            text = "".join(self._refusals)
            self._refusal.append(text)
        self._refusals.clear()
        self._came = False
        return Fresh(text, thought, max(pieces, 1))

    def finish(self) -> Fresh | None:
        """
        What was not said by now, also what was held back because a tag might have begun there.
        """
        if self._finished:
            return None
        self._finished = True
        fresh = self.fresh() or Fresh()
        ended = _FINISH.get(self.finish_reason or "", "stop")
        thought, text = self._split.finish(stopped=ended != "length")
        thought, text = fresh.thought + thought, fresh.text + text
        return Fresh(text, thought, fresh.pieces) if thought or text else None

    def _take(self, delta: Delta) -> None:
        """What is not simply text."""
        if thought := delta.reasoning_content or delta.reasoning:
            self._split.off()
            self._thoughts.append(thought)
        if delta.refusal:
            self._refusals.append(delta.refusal)
            self._came = True
        for call in delta.tool_calls or ():
            self._came = True
            row = self._calls.setdefault(call.index, Called())
            row.id = call.id or row.id
            if call.function and call.function.name:
                row.name.append(call.function.name)
            if call.function and call.function.arguments:
                row.arguments.append(call.function.arguments)

    @property
    def begun(self) -> bool:
        return bool(self.usage or self.text or self.reasoning or self._calls or self._refusal)

    def charge(self, model: str, prompt: Request, *, failed: bool = False) -> Charge:
        """What this call used by now: as the upstream says, else as we count."""
        return Charge(model, self._used(prompt), "failed" if failed else "answer")

    def _used(self, prompt: Request) -> Usage:
        told = self.usage
        wrote = self._calls or any(map(str.strip, (*self.text, *self.reasoning)))
        if told and told.prompt_tokens and (told.completion_tokens or not wrote):
            return told
        counted = self._counted(prompt)
        if told is None:
            return counted
        return replace(
            told,
            prompt_tokens=told.prompt_tokens or counted.prompt_tokens,
            completion_tokens=told.completion_tokens or counted.completion_tokens,
            estimated=True,
        )

    def _counted(self, prompt: Request) -> Usage:
        """Our own count: a piece of a stream is a token, unless the pieces are large."""
        pieces = self._pieces
        calls = (text for row in self._calls.values() for text in (*row.name, *row.arguments))
        guess = estimate(prompt, "".join((*self.reasoning, *self.text, *calls)))
        small = guess.completion_tokens <= 3 * pieces
        return replace(guess, completion_tokens=pieces) if small else guess

    def completion(self, model: str, prompt: Request) -> Completion:
        """
        The whole answer.

        Raises ContentFilterError, UnavailableError when the model gave up; and when there is
        nothing in it EmptyAnswerError, or
        RejectedError or ContextOverflowError where asking again cannot help.
        """
        self.finish()
        text = "".join(self.text)
        charge = self.charge(model, prompt)
        if self.finish_reason == "content_filter":
            failed = charge._replace(outcome="failed")
            raise ContentFilterError("the provider's filter cut the answer", charges=[failed])
        if self.finish_reason in _BROKEN:
            failed = charge._replace(outcome="failed")
            raise UnavailableError(f"the model gave up: {self.finish_reason}", charges=[failed])
        calls = tuple(row.whole() for _, row in sorted(self._calls.items()))
        if not text and self._refusal:
            text = "".join(self._refusal)
        if not text.strip() and not calls:
            raise self._nothing([charge._replace(outcome="failed")])
        # Some servers call a turn that ends with calls stopped.
        ended = _FINISH.get(self.finish_reason or "", "stop")
        return Completion(
            message=Message("assistant", text, calls),
            model=model,
            finish_reason="tool_calls" if calls and ended == "stop" else ended,
            charges=(charge,),
            reasoning="".join(self.reasoning),
            logprobs=tuple(self._logprobs),
        )

    def _nothing(self, charges: list[Charge]) -> ModelError:
        if self.finish_reason != "length":
            return EmptyAnswerError("an empty answer", charges=charges)
        if self.reasoning:
            said = "the whole of max_tokens went into reasoning: allow more"
            return RejectedError(said, charges=charges)
        said = "the prompt left no room for an answer in the model's window"
        return ContextOverflowError(said, charges=charges)


def estimate(request: Request, answer: str) -> Usage:
    """Tokens counted by us, about four bytes each, where an upstream does not say."""
    asked = sum(_bytes(m.text) + 8 for m in request.messages)
    return Usage(asked // 4 + 1, _bytes(answer) // 4 + 1 if answer else 0, estimated=True)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
