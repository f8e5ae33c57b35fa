"""What late members cost: a mixture that waits for all, and the ways not to wait for them.

    .venv/bin/python bench/stragglers.py

Of four proposers' calls 2 % are 8 times slower from beginning to end, 0.5 % stall in the middle
for longer than any answer takes (`slow-members` in profiles.toml). Arms, on the same plans of one
fake upstream: waiting for all; seconds that someone set by hand, who knew the times; patience
learned, as mixtures have it by default; waiting for all with a hedge that watches drafts. Each
arm has the same runs before those that count, to learn from. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Any, NamedTuple

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

from fake import PIECES, VARIANTS, Row
from harness import Upstream, load_average, machine, percentile, pin, upstream
from rich.console import Console
from rich.table import Table

from mixtura import ask
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.core.straggler_patience import LearnedPatience
from mixtura.core.types import Completion
from mixtura.engine.mixture import Mixture
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.hedge import Hedged

PROPOSERS = tuple(f"proposer-{i}" for i in range(4))
STRONGEST = PROPOSERS[0]
"""The one that learned patience waits for in any case."""
FIRST_LEARNING_RUN = 1_000_000
ARMS = {
    "all": "waiting for all",
    "hand": "seconds set by hand",
    "learned": "patience learned (the default)",
    "hedge": "a hedge that watches drafts",
}
TARGETS = {
    "learned_p99": 0.35,
    "learned_marked": 0.15,
    "hedge_p99": 0.45,
    "hedge_extra_calls": 0.05,
}


class Outcome(NamedTuple):
    """What one arm came to."""

    seconds: list[float]
    marked: int
    """Answers that say that something was cut off."""
    calls: int
    lost_strongest: int


def build_arms(fake: Upstream, seconds_by_hand: float) -> dict[str, Mixture]:
    """The mixtures, by name; each with models of its own."""

    def build(arm: str, *, hedged: bool = False, **waiting: Any) -> Mixture:
        models = [OpenAI(name, fake.url(arm)) for name in PROPOSERS]
        members = [Hedged(model) for model in models] if hedged else models
        layer = Layer(tuple(Proposer(one) for one in members), **waiting)
        return Mixture(
            layers=(layer,), aggregator=Aggregator(OpenAI("aggregator", fake.url(arm))), name=arm
        )

    return {
        "all": build("all"),
        "hand": build("hand", quorum=3, patience=seconds_by_hand),
        "learned": build("learned", learned=LearnedPatience(strongest=STRONGEST)),
        "hedge": build("hedge", hedged=True),
    }


async def run_arm(
    fake: Upstream, mixture: Mixture, asked: argparse.Namespace, first: int, runs: int
) -> Outcome:
    """Ask *runs* questions, so many at a time."""
    fake.log()
    places = asyncio.Semaphore(asked.in_flight)
    seconds: list[float] = []
    marked = 0

    async def ask_once(run: int) -> None:
        nonlocal marked
        async with places:
            began = time.monotonic()
            question = f"run {run}: How does a lighthouse work, and who keeps it?"
            answer = await mixture.complete(ask(question))
            seconds.append(time.monotonic() - began)
            marked += bool(answer.degraded)
            shown_by_run[run] = answer

    shown_by_run: dict[int, Completion] = {}
    await asyncio.gather(*(ask_once(first + run) for run in range(runs)))
    rows = fake.log().rows
    check(rows, shown_by_run)
    whole = {row.run for row in rows if row.model == STRONGEST and not row.aborted}
    lost = sum(str(run) not in whole for run in shown_by_run)
    return Outcome(seconds, marked, len(rows), lost)


def check(rows: list[Row], answers: dict[int, Completion]) -> None:
    """Every answer is what the aggregator was planned to say."""
    plans = {row.run: row.plan for row in rows if row.model == "aggregator"}
    for run, answer in answers.items():
        plan = plans[str(run)]
        text = "".join(PIECES[(plan.start + i) % VARIANTS] for i in range(plan.tokens))
        assert answer.text == text, f"an answer is not what was sent: {answer.text[:60]!r}"


def result(outcomes: dict[str, Outcome], runs: int) -> dict[str, Any]:
    """The figures, against waiting for all."""
    every = outcomes["all"]
    found: dict[str, Any] = {}
    for name, one in outcomes.items():
        for part, share in (("p50", 0.5), ("p99", 0.99)):
            value, whole = percentile(one.seconds, share), percentile(every.seconds, share)
            found[f"{name}_{part}_seconds"] = round(value, 2)
            found[f"{name}_{part}"] = round(value / whole, 3)
        found[f"{name}_marked"] = round(one.marked / runs, 4)
        found[f"{name}_extra_calls"] = round(one.calls / every.calls - 1, 4)
        found[f"{name}_without_strongest"] = one.lost_strongest
    return found


def table(found: dict[str, Any]) -> Table:
    shown = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    shown.add_column("")
    for head in (
        "p50\ns", "p99\ns", "p50 over\nall", "p99 over\nall", "runs\nmarked", "more\ncalls",
        "without the\nstrongest",
    ):  # fmt: skip
        shown.add_column(head, justify="right")
    for name, label in ARMS.items():
        shown.add_row(
            label,
            f"{found[f'{name}_p50_seconds']:.2f}",
            f"{found[f'{name}_p99_seconds']:.2f}",
            f"{found[f'{name}_p50']:.3f}",
            f"{found[f'{name}_p99']:.3f}",
            f"{found[f'{name}_marked']:.1%}",
            f"{found[f'{name}_extra_calls']:.1%}",
            str(found[f"{name}_without_strongest"]),
        )
    return shown


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=300, help="runs of each arm that count")
    parser.add_argument("--learning", type=int, default=60, help="runs before those")
    parser.add_argument("--in-flight", type=int, default=16, help="runs at a time")
    parser.add_argument("--by-hand", type=float, default=1.0, help="seconds set by hand")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strict", action="store_true", help="fail where a target is missed")
    return parser.parse_args()


async def measured(fake: Upstream, asked: argparse.Namespace) -> dict[str, Any]:
    fake.profile("slow-members", asked.seed)
    outcomes: dict[str, Outcome] = {}
    for name, mixture in build_arms(fake, asked.by_hand).items():
        await run_arm(fake, mixture, asked, FIRST_LEARNING_RUN, asked.learning)
        outcomes[name] = await run_arm(fake, mixture, asked, 0, asked.runs)
        print(f"{ARMS[name]}: done", file=sys.stderr, flush=True)
    return result(outcomes, asked.runs)


def main() -> None:
    asked = arguments()
    print(f"{machine()}; {asked.runs} runs of each, seed {asked.seed}\n", flush=True)
    began = time.monotonic()
    with upstream(pinned=pin(0)) as fake:
        found = asyncio.run(measured(fake, asked))
    Console(width=110, highlight=False).print(table(found))
    found |= {"load_average": load_average(), "seconds": round(time.monotonic() - began, 1)}
    missed = [f"{key} {found[key]} > {most}" for key, most in TARGETS.items() if found[key] > most]
    print("".join(f"\nmissed: {line}" for line in missed))
    print(json.dumps(found))
    if asked.strict and missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
