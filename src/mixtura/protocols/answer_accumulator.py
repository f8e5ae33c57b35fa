"""An answer put together while it streams in: what every API's stream has in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from mixtura.core.errors import (
    ContentFilterError,
    ContextOverflowError,
    EmptyAnswerError,
    MalformedError,
    ModelError,
    RejectedError,
    UnavailableError,
)
from mixtura.core.events import ToolCallChunk
from mixtura.core.redaction import current_redactor
from mixtura.core.types import (
    Charge,
    Completion,
    FinishReason,
    Message,
    ProviderData,
    Request,
    ToolCall,
    Usage,
    WebSource,
)
from mixtura.protocols.answer_text import AnswerDelta, AnswerTextStream
from mixtura.protocols.finish_reasons import classify_finish_reason, is_cut_off
from mixtura.protocols.half_characters import HalfCharacterJoiner
from mixtura.protocols.tool_calls.assembly import ToolCallAccumulator
from mixtura.protocols.tool_calls.redaction import CallStreams
from mixtura.protocols.usage_estimates import (
    estimate_stream_usage,
    fill_missing_counts,
    implausible_counts,
)
from mixtura.protocols.web_sources import SourceCollector

_ANSWER_TEXTS = ("content", "text")
"""Names of a delta's texts that are the answer; the others are thoughts."""


