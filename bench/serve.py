"""What the server adds to the library, and how many streams it carries: ``python bench/serve.py``.

The same questions, in turn, to the library in this process and to ``mixtura serve`` through one
kept connection; each time compared with the critical path of the very calls that were made, so
that only what Mixtura itself adds is left. The server is asked by a client that does nothing but
write bytes and read them, as load generators do, so that it is the server that is measured; and
once more by Mixtura's own client, as a program would. Beside them that bare client's hop: it asks
the fake itself for the aggregator's answer, so what it adds is what any server at the other end
of a connection costs. Then 500 streams at once. The last line is one JSON object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

from arms import AGGREGATOR, MOST, PROPOSERS, Ours, _at_first_token
from fake import PIECES, VARIANTS, Row
from harness import (
    Upstream,
    critical_path,
    duration,
    interval,
    lateness,
    machine,
    percentile,
    sent,
    upstream,
)

from mixtura import Sampling, ask
from mixtura.models.openai import OpenAI

RUNS = 60
STREAMS = 500
TARGET_MS = 1.0
QUESTION = "run {}: How does a lighthouse work, and who keeps it?"


class Served:
    """The same mixture behind the server, asked as any client would."""

    def __init__(self, base_url: str) -> None:
        self.model = OpenAI("team", base_url)

    async def __call__(self, question: str, first) -> str:
        request = ask(question, sampling=Sampling(max_tokens=MOST))
        return (await self.model.complete(request, _at_first_token(first))).text


class Bare(asyncio.Protocol):
    """A client that writes a request and reads until its answer's end, over one connection."""

    def __init__(self, model: str, base_url: str) -> None:
        self.model = model
        self.place = urlsplit(base_url)
        self.transport: asyncio.Transport | None = None
        self.pieces: list[bytes] = []

    async def __call__(self, question: str, first) -> bytes:
        loop = asyncio.get_running_loop()
        if self.transport is None:
            host, port = self.place.hostname, self.place.port
            self.transport, _ = await loop.create_connection(lambda: self, host, port)
        body = json.dumps({
            "model": self.model, "messages": [{"role": "user", "content": question}],
            "max_tokens": MOST, "stream": True, "stream_options": {"include_usage": True},
        })  # fmt: skip
        head = (
            f"POST {self.place.path}/chat/completions HTTP/1.1\r\nHost: {self.place.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.pieces, self.first, self.done = [], first, loop.create_future()
        self.transport.write((head + body).encode())
        await self.done
        return b"".join(self.pieces)

    def data_received(self, data: bytes) -> None:
        if self.first and b'"content":" ' in data:
            self.first()
            self.first = None
        self.pieces.append(data)
        if data.endswith(b"0\r\n\r\n"):
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server hung up"))


def written(answer: str | bytes) -> str:
    """The text of an answer; of one in bytes, what its events say."""
    if isinstance(answer, str):
        return answer
    events = [line[6:] for line in answer.split(b"\n") if line.startswith(b"data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


@contextmanager
def served(fake: Upstream) -> Iterator[tuple[str, subprocess.Popen]]:
    models = "\n".join(
        f'[models.{name}]\nbase_url = "{fake.url("serve")}"\nmodel = "{name}"\nretries = 0\n'
        for name in (*PROPOSERS, AGGREGATOR)
    )
    names = ", ".join(f'"{name}"' for name in PROPOSERS)
    team = f'[mixtures.team]\nlayers = [[{names}]]\naggregator = "{AGGREGATOR}"\n'
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mixtura.toml").write_text(
            f'default = "team"\ncache = {{ use = false }}\n{models}\n{team}'
        )
        env = dict(os.environ) | {"XDG_STATE_HOME": folder}
        command = [sys.executable, "-m", "mixtura", "serve", "--port", "0"]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            line = process.stdout.readline()
            yield line.split()[3] + "/v1", process
        finally:
            process.terminate()
            process.wait(30)


async def one(arm, number: int) -> tuple[float, float, str | bytes]:
    started = time.monotonic()
    begun = 0.0

    def first() -> None:
        nonlocal begun
        begun = time.monotonic() - started

    answer = await arm(QUESTION.format(number), first)
    return begun, time.monotonic() - started, answer


def told(rows: list[Row]) -> str:
    plan = next(row.plan for row in rows if row.model == AGGREGATOR)
    return "".join(PIECES[(plan.start + i) % VARIANTS] for i in range(plan.tokens))


async def paired(fake: Upstream, arms: dict, runs: int) -> tuple[dict, list[float]]:
    """Seconds that each arm added to the first token and to the whole, run by run."""
    fake.profile("hello", 0)
    for arm in arms.values():
        for number in range(10):
            await one(arm, number)
    gc.collect()
    gc.freeze()
    fake.profile("minute", 1)
    fake.log()
    draw = random.Random(1)
    added: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    late: list[float] = []
    for number in range(runs):
        for name in draw.sample(list(arms), len(arms)):
            first, whole, answer = await one(arms[name], number)
            rows = fake.log().rows
            assert written(answer) == told(rows), "an answer is not what was sent"
            path_first, path = alone(rows) if name == "hop" else critical_path(rows)
            added[name].append((first - path_first, whole - path))
            late += lateness(rows)
    return added, late


def alone(rows: list[Row]) -> tuple[float, float]:
    """Seconds to the first token and to the last of the one call there was."""
    (row,) = rows
    return sent(row)[0] - row.received, duration(row)


async def crowd(fake: Upstream, arm, process: subprocess.Popen) -> dict[str, float]:
    """Many streams at once: none may fail, none may lose a token."""
    fake.profile("crowd", 2)
    fake.log()
    before = cpu(process)
    started = time.monotonic()
    done = await asyncio.gather(
        *(one(arm, number) for number in range(STREAMS)), return_exceptions=True
    )
    seconds = time.monotonic() - started
    used = cpu(process) - before
    rows: dict[str, list[Row]] = {}
    for row in fake.log().rows:
        rows.setdefault(row.run, []).append(row)
    errors = [d for d in done if isinstance(d, BaseException)]
    wrong = sum(
        d[2] != told(rows[str(number)])
        for number, d in enumerate(done)
        if not isinstance(d, BaseException)
    )
    for error in errors[:3]:
        print(f"  {type(error).__name__}: {error}", file=sys.stderr)
    return {
        "streams": STREAMS,
        "stream_errors": len(errors),
        "stream_answers_wrong": wrong,
        "stream_seconds": round(seconds, 2),
        "server_cpu_ms_per_stream": round(used / STREAMS * 1000, 2),
    }


def cpu(process: subprocess.Popen) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measured(fake: Upstream) -> dict[str, float]:
    with served(fake) as (base_url, process):
        arms = {
            "library": Ours(fake.url("a3")),
            "server": Bare("team", base_url),
            "asked by our client": Served(base_url),
            "hop": Bare(AGGREGATOR, fake.url("hop")),
        }
        added, late = await paired(fake, arms, RUNS)
        more = await crowd(fake, arms["asked by our client"], process)
    figures: dict = {}
    print(f"{machine()}; {RUNS} questions, one in flight\n")
    print(f"{'':20}{'first token, added ms p50':>28}{'answer, added ms p50':>24}{'p99':>8}")
    for name, rows in added.items():
        first, whole = zip(*rows, strict=True)
        print(
            f"{name:20}{statistics.median(first) * 1000:28.2f}"
            f"{statistics.median(whole) * 1000:24.2f}{percentile(whole, 0.99) * 1000:8.2f}"
        )
    pairs = zip(added["server"], added["library"], strict=True)
    gaps = [(s[1] - m[1], s[0] - m[0]) for s, m in pairs]
    wholes, firsts = [g[0] * 1000 for g in gaps], [g[1] * 1000 for g in gaps]
    figures["server_added_ms_p50"] = round(statistics.median(wholes), 3)
    figures["server_added_ms_p50_95"] = [round(x, 3) for x in interval(wholes, statistics.median)]
    figures["server_added_first_token_ms_p50"] = round(statistics.median(firsts), 3)
    theirs = [
        (c[1] - m[1]) * 1000
        for c, m in zip(added["asked by our client"], added["library"], strict=True)
    ]
    figures["server_added_ms_p50_our_client"] = round(statistics.median(theirs), 3)
    figures["hop_ms_p50"] = round(statistics.median(hop for _, hop in added["hop"]) * 1000, 3)
    figures |= more
    figures["fake_late_ms_p99"] = round(percentile(late, 0.99) * 1000, 3)
    print(
        f"\nThe server adds {figures['server_added_ms_p50']} ms at the median"
        f" ({figures['server_added_ms_p50_95'][0]} to {figures['server_added_ms_p50_95'][1]}),"
        f" {figures['hop_ms_p50']} of it the bare hop;"
        f" asked by Mixtura's own client {figures['server_added_ms_p50_our_client']} ms."
        f"\n{STREAMS} streams at once: {more['stream_errors']} errors,"
        f" {more['stream_seconds']} s, {more['server_cpu_ms_per_stream']} ms CPU each."
    )
    if figures["server_added_ms_p50"] > TARGET_MS or more["stream_errors"]:
        print("missed", file=sys.stderr)
    return figures


def main() -> None:
    with upstream(pinned=False) as fake:
        figures = asyncio.run(measured(fake))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
