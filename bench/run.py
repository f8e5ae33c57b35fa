"""What Mixtura adds to its models' own time, and what it costs: ``make bench``.

Arms, on the same plans of one fake upstream: the critical path computed from the moments at
which the fake really sent (A0), the openai SDK and gather (A1), gather with our client (A1b),
Mixtura waiting for all (A3). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

from arms import Arm, Gather, GatherOurClient, Ours
from fake import PIECES, VARIANTS, Row
from harness import (
    ENGINE_CORE,
    Upstream,
    Watch,
    critical_path,
    interval,
    lateness,
    load_average,
    machine,
    percentile,
    pin,
    upstream,
)
from rich.console import Console
from rich.table import Table

NAMES = {
    "a1": "A1  openai SDK and gather",
    "a1s": "A1s the same, proposers streamed",
    "a1b": "A1b gather with our client",
    "a3": "A3  Mixtura, waiting for all",
    "a3u": "A3u the same, no one watching",
}
PAIRED = ("a1", "a1b", "a3")
"""The arms of the comparison; the others say where the CPU goes, and run in one round only."""
IN_FLIGHT = 64
LATEST = {"one": 0.002, "many": 0.010}
"""Seconds of the fake's own lateness (99 %) above which the figures are noise."""
MOST_FOREIGN = 0.05
TARGETS = {"a3_over_a0_mean": 1.005, "a3_added_ms_p99": 5.0, "cpu_ratio_a3_a1": 0.30}
"""The tail decides: whoever waits for a mixture waits for its slowest call."""


class Timing(NamedTuple):
    """One run of one arm, and the critical path of the very calls it made."""

    first: float
    whole: float
    path_first: float
    path: float

    @property
    def added(self) -> float:
        return self.whole - self.path

    @property
    def ratio(self) -> float:
        return self.whole / self.path


async def one(arm: Arm, run: str) -> tuple[float, float, str]:
    """Ask once: seconds to the first token, to the whole answer, and the answer."""
    started = time.monotonic()
    first = 0.0

    def begun() -> None:
        nonlocal first
        first = time.monotonic() - started

    answer = await arm(f"run {run}: How does a lighthouse work, and who keeps it?", begun)
    return first, time.monotonic() - started, answer


