"""The events of a run as lines in a log, for ``-v``; never what was said in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mixtura.core import events
from mixtura.core.text import pluralize_count
from mixtura.terminal.phrases import seat_path

_log = logging.getLogger("mixtura.run")


def log_event(event: events.Event) -> None:
    """A line for an event of a run, where someone asked for it."""
    if _log.isEnabledFor(logging.INFO) and (write := _EVENT_LINES.get(type(event))):
        level, line = write(event)
        _log.log(level, "%s%s", _format_place(event.at), line)
    if _log.isEnabledFor(logging.DEBUG) and (describe := _EVENT_DETAILS.get(type(event))):
        _log.debug("%s%s", _format_place(event.at), describe(event))


def _format_place(at: events.PositionPath) -> str:
    return f"[{seat_path(at)}] " if at else ""


def _started_line(event: Any) -> tuple[int, str]:
    layers = " > ".join(", ".join(layer) for layer in event.shape)
    return logging.INFO, f"run of {event.model}: {layers}"


def _completion_line(event: Any) -> tuple[int, str]:
    usage = event.completion.usage
    read, written = f"{usage.prompt_tokens:,} tokens read", f"{usage.completion_tokens:,} written"
    return logging.INFO, f"{event.completion.model} answered: {read}, {written}"


def _restart_line(event: Any) -> tuple[int, str]:
    wait = f" in {event.wait:.1f} s" if event.wait else ""
    reason = f": {event.error}" if event.error else ""
    return logging.WARNING, f"{event.model} is asked again{wait}{reason}"


def _layer_line(event: Any) -> tuple[int, str]:
    return logging.INFO, f"layer {event.layer}: {event.answered} of {event.asked} answered"


def _call_line(event: Any) -> tuple[int, str]:
    return logging.INFO, (
        f"{event.model} is called with {pluralize_count(len(event.request.messages), 'message')}"
    )


def _request_details(event: Any) -> str:
    request = event.request
    sampling = request.sampling
    parts = [
        f"{name}={value}"
        for name in ("temperature", "top_p", "max_tokens", "seed")
        if (value := getattr(sampling, name)) is not None
    ]
    if request.tools:
        parts.append(pluralize_count(len(request.tools), "tool"))
    if request.response_format:
        parts.append(f"response_format={request.response_format.get('type')}")
    return f"{event.model} parameters: {', '.join(parts) or 'its own'}"


def _completion_details(event: Any) -> str:
    answer, usage = event.completion, event.completion.usage
    counts = f"{usage.cached_tokens:,} cached, {usage.reasoning_tokens:,} for reasoning"
    return f"{answer.model} ended: {answer.finish_reason}; of its tokens {counts}"


_EVENT_DETAILS: dict[type, Callable[[Any], str]] = {
    events.CallStarted: _request_details,
    events.Proposal: _completion_details,
    events.RunCompleted: _completion_details,
}
"""What is said besides for ``-vv``."""
_EVENT_LINES: dict[type, Callable[[Any], tuple[int, str]]] = {
    events.RunStarted: _started_line,
    events.CallStarted: _call_line,
    events.CallRestarted: _restart_line,
    events.Notice: lambda event: (logging.INFO, f"{event.model}: {event.notice}"),
    events.CacheHit: lambda event: (logging.INFO, f"{event.model}: answered from the cache"),
    events.Proposal: _completion_line,
    events.Failure: lambda event: (logging.WARNING, f"{event.model} failed: {event.error}"),
    events.LayerFinished: _layer_line,
    events.RunCompleted: _completion_line,
}
