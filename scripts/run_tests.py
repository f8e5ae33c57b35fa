#!/usr/bin/env python3
"""
Runs the whole test suite: each slow folder of `tests` in a pytest of its own, the others in a few
together, side by side, the slowest first.

What fails is run once more, alone: on a machine that others use, too, a browser can be late. What
passed only then is listed; what fails again fails the suite. The standard library is enough.

    run_tests.py PYTHON FOLDER_FOR_LOGS [OPTIONS OF PYTEST ...]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import NamedTuple

SLOWEST = ("web", "evals", "server", "cli", "batch", "engine", "project", "selection", "llama")
"""The folders that take longest: one that began last would be waited for alone."""

SHARED_RUNS = 4
"""What has the other folders: each pytest of its own would take seconds to begin."""

AT_ONCE = 5
"""More than two cores: browsers, servers and timers are waited for more than half of the time."""

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
_COUNTS_LINE = re.compile(r"\b\d+ [a-z]+\b.* in \d+\.\d+s\b")
_NO_TESTS = 5  # pytest's exit code where all tests of a folder are deselected
_CHANCE_LIMIT = 30  # more failures than this are no matter of chance, and not run again


class SuitePart(NamedTuple):
    """The folders that one pytest runs."""

    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        """What its log is called."""
        return "-".join(folder.name for folder in self.folders)

    def __str__(self) -> str:
        return f"tests/{', '.join(folder.name for folder in self.folders)}"


class PartRun(NamedTuple):
    """What came of one part's tests: pytest's exit code, counts, log, and what failed."""

    part: SuitePart
    code: int
    counts: dict[str, int]
    log: Path
    failed: list[str]


class TestSuite:
    """The folders of tests, run with one Python; logs and pytest's caches go to *logs*."""

    def __init__(self, python: str, logs: Path, options: list[str]) -> None:
        self._python, self._logs, self._options = python, logs, options
        self._lock, self._ended = Lock(), 0

    def run(self) -> int:
        """Run all; the exit code is 0 if every test passed, in the end."""
        started = time.monotonic()
        self._logs.mkdir(parents=True, exist_ok=True)
        parts = find_parts(Path("tests"))
        with ThreadPoolExecutor(AT_ONCE) as lanes:
            runs = list(lanes.map(lambda one: self._run_part(one, len(parts)), parts))
        again = [self._run_again(one) for one in runs if is_worth_another_try(one)]
        failed_again = {name for one in again for name in one.failed}
        late = [name for one in runs for name in one.failed if name not in failed_again]
        final = {one.part: one for one in [*runs, *again]}
        broken = [one for one in final.values() if one.code not in (0, _NO_TESTS)]
        self._tell_what_failed(broken, late if again else [])
        counts = count_all(runs)
        counts["failed"] = sum(max(1, len(one.failed)) for one in broken)
        counts["passed"] += sum(one.counts.get("passed", 0) for one in again)
        print(f"The suite took {time.monotonic() - started:.0f} s.")
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        return 1 if broken else 0

    def _run_part(self, part: SuitePart, of: int) -> PartRun:
        started = time.monotonic()
        run = self._pytest(part, self._logs / f"{part.name}.log", [])
        with self._lock:
            self._ended += 1
            said = ", ".join(f"{n} {kind}" for kind, n in run.counts.items())
            print(
                f"[{self._ended}/{of}] {part}: {said} in {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for line in run.log.read_text("utf-8", "replace").splitlines():
                if line.startswith("SKIPPED"):
                    print(f"    {line}", flush=True)
        return run

    def _run_again(self, run: PartRun) -> PartRun:
        print(f"{run.part}: {len(run.failed)} failed; run once more, alone ...", flush=True)
        log = self._logs / f"{run.part.name}.again.log"
        return self._pytest(run.part, log, ["--last-failed", "--last-failed-no-failures", "none"])

    def _pytest(self, part: SuitePart, log: Path, more: list[str]) -> PartRun:
        cache = self._logs / f"cache-{part.name}"
        if not more:
            (cache / "v/cache/lastfailed").unlink(missing_ok=True)
        command = [
            self._python, "-m", "pytest", "-q", "-m", "not soak",
            "-o", f"cache_dir={cache.resolve()}", *self._options, *more, *map(str, part.folders),
        ]  # fmt: skip
        with log.open("wb") as output:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        return PartRun(part, code, read_counts(log), log, read_failed(cache) if code == 1 else [])

    def _tell_what_failed(self, broken: list[PartRun], late: list[str]) -> None:
        for run in broken:
            print(f"\n=== {run.part}: exit code {run.code}; {run.log}")
            print(run.log.read_text("utf-8", "replace")[-20_000:])
        if late:
            print("Passed only when run once more, alone (mend them: they depend on time):")
            print("".join(f"    {name}\n" for name in late), end="")


def find_parts(tests: Path) -> list[SuitePart]:
    """The folders with tests, those that take longest first and alone."""
    found = sorted({path.parent for path in tests.rglob("test_*.py")})
    alone = [folder for name in SLOWEST for folder in found if folder.name == name]
    others = [folder for folder in found if folder not in alone]
    shared = [tuple(others[start::SHARED_RUNS]) for start in range(SHARED_RUNS)]
    return [SuitePart(folders) for folders in [*((one,) for one in alone), *shared] if folders]


def is_worth_another_try(run: PartRun) -> bool:
    """Whether some tests failed, rather than pytest itself or most of them."""
    return run.code == 1 and 0 < len(run.failed) <= _CHANCE_LIMIT


def read_counts(log: Path) -> dict[str, int]:
    """How many passed, failed and were skipped, from pytest's line of counts."""
    # The last such line: what other packages print as they exit comes after it.
    lines = log.read_text("utf-8", "replace").splitlines()
    last = next((line for line in reversed(lines) if _COUNTS_LINE.search(line)), "")
    return {kind: int(number) for number, kind in _COUNT.findall(last)}


def read_failed(cache: Path) -> list[str]:
    """The tests that failed in the last run, by pytest's own cache."""
    file = cache / "v/cache/lastfailed"
    return list(json.loads(file.read_text("utf-8"))) if file.exists() else []


def count_all(runs: list[PartRun]) -> dict[str, int]:
    """The counts of all folders together."""
    return {
        kind: sum(one.counts.get(kind, 0) for one in runs)
        for kind in ("passed", "failed", "skipped")
    }


if __name__ == "__main__":
    sys.exit(TestSuite(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]).run())
