"""An answer of Anthropic's messages API, put together from the events of its stream."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from mixtura.core.errors import ContentFilterError
from mixtura.core.quantities import is_null
from mixtura.core.types import Charge, Completion, JsonObject, ProviderData, Request
from mixtura.protocols import usage_estimates
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from mixtura.protocols.anthropic.events import ContentBlock, EventDelta, MessagesEvent, StopDetails
from mixtura.protocols.anthropic.usage import MessagesUsage
from mixtura.protocols.finish_reasons import read_finish_reason
from mixtura.protocols.provider_data import fields

_EMPTY_INPUTS = (b"", b"null", b"{}")
"""The input of a tool call whose arguments follow in pieces."""
_SEARCH_BLOCKS = ("server_tool_use", "web_search_tool_result")
"""A search that the provider made itself, and what it found."""


@dataclass(slots=True)
class _AnswerBlock:
    """A block of an answer: thinking is kept whole, of other blocks only the type and id."""

    type: str
    id: str = ""
    thinking: list[str] = field(default_factory=list[str])
    signature: list[str] = field(default_factory=list[str])
    data: str = ""

    def to_block(self) -> JsonObject:
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


class MessagesStreamAccumulator(AnswerAccumulator):
    """
    Puts the events of a stream together to an answer. Raises as the accumulator of chat completions
    does.
    """

    __slots__ = ("_counts", "_declined", "_open", "_places")

    def __init__(self, *, origin: str | None = None) -> None:
        super().__init__(origin=origin)
        self._text.limit_to_leading_marks()  # thinking has blocks of its own here
        self._counts = MessagesUsage(self.doubts)
        self._declined: StopDetails | None = None
        self._places: list[_AnswerBlock] = []
        """All blocks of the answer in order."""
        self._open: dict[int, _AnswerBlock] = {}
        """The block that began last at each index."""

    def add_chunk(self, event: MessagesEvent) -> None:
        """
        Add one event of the stream, or a whole answer. Raises MalformedError for a tool call's name
        without an end.
        """
        match event.kind:
            case "content_block_delta" if event.delta is not None:
                if event.has_halves or self._halves is not None:
                    self._join_texts(event.delta, ("text", "thinking"))
                self._take_delta(self._index_of(event), event.delta)
            case "content_block_start" if event.content_block is not None:
                self._start_block(event.index or 0, event.content_block)
            case "content_block_stop":
                self._calls.close_call(self._index_of(event))
            case "message_start" if event.message is not None:
                self._take_counts(event.message.usage)
            case "message_delta":
                self._take_counts(event.usage, final=True)
                if event.delta is not None:
                    self._take_stop_reason(event.delta.stop_reason, event.delta.stop_details)
            case "message_stop":
                self.ended = True
            case "message":
                self._take_whole_message(event)
            case _:  # ping, and what a later version may add
                pass

    def _index_of(self, event: MessagesEvent) -> int:
        """An event's index; of one without, that of the block that began last."""
        return next(reversed(self._open), 0) if event.index is None else event.index

    def _take_delta(self, index: int, delta: EventDelta) -> None:
        if delta.text:  # nearly always
            self._text.new_texts.append(delta.text)
            return
        place = self._open.get(index)
        if delta.citation:
            self._sources.add_cited(delta.citation)
        if delta.thinking:
            self._text.new_thoughts.append(delta.thinking)
        if place is not None:
            place.thinking += [delta.thinking] if delta.thinking else []
            place.signature += [delta.signature] if delta.signature else []
        elif delta.partial_json and (last := self._last_call()) is not None:
            index = last  # a delta of a block that never began
        if delta.partial_json and self._calls.extend_call(index, delta.partial_json):
            self._has_new_calls = True

    def _last_call(self) -> int | None:
        """The index of the tool call that began last; None where another block began after it."""
        index, place = next(reversed(self._open.items()), (0, None))
        return index if place is not None and place.type == "tool_use" else None

    def _start_block(self, index: int, block: ContentBlock) -> None:
        self._open.pop(index, None)  # the last in it is the one that began last
        place = self._open[index] = _AnswerBlock(block.type, block.id, data=block.data)
        self._places.append(place)
        if block.signature is not None:
            place.signature.append(block.signature)
        if block.type == "tool_use":
            given = bytes(block.input)
            self._calls.open_call(
                index, block.id, block.name, "" if given in _EMPTY_INPUTS else given.decode()
            )
            self._has_new_calls = True
        elif block.type in _SEARCH_BLOCKS:
            self._sources.add_found(block.content)
        elif block.type in ("text", "thinking"):
            self._sources.add_cited(block.citations)
            self._take_delta(index, EventDelta(text=block.text, thinking=block.thinking))
        elif block.type and not block.type.startswith("redacted"):
            self._left_out.add(block.type)

    def _take_whole_message(self, message: MessagesEvent) -> None:
        for index, block in enumerate(message.content):
            self._start_block(index, block)
        self._take_counts(message.usage, final=True)
        self._take_stop_reason(message.stop_reason, message.stop_details)

    def _take_stop_reason(self, reason: str | None, details: StopDetails | None) -> None:
        if reason is not None:
            self._note_finish_reason(read_finish_reason(reason))
            self._declined = details or self._declined

    def _take_counts(self, usage: msgspec.Raw, *, final: bool = False) -> None:
        if not is_null(usage):
            self._counts.add_counts(usage)
            self.usage = self._counts.sum_counts(final=final)

    def build_charge(self, model: str, prompt: Request, *, failed: bool = False) -> Charge:
        """The charge so far; after a break, output that was not counted yet is estimated."""
        charge = super().build_charge(model, prompt, failed=failed)
        # The output is counted in the last events only: a stream that broke has no such count.
        if self.usage is None or not self.usage.estimated:
            return charge
        guess = usage_estimates.estimate_usage(
            prompt, "".join((*self.thought_parts, *self.answer_parts))
        ).completion_tokens
        wrote = max(self.usage.completion_tokens, guess)
        return charge._replace(usage=replace(self.usage, completion_tokens=wrote))

    def build_completion(self, model: str, prompt: Request) -> Completion:
        """
        The whole answer. Raises as ``AnswerAccumulator.build_completion``; a ContentFilterError
        names the category of the refusal.
        """
        try:
            return super().build_completion(model, prompt)
        except ContentFilterError:
            raise ContentFilterError(self._refusal_message()) from None

    def _build_provider_data(self, prompt: Request) -> ProviderData | None:  # noqa: ARG002
        if self._origin is None or not any(
            p.type in fields.THINKING_BLOCK_TYPES for p in self._places
        ):
            return None
        rows = self._redactor.redact_rows([place.to_block() for place in self._places])
        return ProviderData(self._origin, blocks=tuple(rows))

    def _refusal_message(self) -> str:
        category = self._declined.category if self._declined else None
        return "the model's filter refused" + (f" ({category})" if category else "")
