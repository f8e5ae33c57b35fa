"""Requests, messages, answers and usage, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

from mixtura.core.agreement import Agreement, Support
from mixtura.core.arguments import (
    NumberField,
    check_choice,
    check_flag,
    check_items,
    check_kind,
    check_mapping,
    check_number_fields,
    check_optional,
    check_text,
    wrong_kind,
)
from mixtura.core.quantities import COUNTED, REQUESTED_TOKENS, SEED, SHARE, TEMPERATURE

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[str, ...] = get_args(Role)
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
FINISH_REASONS: tuple[str, ...] = get_args(FinishReason)
Json = Mapping[str, Any]
"""JSON that is only read."""
JsonObject = dict[str, Any]
"""JSON that is being built, or was decoded."""


@dataclass(frozen=True, slots=True)
class TextPart:
    """
    A piece of a message that is text; *extra* has what else its API said of it (a mark for a
    cache, annotations), which goes to a target that takes it and never hides the text.
    """

    text: str
    extra: Json = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        check_text("text", self.text)
        check_mapping("extra", self.extra)


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A picture in a message, by address or as a ``data:`` address; *extra* as for a text."""

    url: str
    detail: str | None = None
    extra: Json = field(default_factory=dict[str, Any], hash=False)

    def __post_init__(self) -> None:
        check_text("url", self.url)
        check_optional("detail", self.detail, str, "a text, or None")
        check_mapping("extra", self.extra)


@dataclass(frozen=True, slots=True)
class OtherPart:
    """A part that is neither text nor a picture (audio, a file): carried as it came."""

    raw: Json

    def __post_init__(self) -> None:
        check_mapping("raw", self.raw, "the part as a dict")


Part = TextPart | ImagePart | OtherPart


