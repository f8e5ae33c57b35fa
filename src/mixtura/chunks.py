"""The chunks in which an answer of chat completions streams in, read for what they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple, cast

import msgspec

from mixtura.error_bodies import is_error_data, says_something
from mixtura.errors import MalformedError
from mixtura.json_text import decoded, mended
from mixtura.lenient_json import decode_lenient
from mixtura.provider_data import OF_A_CALL, SIGNED, THOUGHTS, call_fields
from mixtura.quantities import MOST_TOKENS, excerpt, is_null, token_count
from mixtura.redaction import redacted
from mixtura.tool_calls import CallPiece
from mixtura.types import Usage

JsonObject = dict[str, Any]


def usage_from_counts(told: Mapping[str, object], doubts: list[str]) -> Usage | None:
    """
    Usage from an upstream's counts under our names, and ``total_tokens``; numbers or JSON.

    None where the prompt is not counted, or a count is beyond sense: then the call is to be
    counted here. Details beyond sense are left out. What was is noted in *doubts*.
    """
    counts: dict[str, int] = {}
    before = len(doubts)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        counts[name] = _count(told, name, doubts)
    asked, wrote = counts["prompt_tokens"], counts["completion_tokens"]
    if len(doubts) > before or not asked:
        return None
    # Google and xAI count reasoning in the total only; it is billed like what was written.
    thought = max(counts["total_tokens"] - asked - wrote, 0)
    wrote += thought
    cached = _part(told, "cached_tokens", asked, doubts)
    return Usage(
        prompt_tokens=asked,
        completion_tokens=wrote,
        cached_tokens=cached,
        cache_write_tokens=_part(told, "cache_write_tokens", asked - cached, doubts),
        reasoning_tokens=_part(told, "reasoning_tokens", wrote, doubts) or thought,
    )


def _count(told: Mapping[str, object], name: str, doubts: list[str]) -> int:
    value = told.get(name)
    if is_null(value):
        return 0
    count = token_count(value)
    if count is None:
        doubts.append(f"{name} {excerpt(value)}")
    return count or 0


def _part(told: Mapping[str, object], name: str, whole: int, doubts: list[str]) -> int:
    """A count that is a part of another."""
    count = _count(told, name, doubts)
    if count <= whole:
        return count
    doubts.append(f"{name} {count} of {whole}")
    return 0


class WireFunction(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None
    parameters: Any = None
    """Their name for arguments on some servers."""


class WireToolCall(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None
    extra_content: Any = None
    provider_specific_fields: Any = None
    thought_signature: Any = None
    name: str | None = None
    arguments: Any = None
    input: Any = None
    """Some servers have these without a function around them, or under Anthropic's name."""

    def piece(self) -> CallPiece:
        function = self.function or WireFunction()
        named = (function.arguments, function.parameters, self.arguments, self.input)
        arguments = next((given for given in named if given is not None), None)
        name = function.name or self.name or ""
        piece = CallPiece(self.index, self.id or "", name, arguments)
        if self.extra_content or self.provider_specific_fields or self.thought_signature:
            given = {name: getattr(self, name) for name in OF_A_CALL}
            piece.provider_fields.update(call_fields(given))
        return piece


class Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None
    function_call: WireFunction | None = None
    images: Any = None
    audio: Any = None
    left_out: list[str] | None = None
    """Kinds of parts in its content that are no text: of ours, never sent."""
    reasoning_text: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    reasoning_opaque: Any = None
    extra_content: Any = None
    thinking_blocks: Any = None

    @property
    def has_provider_fields(self) -> bool:
        """Whether there may be something that the provider wants back."""
        return (
            self.reasoning_content is not None
            or self.reasoning is not None
            or self.reasoning_text is not None
            or self.reasoning_details is not None
            or self.reasoning_opaque is not None
            or self.extra_content is not None
            or self.thinking_blocks is not None
        )

    @property
    def thought(self) -> str:
        """What the model thinks aloud, under the first of its plain names that has it."""
        said = self.reasoning_content or self.reasoning
        return said or thought_text(self.reasoning_text) or thought_text(self.thinking)

    @property
    def thought_in_rows(self) -> str:
        """The same from lists of objects, which many send beside a plain text."""
        rows = self.reasoning_details or self.thinking_blocks
        return thought_text(rows) if isinstance(rows, list) else ""

    def provider_fields(self) -> Iterator[tuple[str, Any]]:
        """What the provider may want back, by name."""
        for name in (*THOUGHTS, *SIGNED):
            ours = name == "reasoning_content" and self.left_out is not None  # made of parts
            if (value := getattr(self, name)) is not None and not ours:
                yield name, value


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: Any = None
    logprobs: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


Logprob = Annotated[float, msgspec.Meta(le=0.5)]
"""At most 0, and what rounding adds; a JSON number has an end."""


class TopToken(msgspec.Struct, omit_defaults=True, gc=False):
    token: str
    logprob: Logprob
    bytes: list[Annotated[int, msgspec.Meta(ge=0, le=255)]] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )


