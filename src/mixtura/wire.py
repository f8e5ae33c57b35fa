"""OpenAI chat JSON to our words and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from mixtura.chunks import Chunk, Delta, JsonObject, logprobs_of, parse_usage
from mixtura.errors import (
    ContentFilterError,
    ContextOverflowError,
    EmptyAnswerError,
    MalformedError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.finish_reasons import ending, read_finish_reason
from mixtura.quantities import UNSEEN_TOKENS, is_null
from mixtura.redaction import current
from mixtura.thoughts import Splitter
from mixtura.tool_calls import CallPiece, ToolCallAssembly
from mixtura.types import (
    Charge,
    Completion,
    ImagePart,
    Message,
    OtherPart,
    Part,
    Request,
    TextPart,
    ToolCall,
    Usage,
)

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
        "tools": [_tool_json(tool) for tool in request.tools] or None,
        "tool_choice": request.tool_choice,
        "response_format": request.response_format,
    }
    body.update({key: value for key, value in optional.items() if value is not None})
    # How long to think is said by an effort here, not by the switch that others have.
    return body | {k: v for k, v in request.extra.items() if k != "thinking"}


def _tool_json(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool without its form for Anthropic's API."""
    return {k: v for k, v in tool.items() if k != "native"} if "native" in tool else tool


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


class Fresh(msgspec.Struct, gc=False):
    """What came since someone last asked: thought and answer, and the pieces that they came in."""

    text: str = ""
    thought: str = ""
    pieces: int = 1


