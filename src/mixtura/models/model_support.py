"""What a model behind HTTP does not support: known by its name, and learned from its refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType

import msgspec

from mixtura.catalog.providers import Quirks
from mixtura.core.errors import ModelError, QuotaError, RejectedError
from mixtura.core.events import Emit, Notice
from mixtura.core.quantities import MIN_OUTPUT_TOKENS, parse_context_window
from mixtura.core.types import JsonObject
from mixtura.models.parameter_refusals import is_out_of_range, refused_parameter
from mixtura.models.refused_message_forms import (
    BEGUN_ANSWER,
    LATER_INSTRUCTIONS,
    MESSAGE_CHANGES,
    MESSAGE_FORM_NOTICES,
    chat_messages,
    may_refuse_later_instructions,
    refused_message_form,
    reshape_messages,
)
from mixtura.models.request_limits import OUTPUT_LIMIT_NAMES, RequestTokenCap
from mixtura.protocols.assistant_prefill import is_prefill_refused
from mixtura.protocols.provider_data import fields
from mixtura.protocols.provider_data import messages as provider_data
from mixtura.protocols.provider_data.missing import MissingDataFallback

_ALTERNATIVE_NAMES = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}
_LEARNABLE_STATUSES = (400, 422, 500)
"""HTTP statuses of refusals to learn from; 500 is what errors of a chat template come with."""
MAX_LEARNING_TRIES = 16
"""Refusals that one call learns from at most; the next call starts with what was learned."""

_MESSAGE_QUIRKS = (*MESSAGE_CHANGES, *fields.MESSAGE_FIELDS)
_NOTICES = MESSAGE_FORM_NOTICES | {
    "stream_options": "reports no usage when streaming: its tokens are estimated",
    "stream": "does not stream: each answer arrives in one piece",
}


@dataclass(slots=True)
class _CallState:
    """What one call alone knows: its *body*, and what its refusals said of it alone."""

    body: JsonObject
    emit: Emit | None
    bound: RequestTokenCap = field(default_factory=RequestTokenCap)
    missing: MissingDataFallback = field(default_factory=MissingDataFallback)
    guess: str | None = None
    """The refusal after which instructions were moved, which may have been about another thing."""


class SupportedAttempt:
    """
    One attempt at a call: a block, whose value is the *body* to send. It suppresses a refusal from
    which *learn* could learn, so that the next attempt follows.
    """

    def __init__(
        self, body: JsonObject, learn: Callable[[RejectedError | QuotaError], bool] | None
    ) -> None:
        self._body = body
        self._learn = learn

    def __enter__(self) -> JsonObject:
        return self._body

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if self._learn is None or not isinstance(error, (RejectedError, QuotaError)):
            return False
        return self._learn(error)


class ModelSupport:
    """
    What one model supports: leaves out or renames what it refuses, with a notice the first time.

    *quirks* are known from the model's name. The rest is learned from refusals with a status of
    400 or 422, after which the request is sent again at once. *needed* are the parameters that
    the API requires. *context_window*: in tokens, if known. *on_learned* is called when anything
    that a ModelInfo has was learned.
    """

    def __init__(
        self,
        model: str,
        quirks: Quirks,
        *,
        needed: frozenset[str] = frozenset(),
        context_window: int | None = None,
        on_learned: Callable[[], None] | None = None,
    ) -> None:
        self.context_window = context_window
        """Tokens of the context window: the fewest that anyone stated."""
        self._model = model
        self._refused = set(quirks.refuses) - needed
        # a name that is known beforehand leads to no notice
        self._said = self._refused & _ALTERNATIVE_NAMES.keys()
        self.max_answer_tokens = quirks.most_tokens
        """Tokens of its longest answer, where that is known."""
        self._needed = needed
        self._on_learned = on_learned or (lambda: None)
        self.inside = quirks.inside
        """Whether its answers begin inside a thought."""

    @property
    def refused_parameters(self) -> frozenset[str]:
        """Parameters that it refuses under each of their names."""
        return frozenset(
            name
            for name in self._refused.difference(_MESSAGE_QUIRKS)
            if _ALTERNATIVE_NAMES.get(name, name) in self._refused
        )

    def attempts(self, body: JsonObject, emit: Emit | None) -> Iterator[SupportedAttempt]:
        """
        The attempts at one call, whose *body* each has as this model supports it by then. A
        refusal that teaches something is followed by another attempt; other errors are raised.
        """
        # null is the same as no limit, and no number to compare
        body = {k: v for k, v in body.items() if v is not None or k not in OUTPUT_LIMIT_NAMES}
        call = _CallState(body, emit)
        for number in range(MAX_LEARNING_TRIES + 1):
            fitting = self._supported_body(call)
            self._emit_new_notices(body, fitting, emit)
            learn = partial(self._learn_from_refusal, call, fitting)
            yield SupportedAttempt(fitting, learn if number < MAX_LEARNING_TRIES else None)

    def strip_unsupported(self, body: JsonObject) -> JsonObject:
        """*body* without what this model is known to refuse."""
        fitting: JsonObject = {}
        for name, value in body.items():
            taken = name if name not in self._refused else _ALTERNATIVE_NAMES.get(name, name)
            if taken in self._refused:
                continue
            bounded = taken in _ALTERNATIVE_NAMES and self.max_answer_tokens is not None
            fitting[taken] = min(value, self.max_answer_tokens) if bounded else value
        if "stream" not in fitting:
            fitting.pop("stream_options", None)
        if self._refused.isdisjoint(_MESSAGE_QUIRKS) or not (messages := chat_messages(fitting)):
            return fitting
        fitting["messages"] = reshape_messages(messages, self._refused)
        if own := self._refused.intersection(fields.MESSAGE_FIELDS):
            fitting["messages"] = provider_data.without_fields(fitting["messages"], own)
        return fitting

    # ---- learning

    def _supported_body(self, call: _CallState) -> JsonObject:
        return call.missing.apply_to_body(
            call.bound.apply_to_body(self.strip_unsupported(call.body))
        )

    def _learn_from_refusal(
        self, call: _CallState, fitting: JsonObject, error: RejectedError | QuotaError
    ) -> bool:
        """Learn from the refusal of the body *fitting*; whether the next one is another."""
        self._learn_window(error.limits.window, fitting, call.emit)
        other = next(
            n for n in OUTPUT_LIMIT_NAMES if n not in self._refused or n == OUTPUT_LIMIT_NAMES[-1]
        )
        said = call.bound.learn_from_error(error, fitting, name=other)
        if said is None and chat_messages(fitting):
            said = call.missing.learn_from_error(error, fitting)
        if said is not None:
            if call.emit:
                call.emit(Notice(self._model, said))
            return True
        if call.guess == str(error):  # the same again: moving them was no help
            self._refused.discard(LATER_INSTRUCTIONS)
        known = LATER_INSTRUCTIONS in self._refused
        self._learn_from_error(error, fitting)
        self._on_learned()
        if self._supported_body(call) == fitting:
            return False
        call.guess = None if known or LATER_INSTRUCTIONS not in self._refused else str(error)
        return True

    def _learn_window(self, told: int | None, sent: JsonObject, emit: Emit | None) -> None:
        """Keep a context window that a refusal states, unless what was *sent* fits in anyway."""
        told = parse_context_window(told)
        if told is None or (self.context_window is not None and told >= self.context_window):
            return
        # an API of another form has its messages anywhere
        words = sent.get("messages", sent)
        most = len(msgspec.json.encode(words)) + (sent.get("max_tokens") or 0)
        if most < told and not any(map(_has_media, chat_messages(sent))):
            return
        self.context_window = told
        self._on_learned()
        if emit:
            emit(
                Notice(
                    self._model,
                    f"its context window has {told} tokens: drafts are truncated to fit",
                )
            )

    def _learn_from_error(self, error: ModelError, sent: JsonObject) -> None:
        if (
            type(error) is not RejectedError
            or error.status not in _LEARNABLE_STATUSES
            or error.answer_began
        ):
            return
        said, messages = str(error), chat_messages(sent)
        if (most := error.limits.output) is not None:
            asked = next((sent[name] for name in OUTPUT_LIMIT_NAMES if name in sent), 0)
            self.max_answer_tokens = (
                most if MIN_OUTPUT_TOKENS <= most < asked else self.max_answer_tokens
            )
        elif is_prefill_refused(said, messages):
            self._refused.add(BEGUN_ANSWER)
        elif field := provider_data.refused_field(said, messages):
            self._refused.add(field)
        elif form := refused_message_form(error, messages):
            self._refused.add(form)
        elif (name := refused_parameter(error, sent)) is None:
            if may_refuse_later_instructions(error, messages):
                self._refused.add(LATER_INSTRUCTIONS)
        elif name not in self._needed and not is_out_of_range(error):
            self._refused.add(name)

    # ---- notices

    def _emit_new_notices(self, body: JsonObject, fitting: JsonObject, emit: Emit | None) -> None:
        if emit is None:
            return
        for notice in self._new_notices(body, fitting):
            emit(Notice(self._model, notice))

    def _new_notices(self, body: JsonObject, fitting: JsonObject) -> Iterator[str]:
        for name in sorted(self._refused - self._said):
            other = _ALTERNATIVE_NAMES.get(name)
            if name in body or other in body or name in _MESSAGE_QUIRKS:
                self._said.add(name)
                yield (
                    f"takes {other} instead of {name}"
                    if other in fitting
                    else _NOTICES.get(name, f"does not accept {name}: it was left out")
                )
        asked = next((body[name] for name in _ALTERNATIVE_NAMES if name in body), None)
        if (
            self.max_answer_tokens is not None
            and asked is not None
            and asked > self.max_answer_tokens
        ):
            bound = f"writes at most {self.max_answer_tokens} tokens, not {asked}"
            if bound not in self._said:
                self._said.add(bound)
                yield bound


_MEDIA_TYPES = ("image", "image_url", "document", "file", "input_audio", "video_url")


def _has_media(message: JsonObject) -> bool:
    """Whether a part of *message* is media, whose tokens its bytes do not tell."""
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, dict) and part.get("type") in _MEDIA_TYPES  # pyright: ignore
        for part in content  # pyright: ignore
    )
