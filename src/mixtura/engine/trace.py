"""Builds a trace from events: what each model wrote, when, at what cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mixtura.billing.price import Pricer, total_cost
from mixtura.core import events
from mixtura.core.call_ledger import CallLedger
from mixtura.core.errors import MixturaError
from mixtura.core.types import (
    Charge,
    Completion,
    ReplacedItem,
    Request,
    Usage,
    WebSource,
    sum_usage,
)
from mixtura.protocols.openai.completion_json import completion_json, sources_json, usage_json
from mixtura.protocols.openai.request import request_json
from mixtura.protocols.usage_estimates import estimate_usage


class TimedEvent(NamedTuple):
    """An event and the seconds since the run began."""

    seconds: float
    event: events.Event


@dataclass(slots=True)
class CallTrace:
    """One call of a member: what it was shown, what it answered, and when."""

    seat: events.Position
    model: str
    request: Request
    started: float
    first_token: float | None = None
    ended: float | None = None
    pieces: list[str] = field(default_factory=list[str])
    completion: Completion | None = None
    error: MixturaError | None = None
    restarts: int = 0
    notices: list[str] = field(default_factory=list[str])
    calls: list[CallTrace] = field(default_factory=list["CallTrace"])
    """The calls of the mixture at this position, if it is one."""
    known_charges: tuple[Charge, ...] | None = None
    """Its bill, where that is known from elsewhere: of a call that was read back."""
    ledger: CallLedger | None = None
    """The ledger in which its attempts are recorded; only for runs of this process."""
    cache_hit: events.CacheHit | None = None
    """Where its answer came from a cache: what it had cost and taken."""
    replaced: tuple[ReplacedItem, ...] = ()
    """What it was not shown of its request; placeholders stood for it."""

    @property
    def text(self) -> str:
        """The answer; while it is coming or when it broke off, what there is of it."""
        return self.completion.text if self.completion else "".join(self.pieces)

    @property
    def charges(self) -> tuple[Charge, ...]:
        """What the call cost by now."""
        if self.known_charges is not None:
            return self.known_charges
        if self.completion:
            return self.completion.charges
        if self.ledger is None and self.calls:
            return tuple(charge for call in self.calls for charge in call.charges)
        entered = self.ledger.charges if self.ledger else ()
        return (*entered, *self.estimate_unentered(above=bool(entered)))

    def estimate_unentered(self, *, above: bool) -> tuple[Charge, ...]:
        """
        Estimated charges of what was cut off before its end, of models that know no ledger and so
        never said what it took. *above*: the call around it has entries, which may be its own.
        """
        if self.known_charges is not None or self.completion:
            return ()
        if self.calls:
            inner = [call.estimate_unentered(above=above) for call in self.calls]
            return tuple(charge for charges in inner for charge in charges)
        entered = above if self.ledger is None else bool(self.ledger.charges)
        if self.ended is not None or entered:
            return ()
        return (Charge(self.model, estimate_usage(self.request, self.text), "lost"),)

    @property
    def usage(self) -> Usage:
        return sum_usage(self.charges)


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole run: the request, every call in the order of their beginnings, the answer if any."""

    request: Request | None
    calls: tuple[CallTrace, ...]
    completion: Completion | None
    elapsed: float
    model: str = ""
    """The name of the mixture or model that was called."""

    @property
    def charges(self) -> tuple[Charge, ...]:
        if self.completion:
            return self.completion.charges
        return tuple(charge for call in self.calls for charge in call.charges)

    @property
    def usage(self) -> Usage:
        return sum_usage(self.charges)

    def leaf_calls(self) -> Iterator[CallTrace]:
        """Every call to a model that is not itself a mixture."""
        return _iter_leaf_calls(self.calls)


class TraceBuilder:
    """Builds a trace event by event, so that it is there whenever the run ends."""

    def __init__(self) -> None:
        self._request: Request | None = None
        self._completion: Completion | None = None
        self._model = ""
        self._open: dict[events.PositionPath, CallTrace] = {}
        self._calls: list[CallTrace] = []

    def add_event(self, seconds: float, event: events.Event) -> None:
        """Take in an *event* that came *seconds* after the run began."""
        match event:
            case events.RunStarted(model, request, at=()):
                self._model, self._request = model, request
            case events.CallStarted(model, request, at, ledger) if at:
                above = self._open.get(at[:-1])
                siblings = above.calls if above else self._calls
                self._open[at] = CallTrace(at[-1], model, request, seconds, ledger=ledger)
                siblings.append(self._open[at])
            case events.RunCompleted(answer, at=()):
                self._completion = answer
            case _:
                if call := self._open.get(event.at):
                    _update_call(call, event, seconds)

    def build_trace(self, elapsed: float) -> Trace:
        """What is known by now. The calls of a run that is not over still grow."""
        return Trace(self._request, tuple(self._calls), self._completion, elapsed, self._model)


