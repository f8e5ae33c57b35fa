"""What all APIs of the server share: the call that is read, the writer of answers, the error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from mixtura.config.requested_team import RequestedTeam, TeamFields, read_team
from mixtura.config.schema import AggregatorTable, ProposerTable
from mixtura.core.errors import ConfigError
from mixtura.core.events import ToolCallChunk
from mixtura.core.quantities import Dollars, PositiveSeconds
from mixtura.core.types import Completion, Json, Request
from mixtura.server.apis.tool_names import Toolbox

BASE, PROPOSERS, AGGREGATOR = "mixtura.mixture", "mixtura.proposers", "mixtura.aggregator"
"""The fields that name a mixture and its members, beside ``model``."""


class MixtureOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The ``mixtura`` field of a request's body: options that only mixtures have."""

    proposals: bool = False
    """Send what happens inside as extra frames."""
    mixture: str | None = None
    """Another mixture than the model's name says."""
    # Bounds on the calls that one request can start, before any name is looked up.
    proposers: (
        Annotated[tuple[str | ProposerTable, ...], msgspec.Meta(min_length=1, max_length=64)] | None
    ) = None
    """Other proposers in every layer: ``NAME``, ``NAME*3``, or a seat as a file writes it."""
    aggregator: str | AggregatorTable | None = None
    """Another aggregator: its name, or its seat as a file writes it."""
    layers: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    """Layers in the paper's count."""
    max_cost: Dollars | None = None
    """Dollars that this answer may cost at most."""
    deadline: PositiveSeconds | None = None
    """Seconds that it may take at most."""
    consult: Literal["turn", "always"] | None = None
    """Whether proposers are called once in a user's turn, or again after every tool's result."""
    agreement: bool = False
    """Report where the proposals agree, for the price of one call more."""

    @property
    def has_member_overrides(self) -> bool:
        """Whether it names other members than the mixture's own."""
        return (self.proposers, self.aggregator, self.layers) != (None, None, None)


class CannedResponse(NamedTuple):
    """An answer without a model, whole and as the frames of a stream."""

    body: Json
    frames: bytes
    headers: Mapping[str, str]


class StorageOptions(NamedTuple):
    """What is stored of a call beside its answer, so that a later call can refer to it."""

    items: Sequence[Json]
    """Its own input, as items."""
    previous: str | None
    """The response that it goes on from."""
    demanded: bool
    """Whether its client says that it must be stored."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    """What a client asks for, as our values."""

    model: str
    request: Request
    stream: bool = False
    n: int = 1
    """Answers wanted, each a run of its own."""
    usage_in_stream: bool = False
    options: MixtureOptions = field(default_factory=MixtureOptions)
    notices: tuple[str, ...] = ()
    """Notes on parameters that are left out."""
    body: Json = field(default_factory=dict[str, Any])
    """What was sent, for an API that repeats it in its answer."""
    toolbox: Toolbox = field(default_factory=Toolbox)
    """The client's tools, by the names under which models are offered them."""
    left_out: tuple[str, ...] = ()
    """Notes on parts of the request that reach no model."""
    reply: CannedResponse | None = None
    """The answer, where it is known without a model."""
    more: tuple[Request, ...] = ()
    """Further requests of one call with several prompts; ``n`` counts the answers to all."""
    store: StorageOptions | None = None
    """Its answer is stored; None where it is not."""
    truncate: bool = False
    """The oldest messages may be left out where all of them do not fit."""
    team: RequestedTeam = field(init=False, repr=False, compare=False)
    """The names in it, read. Raises ApiError (400), when a call is made, where they cannot be."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "team", _read_team(self.model, self.options))

    def request_for_choice(self, choice: int) -> Request:
        """The request that the answer *choice* is for: those to one prompt are neighbours."""
        requests = (self.request, *self.more)
        return requests[choice * len(requests) // self.n]


def _read_team(model: str, options: MixtureOptions) -> RequestedTeam:
    base, field = (options.mixture, BASE) if options.mixture else (model, "model")
    try:
        return read_team(
            base, options.proposers, options.aggregator, options.layers,
            TeamFields(field, PROPOSERS, AGGREGATOR),
        )  # fmt: skip
    except ConfigError as error:
        raise ApiError(400, str(error), param=error.key) from None


class AnyBody(Protocol):
    """What the bodies of all APIs have."""

    model: str
    stream: bool | None
    mixtura: MixtureOptions | None


def build_api_call(raw: Json, body: AnyBody, request: Request, **more: Any) -> ApiCall:
    """The call of *body*, which is *raw* as it was read; *more*: what not all APIs' calls have."""
    return ApiCall(
        model=body.model, request=request, stream=bool(body.stream),
        options=body.mixtura or MixtureOptions(), body=raw, **more,
    )  # fmt: skip


