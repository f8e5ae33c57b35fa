"""Events of a run as JSON for clients that watch it, and the summary at its end."""

from __future__ import annotations

from typing import Any

from mixtura.billing.price import Pricer, total_cost
from mixtura.core import events
from mixtura.core.text import to_one_line
from mixtura.core.types import Completion
from mixtura.engine.trace import Trace, support_json
from mixtura.protocols.openai.completion_json import usage_json


def event_json(event: events.Event, pricer: Pricer) -> dict[str, Any] | None:
    """One event as JSON; None for what stands in the summary, or in the run alone."""
    match event:
        case events.Token(text, at, reasoning):
            more = {"reasoning": True} if reasoning else {}
            more |= {"pieces": event.pieces} if event.pieces > 1 else {}
            return {"event": "token", "at": _place_json(at), "text": text, **more}
        case events.RunStarted(model, _, shape, at):
            return {"event": "run_started", "at": _place_json(at), "model": model, "shape": shape}
        case events.CallStarted(model, _, at):
            return {"event": "asked", "at": _place_json(at), "model": model}
        case events.CallRestarted(model, error, wait, at):
            message = to_one_line(error) if error else None
            row = {"event": "restarted", "at": _place_json(at), "model": model}
            return row | {"error": message, "wait": wait}
        case events.Notice() | events.CacheHit():
            message = {"model": event.model, "notice": to_one_line(event.notice)}
            return {"event": "noticed", "at": _place_json(event.at), **message}
        case events.Proposal(completion, at):
            return {
                "event": "proposal",
                "at": _place_json(at),
                **_completion_json(completion, pricer),
            }
        case events.Aggregation(completion, at):
            return {
                "event": "aggregated",
                "at": _place_json(at),
                **_completion_json(completion, pricer),
            }
        case events.Failure(model, error, at):
            row = {"event": "failure", "at": _place_json(at), "model": model}
            return row | {"error": to_one_line(error), "error_type": type(error).__name__}
        case events.LayerFinished(layer, answered, called, at):
            row = {"event": "layer_finished", "at": _place_json(at), "layer": layer}
            return row | {"answered": answered, "asked": called}
        case events.RunCompleted() | events.ToolCallChunk() | events.ItemsReplaced():
            return None


def _place_json(place: events.PositionPath) -> list[dict[str, Any]]:
    return [{"layer": s.layer, "index": s.index, "role": s.role} for s in place]


def _completion_json(completion: Completion, pricer: Pricer) -> dict[str, Any]:
    return {
        "model": completion.model,
        "text": completion.text,
        "finish_reason": completion.finish_reason,
        "reasoning": completion.reasoning,
        "usage": usage_json(completion.usage),
        "cost_usd": total_cost(completion.charges, pricer),
    }


def summary_json(runs: list[tuple[str, Trace]], pricer: Pricer) -> dict[str, Any]:
    """The ``mixtura`` object of an answer, over all the runs that it took."""
    failures, notices = _describe_calls(runs)
    completions = [trace.completion for _, trace in runs if trace.completion]
    left_out = [notice for completion in completions for notice in completion.degraded]
    body: dict[str, Any] = {
        "run": runs[0][0],
        "cost_usd": total_cost([charge for _, trace in runs for charge in trace.charges], pricer),
        "degraded": bool(left_out),
        "failures": failures,
        "left_out": [to_one_line(notice) for notice in left_out],
        "notices": notices,
        "seconds": round(max((trace.elapsed for _, trace in runs), default=0.0), 6),
        # Of several answers the first one's: each one's own stands in its run.
        **support_json(completions[0] if completions else None),
    }
    return body if len(runs) == 1 else body | {"runs": [number for number, _ in runs]}


MAX_NOTICES = 20


def _describe_calls(runs: list[tuple[str, Trace]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The calls that failed, and the notices of all members, each once."""
    failures: list[dict[str, Any]] = []
    notices: dict[str, None] = {}  # draws of one model all say the same
    for call in (call for _, trace in runs for call in trace.leaf_calls()):
        notices |= dict.fromkeys(f"{call.model}: {to_one_line(one)}" for one in call.notices)
        if call.error is not None:
            row = {"model": call.model, "layer": call.seat.layer, "error": to_one_line(call.error)}
            failures.append(row)
    return failures, list(notices)[:MAX_NOTICES]
