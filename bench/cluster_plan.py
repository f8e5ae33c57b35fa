"""A batch on a cluster, planned: what so many prompts take, from measured figures.

    python -m bench.cluster_plan measure              what an owner and a worker take, here
    python -m bench.cluster_plan measure --ray 4000   what two workers take, on a local cluster
    python -m bench.cluster_plan plan --prompts 1e9   a simulation with the measured figures

The simulation goes through the batch a minute at a time. In each, the calls made are the least of
what the endpoints, the workers' processors, the owners' processors and the disks allow; workers and
owners die at random, calls under way are made again then, and endpoints answer 429 for a part of
the time. Figures and plans are in cluster_plan.toml.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.request
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.support.ray_workers import find_workers

ROOT = Path(__file__).parents[1]
FIGURES = Path(__file__).with_suffix(".toml")
STEP = 60.0
"""Seconds."""


@dataclass(frozen=True)
class Figures:
    """What was measured; processor seconds on one core of the machine that the file names."""

    worker_call: float
    """Of a worker, for each call, its own journal included."""
    owner_call: float
    """Of the owner of a batch, for merging a call."""
    owner_row: float
    """Of the owner, for reading a row, handing it out and writing its answer."""
    check_row: float
    """Of the owner, for a row when the batch begins and whenever it is taken up."""
    lease: dict[int, float]
    """Of the owner of the limits, for one lease of one endpoint with so many workers."""
    journal_call: float
    """Bytes of a journal for each call."""
    output_row: float
    """Bytes of the output for each row."""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that takes so many calls at once, of so many seconds each."""

    name: str
    calls: int
    """Calls of one prompt to it."""
    concurrency: int
    seconds: float
    dollars: float
    """Of one call."""
    requests_per_minute: float = math.inf
    throttled: float = 0.05
    """The part of the time in which it answers 429 and half of its calls are taken."""

    def capacity(self, share: float) -> float:
        """Calls a second."""
        return min(self.concurrency / self.seconds, self.requests_per_minute / 60.0) * share


@dataclass(frozen=True)
class Plan:
    """What is asked, and on how many processes. A shard is a batch with its owner and journal."""

    prompts: float
    endpoints: tuple[Endpoint, ...]
    workers: int
    shards: int
    worker_deaths: float = 1 / 500
    """An hour, for each worker."""
    owner_deaths: float = 1 / 2000
    restart_seconds: float = 60.0
    disk_bytes: float = 200e6
    """A second that a disk writes; each shard's journal has one."""

    @property
    def calls_per_prompt(self) -> int:
        return sum(one.calls for one in self.endpoints)


@dataclass
class Course:
    """How it went."""

    seconds: float = 0.0
    calls: float = 0.0
    repeated: float = 0.0
    worker_deaths: int = 0
    owner_deaths: int = 0
    dollars: float = 0.0
    held_by: dict[str, float] = field(default_factory=dict)
    """Seconds in which each of them was what held the batch back."""


def simulate(plan: Plan, figures: Figures, seed: int = 0) -> Course:
    dice, course = random.Random(seed), Course()
    whole = plan.prompts * plan.calls_per_prompt
    per_prompt = sum(one.calls * one.dollars for one in plan.endpoints)
    row_share = 1 / plan.calls_per_prompt
    owner_call = figures.owner_call + figures.owner_row * row_share
    lost_workers = lost_owners = 0.0
    # All owners read their inputs first, side by side.
    course.seconds = plan.prompts / plan.shards * figures.check_row
    while course.calls < whole:
        limits = {
            "workers": (plan.workers - lost_workers) / figures.worker_call,
            "owners": (plan.shards - lost_owners) / owner_call,
            "disks": plan.shards * plan.disk_bytes / (2 * figures.journal_call),
        }
        for one in plan.endpoints:
            share = 0.5 if dice.random() < one.throttled else 1.0
            limits[one.name] = one.capacity(share) * plan.calls_per_prompt / one.calls
        least = min(limits, key=limits.__getitem__)
        course.held_by[least] = course.held_by.get(least, 0.0) + STEP
        done = min(limits[least] * STEP, whole - course.calls)
        course.calls += done
        under_way = sum(min(one.concurrency, limits[least] * one.seconds) for one in plan.endpoints)
        hours = STEP / 3600
        died = draw_count(dice, plan.workers * plan.worker_deaths * hours)
        ended = draw_count(dice, plan.shards * plan.owner_deaths * hours)
        course.worker_deaths += died
        course.owner_deaths += ended
        again = died * under_way / plan.workers + ended * under_way / plan.shards
        course.repeated += again
        course.calls -= again
        course.dollars += (done / plan.calls_per_prompt) * per_prompt
        resume = plan.prompts / plan.shards * figures.check_row
        lost_workers = min(plan.workers, died * plan.restart_seconds / STEP)
        lost_owners = min(plan.shards, ended * (plan.restart_seconds + resume) / STEP)
        course.seconds += STEP if course.calls < whole else STEP * 0.5
    return course