class TokenLogprob(TopToken, gc=False):
    top_logprobs: list[TopToken] | msgspec.UnsetType = msgspec.UNSET


class WireLogprobs(msgspec.Struct):
    content: list[TokenLogprob] | None = None


class _BesideChoices(msgspec.Struct, gc=False):
    """What Groq tells in a field of its own."""

    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer (then its choices have a message)."""

    choices: list[Choice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    x_groq: _BesideChoices | None = None

    def told_usage(self) -> msgspec.Raw | None:
        """Its usage, at the top or where Moonshot and Groq tell it."""
        if self.usage and not is_null(self.usage):
            return self.usage
        for choice in self.choices or ():
            if choice.usage and choice.index == 0 and not is_null(choice.usage):
                return choice.usage
        if self.x_groq is not None and not is_null(self.x_groq.usage):
            return self.x_groq.usage
        return None

    def told_error(self) -> Any:
        """The error at the top, or in its choice or beside it; None for one that says nothing."""
        found = [self.error, *(choice.error for choice in self.choices or () if choice.index == 0)]
        if self.x_groq is not None:
            found.append(self.x_groq.error)
        return next(filter(says_something, found), None)


_decoder = msgspec.json.Decoder(Chunk)
_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


def chunk(data: bytes, *, as_it_is: bool = False) -> Chunk:
    """
    One event's data, mended where it can be unless it is to be taken *as_it_is*.

    What is odd in it is passed over, what is no JSON object is nothing. Raises MalformedError
    when it is cut off or garbled.
    """
    try:
        piece = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = mended(_HALF_CHARACTER.sub(rb"\\ufffd", data))
        if whole != data and not as_it_is:
            return chunk(whole, as_it_is=True)
        piece = _odd_chunk(data, error)
    if piece.choices and piece.error is piece.choices[0].error is piece.x_groq is None:
        return piece  # nearly always
    piece.error = piece.told_error()
    if piece.error is None and not piece.choices and is_error_data(data):
        piece.error = {}  # vLLM's form, and those of others: it has no field of its own
    return piece


def _odd_chunk(data: bytes, error: Exception) -> Chunk:
    """A chunk with fields of other types than the protocol's. Raises MalformedError."""
    if not data.lstrip().startswith((b"{", b"[")):  # a comment that stands in data
        return Chunk()
    if not isinstance(error, msgspec.ValidationError):
        raise unreadable("a chat completion chunk", data, error) from None
    try:
        found = decoded(data)
        if isinstance(found, list) and found:
            found = found[0]  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(found, dict):
                raise error
        if not isinstance(found, dict):
            return Chunk()
        row = cast("JsonObject", found)
        choices = row.get("choices")
        for choice in cast("list[Any]", choices) if isinstance(choices, list) else ():
            for key in ("delta", "message"):
                if isinstance(choice, dict) and isinstance(choice.get(key), dict):  # pyright: ignore
                    _plain_content(choice[key])  # pyright: ignore
        return decode_lenient(row, _decoder)
    except msgspec.DecodeError as odd:
        raise unreadable("a chat completion chunk", data, odd) from None


def _plain_content(delta: JsonObject) -> None:
    """Content that is a list of parts as text and reasoning; calls as a list."""
    if isinstance(delta.get("tool_calls"), dict):
        delta["tool_calls"] = [delta["tool_calls"]]
    for name in ("reasoning_content", "reasoning"):
        if isinstance(delta.get(name), dict | list):  # no field of theirs is kept in another form
            delta.setdefault("thinking", thought_text(delta.pop(name)))
    content = delta.get("content")
    if content is None or isinstance(content, str):
        return
    parts = _Parts([], [], [], [])
    for part in cast("list[Any]", content if isinstance(content, list) else [content]):
        parts.sort(part)
    delta["content"], delta["left_out"] = "".join(parts.texts), parts.others
    if parts.calls and not delta.get("tool_calls"):
        delta["tool_calls"] = parts.calls
    if parts.thoughts:
        before = delta.get("reasoning_content") or ""
        delta["reasoning_content"] = "".join((before, *parts.thoughts))


class _Parts(NamedTuple):
    """The parts of a content by what they are."""

    texts: list[str]
    thoughts: list[str]
    calls: list[Any]
    others: list[str]

    def sort(self, part: Any) -> None:
        match part:
            case {"thought": True, "text": str(text)}:
                self.thoughts.append(text)
            case str(text) | {"type": "text" | "output_text", "text": str(text)}:
                self.texts.append(text)
            case {"type": "thinking" | "reasoning", **more}:
                self.thoughts.append(_part_text(more))
            case {"type": "refusal", "refusal": str(text)} | {"text": str(text)}:
                self.texts.append(text)
            case {"type": "tool_use", "name": str()}:
                self.calls.append(part)
            case None | {"text": None}:
                pass
            case {"type": str(kind)}:
                self.others.append(kind)
            case _:
                raise MalformedError(f"the content of an answer is {type(part).__name__}, not text")


