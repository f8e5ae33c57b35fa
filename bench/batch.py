"""A batch of many prompts against the fake upstream: memory, speed, the journal's share, resuming.

    python -m bench.batch --prompts 5000

A two-layer mixture (two proposers, one aggregator), answers of 50 ms, 256 calls in flight. The
batch runs in pairs, without a journal (nothing kept: the models as `ask` has them) and with it,
and once more killed when 90 % of its calls are kept and taken up. Each is a process of its own;
figures are of its processor time and of its wall clock, and the journal's share is the median of
the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.session import BatchSession

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


def run_child(folder: Path, mode: str, kill_after: int = 0) -> dict[str, object]:
    """A batch in a process of its own. It kills itself once *kill_after* calls are kept."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.batch", "--child", mode, "--kill-after", str(kill_after)],
        cwd=folder, env=env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    said, _ = process.communicate()
    if kill_after:
        assert process.returncode == -signal.SIGKILL, process.returncode
        told = json.loads(said.splitlines()[-1])
        return {"killed_after": round(time.monotonic() - began, 1), **told}
    assert process.returncode == 0, (process.returncode, said)
    return json.loads(said.splitlines()[-1])


def read_megabytes() -> float:
    """What this process has in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


def watch_process(sessions: list[BatchSession], curve: list[list[float]]) -> None:
    """At every 5 % of the rows: percent, megabytes, seconds and processor seconds so far."""
    began = time.monotonic()
    while True:
        time.sleep(0.02)
        if not sessions or not sessions[0].progress.total:
            continue
        now = sessions[0].progress
        percent = 100 * (now.done + now.failed) // now.total
        if not curve or percent >= curve[-1][0] + 5:
            seconds, cpu = time.monotonic() - began, time.process_time()
            curve.append([percent, read_megabytes(), round(seconds, 2), round(cpu, 2)])


def kill_when_kept(calls: list[CallJournal], count: int, curve: list[list[float]]) -> None:
    """End this process as a loss of power would once so many calls are kept."""
    while not calls or calls[0].made < count:
        time.sleep(0.001)
    told = {
        "cpu": round(time.process_time(), 2), "calls": calls[0].made,
        "commits": calls[0].writer.commits, "percent_megabytes_seconds_cpu": curve,
    }  # fmt: skip
    print(json.dumps(told), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def child(mode: str, kill_after: int) -> None:
    """The command in this process; *mode* `without`: no answer is kept before it counts."""
    from mixtura.batch import journaled
    from mixtura.cli import group

    if mode == "without":
        # The models as `ask` has them, and the same rows, output and display.
        async def complete(self, request, emit=None):
            return await self._model.complete(request, emit)

        journaled.Journaled.complete = complete  # type: ignore[method-assign]
    calls: list[CallJournal] = []
    first_request: list[float] = []
    opened, begin = CallJournal.__init__, CallJournal.begin_request

    def remember(self, *words, **more):
        opened(self, *words, **more)
        calls.append(self)

    def note_first(self, *words):
        first_request.append(time.monotonic())
        CallJournal.begin_request = begin  # type: ignore[method-assign]
        return begin(self, *words)

    sessions: list[BatchSession] = []
    curve: list[list[float]] = []
    prepared = BatchSession.__init__

    def remember_session(self, *words, **more):
        prepared(self, *words, **more)
        sessions.append(self)

    BatchSession.__init__ = remember_session  # type: ignore[method-assign]
    threading.Thread(target=watch_process, args=(sessions, curve), daemon=True).start()
    CallJournal.__init__ = remember  # type: ignore[method-assign]
    CallJournal.begin_request = note_first  # type: ignore[method-assign]
    if kill_after:
        killer = threading.Thread(
            target=kill_when_kept, args=(calls, kill_after, curve), daemon=True
        )
        killer.start()
    output = "killed.jsonl" if mode == "resumed" else f"{mode}.jsonl"
    began, cpu = time.monotonic(), time.process_time()
    words = ["batch", "in.jsonl", output, "-m", "team", "--quiet"]
    code = group.main(words, standalone_mode=False)
    assert code == 0, code
    commits = calls[0].writer.commits if calls else 0
    print(json.dumps({
        "seconds": round(time.monotonic() - began, 2),
        "cpu": round(time.process_time() - cpu, 2),
        "seconds_to_first_request": round(first_request[0] - began, 2) if first_request else None,
        "calls": calls[0].made if calls else 0,
        "commits": commits,
        "percent_megabytes_seconds_cpu": curve,
        "most_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
    }))  # fmt: skip


def remove_outputs(folder: Path, mode: str) -> None:
    for path in folder.glob(f"{mode}.jsonl*"):
        path.unlink()


def run_pairs(folder: Path, count: int) -> list[tuple[dict, dict]]:
    """Batches without and with a journal, in turns: what else the machine does hits both."""
    pairs: list[tuple[dict, dict]] = []
    for number in range(count):
        for mode in ("without", "with"):
            remove_outputs(folder, mode)
        modes = ("without", "with") if number % 2 == 0 else ("with", "without")
        ran = {mode: run_child(folder, mode) for mode in modes}
        pairs.append((ran["without"], ran["with"]))
    return pairs


def median_share(pairs: list[tuple[dict, dict]], what: str) -> float:
    return round(statistics.median(kept[what] / bare[what] - 1 for bare, kept in pairs), 3)


def measure(prompts: int, in_flight: int, pair_count: int) -> dict[str, object]:
    fake, port = start_fake()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_world(folder, port, prompts, in_flight)
            subprocess.run(
                [sys.executable, "-c", "import sys, urllib.request as r; r.urlopen(sys.argv[1])",
                 f"http://127.0.0.1:{port}/profile/{PROFILE}/1"], check=True,
            )  # fmt: skip
            pairs = run_pairs(folder, pair_count)
            killed = run_child(folder, "killed", kill_after=prompts * 3 * 9 // 10)
            resumed = run_child(folder, "resumed")
            whole = (folder / "killed.jsonl").read_bytes()
            same = (folder / "with.jsonl").read_bytes() == whole if pairs else None
    finally:
        fake.communicate()
    told: dict[str, object] = {"prompts": prompts, "in_flight": in_flight, "pairs": pair_count}
    if pairs:
        cpu = statistics.median(kept["cpu"] for _, kept in pairs)
        wall = statistics.median(kept["seconds"] for _, kept in pairs)
        told |= {
            "without": pairs[-1][0],
            "with": pairs[-1][1],
            "cpu_seconds_without_and_with": [[bare["cpu"], kept["cpu"]] for bare, kept in pairs],
            "seconds_without_and_with": [
                [bare["seconds"], kept["seconds"]] for bare, kept in pairs
            ],
            "prompts_per_cpu_second": round(prompts / cpu, 1),
            "journalled_calls_per_second": round(3 * prompts / wall, 1),
            "journal_share_of_time": median_share(pairs, "seconds"),
            "journal_share_of_cpu": median_share(pairs, "cpu"),
        }
    return told | {"killed": killed, "resumed": resumed, "same_output": same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument(
        "--pairs",
        type=int,
        default=1,
        help="runs without and with a journal; 0: only what is killed and taken up",
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--kill-after", type=int, default=0, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        child(words.child, words.kill_after)
    else:
        for name, value in measure(words.prompts, words.in_flight, words.pairs).items():
            print(f"{name}: {json.dumps(value)}")


if __name__ == "__main__":
    main()
