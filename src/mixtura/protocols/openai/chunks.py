"""Chunks of a streamed chat completion: their fields, and lenient decoding."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, cast

import msgspec

from mixtura.core.errors import MalformedError
from mixtura.core.json_text import repair_json, repair_texts
from mixtura.core.quantities import is_null
from mixtura.core.types import JsonObject
from mixtura.protocols.errors.bodies import has_error_content, is_error_json
from mixtura.protocols.half_characters import mark_half_characters
from mixtura.protocols.lenient_json import (
    decode_odd_event,
    find_wrapped_object,
    list_objects,
    split_joined_objects,
)
from mixtura.protocols.openai.content import flatten_content, thought_text
from mixtura.protocols.provider_data.fields import (
    CALL_FIELDS,
    PLAIN_THOUGHT_FIELDS,
    SIGNED_THOUGHT_FIELDS,
    tool_call_fields,
)
from mixtura.protocols.tool_calls.deltas import ToolCallDelta


# gc=False throughout: chunks come by the thousand and hold no cycles, so the garbage collector
# need not visit them.
class SignatureFields(msgspec.Struct, gc=False, kw_only=True):
    """Fields with signatures of messages, calls and functions (Google, LiteLLM, other gateways)."""

    extra_content: Any = None
    provider_specific_fields: Any = None
    thought_signature: Any = None
    thoughtSignature: Any = None  # noqa: N815 - as Google's own API spells it


class WireFunction(SignatureFields, gc=False):
    """The function of a tool call, or a piece of one."""

    name: str | None = None
    arguments: Any = None
    parameters: Any = None
    """The name of arguments on some servers."""
    input: Any = None


class WireToolCall(SignatureFields, gc=False):
    """A tool call, or a piece of one, in any of the forms that servers use."""

    index: int | None = None
    id: str | None = None
    function: WireFunction | None = None
    name: str | None = None
    arguments: Any = None
    input: Any = None
    """Some servers put these beside the function, or use Anthropic's name."""
    custom: WireFunction | None = None
    """A tool of OpenAI's whose input is a text."""

    def to_call_delta(self) -> ToolCallDelta:
        """The piece with its arguments under whichever name they have."""
        function = self.function or self.custom or WireFunction()
        named = (
            function.arguments, function.parameters, function.input, self.arguments, self.input
        )  # fmt: skip
        arguments: Any = next((given for given in named if given is not None), None)
        if isinstance(arguments, list) and all(isinstance(one, str) for one in arguments):  # pyright: ignore
            arguments = "".join(arguments)  # pyright: ignore
        name = function.name or self.name or ""
        piece = ToolCallDelta(self.index, self.id or "", name, arguments)
        if any(getattr(row, name) for row in (self, function) for name in CALL_FIELDS):
            given = {name: getattr(self, name) for name in CALL_FIELDS}
            given["function"] = {name: getattr(function, name) for name in CALL_FIELDS}
            piece.provider_fields.update(tool_call_fields(given))
        return piece


class MessageDelta(SignatureFields, gc=False):
    """A piece of an answer's message, or a whole one."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[WireToolCall] | None = None
    function_call: WireFunction | None = None
    images: Any = None
    audio: Any = None
    left_out: list[str] | None = None
    """Types of the parts in its content that are no text; set here, servers do not send it."""
    reasoning_text: Any = None
    thinking: Any = None
    reasoning_details: Any = None
    reasoning_opaque: Any = None
    thinking_blocks: Any = None
    annotations: Any = None
    content_parts: Any = None
    """Thoughts and signatures among the parts of its content."""

    @property
    def has_signatures(self) -> bool:
        """Whether it may have signatures in the fields of gateways."""
        given = (
            self.extra_content, self.content_parts, self.provider_specific_fields,
            self.thought_signature, self.thoughtSignature,
        )  # fmt: skip
        return given != (None,) * 5

    @property
    def has_provider_fields(self) -> bool:
        """Whether it may have fields that the provider wants back with the next request."""
        return (
            self.reasoning_content is not None
            or self.reasoning is not None
            or self.reasoning_text is not None
            or self.reasoning_details is not None
            or self.reasoning_opaque is not None
            or self.thinking_blocks is not None
            or self.has_signatures
        )

    @property
    def has_more_than_text(self) -> bool:
        """Whether there may be thoughts, calls or parts of other kinds."""
        return bool(
            self.reasoning_content
            or self.reasoning
            or self.refusal
            or self.tool_calls
            or self.function_call
            or self.left_out
            or self.images
            or self.audio
            or self.thinking
            or self.reasoning_text
            or self.reasoning_details
            or self.thinking_blocks
            or self.annotations
        )

    @property
    def thought_text(self) -> str:
        """Reasoning text, from the first of the plain fields that has any."""
        text = self.reasoning_content or self.reasoning
        return text or thought_text(self.reasoning_text) or thought_text(self.thinking)

    @property
    def listed_thought_text(self) -> str:
        """Reasoning text from the lists of objects that many send beside the plain field."""
        rows = self.reasoning_details or self.thinking_blocks
        return thought_text(rows) if isinstance(rows, list) else ""

    def provider_fields(self) -> Iterator[tuple[str, Any]]:
        """Fields that the provider may want back: name and value."""
        for name in (*PLAIN_THOUGHT_FIELDS, *SIGNED_THOUGHT_FIELDS):
            ours = name == "reasoning_content" and self.left_out is not None  # made of parts
            if (value := getattr(self, name)) is not None and not ours:
                yield name, value


class StreamChoice(msgspec.Struct, gc=False):
    """One of the answers in a chunk; only the first is used."""

    index: int = 0
    delta: MessageDelta | None = None
    message: MessageDelta | None = None
    text: Any = None
    """The text in the older API's form: some send it here, or both."""
    content: Any = None
    """The text where there is no delta."""
    finish_reason: Any = None
    logprobs: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


