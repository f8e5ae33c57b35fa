"""OpenAI chat JSON to our words and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import msgspec

from mixtura import provider_data
from mixtura.call_redaction import CallStreams
from mixtura.chunks import Choice, Chunk, Delta, JsonObject, logprobs_of, parse_usage
from mixtura.errors import (
    ContentFilterError,
    ContextOverflowError,
    EmptyAnswerError,
    MalformedError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.events import ToolPiece
from mixtura.finish_reasons import ending, read_finish_reason
from mixtura.part_forms import is_thought, part_from_json, part_json
from mixtura.quantities import UNSEEN_TOKENS
from mixtura.redaction import current
from mixtura.request_size import A_PICTURE, request_tokens
from mixtura.thoughts import Splitter
from mixtura.tool_calls import NO_ARGUMENTS, CallPiece, ToolCallAssembly
from mixtura.types import (
    Charge,
    Completion,
    ImagePart,
    Message,
    Part,
    ProviderData,
    Request,
    TextPart,
    ToolCall,
    Usage,
)

# ---- our words to JSON


def request_json(request: Request, model: str, origin: str | None = None) -> JsonObject:
    """
    The body of a chat completion request, without anything about streaming.

    *origin*: who it is for; the messages that this endpoint wrote get back what it wants with
    them (``provider_data``).
    """
    sampling = request.sampling
    body: JsonObject = {"model": model, "messages": _messages_json(request.messages, origin)}
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
    body.update(request.extra)
    if _is_anthropics(body.get("thinking")):
        del body["thinking"]
    if body.get("service_tier") == "standard_only":  # Anthropic's word for it
        body["service_tier"] = "default"
    return body


def _tool_json(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tool without its form for Anthropic's API."""
    return {k: v for k, v in tool.items() if k != "native"} if "native" in tool else tool


def _is_anthropics(thinking: Any) -> bool:
    """Whether *thinking* is told as only Anthropic's API has it: others take a switch at most."""
    match thinking:
        case {"budget_tokens": _}:
            return True
        case {"type": kind}:
            return kind not in ("enabled", "disabled", "auto")
        case _:
            return False


def left_out(request: Request) -> list[str]:
    """What of a request chat completions has no word for."""
    told = request_json(replace(request, messages=()), "")
    return sorted(name for name in request.extra if name not in told)


def results_behind_calls(messages: Sequence[Message]) -> Sequence[Message]:
    """
    *messages* with what a tool brought right behind its call, where chat completions want it;
    what a client put in between follows the results.
    """
    groups: list[list[Message]] = []
    waiting: dict[str, list[Message]] = {}
    for message in messages:
        if message.role == "tool" and (found := waiting.pop(message.tool_call_id or "", None)):
            found.append(message)
            continue
        groups.append([message])
        waiting |= {call.id: groups[-1] for call in message.tool_calls}
    return [message for group in groups for message in group]


def _messages_json(messages: Sequence[Message], origin: str | None) -> list[JsonObject]:
    """Messages; what a tool brought beside text follows in a message of the user's: only there."""
    rows: list[JsonObject] = []
    below: list[JsonObject] = []
    messages = results_behind_calls(messages)
    back = provider_data.fields_for(origin, messages)
    for message, own in zip(messages, back, strict=True):
        if message.role != "tool" and below:
            rows.append({"role": "user", "content": below})
            below = []
        row = message_json(message)
        if message.role == "tool" and isinstance(message.content, tuple):
            others = [p for p in message.content if not isinstance(p, TextPart)]
            below += [part_json(part) for part in others if not is_thought(part)]
            pictures = all(isinstance(part, ImagePart) for part in others)
            said = BELOW if pictures else FILES_BELOW
            row["content"] = message.text + (said if others else "")
        if own is not None:
            _give_back(row, message, own)
        rows.append(row)
    return [*rows, {"role": "user", "content": below}] if below else rows