class Assembly:
    """
    Chunks put together: the answer so far, and in the end a Completion.

    ``add`` takes a chunk in, ``fresh`` says what came since it was last asked: pieces that
    arrive together are looked at as one. *inside*: this model's answers begin in the middle
    of its thoughts. No secret that the call knows comes out of it.
    """

    __slots__ = (
        "_calls", "_came", "_finished", "_left_out", "_logprobs", "_pieces", "_redactor",
        "_refusal", "_refusals", "_safe_text", "_safe_thought", "_split", "_texts", "_thoughts",
        "_wrote", "doubts", "finish_reason", "shown", "turned", "usage",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False) -> None:
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.doubts: list[str] = []
        """What the upstream told of its usage that makes no sense."""
        self.shown = False
        """A part of the answer has been reported as tokens."""
        self.turned = False
        """What had been taken for the answer turned out to be reasoning."""
        self._redactor = current()
        self._safe_text = self._redactor.stream()
        self._safe_thought = self._redactor.stream()
        self._split = Splitter(inside=inside)
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._refusals: list[str] = []
        self._came = False
        self._pieces = 0
        self._finished = False
        self._refusal: list[str] = []
        self._calls = ToolCallAssembly()
        self._left_out: set[str] = set()
        self._wrote = False
        self._logprobs: list[JsonObject] = []

    @property
    def text(self) -> list[str]:
        return self._split.answer

    @property
    def reasoning(self) -> list[str]:
        return self._split.thought

    def add(self, piece: Chunk) -> None:
        """Take one chunk in."""
        if piece.usage and not is_null(piece.usage):
            self._tell(piece.usage)
        for choice in piece.choices or ():
            if choice.index != 0:
                continue
            if choice.finish_reason:
                self.finish_reason = read_finish_reason(choice.finish_reason) or self.finish_reason
            if len(choice.logprobs) > len("null"):
                self._logprobs += logprobs_of(choice.logprobs)
            delta = choice.delta
            if choice.message is not None:
                delta = self._untold(choice.message, delta)
            if delta is None:
                continue
            if delta.content:
                self._texts.append(delta.content)
                self._wrote = True
            if (
                delta.reasoning_content
                or delta.reasoning
                or delta.refusal
                or delta.tool_calls
                or delta.function_call
                or delta.left_out
            ):
                self._take(delta)

    def _untold(self, message: Delta, delta: Delta | None) -> Delta | None:
        """
        What a whole message adds: all of it, or after its deltas what was in none of them.
        """
        if delta is not None and (delta.content or delta.tool_calls):
            return delta
        if self._wrote:
            message.content = None
        if self._thoughts or self.reasoning:
            message.reasoning_content = message.reasoning = None
        if self._calls:
            message.tool_calls = message.function_call = None
        if self._refusals or self._refusal:
            message.refusal = None
        return message

    def _tell(self, usage: msgspec.Raw) -> None:
        """The last usage of a stream counts; after one that makes no sense, our own count does."""
        before = len(self.doubts)
        found = parse_usage(usage, self.doubts)
        self.usage = found if found or len(self.doubts) > before else self.usage

    def fresh(self) -> Fresh | None:
        """What was added since the last time, thought and answer apart; None for nothing."""
        texts, thoughts = self._texts, self._thoughts
        if not (texts or thoughts or self._came):
            return None
        pieces = len(texts) + len(thoughts)
        self._pieces += pieces
        thought, text = "", ""
        if thoughts:
            thought = self._safe_thought.feed("".join(thoughts))
            thoughts.clear()
            if thought:
                self._split.thought.append(thought)
        if texts:
            safe = self._safe_text.feed(texts[0] if len(texts) == 1 else "".join(texts))
            texts.clear()
            if safe:
                more, text = self._split.feed(safe)
                thought += more
                self.turned = self._split.turned
        if self._refusals and not self.text:  # then it is the answer
            text = self._safe_text.feed("".join(self._refusals))
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
        if more := self._safe_thought.finish():
            self._split.thought.append(more)
            fresh.thought += more
        if more := self._safe_text.finish():
            if self._refusal:
                self._refusal.append(more)
                fresh.text += more
            else:
                thought, text = self._split.feed(more)
                fresh.thought, fresh.text = fresh.thought + thought, fresh.text + text
        thought, text = self._split.finish(stopped=ending(self.finish_reason) != "length")
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
        self._left_out.update(delta.left_out or ())
        pieces = [call.piece() for call in delta.tool_calls or ()]
        if (old := delta.function_call) is not None:
            pieces.append(CallPiece(None, "", old.name or "", old.arguments))
        if pieces:
            self._came = True
            self._calls.add(pieces)

    @property
    def begun(self) -> bool:
        return bool(self.usage or self.text or self.reasoning or self._calls or self._refusal)

    def charge(self, model: str, prompt: Request, *, failed: bool = False) -> Charge:
        """What this call used by now: as the upstream says, else as we count."""
        return Charge(model, self._used(prompt), "failed" if failed else "answer")

    def _used(self, prompt: Request) -> Usage:
        told = self.usage if self._believable(prompt) else None
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

    def _believable(self, prompt: Request) -> bool:
        """Whether so many tokens can be in so many bytes, and in what a provider adds or hides."""
        told = self.usage
        if told is None or max(told.prompt_tokens, told.completion_tokens) <= UNSEEN_TOKENS:
            return True
        sent = len(msgspec.json.encode(request_json(prompt, "")))
        came = sum(len(text.encode()) for text in self._written())
        for name, count, size in (
            ("prompt_tokens", told.prompt_tokens, sent),
            ("completion_tokens", told.completion_tokens, came),
        ):
            if count > size + UNSEEN_TOKENS:
                self.doubts.append(f"{name} {count} for {size} bytes")
                self.usage = None
        return self.usage is not None

    def _written(self) -> list[str]:
        calls = [call.name + call.arguments for call in self._calls.calls()]
        return [*self.reasoning, *self.text, *calls]

    def _counted(self, prompt: Request) -> Usage:
        """Our own count: a piece of a stream is a token, unless the pieces are large."""
        pieces = self._pieces
        guess = estimate(prompt, "".join(self._written()))
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
        ended = ending(self.finish_reason)
        failed = charge._replace(outcome="failed")
        if ended == "content_filter":
            raise ContentFilterError("the provider's filter cut the answer", charges=[failed])
        if ended == "failed":
            raise UnavailableError(f"the model gave up: {self.finish_reason}", charges=[failed])
        hide = self._redactor
        calls = tuple(
            ToolCall(hide.text(call.id), hide.text(call.name), hide.json(call.arguments))
            for call in self._tool_calls()
        )
        if not text and self._refusal:
            text = "".join(self._refusal)
        if not text.strip() and not calls:
            raise self._nothing([failed])
        if not all(call.name for call in calls):
            raise MalformedError("a tool call has no name", charges=[failed])
        if calls and ended == "stop":  # some servers call a turn that ends with calls stopped
            ended = "tool_calls"
        elif not calls and ended == "tool_calls":  # they are lost: what is here is not all
            ended = "length"
        return Completion(
            message=Message("assistant", text, calls),
            model=model,
            finish_reason=ended,
            charges=(charge,),
            reasoning="".join(self.reasoning),
            degraded=tuple(
                hide.text(f"a part of the type {kind}") for kind in sorted(self._left_out)
            ),
            logprobs=tuple(hide.logprobs(self._logprobs)) if self._logprobs else (),
        )

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        return self._calls.calls()

    def _nothing(self, charges: list[Charge]) -> ModelError:
        if ending(self.finish_reason) != "length":
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