def _update_call(call: CallTrace, event: events.Event, seconds: float) -> None:
    match event:
        case events.Token(text, _, reasoning):
            if call.first_token is None:
                call.first_token = seconds
            if not reasoning:
                call.pieces.append(text)
        case events.ToolCallChunk():
            if call.first_token is None:
                call.first_token = seconds
        case events.CallRestarted():
            call.restarts += 1
            # What was shown of the attempt before is void.
            call.pieces.clear()
            call.first_token = None
        case events.Notice() | events.CacheHit():
            call.cache_hit = event if isinstance(event, events.CacheHit) else call.cache_hit
            call.notices.append(event.notice)
        case events.ItemsReplaced(_, items):
            call.replaced = items
        case events.Aggregation() if call.error:
            pass  # the proposal that stands in is another call's answer
        case events.Proposal(completion) | events.Aggregation(completion):
            call.completion = completion
            call.ended = seconds
        case events.Failure(_, error, _, charges):
            call.error = error
            call.ledger = call.ledger or _ledger_of(charges)
            call.ended = seconds
        case _:
            pass


def _ledger_of(charges: Iterable[Charge]) -> CallLedger:
    """What a failed call says of itself, where it was not seen to enter a ledger."""
    ledger = CallLedger()
    for charge in charges:
        ledger.record_charge(charge)
    return ledger


def _iter_leaf_calls(calls: Iterable[CallTrace]) -> Iterator[CallTrace]:
    for call in calls:
        if call.calls:
            yield from _iter_leaf_calls(call.calls)
        else:
            yield call


# ---- as plain data


def trace_json(trace: Trace, pricer: Pricer) -> dict[str, Any]:
    """The trace as one JSON object: the answer, every call, and what it took."""
    answer = trace.completion
    return {
        "answer": answer.text if answer else None,
        "model": answer.model if answer else None,
        "finish_reason": answer.finish_reason if answer else None,
        "degraded": bool(answer and answer.degraded),
        "left_out": list(answer.degraded) if answer else [],
        **support_json(answer),
        "seconds": trace.elapsed,
        "cost_usd": total_cost(trace.charges, pricer),
        "usage": usage_json(trace.usage),
        "usage_by_model": _usage_by_model_json(trace.charges, pricer),
        "calls": [_call_json(call, pricer) for call in trace.calls],
        "request": request_json(trace.request, answer.model if answer else "")
        if trace.request
        else None,
        **sources_json(_all_sources(trace)),
    }


def _all_sources(trace: Trace) -> Iterator[WebSource]:
    """The pages that the answer and the proposals behind it rest on."""
    if trace.completion:
        yield from trace.completion.sources
    for call in trace.leaf_calls():
        yield from call.completion.sources if call.completion else ()


def support_json(answer: Completion | None) -> dict[str, Any]:
    """What is known of how well an answer is backed; *agreement* only where it was asked for."""
    row: dict[str, Any] = {
        "confidence": answer.confidence if answer else None,
        "support": answer.support.to_json() if answer and answer.support else None,
    }
    return row | ({"agreement": answer.agreement.to_json()} if answer and answer.agreement else {})


def _usage_by_model_json(charges: Sequence[Charge], pricer: Pricer) -> dict[str, Any]:
    rows: dict[str, list[Charge]] = {}
    for charge in charges:
        rows.setdefault(charge.model, []).append(charge)
    return {
        model: usage_json(sum_usage(lines)) | {"cost_usd": total_cost(lines, pricer)}
        for model, lines in rows.items()
    }


def _call_json(call: CallTrace, pricer: Pricer) -> dict[str, Any]:
    row: dict[str, Any] = {
        "role": call.seat.role,
        "layer": call.seat.layer,
        "index": call.seat.index,
        "model": call.model,
        "text": call.text,
        "error": str(call.error) if call.error else None,
        "error_type": type(call.error).__name__ if call.error else None,
        "started_seconds": call.started,
        "first_token_seconds": None
        if call.first_token is None
        else call.first_token - call.started,
        "seconds": None if call.ended is None else call.ended - call.started,
        "usage": usage_json(call.usage),
        "cost_usd": total_cost(call.charges, pricer),
        "recalled": _cache_hit_json(call.cache_hit, pricer) if call.cache_hit else None,
        "restarts": call.restarts,
        "notices": list(call.notices),
        "request": request_json(call.request, call.model) | {"draw": call.request.draw},
        "completion": completion_json(call.completion) if call.completion else None,
        "pieces": list(call.pieces),
    }
    if call.replaced:
        row["replaced"] = [item._asdict() for item in call.replaced]
    if call.calls:
        row["calls"] = [_call_json(inner, pricer) for inner in call.calls]
    return row


def _cache_hit_json(was: events.CacheHit, pricer: Pricer) -> dict[str, Any]:
    return {
        "usage": usage_json(sum_usage(was.charges)),
        "cost_usd": total_cost(was.charges, pricer),
        "seconds": was.seconds,
        "first_token_seconds": was.first_token,
    }