def draw_count(dice: random.Random, mean: float) -> int:
    """A number of events, of Poisson's distribution."""
    count, left = 0, math.exp(-min(mean, 500.0))
    product = dice.random()
    while product > left:
        count += 1
        product *= dice.random()
    return count


def describe(plan: Plan, figures: Figures, course: Course) -> dict[str, Any]:
    calls = plan.prompts * plan.calls_per_prompt
    rate = calls / course.seconds
    seconds = max(0.1, plan.workers / 200)
    lease = figures.lease[min(figures.lease, key=lambda n: abs(n - plan.workers))]
    return {
        "prompts": plan.prompts,
        "calls": calls,
        "workers": plan.workers,
        "shards": plan.shards,
        "hours": round(course.seconds / 3600, 1),
        "calls_per_second": round(rate),
        "dollars": round(course.dollars),
        "calls_made_again": round(course.repeated),
        "worker_deaths": course.worker_deaths,
        "owner_deaths": course.owner_deaths,
        "journals_terabytes": round(calls * figures.journal_call / 1e12, 2),
        "journal_gigabytes_per_shard": round(calls * figures.journal_call / plan.shards / 1e9, 1),
        "journal_megabytes_per_second": round(rate * figures.journal_call / 1e6, 1),
        "output_terabytes": round(plan.prompts * figures.output_row / 1e12, 2),
        "resume_minutes_per_shard": round(plan.prompts / plan.shards * figures.check_row / 60, 1),
        "limit_owner_core": round(plan.workers / seconds * lease * len(plan.endpoints), 3),
        "held_back_by": {name: round(one / 3600, 1) for name, one in course.held_by.items()},
    }


def read_figures(path: Path = FIGURES) -> tuple[Figures, dict[str, Plan]]:
    """The measured figures, and the plans of the file by their names."""
    data = tomllib.loads(path.read_text())
    measured = dict(data["measured"])
    measured.pop("machine")
    measured["lease"] = {int(n): seconds for n, seconds in measured["lease"].items()}
    plans = {
        name: Plan(**{**one, "endpoints": tuple(Endpoint(**e) for e in one["endpoints"])})
        for name, one in data["plans"].items()
    }
    return Figures(**measured), plans


# ---- measured


ANSWER = " ".join(f"word{n}" for n in range(300))


