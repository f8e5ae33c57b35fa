"""A batch of many prompts against the fake upstream: memory, speed, the journal's share, resuming.

    python -m bench.batch --prompts 5000

A two-layer mixture (two proposers, one aggregator), answers of 50 ms, 256 calls in flight. The
batch runs once without a journal (nothing kept: the models as `ask` has them), once with it, and
once more killed at 90 % and taken up. Each is a process of its own; figures are of its processor
time and of its wall clock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROFILE = "batch"


def start_fake() -> tuple[subprocess.Popen[str], int]:
    fake = subprocess.Popen(
        [sys.executable, str(ROOT / "bench" / "fake.py")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert fake.stdout
    return fake, int(fake.stdout.readline())


def write_world(folder: Path, port: int, prompts: int, in_flight: int) -> None:
    models = "".join(
        f'[models.{name}]\nbase_url = "http://127.0.0.1:{port}/batch/v1"\nmodel = "{name}"\n'
        f"price = {{ input = 1, output = 2 }}\nlimits = {{ concurrency = {in_flight} }}\n"
        for name in ("first", "second", "aggregator")
    )
    mixture = '[mixtures.team]\naggregator = "aggregator"\nlayers = [["first", "second"]]\n'
    (folder / "mixtura.toml").write_text(models + mixture)
    with (folder / "in.jsonl").open("w") as file:
        for number in range(prompts):
            row = {"id": str(number), "prompt": f"run {number}: what is the light of a keeper?"}
            file.write(json.dumps(row) + "\n")


def run_child(folder: Path, mode: str, kill_at: float | None = None) -> dict[str, object]:
    """A batch in a process of its own; its memory is read once a second."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.batch", "--child", mode], cwd=folder, env=env,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    curve: list[list[float]] = []
    part = folder / f"{mode}.jsonl.part"
    size_of_all = (folder / "with.jsonl").stat().st_size if kill_at else 0
    while process.poll() is None:
        seconds = round(time.monotonic() - began, 1)
        curve.append([seconds, read_megabytes(process.pid)])
        if kill_at and part.exists() and part.stat().st_size >= kill_at * size_of_all:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return {"killed_after": seconds, "megabytes": thin(curve)}
        time.sleep(0.05 if kill_at else 0.5)
    assert process.stdout
    said = process.stdout.read()
    assert process.returncode == 0, (process.returncode, said)
    return json.loads(said.splitlines()[-1]) | {"megabytes": thin(curve)}


def read_megabytes(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return round(pages * resource.getpagesize() / 1e6, 1)


def thin(curve: list[list[float]], most: int = 12) -> list[list[float]]:
    step = max(len(curve) // most, 1)
    return curve[::step]


def child(mode: str) -> None:
    """The command in this process; *mode* `without`: no answer is kept before it counts."""
    from mixtura.batch import call_journal, journaled
    from mixtura.cli import group

    if mode == "without":
        # The models as `ask` has them, and the same rows, output and display.
        async def complete(self, request, emit=None):
            return await self._model.complete(request, emit)

        journaled.Journaled.complete = complete  # type: ignore[method-assign]
    calls: list[call_journal.CallJournal] = []
    opened = call_journal.CallJournal.__init__

    def remember(self, *words, **more):
        opened(self, *words, **more)
        calls.append(self)

    call_journal.CallJournal.__init__ = remember  # type: ignore[method-assign]
    output = "killed.jsonl" if mode == "resumed" else f"{mode}.jsonl"
    began, cpu = time.monotonic(), time.process_time()
    words = ["batch", "in.jsonl", output, "-m", "team", "--quiet"]
    code = group.main(words, standalone_mode=False)
    assert code == 0, code
    commits = calls[0].writer.commits if calls else 0
    print(json.dumps({
        "seconds": round(time.monotonic() - began, 2),
        "cpu": round(time.process_time() - cpu, 2),
        "calls": calls[0].made if calls else 0,
        "commits": commits,
        "most_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }))  # fmt: skip


def measure(prompts: int, in_flight: int) -> dict[str, object]:
    fake, port = start_fake()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_world(folder, port, prompts, in_flight)
            subprocess.run(
                [sys.executable, "-c", "import sys, urllib.request as r; r.urlopen(sys.argv[1])",
                 f"http://127.0.0.1:{port}/profile/{PROFILE}/1"], check=True,
            )  # fmt: skip
            without = run_child(folder, "without")
            kept = run_child(folder, "with")
            killed = run_child(folder, "killed", kill_at=0.9)
            resumed = run_child(folder, "resumed")
            same = (folder / "with.jsonl").read_bytes() == (folder / "killed.jsonl").read_bytes()
    finally:
        fake.communicate()
    wall, cpu = float(str(kept["seconds"])), float(str(kept["cpu"]))
    return {
        "prompts": prompts,
        "in_flight": in_flight,
        "without": without,
        "with": kept,
        "prompts_per_cpu_second": round(prompts / cpu, 1),
        "journalled_calls_per_second": round(3 * prompts / wall, 1),
        "journal_share_of_time": round(wall / float(str(without["seconds"])) - 1, 3),
        "journal_share_of_cpu": round(cpu / float(str(without["cpu"])) - 1, 3),
        "killed": killed,
        "resumed": resumed,
        "same_output": same,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        child(words.child)
    else:
        for name, value in measure(words.prompts, words.in_flight).items():
            print(f"{name}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