def _give_back(row: JsonObject, message: Message, own: JsonObject) -> None:
    """Put what its provider wants back beside a message and beside its calls."""
    row |= {name: own[name] for name in provider_data.OF_A_MESSAGE if name in own}
    for call, told in zip(message.tool_calls, row.get("tool_calls", ()), strict=True):
        told.update(provider_data.call_fields(call.provider_fields))


BELOW = "[What it returned is a picture: it follows.]"
FILES_BELOW = "[What it returned is no text: it follows.]"


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
                "function": {
                    "name": call.name,
                    "arguments": call.arguments if call.arguments.strip() else NO_ARGUMENTS,
                },
            }
            for call in message.tool_calls
        ]
        body["content"] = body["content"] or None
    return body


def _content_json(content: str | tuple[Part, ...]) -> str | list[JsonObject]:
    if not content:  # servers refuse an empty list
        return ""
    return content if isinstance(content, str) else [part_json(part) for part in content]


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
    message = completion.message
    return {
        "message": message_json(message),
        "model": completion.model,
        "finish_reason": completion.finish_reason,
        "reasoning": completion.reasoning,
        "degraded": list(completion.degraded),
        **({"logprobs": list(completion.logprobs)} if completion.logprobs else {}),
        **({"refusal": True} if completion.refusal else {}),
        **({"provider_data": kept} if (kept := provider_data.to_json(message)) else {}),
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
    told = provider_data.from_chat(data) if role == "assistant" else None
    calls = tuple(
        ToolCall(
            call.get("id") or "",
            call["function"]["name"],
            call["function"].get("arguments") or "",
            provider_data.call_fields(call) if told else {},
        )
        for call in data.get("tool_calls") or ()
    )
    content = _content_from_json(data.get("content"))
    if not content and role == "assistant" and isinstance(data.get("refusal"), str):
        content = data["refusal"]  # what it said instead
    return Message(role, content, calls, data.get("tool_call_id"), data.get("name"), told)


def _content_from_json(content: Any) -> str | tuple[Part, ...]:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise MalformedError("the content of a message is neither text nor a list of parts")
    return tuple(map(part_from_json, content))  # pyright: ignore[reportUnknownArgumentType]


def completion_from_json(data: Mapping[str, Any]) -> Completion:
    """What ``completion_json`` wrote."""
    message = message_from_json(data["message"])
    return Completion(
        message=provider_data.restore(message, data.get("provider_data")),
        model=data["model"],
        finish_reason=data["finish_reason"],
        charges=tuple(
            Charge(c["model"], usage_from_json(c["usage"]), c["outcome"]) for c in data["charges"]
        ),
        reasoning=data.get("reasoning", ""),
        degraded=tuple(data.get("degraded", ())),
        logprobs=tuple(data.get("logprobs", ())),
        refusal=data.get("refusal", False),
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
    calls: list[ToolPiece] = []
    refusal: bool = False
    """The text is said in place of an answer."""


class Assembly:
    """
    Chunks put together: the answer so far, and in the end a Completion.

    ``add`` takes a chunk in, ``fresh`` says what came since it was last asked: pieces that
    arrive together are looked at as one. *inside*: this model's answers begin in the middle
    of its thoughts. No secret that the call knows comes out of it.
    """

    __slots__ = (
        "_calls", "_came", "_fields", "_finished", "_left_out", "_logprobs", "_message", "_origin",
        "_pieces", "_plain", "_redactor", "_refusal", "_refusals", "_safe_calls", "_safe_text",
        "_safe_thought", "_split", "_texts", "_thoughts", "_vague",
        "_wrote", "doubts", "finish_reason", "shown", "turned", "turned_now", "usage",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False, origin: str | None = None) -> None:
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.doubts: list[str] = []
        """What the upstream told of its usage that makes no sense."""
        self.shown = False
        """A part of the answer has been reported as tokens."""
        self.turned = False
        """What had been taken for the answer turned out to be reasoning."""
        self.turned_now = False
        """It did so with what was added last."""
        self._redactor = current()
        self._safe_text = self._redactor.stream()
        self._safe_thought = self._redactor.stream()
        self._safe_calls = CallStreams(self._redactor)
        self._split = Splitter(inside=inside)
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._message: str = ""
        """The text of a whole message, which no delta had brought before."""
        self._plain = False
        """Thoughts came as a plain text."""
        self._refusals: list[str] = []
        self._came = False
        self._pieces = 0
        self._finished = False
        self._vague = False
        """A finish reason came that may be none."""
        self._refusal: list[str] = []
        self._calls = ToolCallAssembly()
        self._left_out: set[str] = set()
        self._wrote = False
        self._logprobs: list[JsonObject] = []
        self._origin = origin
        self._fields = provider_data.FieldAssembly()

    @property
    def text(self) -> list[str]:
        return self._split.answer

    @property
    def reasoning(self) -> list[str]:
        return self._split.thought

    def add(self, piece: Chunk) -> None:
        """Take one chunk in."""
        if (usage := piece.told_usage()) is not None:
            self._tell(usage)
        for choice in piece.choices or ():
            if choice.index != 0:
                continue
            if choice.finish_reason is not None:
                self._ends(choice)
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
            if self._origin is not None and delta.has_provider_fields:
                for name, value in delta.provider_fields():
                    self._fields.add(name, value)
            if (
                delta.reasoning_content
                or delta.reasoning
                or delta.refusal
                or delta.tool_calls
                or delta.function_call
                or delta.left_out
                or delta.images
                or delta.audio
                or delta.thinking
                or delta.reasoning_text
                or delta.reasoning_details
                or delta.thinking_blocks
            ):
                self._take(delta)

    def _ends(self, choice: Choice) -> None:
        """A finish reason; what is no text and false may say that the answer goes on."""
        reason = choice.finish_reason
        if reason or choice.message is not None:
            self.finish_reason = read_finish_reason(reason) or self.finish_reason
        elif not isinstance(reason, str):
            self._vague = True

    def over(self) -> None:
        """The stream says that it is over: then even a vague finish reason was one."""
        if self.finish_reason is None and self._vague:
            self.finish_reason = "unknown"

    def _untold(self, message: Delta, delta: Delta | None) -> Delta | None:
        """
        What a whole message adds: all of it, or after its deltas what was in none of them.
        """
        if delta is not None and (delta.content or delta.tool_calls):
            return delta
        said = message.content or ""
        if not self._wrote:
            self._message = said
        elif self._message and said.startswith(self._message):  # each message has all by now
            message.content, self._message = said[len(self._message) :], said
        else:
            message.content = None
        if self._thoughts or self.reasoning:
            message.reasoning_content = message.reasoning = message.reasoning_text = None
            message.thinking = message.reasoning_details = message.thinking_blocks = None
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
        self.turned_now = False
        if thoughts:
            thought = self._safe_thought.feed("".join(thoughts))
            thoughts.clear()
            if thought:
                self._split.thought.append(thought)
        if texts:
            safe = self._safe_text.feed(texts[0] if len(texts) == 1 else "".join(texts))
            texts.clear()
            if safe:
                turns = self._split.turns
                more, text = self._split.feed(safe)
                thought += more
                self.turned = self._split.turned
                self.turned_now = self._split.turns > turns
        if self._refusals and not self.text:  # then it is the answer
            text = self._safe_text.feed("".join(self._refusals))
            self._refusal.append(text)
        self._refusals.clear()
        calls = self._fresh_calls() if self._came and self._calls else []
        self._came = False
        return Fresh(text, thought, max(pieces, 1), calls, bool(self._refusal))

    def _fresh_calls(self, *, ended: bool = False) -> list[ToolPiece]:
        """Pieces of calls without a secret in them."""
        return self._safe_calls.pieces(self._calls.fresh(ended=ended), ended=ended)

    def finish(self) -> Fresh | None:
        """
        What was not said by now, also what was held back because a tag might have begun there.
        """
        if self._finished:
            return None
        self._finished = True
        fresh = self.fresh() or Fresh()
        fresh.calls = [*fresh.calls, *self._fresh_calls(ended=True)]
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
        if not (thought or text or fresh.calls):
            return None
        return Fresh(text, thought, fresh.pieces, fresh.calls, bool(self._refusal))

    def _take(self, delta: Delta) -> None:
        """What is not simply text."""
        thought = delta.thought
        self._plain = self._plain or bool(thought)
        if not self._plain:  # else the lists have the same once more
            thought = delta.thought_in_rows
        if thought:
            self._split.off()
            self._thoughts.append(thought)
        if delta.refusal:
            self._refusals.append(delta.refusal)
            self._came = True
        self._left_out.update(delta.left_out or ())
        kinds = {"image": delta.images, "audio": delta.audio}
        self._left_out.update(kind for kind, came in kinds.items() if came)
        pieces = [call.piece() for call in delta.tool_calls or ()]
        if (old := delta.function_call) is not None and not pieces:  # some send a call as both
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
        calls = self._hidden_calls()
        refused = not text and bool(self._refusal)
        if refused:
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
            message=Message("assistant", text, calls, provider_data=self._wanted_back(prompt)),
            model=model,
            finish_reason=ended,
            charges=(charge,),
            reasoning="".join(self.reasoning),
            degraded=tuple(
                hide.text(f"a part of the type {kind}") for kind in sorted(self._left_out)
            ),
            logprobs=tuple(hide.logprobs(self._logprobs)) if self._logprobs else (),
            refusal=refused,
        )

    def _hidden_calls(self) -> tuple[ToolCall, ...]:
        """The calls without a secret, one that is cut over several of them neither."""
        hide, calls = self._redactor, self._tool_calls()
        inputs = hide.inputs([call.arguments for call in calls])
        fields = hide.across([call.provider_fields for call in calls])
        return tuple(
            ToolCall(hide.text(call.id), hide.text(call.name), given, own)
            for call, given, own in zip(calls, inputs, fields, strict=True)
        )

    def _tool_calls(self) -> tuple[ToolCall, ...]:
        return self._calls.calls()

    def _wanted_back(self, prompt: Request) -> ProviderData | None:
        """What the upstream will want to get back with this answer."""
        if self._origin is None:
            return None
        calls = self._calls.calls()
        turn = bool(calls) or any(message.role == "tool" for message in prompt.messages[-2:])
        found = self._fields.fields(in_tool_turn=turn)
        fields = {
            name: self._redactor.across(value) if name in provider_data.ROWS else value
            for name, value in self._redactor.data(found).items()
        }
        signed = any(call.provider_fields for call in calls)
        return ProviderData(self._origin, fields) if fields or signed else None

    def _nothing(self, charges: list[Charge]) -> ModelError:
        if self._left_out:
            kinds = ", ".join(sorted(self._left_out))
            said = f"the answer has no text, only parts that are not taken here: {kinds}"
            return RejectedError(current().text(said), charges=charges)
        if ending(self.finish_reason) != "length":
            return EmptyAnswerError("an empty answer", charges=charges)
        if self.reasoning:
            said = "the whole of max_tokens went into reasoning: allow more"
            return RejectedError(said, charges=charges)
        said = "the prompt left no room for an answer in the model's window"
        return ContextOverflowError(said, charges=charges)


def estimate(request: Request, answer: str) -> Usage:
    """Tokens counted by us, about four bytes each, where an upstream does not say."""
    own = sum(map(provider_data.provider_bytes, request.messages))
    asked = request_tokens(request, _bytes, picture=4 * A_PICTURE) + own
    return Usage(asked // 4 + 1, _bytes(answer) // 4 + 1 if answer else 0, estimated=True)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
