"""What the benchmarks share: the fake's process, its log, the noise around, the statistics."""

from __future__ import annotations

import http.client
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from fake import Row

ENGINE_CORE, FAKE_CORE = 0, 1


def pin(core: int) -> bool:
    """Stay on one core, where the system can be told so and has more than one."""
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        return False
    os.sched_setaffinity(0, {core})
    return True


class Log(NamedTuple):
    """What the fake knows of the requests since it was last asked."""

    rows: list[Row]
    connections: dict[str, int]
    cpu: float


class _LogWire(msgspec.Struct):
    rows: list[Row]
    connections: dict[str, int]
    cpu: float


class Upstream:
    """The fake, from outside."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, arm: str) -> str:
        return f"http://127.0.0.1:{self.port}/{arm}/v1"

    def profile(self, name: str, seed: int) -> None:
        self._get(f"/profile/{name}/{seed}")

    def log(self) -> Log:
        wire = msgspec.msgpack.decode(self._get("/log"), type=_LogWire)
        return Log(wire.rows, wire.connections, wire.cpu)

    def _get(self, path: str) -> bytes:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            line.request("GET", path)
            return line.getresponse().read()
        finally:
            line.close()


@contextmanager
def upstream(*, pinned: bool):
    """The fake in a process of its own, on a core of its own."""
    command = [sys.executable, str(Path(__file__).parent / "fake.py")]
    if pinned:
        command += ["--core", str(FAKE_CORE)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Upstream(int(process.stdout.readline()))
    finally:
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()


# ---- reading the log


def sent(row: Row) -> array:
    moments = array("d")
    moments.frombytes(row.sent)
    return moments


def duration(row: Row) -> float:
    """From the request's arrival to the moment its last token left."""
    return sent(row)[-1] - row.received


def lateness(rows: Sequence[Row]) -> list[float]:
    """By how much each send was later than planned."""
    late: list[float] = []
    for row in rows:
        moments = sent(row)
        offset = row.plan.tokens - len(moments)  # not streamed: one send, when the last is due
        late += [m - row.received - row.plan.due(offset + i) for i, m in enumerate(moments)]
    return late


def critical_path(rows: Sequence[Row]) -> tuple[float, float]:
    """Seconds to the first token and to the last that no orchestrator could undercut."""
    last = [row for row in rows if row.model == "aggregator"]
    calls = (len(rows), len(last))
    assert calls == (5, 1), f"{calls[0]} calls, {calls[1]} of them the last"
    assert not any(row.aborted for row in rows), "a call was left before its end"
    layer = max(duration(row) for row in rows if row is not last[0])
    return layer + sent(last[0])[0] - last[0].received, layer + duration(last[0])


# ---- statistics


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def interval(
    values: Sequence[Any], statistic: Callable[[Sequence[Any]], float] = statistics.fmean
) -> tuple[float, float]:
    """The 95 % bootstrap interval of a statistic."""
    draw = random.Random(1)
    drawn = sorted(statistic(draw.choices(values, k=len(values))) for _ in range(1000))
    return drawn[25], drawn[974]


# ---- what else went on


class _Times(NamedTuple):
    busy: float
    stolen: float
    all: float


def _machine() -> _Times | None:
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, idle, wait, irq, soft, steal = (int(field) for field in fields)
    busy = user + nice + system + irq + soft
    return _Times(busy, steal, busy + idle + wait + steal)


class Watch:
    """Whose the processor's time was while it ran."""

    def __init__(self, fake: Upstream) -> None:
        self._fake = fake
        self._fake_cpu = fake.log().cpu
        self._own = time.process_time()
        self._machine = _machine()

    def shares(self) -> dict[str, float | None]:
        """The share of the machine that other processes and other machines had."""
        own = time.process_time() - self._own + self._fake.log().cpu - self._fake_cpu
        before, after = self._machine, _machine()
        if before is None or after is None:
            return {"foreign_cpu_share": None, "stolen_share": None}
        whole = after.all - before.all or 1.0
        ours = own * os.sysconf("SC_CLK_TCK")
        return {
            "foreign_cpu_share": round(max(after.busy - before.busy - ours, 0.0) / whole, 3),
            "stolen_share": round((after.stolen - before.stolen) / whole, 4),
        }


def load_average() -> float | None:
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine() -> str:
    """What it ran on, in a line."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, {platform.system()}, Python {platform.python_version()}"
