"""What happens during a run. The terminal, the trace, the server all read this one stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from mixtura.core.call_ledger import CallLedger
from mixtura.core.errors import MixturaError
from mixtura.core.redaction import redact_secrets
from mixtura.core.types import Charge, Completion, ReplacedItem, Request

CallRole = Literal["proposer", "judge", "aggregator", "reporter"]


@dataclass(frozen=True, slots=True)
class Position:
    """
    A place in a mixture: *layer* from 1 in the paper's count, *index* from 0 in the layer.

    A *judge* writes no proposal: it says something of those of *layer*; within an aggregator's
    position, of what the answer is chosen from. A *reporter* stands behind the answer: it says
    where the proposals agree and differ.
    """

    layer: int
    index: int
    role: CallRole


PositionPath = tuple[Position, ...]
"""Where something happened, from the outermost mixture inwards; empty for the run itself."""


@dataclass(frozen=True, slots=True)
class RunStarted:
    """A mixture was called; *shape* has each layer's models, the aggregator's last."""

    model: str
    request: Request
    shape: tuple[tuple[str, ...], ...]
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class CallStarted:
    """
    A member was called; *request* is exactly what it was shown, *ledger* what its attempts enter.
    """

    model: str
    request: Request
    at: PositionPath = ()
    ledger: CallLedger | None = field(default=None, compare=False, repr=False)


# No dataclass: there is one for every piece of every draft, and the garbage collector need not
# look at them.
class Token(msgspec.Struct, frozen=True, gc=False):
    """
    A piece of an answer as it came; *reasoning* pieces are not part of the answer.

    *pieces*: of how many of the upstream's, where some came together. Most servers send one
    for every token.
    """

    text: str
    at: PositionPath = ()
    reasoning: bool = False
    pieces: int = 1
    refusal: bool = False
    """The model says it in place of an answer."""


@dataclass(frozen=True, slots=True)
class ToolCallChunk:
    """
    A piece of a tool call's arguments as it came, or the call's beginning (then it is empty).

    *index* counts the calls of the answer. They come one after the other: no piece of a call
    follows the first of the next.
    """

    index: int
    id: str
    name: str
    arguments: str
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class CallRestarted:
    """A call begins anew, before anyone outside saw its answer; its tokens so far are void."""

    model: str
    error: MixturaError | None
    wait: float = 0.0
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should know that changes no answer (a dropped parameter, say)."""

    model: str
    notice: str
    at: PositionPath = ()

    def __post_init__(self) -> None:
        """Remove secrets, whatever it quotes."""
        # A notice may quote an upstream; it reaches the terminal, the page and kept runs.
        object.__setattr__(self, "notice", redact_secrets(self.notice))


@dataclass(frozen=True, slots=True)
class ItemsReplaced:
    """What a model was not shown of its request: it stays on this machine."""

    model: str
    items: tuple[ReplacedItem, ...] = field(repr=False)
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class CacheHit:
    """
    A cached answer stands in for a call: what that had cost, and the seconds it had taken,
    when it was paid for. Nothing of it is paid now.
    """

    model: str
    charges: tuple[Charge, ...]
    seconds: float
    first_token: float | None = None
    at: PositionPath = ()

    @property
    def notice(self) -> str:
        return "answered from the cache"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposer answered, or a judge or reporter, as the role of its position says."""

    completion: Completion
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class Aggregation:
    """The aggregator answered: its own call, before the mixture's sums."""

    completion: Completion
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A member did not answer; *charges* are what it cost all the same."""

    model: str
    error: MixturaError
    at: PositionPath = ()
    charges: tuple[Charge, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerFinished:
    """A layer of proposers is done: *answered* of the *asked* calls gave a proposal."""

    layer: int
    answered: int
    asked: int
    at: PositionPath = ()


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """The mixture answered; its completion carries the bill of the whole run."""

    completion: Completion
    at: PositionPath = ()


Event = (
    RunStarted
    | CallStarted
    | Token
    | ToolCallChunk
    | CallRestarted
    | Notice
    | ItemsReplaced
    | CacheHit
    | Proposal
    | Aggregation
    | Failure
    | LayerFinished
    | RunCompleted
)
Emit = Callable[[Event], None]


def with_position(emit: Emit, position: Position) -> Emit:
    """Report from inside *position*: every event's path gains it at the front."""
    here: PositionPath = (position,)

    def report_event(event: Event) -> None:
        if type(event) is Token:  # the hot path: no generic replace for a token
            at = here + event.at
            emit(Token(event.text, at, event.reasoning, event.pieces, event.refusal))
        else:
            emit(replace(event, at=here + event.at))

    return report_event
