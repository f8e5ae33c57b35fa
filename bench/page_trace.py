"""What Chromium's own trace says of a page's main thread, in processor time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Browser, Page

LONG_TASK_MS = 50.0
CATEGORIES = (
    "devtools.timeline",
    "disabled-by-default-devtools.timeline",
    "disabled-by-default-devtools.timeline.frame",
    "v8.execute",
)
SCRIPT = frozenset(
    [
        "FunctionCall", "EvaluateScript", "RunMicrotasks", "FireAnimationFrame", "TimerFire",
        "EventDispatch", "v8.run", "v8.callFunction", "v8.compile", "v8.compileModule",
        "v8.evaluateModule", "MajorGC", "MinorGC", "V8.GC",
    ]
)  # fmt: skip


@dataclass
class Reading:
    """One row: processor time of the main thread, in milliseconds, and what else was seen."""

    longest: float
    over: int
    script: float
    busy: float
    frames: int
    wall: float
    longest_wall: float
    what: list[str] = field(default_factory=list)
    """Of the longest task: its inner events that took most."""

    @property
    def share(self) -> float:
        return self.script / (self.wall * 1000) * 100


def read_trace(trace: bytes, wall: float) -> Reading:
    """The longest tasks of the busiest renderer's main thread."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (e["pid"], e["tid"])
        for e in events
        if e.get("name") == "thread_name" and e["args"].get("name") == "CrRendererMain"
    }
    by_thread: dict[tuple[int, int], list[dict[str, Any]]] = {one: [] for one in mains}
    for e in events:
        if e.get("ph") == "X" and (e["pid"], e["tid"]) in by_thread:
            by_thread[e["pid"], e["tid"]].append(e)
    tasks_of = {
        one: [e for e in found if e["name"] == "RunTask"] for one, found in by_thread.items()
    }
    thread = max(mains, key=lambda one: sum(e.get("tdur", 0) for e in tasks_of[one]))
    tasks, inner = tasks_of[thread], by_thread[thread]
    longest = max(tasks, key=lambda e: e.get("tdur", 0))
    frames = sum(1 for e in events if e.get("name") == "DrawFrame")
    return Reading(
        longest=longest.get("tdur", 0) / 1000,
        over=sum(e.get("tdur", 0) > LONG_TASK_MS * 1000 for e in tasks),
        script=_outermost([e for e in inner if e["name"] in SCRIPT]) / 1000,
        busy=sum(e.get("tdur", 0) for e in tasks) / 1000,
        frames=frames,
        wall=wall,
        longest_wall=max(e["dur"] for e in tasks) / 1000,
        what=_parts(longest, inner),
    )


def _outermost(events: list[dict[str, Any]]) -> float:
    """The sum of those that stand in no other, so that nothing counts twice."""
    total, until = 0.0, -1.0
    for e in sorted(events, key=lambda e: (e["ts"], -e["dur"])):
        if e["ts"] >= until:
            total += e.get("tdur", 0)
            until = e["ts"] + e["dur"]
    return total


def _parts(task: dict[str, Any], inner: list[dict[str, Any]]) -> list[str]:
    end = task["ts"] + task["dur"]
    within = [e for e in inner if e is not task and task["ts"] <= e["ts"] < end]
    within.sort(key=lambda e: -e.get("tdur", 0))
    return [f"{e['name']} {e.get('tdur', 0) / 1000:.0f} ms" for e in within[:4]]


@contextmanager
def traced(browser: Browser, page: Page, into: list[Reading]) -> Iterator[None]:
    browser.start_tracing(page=page, categories=list(CATEGORIES))
    began = time.monotonic()
    try:
        yield
    finally:
        wall = time.monotonic() - began
        into.append(read_trace(browser.stop_tracing(), wall))