class ResolvedReferences(NamedTuple):
    """The stored items that a call refers to."""

    context: Sequence[Json] = ()
    """The items of the conversation that it goes on from."""
    items: Mapping[str, Json] = {}
    """Items by their ids."""


@dataclass(frozen=True, slots=True)
class UnresolvedCall:
    """A call that refers to what was answered before, until that is looked up."""

    previous: str | None
    """The id of a response."""
    items: tuple[str, ...]
    """Ids of items."""
    read: Callable[[ResolvedReferences], ApiCall]
    """Builds the call from them. Raises ApiError naming the parameter that is wrong."""


class ApiError(Exception):
    """A request that is refused: the HTTP status and the parts of the error's body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after = retry_after


class ResponseMeta(NamedTuple):
    """
    The number that an answer's ids are made of, and when it began, in seconds since the epoch.
    """

    number: str
    created: int


class EventStreamWriter(ABC):
    """
    Writes one streamed answer as Server-Sent Events, each method the bytes of some frames.

    *choice* counts the answers of a call with ``n``. Called in this order: ``write_start``;
    then ``write_text``, ``write_tool_call`` and ``write_mixtura_event`` as they come;
    ``write_finish`` for each choice; ``write_close``. Or ``write_error`` in place of whatever
    would come next, and nothing after it. What an API has no form for is left out.
    """

    def write_start(self) -> bytes:
        """The first frames, before any token."""
        return b""

    @abstractmethod
    def write_text(self, choice: int, text: str) -> bytes:
        """A piece of the answer."""

    def write_refusal(self, choice: int, text: str) -> bytes:
        """What the model says in place of an answer, all of it."""
        return self.write_text(choice, text)

    def write_tool_call(self, choice: int, piece: ToolCallChunk) -> bytes:  # noqa: ARG002
        """A tool call's beginning, or a piece of its arguments."""
        return b""

    def write_mixtura_event(self, data: Json) -> bytes:  # noqa: ARG002
        """A frame for clients of ours, which others pass over: its ``mixtura`` object."""
        return b""

    def write_finish(self, choice: int, answer: Completion) -> bytes:  # noqa: ARG002
        """
        What was not sent of the tools that it calls, and why the answer ended. Its text has been
        sent as tokens.
        """
        return b""

    @abstractmethod
    def write_close(self, answers: Sequence[Completion], summary: Json) -> bytes:
        """Usage, where it is wanted, the ``mixtura`` summary, and the stream's end."""

    @abstractmethod
    def write_error(self, refused: ApiError) -> bytes:
        """The error that ends a stream which had begun."""

    def write_keepalive(self) -> bytes:
        """A sign of life that is no part of the answer."""
        return b": keep-alive\n\n"


@runtime_checkable
class ServedApi(Protocol):
    """One API that the server speaks: pure functions between its JSON and our values."""

    path: str

    def parse_request(self, body: bytes) -> ApiCall | UnresolvedCall:
        """
        The call in a request's body. Raises ApiError: what is wrong with it, and what would be
        right.
        """
        ...

    def response_body(
        self, call: ApiCall, answers: Sequence[Completion], about: ResponseMeta, summary: Json
    ) -> Mapping[str, Any]:
        """
        An answer that is not streamed; *summary* is its ``mixtura`` object.

        Raises ApiError where the API has no form for it.
        """
        ...

    def create_writer(self, call: ApiCall, about: ResponseMeta) -> EventStreamWriter:
        """A writer of one streamed answer to *call*."""
        ...

    def error_body(self, refused: ApiError) -> Mapping[str, Any]:
        """The body of an error."""
        ...


def event_frame(data: Any, *, event: str | None = None) -> bytes:
    """One Server-Sent Event."""
    body = b"data: " + msgspec.json.encode(data) + b"\n\n"
    return b"event: " + event.encode() + b"\n" + body if event else body