def measure() -> dict[str, Any]:
    """What an owner and a worker take, in this process, without Ray's own part."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return {
            **measure_input(folder, 20_000),
            **asyncio.run(measure_owner(folder, 4_000)),
            **asyncio.run(measure_worker(3_000)),
            "lease": {n: measure_lease(n) for n in (2, 16, 64, 256, 1024)},
        }


def measure_input(folder: Path, rows: int) -> dict[str, float]:
    from mixtura.batch.input_rows import BatchInput
    from mixtura.batch.prompt_form import PromptForm
    from mixtura.batch.records import Source

    path = folder / "in.jsonl"
    with path.open("w") as file:
        for number in range(rows):
            file.write(
                json.dumps({"id": str(number), "prompt": f"{number}: {ANSWER[:600]}"}) + "\n"
            )
    one = BatchInput(Source(str(path), "in.jsonl", "jsonl"), PromptForm())
    began = time.process_time()
    one.check(rows)  # as a batch does that is taken up at its end
    return {"check_row": (time.process_time() - began) / rows}


async def measure_owner(folder: Path, rows: int) -> dict[str, float]:
    """Merging three calls a row, and writing its line, as the owner of a batch does."""
    from mixtura.batch.call_journal import CallJournal
    from mixtura.batch.input_rows import NO_ROWS, BatchRow
    from mixtura.batch.ordered_output import FinishedRow, OrderedOutput
    from mixtura.batch.part_file import PartFile
    from mixtura.batch.row_lines import RowLines
    from mixtura.cluster.messages import KeptPart, RowAnswer, RowTask
    from mixtura.cluster.worker_journals import MergedJournal
    from mixtura.core.types import Charge, Completion, Message, Usage, ask
    from mixtura.protocols.openai.completion_json import completion_json
    from mixtura.storage.batch_journal import KeptCall, SpentAmount

    def price(_: str, usage: Usage) -> float:
        return 1e-6 * usage.total_tokens

    calls = CallJournal(folder / "owner.journal", price)
    charge = Charge("model", Usage(200, 300))
    answer = Completion(Message("assistant", ANSWER), "model", charges=(charge,))
    body = json.dumps(completion_json(answer)).encode()
    lines, merged = RowLines(price), MergedJournal(calls)
    with closing(calls), closing(PartFile(folder / "out.part", 0)) as part:
        output = OrderedOutput(calls, part, first=0, digest=NO_ROWS)
        merging = writing = 0.0
        for start in range(0, rows, 100):
            began = time.process_time()
            kept = [
                KeptCall(3 * start + n + 1, (3 * start + n).to_bytes(20, "big"), body)
                for n in range(300)
            ]
            amount = SpentAmount("answer", "model", 3 * start + 300, 1, 1, 0.1, 0)
            await merged.merge(KeptPart("worker.journal", kept, [amount]))
            merging += time.process_time() - began
            began = time.process_time()
            for number in range(start, start + 100):
                row = BatchRow(number, str(number), ask(ANSWER[:600]), number.to_bytes(20, "big"))
                sent = pickle.loads(pickle.dumps(RowTask(number, row.key, row.request, False)))
                back = pickle.loads(pickle.dumps(RowAnswer(number, answer, None, (charge,) * 3)))
                line = lines.answer_line(row, back.completion, back.charges)
                await output.add(
                    FinishedRow(BatchRow(number, row.custom_id, sent.request, row.key), line)
                )
            writing += time.process_time() - began
        await output.flush()
        size = (folder / "owner.journal").stat().st_size
        written = (folder / "out.part").stat().st_size
    return {
        "owner_call": merging / (3 * rows),
        "owner_row": writing / rows,
        "journal_call": size / (3 * rows),
        "output_row": written / rows,
    }


def measure_lease(workers: int, turns: int = 400) -> float:
    """Seconds of one lease of one endpoint, with so many workers that all want more."""
    from mixtura.cluster.leases import LimitOwner
    from mixtura.engine.endpoint_lease import EndpointUse
    from mixtura.models.wrappers.rate_limit import RateLimits

    owner, limits = LimitOwner(), {"here": RateLimits(concurrency=10 * workers)}
    use = {"here": EndpointUse(5, 10, 0, 0, 0, 0, 3, 0.0)}
    for number in range(workers):
        owner.lend(str(number), limits, use)
    began = time.process_time()
    for turn in range(turns):
        owner.lend(str(turn % workers), limits, use)
    return (time.process_time() - began) / turns


async def measure_worker(rows: int) -> dict[str, float]:
    """A worker in this process, without Ray's own part: processor seconds of a call."""
    from bench.batch import PROFILE, start_fake, write_world

    from mixtura.cluster.messages import RowTask, WorkerSetup
    from mixtura.cluster.owner import LeaseOwner
    from mixtura.cluster.row_worker import RowWorker
    from mixtura.cluster.worker_models import describe_documents
    from mixtura.config.config import load
    from mixtura.core.types import ask

    class OwnerHere:
        def __init__(self) -> None:
            self.owner = LeaseOwner()

        async def lend(self, *what: Any) -> Any:
            return self.owner.lend(*what)

    fake, port = start_fake()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, port, 1, 128)
        await asyncio.to_thread(set_profile, port, PROFILE)
        config = load(str(folder / "mixtura.toml"), environ={}, folder=folder, home=folder)
        plan = config.mixture_spec("team")
        setup = WorkerSetup("1", describe_documents(config), plan, name, f"{name}/journals", 128)
        worker = RowWorker(setup, OwnerHere())
        said = await worker.start()
        assert said == worker.name, said
        began, given, answered, taken, merged = time.process_time(), 0, 0, 0, 0
        while answered < rows:
            more = range(given, min(rows, answered + 512))
            given = max(given, more.stop)
            tasks = [
                RowTask(n, n.to_bytes(20, "big"), ask(f"{n}: why is the sky blue?"), False)
                for n in more
            ]
            await worker.add_rows(tasks)
            report = pickle.loads(pickle.dumps(await worker.take_report(taken, merged)))
            taken, answered = report.number, answered + len(report.answers)
            merged = max([merged, *(one.number for one in report.part.calls)])
        seconds = time.process_time() - began
        await worker.finish(merged)
    fake.communicate()
    return {"worker_call": seconds / (3 * rows)}