@dataclass(frozen=True, slots=True)
class ToolCall:
    """
    A call of a tool that a model asks for; *arguments* is JSON text, as the model wrote it.

    *provider_fields* stand beside it for its message's ``ProviderData``: Gemini's signature.
    """

    id: str
    name: str
    arguments: str
    provider_fields: Json = field(default_factory=dict[str, Any], compare=False)

    def __post_init__(self) -> None:
        check_text("id", self.id)
        check_text("name", self.name)
        if not isinstance(self.arguments, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_kind("arguments", 'JSON text, as in \'{"city": "Rome"}\'', self.arguments)


@dataclass(frozen=True, slots=True)
class ProviderData:
    """
    What the endpoint that wrote a message wants to get back with it, in its own words.

    *origin* tells which endpoint and model that was (see
    ``provider_data.origin_fingerprint``); empty where no one knows. It is sent to no other.
    *fields* stand beside the content of a chat message, *blocks* are the content of one of
    Anthropic's, with its thinking blocks as they came; a text block or a tool's call in it
    only marks a place.
    """

    origin: str = ""
    fields: Json = field(default_factory=dict[str, Any])
    blocks: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """
    One turn of a conversation; its *content* is a text, or parts. Raises TypeError and ValueError
    for what can be none of it, also for another *role*.
    """

    role: Role
    content: str | tuple[Part, ...] = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    # Messages with the same words are equal, whatever their endpoints want back with them.
    provider_data: ProviderData | None = field(default=None, compare=False)
    """What its provider wants back with it; the tool calls' own parts stand with them."""

    def __post_init__(self) -> None:
        check_choice("role", self.role, ROLES)
        if not isinstance(self.content, str):
            right = "a text (it may be empty), or a tuple of TextPart, ImagePart and OtherPart"
            object.__setattr__(self, "content", check_items("content", self.content, Part, right))
        if self.tool_calls != ():
            calls = check_items("tool_calls", self.tool_calls, ToolCall, "a tuple of ToolCall")
            object.__setattr__(self, "tool_calls", calls)
        check_optional("tool_call_id", self.tool_call_id, str, "a text, or None")
        check_optional("name", self.name, str, "a text, or None")

    @property
    def text(self) -> str:
        """The words of the message, without its pictures."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Sampling:
    """
    How to draw an answer; ``None`` leaves a choice to whoever comes next.

    *temperature*: 0 to 5. *top_p*: 0 to 1. *max_tokens*: of the answer. *stop*: texts at which it
    ends. *seed*: a whole number of 64 bits. Raises TypeError and ValueError for anything else.
    """

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        check_number_fields(self, *_SAMPLING_NUMBERS)
        if self.stop is not None:
            # A text's letters would pass for texts.
            stop = check_items("stop", self.stop, str, 'a tuple of texts, as in ("END",)')
            object.__setattr__(self, "stop", stop)

    def with_defaults(self, other: Sampling) -> Sampling:
        """This sampling where it says something, *other* elsewhere."""
        return Sampling(  # by hand: a generic replace would take ten times as long
            other.temperature if self.temperature is None else self.temperature,
            other.top_p if self.top_p is None else self.top_p,
            other.max_tokens if self.max_tokens is None else self.max_tokens,
            other.stop if self.stop is None else self.stop,
            other.seed if self.seed is None else self.seed,
        )


_SAMPLING_NUMBERS = (
    NumberField("temperature", TEMPERATURE),
    NumberField("top_p", SHARE),
    NumberField("max_tokens", REQUESTED_TOKENS, whole=True),
    NumberField("seed", SEED, whole=True),
)


def seed_of_draw(seed: int | None, draws_on: int) -> int | None:
    """*seed*, so many draws further on: one for all draws would draw the same answer each time."""
    if seed is None:
        return None
    # Behind the largest one, the smallest: a provider takes 64 bits and no more.
    return int(SEED.least) + (seed + draws_on - int(SEED.least)) % 2**64


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a Model: a conversation, and how to answer it.

    *draw* numbers repeated samples of one model, so that a cache never collapses them.
    *draft* says that only other models will read the answer: it may begin anew after its
    first words, which an answer that a person watches may not. *extra* has further parameters
    for the model that writes the answer, under their names in chat completions. One of *tools*
    may have a ``native`` form beside its function's: the tool as Anthropic's API takes it. Raises
    TypeError for what is no such conversation.
    """

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    tools: tuple[Json, ...] = ()
    tool_choice: str | Json | None = None
    response_format: Json | None = None
    extra: Json = field(default_factory=dict[str, Any])
    draw: int = 0
    draft: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        messages = self.messages
        # Sets of types: a long conversation is copied with every request, and looked at in C.
        if type(messages) is not tuple or {*map(type, messages)} - _MESSAGE_TYPES:
            right = 'a tuple of Message, as in (Message("user", "Why?"),)'
            object.__setattr__(self, "messages", check_items("messages", messages, Message, right))
        check_kind("sampling", self.sampling, Sampling, "a Sampling")
        if self.tools != ():
            tools = check_items("tools", self.tools, Mapping, "a tuple of dicts")
            object.__setattr__(self, "tools", tools)
        if self.tool_choice is not None and not isinstance(self.tool_choice, str | Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise wrong_kind("tool_choice", "a text, a dict or None", self.tool_choice)
        check_optional("response_format", self.response_format, Mapping, "a dict, or None")
        check_mapping("extra", self.extra)
        if type(self.draw) is not int:
            check_number_fields(self, NumberField("draw", COUNTED, whole=True, optional=False))
        check_flag("draft", self.draft)


_MESSAGE_TYPES = {Message}


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a call: cached and cache-write ones are in the prompt, reasoning in the completion.

    *estimated* is true where an upstream did not say and we counted ourselves, *batched* where
    the call was one of a provider's batch, which has a price of its own; a sum is not. *searches*
    of the web that its provider, or a search tool, made and bills. Raises TypeError and ValueError
    for counts that are none.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    batched: bool = False
    searches: int = 0

    def __post_init__(self) -> None:
        counts = (
            self.prompt_tokens, self.completion_tokens, self.cached_tokens,
            self.cache_write_tokens, self.reasoning_tokens, self.searches,
        )  # fmt: skip
        # Sums of usage are made at every level of a run: what is right is seen at once.
        if {*map(type, counts)} != {int} or min(counts) < 0:
            check_number_fields(self, *_USAGE_COUNTS)

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
            self.cache_write_tokens + other.cache_write_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.estimated or other.estimated,
            searches=self.searches + other.searches,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


_USAGE_COUNTS = tuple(
    NumberField(name, COUNTED, whole=True, optional=False)
    for name in (
        "prompt_tokens", "completion_tokens", "cached_tokens", "cache_write_tokens",
        "reasoning_tokens", "searches",
    )
)  # fmt: skip

SEARCH_CHARGE = "tools.search"
"""The name that searches are booked under which are made here for a member."""


class WebSource(NamedTuple):
    """A page that an answer rests on, as its provider or a search tool named it."""

    url: str
    title: str = ""


class ReplacedItem(NamedTuple):
    """A private item of a request, and the placeholder that a model was shown in its place."""

    placeholder: str
    kind: str
    text: str


ChargeOutcome = Literal["answer", "failed", "retried", "lost"]


class Charge(NamedTuple):
    """What one call to one model used: a line of the ledger.

    *outcome* says what became of the call: an answer that was used, or money spent on a
    failure, a retry or a hedged call that another copy answered first.
    """

    model: str
    usage: Usage
    outcome: ChargeOutcome = "answer"


def sum_usage(charges: Sequence[Charge]) -> Usage:
    """The tokens of all *charges* together."""
    return sum((charge.usage for charge in charges), start=Usage())


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer: the message, who wrote it, why it ended, and every call it took.

    *reasoning* is what a reasoning model wrote before its answer; it is kept for the trace
    and shown to no other model. *degraded* says what was left out to get this answer. Raises
    TypeError and ValueError for what is no answer.
    """

    message: Message
    model: str
    finish_reason: FinishReason = "stop"
    charges: tuple[Charge, ...] = ()
    reasoning: str = ""
    degraded: tuple[str, ...] = ()
    logprobs: tuple[Json, ...] = ()
    """The tokens' log-probabilities as chat completions has them, where they were asked for."""
    refusal: bool = False
    """Whether the text stands in place of an answer, in the API's field for refusals."""
    support: Support | None = None
    """How much of what a pattern counted stands behind the answer; None where it counts nothing."""
    confidence: float | None = None
    """The probability that it is right, as calibrated on recorded answers; None without that."""
    agreement: Agreement | None = None
    """Where the proposals behind it agree and differ, where that was asked for."""
    sources: tuple[WebSource, ...] = ()
    """Pages that it rests on, where the web was searched for it."""

    def __post_init__(self) -> None:
        check_kind("message", self.message, Message, 'a Message, as in Message("assistant", text)')
        check_text("model", self.model)
        check_choice("finish_reason", self.finish_reason, FINISH_REASONS)
        if self.charges != ():
            charges = check_items("charges", self.charges, Charge, "a tuple of Charge")
            object.__setattr__(self, "charges", charges)
        check_text("reasoning", self.reasoning)

    @property
    def text(self) -> str:
        return self.message.text

    @property
    def usage(self) -> Usage:
        """The sum over every call of the run."""
        return sum_usage(self.charges)

    @property
    def usage_by_model(self) -> dict[str, Usage]:
        sums: dict[str, Usage] = {}
        for charge in self.charges:
            sums[charge.model] = sums.get(charge.model, Usage()) + charge.usage
        return sums


def ask(question: str, *, system: str | None = None, sampling: Sampling | None = None) -> Request:
    """A request with one question in it. Raises TypeError where *question* is no text."""
    if not isinstance(question, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        rule = "ask(question): a question is a text, not"
        raise TypeError(f"{rule} {type(question).__name__}; a list of messages is a Request")
    check_optional("system", system, str, "a text, or None")
    check_optional("sampling", sampling, Sampling, "a Sampling, or None")
    first = (Message("system", system),) if system else ()
    return Request((*first, Message("user", question)), sampling or Sampling())