class _GroqFields(msgspec.Struct, gc=False):
    """Usage and error in the field ``x_groq``, which only Groq sends."""

    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None


_NULL = msgspec.Raw(b"null")


class Chunk(msgspec.Struct, gc=False):
    """One event of a stream, or a whole answer (then its choices have a message)."""

    choices: list[StreamChoice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    x_groq: _GroqFields | None = None
    citations: Any = None
    """Addresses of pages that the web was searched for (Perplexity, xAI)."""
    has_halves: bool = False
    """Its texts have halves of characters, marked; set here, servers do not send it."""

    @property
    def first_index(self) -> int:
        """The index of its first answer: one was asked for, and some count from 1."""
        return min((choice.index for choice in self.choices or ()), default=0)

    def find_usage(self) -> msgspec.Raw | None:
        """Its usage: at the top, in a choice (Moonshot) or in ``x_groq``; None for none."""
        if self.usage and self.usage != _NULL:
            return self.usage
        for choice in self.choices or ():
            if choice.usage and choice.index == self.first_index and choice.usage != _NULL:
                return choice.usage
        if self.x_groq is not None and not is_null(self.x_groq.usage):
            return self.x_groq.usage
        return None

    def find_error(self) -> Any:
        """Its error: at the top, in a choice or in ``x_groq``; None where it is empty."""
        errors = [] if self.error is None else [self.error]
        errors += [
            choice.error
            for choice in self.choices or ()
            if choice.error is not None and choice.index == self.first_index
        ]
        if self.x_groq is not None:
            errors.append(self.x_groq.error)
        return next(filter(has_error_content, errors), None) if errors else None


_decoder = msgspec.json.Decoder(Chunk)


def decode_chunk(data: bytes, *, as_it_is: bool = False) -> Chunk:
    """
    The chunk in one event's data; broken JSON is repaired unless *as_it_is*.

    Fields of the wrong type are left out; what is no JSON object gives an empty chunk. Raises
    MalformedError when it is cut off or garbled.
    """
    try:
        piece = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        whole = repair_json(repair_texts(_REPEATED_FIELD.sub(b"", data)))
        if whole != data and not as_it_is:
            return _mark_halves(decode_chunk(whole, as_it_is=True), whole, data)
        if rows := split_joined_objects(data) or list_objects(data):
            return _join_chunks([decode_chunk(row, as_it_is=True) for row in rows])
        what = "a chat completion chunk"
        odd = decode_odd_event(
            data, error, _decoder, what, straighten=_flatten_contents, first_of_list=True
        )
        piece = odd or Chunk()
    if piece.choices and piece.error is piece.choices[0].error is piece.x_groq is None:
        return piece  # nearly always
    piece.error = piece.find_error()
    if piece.choices is None and not as_it_is and (inner := find_wrapped_object(data, "choices")):
        return decode_chunk(inner, as_it_is=True)
    if piece.error is None and not piece.choices and is_error_json(data):
        piece.error = {}  # vLLM's form, and those of others: it has no field of its own
    return piece


def _mark_halves(piece: Chunk, whole: bytes, data: bytes) -> Chunk:
    """The *piece*, with marks in its texts where *data* has halves of characters."""
    marked = repair_json(repair_texts(mark_half_characters(data)))
    if marked == whole:
        return piece
    try:
        choices = decode_chunk(marked, as_it_is=True).choices or ()
    except MalformedError:
        return piece
    for ours, theirs in zip(piece.choices or (), choices, strict=False):
        if ours.delta is not None and theirs.delta is not None:
            piece.has_halves = True
            for name in HALVED_TEXTS:
                setattr(ours.delta, name, getattr(theirs.delta, name))
    return piece


HALVED_TEXTS = ("content", "reasoning_content", "reasoning")
"""Texts of a delta that may begin or end in the middle of a character."""


def _join_chunks(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks that came as one event, as one."""
    usage = next((one.usage for one in reversed(chunks) if one.find_usage()), msgspec.Raw())
    choices = [choice for one in chunks for choice in one.choices or ()]
    error = next((one.error for one in chunks if one.error is not None), None)
    return Chunk(choices, usage, error)


_REPEATED_FIELD = re.compile(rb"\A(?:data:\s*)+")
"""The name of an event's field, which some proxies write twice."""


def _flatten_contents(row: JsonObject) -> None:
    """One choice as a list of one; contents that come as lists of parts, as texts."""
    if isinstance(choices := row.get("choices"), dict):
        row["choices"] = choices = [cast("JsonObject", choices)]
    for choice in cast("list[Any]", choices) if isinstance(choices, list) else ():
        for key in ("delta", "message") if isinstance(choice, dict) else ():
            if isinstance(choice.get(key), str):  # pyright: ignore
                choice[key] = {"content": choice[key]}
            if isinstance(choice.get(key), dict):  # pyright: ignore
                flatten_content(choice[key])  # pyright: ignore
