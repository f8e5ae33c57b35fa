"""A chat completion put together from the chunks in which it streams in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from mixtura.core.types import ProviderData, Request
from mixtura.protocols.answer_accumulator import AnswerAccumulator
from mixtura.protocols.finish_reasons import read_finish_reason
from mixtura.protocols.openai.chunks import HALVED_TEXTS, Chunk, MessageDelta, StreamChoice
from mixtura.protocols.openai.logprobs import decode_logprobs
from mixtura.protocols.openai.usage import parse_usage
from mixtura.protocols.provider_data.accumulator import ProviderFieldAccumulator
from mixtura.protocols.provider_data.fields import LIST_FIELDS
from mixtura.protocols.tool_calls.deltas import ToolCallDelta

_NOTHING = MessageDelta()


class ChatStreamAccumulator(AnswerAccumulator):
    """The answer that the chunks of a chat completion make: ``add_chunk`` takes one in."""

    __slots__ = (
        "_counts_up", "_fields", "_has_text", "_has_vague_end", "_index", "_plain_thought",
        "_whole_text",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False, origin: str | None = None) -> None:
        super().__init__(inside=inside, origin=origin)
        self._fields = ProviderFieldAccumulator()
        self._index: int | None = None
        """Of the answer that is read: the first that came."""
        self._counts_up = True
        """Each piece by now had the next index."""
        self._has_text = False
        """A delta brought text."""
        self._whole_text: str = ""
        """The text of a whole message, which no delta had brought before."""
        self._plain_thought = False
        """Thoughts came as a plain text."""
        self._has_vague_end = False
        """A finish reason came that may be none."""

    def add_chunk(self, event: Chunk) -> None:
        """
        Add one chunk, or a whole answer. Raises MalformedError for a tool call's name without an
        end.
        """
        if (usage := event.find_usage()) is not None:
            self._take_usage(usage)
        self._sources.add_found(event.citations)
        if self._index is None and event.choices:
            self._index = event.first_index
        elif self._counts_up and event.choices:
            self._follow_count(event.choices)
        for choice in event.choices or ():
            # One answer was asked for; what comes for another is none of ours.
            if choice.index == self._index:
                self._take_choice(choice, has_halves=event.has_halves)

    def _follow_count(self, choices: Sequence[StreamChoice]) -> None:
        """
        Some servers number the pieces of their only answer, not the answers: as long as each has
        the next number, they are taken.
        """
        index = choices[0].index
        self._counts_up = len(choices) == 1 and index == (self._index or 0) + 1
        if self._counts_up:
            self._index = index

    def _take_choice(self, choice: StreamChoice, *, has_halves: bool) -> None:
        if choice.finish_reason is not None:
            self._take_finish_reason(choice)
        if len(choice.logprobs) > len("null"):
            self._logprobs += decode_logprobs(choice.logprobs)
        delta = choice.delta
        if choice.message is not None:
            delta = self._missing_delta(choice.message, delta)
        bare = choice.text or choice.content
        if delta is None or (bare and delta == _NOTHING):
            if isinstance(bare, str) and bare:
                self._text.new_texts.append(bare)
                self._has_text = True
            return
        if has_halves or self._halves is not None:
            self._join_texts(delta, HALVED_TEXTS)
        if text := delta.content:
            self._text.new_texts.append(text)
            self._has_text = True
            delta.content = None
        if delta != _NOTHING:  # in most pieces of an answer only the text is set
            delta.content = text
            self._take_other_fields(delta)

    def end_stream(self) -> None:
        """The stream says that it is over: then even a vague finish reason was one."""
        if self.finish_reason is None and self._has_vague_end:
            self.finish_reason = "unknown"

    def _take_usage(self, usage: msgspec.Raw) -> None:
        """The last usage of a stream counts; after one that makes no sense, our own count does."""
        before = len(self.doubts)
        reported = parse_usage(usage, self.doubts)
        self.usage = reported if reported or len(self.doubts) > before else self.usage

    def _take_finish_reason(self, choice: StreamChoice) -> None:
        """A finish reason; what is no text and false may say that the answer goes on."""
        reason = choice.finish_reason
        if reason or choice.message is not None:
            self._note_finish_reason(read_finish_reason(reason))
        elif not isinstance(reason, str):
            self._has_vague_end = True

    def _missing_delta(
        self, message: MessageDelta, delta: MessageDelta | None
    ) -> MessageDelta | None:
        """
        What a whole message adds: all of it, or after its deltas what was in none of them.
        """
        if delta is not None and (delta.content or delta.tool_calls):
            return delta
        whole = message.content or ""
        if not self._has_text:
            self._whole_text = whole
        elif self._whole_text and whole.startswith(self._whole_text):  # each has all by now
            message.content, self._whole_text = whole[len(self._whole_text) :], whole
        else:
            message.content = None
        if self._text.has_thought:
            message.reasoning_content = message.reasoning = message.reasoning_text = None
            message.thinking = message.reasoning_details = message.thinking_blocks = None
        if self._calls:
            message.tool_calls = message.function_call = None
        if self._text.has_refusal:
            message.refusal = None
        return message

    def _take_other_fields(self, delta: MessageDelta) -> None:
        """What stands beside the text, and what the provider wants back with the next request."""
        if self._origin is not None and delta.has_provider_fields:
            for name, value in delta.provider_fields():
                self._fields.add_field(name, value)
        if delta.has_more_than_text:
            self._take_other_parts(delta)

    def _take_other_parts(self, delta: MessageDelta) -> None:
        """What is not simply text."""
        thought = delta.thought_text
        self._plain_thought = self._plain_thought or bool(thought)
        if not self._plain_thought:  # else the lists have the same once more
            thought = delta.listed_thought_text
        if thought:
            self._text.limit_to_leading_marks()
            self._text.new_thoughts.append(thought)
        if delta.annotations:
            self._sources.add_cited(delta.annotations)
        if delta.refusal:
            self._text.new_refusals.append(delta.refusal)
        self._left_out.update(delta.left_out or ())
        kinds = {"image": delta.images, "audio": delta.audio}
        self._left_out.update(kind for kind, came in kinds.items() if came)
        pieces = [call.to_call_delta() for call in delta.tool_calls or ()]
        if (old := delta.function_call) is not None and not pieces:  # some send a call as both
            pieces.append(ToolCallDelta(None, "", old.name or "", old.arguments))
        if pieces:
            self._has_new_calls = True
            self._calls.add_deltas(pieces)

    def _build_provider_data(self, prompt: Request) -> ProviderData | None:
        if self._origin is None:
            return None
        calls = self._calls.tool_calls()
        turn = bool(calls) or any(message.role == "tool" for message in prompt.messages[-2:])
        collected = self._fields.collect_fields(in_tool_turn=turn)
        fields = {
            name: self._redactor.redact_rows(value) if name in LIST_FIELDS else value
            for name, value in self._redactor.redact_data(collected).items()
        }
        signed = any(call.provider_fields for call in calls)
        return ProviderData(self._origin, fields) if fields or signed else None