class AnswerAccumulator:
    """
    The answer so far, and in the end a Completion; each API's stream adds its pieces.

    ``take_new`` returns what came since it was last called: pieces that arrive together are
    looked at as one. *inside*: this model's answers begin in the middle of its thoughts.
    *origin*: the endpoint that gets its provider data back; None keeps none. No secret that the
    call knows comes out of it.
    """

    __slots__ = (
        "_calls", "_finished", "_halves", "_has_new_calls", "_left_out", "_logprobs", "_origin",
        "_redactor", "_safe_calls", "_sources", "_text", "batched", "doubts", "ended",
        "final_charge", "finish_reason", "shown", "usage",
    )  # fmt: skip

    def __init__(self, *, inside: bool = False, origin: str | None = None) -> None:
        self.finish_reason: str | None = None
        self.ended = False
        """The stream said that nothing more comes."""
        self.usage: Usage | None = None
        """As the upstream reports it."""
        self.doubts: list[str] = []
        """Counts in the reported usage that make no sense."""
        self.final_charge: Charge | None = None
        """Of a call that came to its end, whatever its answer is worth."""
        self.batched = False
        """It is an answer of a provider's batch."""
        self.shown = False
        """A part of the answer has been reported as tokens."""
        self._origin = origin
        self._redactor = current_redactor()
        self._text = AnswerTextStream(self._redactor, inside=inside)
        self._calls = ToolCallAccumulator()
        self._safe_calls = CallStreams(self._redactor)
        self._has_new_calls = False
        self._left_out: set[str] = set()
        """Kinds of parts that are no text, and are not taken."""
        self._logprobs: list[dict[str, Any]] = []
        self._finished = False
        self._halves: HalfCharacterJoiner | None = None
        """From the first text on that has half a character."""
        self._sources = SourceCollector()

    def add_chunk(self, event: Any) -> None:
        """
        Add one event of the stream, or a whole answer. Raises MalformedError for a tool call's name
        without an end, NotImplementedError here: each API's class has its own.
        """
        raise NotImplementedError

    def _note_finish_reason(self, reason: str | None) -> None:
        """The last reason counts; but no later one makes whole what was said to be cut off."""
        if reason is not None and not is_cut_off(self.finish_reason):
            self.finish_reason = reason

    def end_stream(self) -> None:
        """The stream says that it is over. Some APIs read more from that."""

    @property
    def answer_parts(self) -> list[str]:
        """The pieces of the answer by now."""
        return self._text.answer_parts

    @property
    def thought_parts(self) -> list[str]:
        """The pieces of the reasoning by now."""
        return self._text.thought_parts

    @property
    def answer_became_thought(self) -> bool:
        """What had been taken for the answer turned out to be reasoning."""
        return self._text.answer_became_thought

    @property
    def answer_just_became_thought(self) -> bool:
        """It did so with what was added last."""
        return self._text.answer_just_became_thought

    @property
    def has_started(self) -> bool:
        """Whether anything of an answer came: text, thought, a call, a refusal or a usage."""
        text = self._text
        return bool(
            self.usage
            or text.answer_parts
            or text.thought_parts
            or self._calls
            or text.refusal_parts
        )

    def _join_texts(self, delta: Any, names: Iterable[str]) -> None:
        """Put halves of characters in the texts *names* of a delta together with those before."""
        self._halves = joiner = self._halves or HalfCharacterJoiner()
        for name in names:
            if isinstance(text := getattr(delta, name), str) and text:
                setattr(delta, name, joiner.join_piece(name, text))

    # ---- while it streams

    def take_new(self) -> AnswerDelta | None:
        """What was added since the last time, thought and answer apart; None for nothing."""
        if not (self._has_new_calls or self._text.has_new):
            return None
        fresh = self._text.take_new()
        if self._has_new_calls and self._calls:
            fresh.calls = self._take_new_calls()
        self._has_new_calls = False
        return fresh

    def _take_new_calls(self, *, ended: bool = False) -> list[ToolCallChunk]:
        """Pieces of calls without a secret in them."""
        return self._safe_calls.pieces(self._calls.take_updates(ended=ended), ended=ended)

    def take_rest(self) -> AnswerDelta | None:
        """
        What is left at the end, also what was held back because a tag might have begun there.
        """
        # Both the end of the stream and the completion ask for it.
        if self._finished:
            return None
        self._finished = True
        if self._halves is not None:
            rest = self._halves.take_rest()
            self._text.new_texts += [text for name, text in rest.items() if name in _ANSWER_TEXTS]
            self._text.new_thoughts += [
                text for name, text in rest.items() if name not in _ANSWER_TEXTS
            ]
        fresh = self.take_new() or AnswerDelta()
        calls = [*fresh.calls, *self._take_new_calls(ended=True)]
        # Cut off within a thought: what is held back is no answer then.
        stopped = classify_finish_reason(self.finish_reason) != "length"
        more_thought, more_text = self._text.take_rest(stopped=stopped)
        thought, text = fresh.thought_text + more_thought, fresh.text + more_text
        if not (thought or text or calls):
            return None
        return AnswerDelta(text, thought, fresh.pieces, calls, bool(self._text.refusal_parts))

    # ---- what it used

    def build_charge(self, model: str, prompt: Request, *, failed: bool = False) -> Charge:
        """What this call used by now: as the upstream says, else as we count."""
        usage = self._choose_usage(prompt)
        if self.batched:
            usage = replace(usage, batched=True)
        if self._sources.sources and not usage.searches:  # not every API counts them
            usage = replace(usage, searches=1)
        return Charge(model, usage, "failed" if failed else "answer")

    def _choose_usage(self, prompt: Request) -> Usage:
        if self.usage is not None:
            implausible = implausible_counts(self.usage, prompt, self._generated_texts)
            # Our own count then: an absurd one would empty a budget.
            self.doubts += implausible
            self.usage = None if implausible else self.usage
        reported = self.usage
        # A server that reports no tokens for what it wrote did not count it.
        wrote = self._calls or any(map(str.strip, (*self.answer_parts, *self.thought_parts)))
        if reported and reported.prompt_tokens and (reported.completion_tokens or not wrote):
            return reported
        generated = "".join(self._generated_texts())
        return fill_missing_counts(
            reported, estimate_stream_usage(prompt, generated, self._text.pieces)
        )

    def _generated_texts(self) -> list[str]:
        calls = [call.name + call.arguments for call in self._calls.tool_calls()]
        return [*self.thought_parts, *self.answer_parts, *calls]

    # ---- when it is over

    def build_completion(self, model: str, prompt: Request) -> Completion:
        """
        The whole answer.

        Raises ContentFilterError when the provider's filter cut it, UnavailableError when the model
        gave up, MalformedError for a tool call without a name; and when there is nothing in it
        EmptyAnswerError, or RejectedError or ContextOverflowError where another try cannot help:
        each a ModelError.
        """
        self.take_rest()
        text = "".join(self.answer_parts)
        charge = self.final_charge = self.build_charge(model, prompt)
        ended = classify_finish_reason(self.finish_reason)
        # The charge comes first: what was generated is paid for, also when it is refused.
        if ended == "content_filter":
            raise ContentFilterError("the provider's filter cut the answer")
        if ended == "failed":
            raise UnavailableError(f"the model gave up: {self.finish_reason}")
        hide = self._redactor
        calls = self._redacted_calls()
        # A refusal has a field of its own; beside an answer it is none.
        refused = not text and bool(self._text.refusal_parts)
        if refused:
            text = "".join(self._text.refusal_parts)
        if not text.strip() and not calls:
            raise self._empty_answer_error()
        if not all(call.name for call in calls):
            raise MalformedError("a tool call has no name")
        data = self._build_provider_data(prompt)
        left_out = [
            hide.redact_text(f"a part of the type {kind}") for kind in sorted(self._left_out)
        ]
        return Completion(
            message=Message("assistant", text, calls, provider_data=data),
            model=model,
            finish_reason=_match_calls(ended, calls),
            charges=(charge,),
            reasoning="".join(self.thought_parts),
            degraded=tuple(left_out),
            logprobs=tuple(hide.redact_logprobs(self._logprobs)) if self._logprobs else (),
            refusal=refused,
            sources=tuple(WebSource(*map(hide.redact_text, one)) for one in self._sources.sources),
        )

    def _redacted_calls(self) -> tuple[ToolCall, ...]:
        """The calls without secrets, also without those that are cut over several of them."""
        hide, calls = self._redactor, self._calls.tool_calls()
        inputs = hide.redact_inputs([call.arguments for call in calls])
        fields = hide.redact_rows([call.provider_fields for call in calls])
        return tuple(
            ToolCall(hide.redact_text(call.id), hide.redact_text(call.name), given, own)
            for call, given, own in zip(calls, inputs, fields, strict=True)
        )

    def _build_provider_data(self, prompt: Request) -> ProviderData | None:  # noqa: ARG002
        """What the upstream will want to get back with this answer."""
        return None

    def _empty_answer_error(self) -> ModelError:
        if self._left_out:
            kinds = ", ".join(sorted(self._left_out))
            message = f"the answer has no text, only parts that are not taken here: {kinds}"
            return RejectedError(current_redactor().redact_text(message))
        if classify_finish_reason(self.finish_reason) != "length":
            return EmptyAnswerError("an empty answer")
        if self.thought_parts:
            return RejectedError("the whole of max_tokens went into reasoning: allow more")
        return ContextOverflowError("the prompt left no room for an answer in the model's window")


def _match_calls(reason: FinishReason, calls: tuple[ToolCall, ...]) -> FinishReason:
    """The finish reason as it must be beside these calls."""
    if calls and reason == "stop":  # some servers call a turn that ends with calls stopped
        return "tool_calls"
    if not calls and reason == "tool_calls":  # they are lost: what is here is not all
        return "length"
    return reason