def measure_cluster(prompts: int, workers: int = 2) -> dict[str, Any]:
    """
    A batch of two layers on a local cluster against the fake upstream of ``bench.batch``:
    processor seconds of its owner and of its workers, without their start.
    """
    from bench.batch import PROFILE, start_fake, write_world

    fake, port = start_fake()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_world(folder, port, prompts, 128)
        set_profile(port, PROFILE)
        words = ["batch", "in.jsonl", "out.jsonl", "-m", "team", "--json"]
        process = subprocess.Popen(
            [sys.executable, "-m", "mixtura", *words, "--engine", "ray", "--workers", str(workers)],
            cwd=folder, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        journals = folder / "out.jsonl.journal-workers"
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        while process.poll() is None:
            time.sleep(0.2)
            began = any(path.stat().st_size for path in journals.glob("*-in-flight"))
            for pid in (process.pid, *find_workers(process.pid)):
                seconds = processor_seconds(pid)
                if began and seconds is not None:
                    first.setdefault(pid, seconds)
                    last[pid] = seconds
        said = process.communicate()[0]
        assert process.returncode == 0, said
    fake.communicate()
    used = {pid: last[pid] - first[pid] for pid in last}
    owner = used.pop(process.pid)
    return {
        "prompts": prompts,
        "owner_row_with_ray": owner / prompts,
        "worker_call": sum(used.values()) / (3 * prompts),
        "seconds": json.loads(said.splitlines()[-1])["seconds"],
    }


def set_profile(port: int, profile: str) -> None:
    urllib.request.urlopen(f"http://127.0.0.1:{port}/profile/{profile}/1").close()


def processor_seconds(pid: int) -> float | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("measure", "plan"))
    parser.add_argument("--ray", type=int, metavar="PROMPTS", help="measure with a local cluster")
    parser.add_argument("--prompts", type=float, help="in place of those of the plans")
    parser.add_argument("--seed", type=int, default=0)
    words = parser.parse_args()
    if words.what == "measure":
        measured = measure_cluster(words.ray) if words.ray else measure()
        print(json.dumps(measured, indent=1))
        return
    figures, plans = read_figures()
    for name, known in plans.items():
        plan = known if words.prompts is None else replace(known, prompts=words.prompts)
        course = simulate(plan, figures, words.seed)
        json.dump({"plan": name, **describe(plan, figures, course)}, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