def by_run(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        found[row.arm, row.run].append(row)
    return found


def check(rows: Sequence[Row], answer: str) -> None:
    """Every token of the plan came through, in order."""
    plan = next(row.plan for row in rows if row.model == "aggregator")
    text = "".join(PIECES[(plan.start + i) % VARIANTS] for i in range(plan.tokens))
    assert answer == text, f"an answer is not what was sent: {answer[:60]!r}"


# ---- the parts


async def warm(fake: Upstream, arms: dict[str, Arm], runs: int) -> None:
    """Open the connections, fill the caches, and make all prompts of one length."""
    fake.profile("hello", 0)
    fake.log()
    for _ in range(2):  # the second time with the lengths found in the first
        for name in arms:
            await one(arms[name], "1")
        rows = by_run(fake.log().rows)
        size = {
            name: next(r.prompt_bytes for r in rows[name, "1"] if r.model == "aggregator")
            for name in arms
        }
        for name, arm in arms.items():
            arm.pad = max(arm.pad + size["a3"] - size[name], 0)
    for arm in arms.values():
        for run in range(runs):
            await one(arm, str(run))
    fake.log()
    gc.collect()
    gc.freeze()


async def paired(
    fake: Upstream, arms: dict[str, Arm], asked_for: argparse.Namespace
) -> tuple[dict[str, list[Timing]], list[Row], dict[str, int]]:
    """
    One run in flight, in an order drawn by seed: the first ones by every arm, all by Mixtura.

    A tail needs many runs, a comparison of means does not.
    """
    fake.profile(asked_for.profile, asked_for.seed)
    draw = random.Random(asked_for.seed)
    asked: list[tuple[str, str, tuple[float, float, str]]] = []
    for number in range(asked_for.runs):
        names = PAIRED if number < asked_for.compared else ("a3",)
        for name in draw.sample(names, len(names)):
            done = await one(arms[name], str(number))
            asked.append((name, str(number), done))
    log = fake.log()
    rows = by_run(log.rows)
    timings: dict[str, list[Timing]] = {name: [] for name in PAIRED}
    for name, run, (first, whole, answer) in asked:
        check(rows[name, run], answer)
        timings[name].append(Timing(first, whole, *critical_path(rows[name, run])))
    return timings, log.rows, log.connections


async def crowded(
    fake: Upstream, arms: dict[str, Arm], rounds: int, seed: int
) -> tuple[dict[str, float], dict[str, list[float]], list[float]]:
    """Many in flight: CPU seconds of this process a mixture, and what each run added."""
    draw = random.Random(seed)
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    added: dict[str, list[float]] = {name: [] for name in arms}
    late: list[float] = []
    for name in arms:  # connections, outside the measurement
        fake.profile("hello", seed)
        await asyncio.gather(*(one(arms[name], str(i)) for i in range(IN_FLIGHT)))
    fake.log()
    fake.profile("crowd", seed)
    for number in range(rounds):
        names = PAIRED if number else list(arms)
        for name in draw.sample(names, len(names)):
            gc.collect()
            before = time.process_time()
            done = await asyncio.gather(*(one(arms[name], str(i)) for i in range(IN_FLIGHT)))
            cpu[name].append((time.process_time() - before) / IN_FLIGHT)
            rows = fake.log().rows
            found = by_run(rows)
            if name == "a3":
                late += lateness(rows)
            for run, (_, whole, answer) in enumerate(done):
                check(found[name, str(run)], answer)
                added[name].append(whole - critical_path(found[name, str(run)])[1])
    return {name: statistics.median(cpu[name]) for name in arms}, added, late


# ---- saying it


def table(
    timings: dict[str, list[Timing]], cpu: dict[str, float], added: dict[str, list[float]]
) -> Table:
    found = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    found.add_column("")
    for head in (
        "answer\np50 ms", "over A0\nmean", "\n95 %", "added ms\np50", "\np99",
        "first token\nadded p50", f"{IN_FLIGHT} in flight\nCPU ms each", "\nadded p50",
    ):  # fmt: skip
        found.add_column(head, justify="right")
    path = statistics.median(timing.path for timing in timings["a3"])
    found.add_row("A0  critical path of A3's calls", f"{path * 1000:.0f}", "1", *([""] * 6))
    for name, label in NAMES.items():
        found.add_row(label, *_alone(timings.get(name)), *_many(cpu, added, name))
    return found


def _alone(timings: list[Timing] | None) -> list[str]:
    if not timings:
        return [""] * 6
    ratios = [timing.ratio for timing in timings]
    low, high = interval(ratios)
    extra = [timing.added * 1000 for timing in timings]
    first = [(timing.first - timing.path_first) * 1000 for timing in timings]
    return [
        f"{statistics.median(t.whole for t in timings) * 1000:.0f}",
        f"{statistics.fmean(ratios):.4f}",
        f"{low:.4f} to {high:.4f}",
        f"{statistics.median(extra):.1f}",
        f"{percentile(extra, 0.99):.1f}",
        f"{statistics.median(first):.1f}",
    ]


def _many(cpu: dict[str, float], added: dict[str, list[float]], name: str) -> list[str]:
    return [f"{cpu[name] * 1000:.1f}", f"{statistics.median(added[name]) * 1000:.0f}"]


def result(
    timings: dict[str, list[Timing]], cpu: dict[str, float], added: dict[str, list[float]]
) -> dict[str, Any]:
    ours = [timing.added * 1000 for timing in timings["a3"]]
    against = {
        name: [a.whole / b.whole for a, b in zip(timings["a3"], timings[name], strict=False)]
        for name in ("a1", "a1b")
    }
    found: dict[str, Any] = {
        "a3_over_a0_mean": statistics.fmean(t.ratio for t in timings["a3"]),
        "a3_over_a0_95": interval([t.ratio for t in timings["a3"]]),
        "a3_added_ms_p50": statistics.median(ours),
        "a3_added_ms_p99": percentile(ours, 0.99),
        "a3_added_ms_max": max(ours),
        "a3_runs": len(ours),
        "cpu_ms_per_mixture_64": cpu["a3"] * 1000,
        "cpu_ratio_a3_a1": cpu["a3"] / cpu["a1"],
        "cpu_ratio_a3_a1_streamed": cpu["a3"] / cpu["a1s"],
        "cpu_ratio_a3_a1b": cpu["a3"] / cpu["a1b"],
        "a3_unwatched_cpu_ms_64": cpu["a3u"] * 1000,
        "a1_over_a0_mean": statistics.fmean(t.ratio for t in timings["a1"]),
        "a1b_over_a0_mean": statistics.fmean(t.ratio for t in timings["a1b"]),
        "a3_over_a1_mean": statistics.fmean(against["a1"]),
        "a3_over_a1_95": interval(against["a1"]),
        "a3_over_a1b_mean": statistics.fmean(against["a1b"]),
        "a3_over_a1b_95": interval(against["a1b"]),
        "a3_added_ms_p50_64": statistics.median(added["a3"]) * 1000,
        "a1_added_ms_p50_64": statistics.median(added["a1"]) * 1000,
    }
    return {key: _short(value) for key, value in found.items()}


def _short(value: float | Sequence[float]) -> float | list[float]:
    if isinstance(value, int | float):
        return round(value, 4)
    return [round(v, 4) for v in value]


def noise(alone: Sequence[Row], many: Sequence[float], shares: dict[str, Any]) -> dict[str, Any]:
    """What disturbed the run, and whether so much that its figures say little."""
    late = {"one": percentile(lateness(alone), 0.99), "many": percentile(many, 0.99)}
    why = [
        f"the fake itself was late by {late[part] * 1000:.1f} ms (99 %), more than {limit * 1000:g}"
        for part, limit in LATEST.items()
        if late[part] > limit
    ]
    foreign = shares["foreign_cpu_share"]
    if foreign is not None and foreign > MOST_FOREIGN:
        why.append(f"other processes had {foreign:.0%} of the machine")
    return {
        "fake_late_ms_p99": round(late["one"] * 1000, 3),
        "fake_late_ms_p99_64": round(late["many"] * 1000, 3),
        "load_average": load_average(),
        **shares,
        "disturbed": why,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="minute", help="see profiles.toml")
    parser.add_argument("--runs", type=int, default=200, help="runs of Mixtura, one in flight")
    parser.add_argument("--compared", type=int, default=20, help="of these by the other arms, too")
    parser.add_argument("--rounds", type=int, default=3, help=f"rounds of {IN_FLIGHT} in flight")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true", help="fail when disturbed or missed")
    return parser.parse_args()


async def measured(fake: Upstream, asked: argparse.Namespace) -> dict[str, Any]:
    arms: dict[str, Arm] = {
        "a1": Gather(fake.url("a1")),
        "a1s": Gather(fake.url("a1s"), stream_proposers=True),
        "a1b": GatherOurClient(fake.url("a1b")),
        "a3": Ours(fake.url("a3")),
        "a3u": Ours(fake.url("a3u"), watched=False),
    }
    await warm(fake, arms, 10)
    watch = Watch(fake)
    timings, rows, connections = await paired(fake, arms, asked)
    cpu, added, late = await crowded(fake, arms, asked.rounds, asked.seed)
    found = result(timings, cpu, added)
    Console(width=132, highlight=False).print(table(timings, cpu, added))
    found["connections_opened"] = connections
    found["noise"] = noise(rows, late, watch.shares())
    return found


def main() -> None:
    asked = arguments()
    print(f"{machine()}; profile {asked.profile}, seed {asked.seed}\n", flush=True)
    pinned = pin(ENGINE_CORE)
    started = time.monotonic()
    with upstream(pinned=pinned) as fake:
        found = asyncio.run(measured(fake, asked))
    found["seconds"] = round(time.monotonic() - started, 1)
    missed = [f"{key} {found[key]} > {most}" for key, most in TARGETS.items() if found[key] > most]
    print()
    for line in (*found["noise"]["disturbed"], *missed):
        print(("disturbed: " if line not in missed else "missed: ") + line)
    print(json.dumps(found))
    if asked.strict and (missed or found["noise"]["disturbed"]):
        sys.exit(1)


if __name__ == "__main__":
    main()
