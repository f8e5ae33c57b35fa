"""What happens inside a run as JSON frames for whoever watches, and the summary at its end."""

from __future__ import annotations

from typing import Any

from mixtura.events import (
    Aggregated,
    Asked,
    Completed,
    Event,
    Failure,
    LayerFinished,
    Noticed,
    Place,
    Proposal,
    Recalled,
    Restarted,
    RunStarted,
    Token,
    ToolPiece,
)
from mixtura.price import Pricer, cost
from mixtura.text import one_line
from mixtura.trace import Trace
from mixtura.types import Completion
from mixtura.wire import usage_json


def frame(event: Event, pricer: Pricer) -> dict[str, Any] | None:
    """One event; None for what the summary says."""
    match event:
        case Token(text, at, reasoning):
            more = {"reasoning": True} if reasoning else {}
            more |= {"pieces": event.pieces} if event.pieces > 1 else {}
            return {"event": "token", "at": _at(at), "text": text, **more}
        case RunStarted(model, _, shape, at):
            return {"event": "run_started", "at": _at(at), "model": model, "shape": shape}
        case Asked(model, _, at):
            return {"event": "asked", "at": _at(at), "model": model}
        case Restarted(model, error, wait, at):
            said = one_line(error) if error else None
            row = {"event": "restarted", "at": _at(at), "model": model}
            return row | {"error": said, "wait": wait}
        case Noticed() | Recalled():
            said = {"model": event.model, "notice": one_line(event.notice)}
            return {"event": "noticed", "at": _at(event.at), **said}
        case Proposal(completion, at):
            return {"event": "proposal", "at": _at(at), **_whole(completion, pricer)}
        case Aggregated(completion, at):
            return {"event": "aggregated", "at": _at(at), **_whole(completion, pricer)}
        case Failure(model, error, at):
            row = {"event": "failure", "at": _at(at), "model": model}
            return row | {"error": one_line(error), "error_type": type(error).__name__}
        case LayerFinished(layer, answered, asked, at):
            row = {"event": "layer_finished", "at": _at(at), "layer": layer}
            return row | {"answered": answered, "asked": asked}
        case Completed() | ToolPiece():
            return None


def _at(place: Place) -> list[dict[str, Any]]:
    return [{"layer": s.layer, "index": s.index, "role": s.role} for s in place]


def _whole(completion: Completion, pricer: Pricer) -> dict[str, Any]:
    return {
        "model": completion.model,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "reasoning": completion.reasoning,
        "usage": usage_json(completion.usage),
        "cost_usd": cost(completion.charges, pricer),
    }


def summary(runs: list[tuple[str, Trace]], pricer: Pricer) -> dict[str, Any]:
    """The ``mixtura`` object of an answer, over all the runs that it took."""
    completions = [trace.completion for _, trace in runs if trace.completion]
    left_out = [said for completion in completions for said in completion.degraded]
    body: dict[str, Any] = {
        "run": runs[0][0],
        "cost_usd": cost([charge for _, trace in runs for charge in trace.charges], pricer),
        "degraded": bool(left_out),
        "failures": [row for _, trace in runs for row in _failures(trace)],
        "left_out": [one_line(said) for said in left_out],
        "notices": _notices(runs),
        "seconds": round(max((trace.elapsed for _, trace in runs), default=0.0), 6),
    }
    return body if len(runs) == 1 else body | {"runs": [number for number, _ in runs]}


MOST_NOTICES = 20


def _notices(runs: list[tuple[str, Trace]]) -> list[str]:
    """What members said that they go without, each once."""
    said = (
        f"{call.model}: {one_line(notice)}"
        for _, trace in runs
        for call in trace.leaves()
        for notice in call.notices
    )
    return list(dict.fromkeys(said))[:MOST_NOTICES]


def _failures(trace: Trace) -> list[dict[str, Any]]:
    return [
        {"model": call.model, "layer": call.seat.layer, "error": one_line(call.error)}
        for call in trace.leaves()
        if call.error is not None
    ]