def thought_text(told: Any) -> str:
    """The text of thoughts: as it is, in an object, or in a list of parts."""
    if isinstance(told, list):
        return "".join(map(thought_text, cast("list[Any]", told)))
    if isinstance(told, dict):
        return _part_text(cast("JsonObject", told))
    return told if isinstance(told, str) else ""


_THOUGHT_NAMES = ("thinking", "reasoning", "text", "summary", "content")


def _part_text(part: Mapping[str, Any]) -> str:
    """The text of a thinking part: under one of its names, whole or as parts of its own."""
    found = next((part[k] for k in _THOUGHT_NAMES if k in part), "")
    rows = cast("list[Any]", found if isinstance(found, list) else [found])
    texts: list[Any] = [row.get("text") if isinstance(row, dict) else row for row in rows]  # pyright: ignore
    return "".join(text for text in texts if isinstance(text, str))


_HALF_CHARACTER = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""Half of a pair that stands for one character: some servers cut an emoji in two."""


def unreadable(what: str, data: bytes, error: Exception) -> MalformedError:
    """An event that is not *what* it should be; a ValidationError of msgspec says where."""
    deep = isinstance(error, RecursionError)
    why = "it is nested too deeply" if deep else excerpt(str(error), 200)
    start = redacted(data[:4096].decode("utf-8", "replace"))[:80]
    return MalformedError(f"not {what}: {why} (it begins {start!r})")


_Count = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count = 0
    cache_write_tokens: _Count = 0


class _CompletionDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count = 0


class _PlainUsage(msgspec.Struct, gc=False):
    """A usage as most send it; whatever is not of this form is read with more care."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None
    prompt_cache_hit_tokens: None = None


_plain_usage = msgspec.json.Decoder(_PlainUsage)


def _parse_plain_usage(data: msgspec.Raw) -> Usage | None:
    """The usage where it has the usual form and its counts agree; else None."""
    try:
        told = _plain_usage.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
    asked, wrote = told.prompt_tokens, told.completion_tokens
    prompt, completion = told.prompt_tokens_details, told.completion_tokens_details
    cached = prompt.cached_tokens if prompt else 0
    written = prompt.cache_write_tokens if prompt else 0
    thought = completion.reasoning_tokens if completion else 0
    agree = asked + wrote == told.total_tokens and cached + written <= asked and thought <= wrote
    return Usage(asked, wrote, cached, written, thought) if agree and asked else None


def parse_usage(data: msgspec.Raw, doubts: list[str]) -> Usage | None:
    """The tokens that a chunk tells; see ``usage_from_counts``."""
    if (plain := _parse_plain_usage(data)) is not None:
        return plain
    fields = _in_our_names(object_fields(data, "usage", doubts))
    prompt = object_fields(fields.get("prompt_tokens_details"), "prompt_tokens_details", doubts)
    completion = fields.get("completion_tokens_details")
    inner = object_fields(completion, "completion_tokens_details", doubts)
    cached = prompt.get("cached_tokens")
    if is_null(cached):
        cached = fields.get("prompt_cache_hit_tokens")  # DeepSeek's name
    parts: dict[str, object] = {
        "cached_tokens": cached,
        "cache_write_tokens": prompt.get("cache_write_tokens"),
        "reasoning_tokens": inner.get("reasoning_tokens"),
    }
    return usage_from_counts({**fields, **parts}, doubts)


_OTHER_NAMES = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "prompt_tokens_details": "input_tokens_details",
    "completion_tokens_details": "output_tokens_details",
}
_NOT_IN_INPUT = ("cache_read_input_tokens", "cache_creation_input_tokens")


def _in_our_names(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """
    A usage with the names of responses in those of chat completions, which count first.

    Not where a cache is counted in Anthropic's words: it may or may not be in the input.
    """
    if any(bytes(fields.get(name, b"0")) not in (b"0", b"null") for name in _NOT_IN_INPUT):
        return fields
    more = {
        ours: fields[theirs]
        for ours, theirs in _OTHER_NAMES.items()
        if theirs in fields and is_null(fields.get(ours))
    }
    return {**fields, **more}


def object_fields(data: msgspec.Raw | None, name: str, doubts: list[str]) -> dict[str, msgspec.Raw]:
    """An object's fields as JSON; none for null and for what is no object, which is noted."""
    try:
        return (_fields_decoder.decode(data) if data else None) or {}
    except (msgspec.DecodeError, RecursionError):
        doubts.append(f"{name} {excerpt(data)}")
        return {}


_logprobs_decoder = msgspec.json.Decoder(WireLogprobs)


def logprobs_of(data: msgspec.Raw) -> list[JsonObject]:
    """The tokens' log-probabilities that a choice brings; none where it brings nonsense."""
    try:
        found = _logprobs_decoder.decode(data).content or []
    except (msgspec.DecodeError, RecursionError):
        return []
    return [msgspec.to_builtins(token) for token in found]
