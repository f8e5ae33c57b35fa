#!/usr/bin/env python3
"""
Runs the whole test suite: a folder of `tests` at a time in a pytest of its own, a few beside each
other, the slowest first.

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

SLOWEST = ("web", "server", "evals", "cli", "engine", "project", "selection")
"""The folders that take longest: one that began last would be waited for alone."""

AT_ONCE = 5
"""More than two cores: browsers, servers and timers are waited for more than half of the time."""

_COUNT = re.compile(r"(\d+) (passed|failed|skipped|error)")
_NO_TESTS = 5  # pytest's exit code where all tests of a folder are deselected
_CHANCE_LIMIT = 30  # more failures than this are no matter of chance, and not run again


class FolderRun(NamedTuple):
    """What came of one folder's tests: pytest's exit code, counts, log, and what failed."""

    folder: Path
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
        folders = find_folders(Path("tests"))
        with ThreadPoolExecutor(AT_ONCE) as lanes:
            runs = list(lanes.map(lambda one: self._run_folder(one, len(folders)), folders))
        again = [self._run_again(one) for one in runs if is_worth_another_try(one)]
        failed_again = {name for one in again for name in one.failed}
        late = [name for one in runs for name in one.failed if name not in failed_again]
        final = {one.folder: one for one in [*runs, *again]}
        broken = [one for one in final.values() if one.code not in (0, _NO_TESTS)]
        self._tell_what_failed(broken, late if again else [])
        counts = count_all(runs)
        counts["failed"] = sum(max(1, len(one.failed)) for one in broken)
        counts["passed"] += sum(one.counts.get("passed", 0) for one in again)
        print(f"The suite took {time.monotonic() - started:.0f} s.")
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
        return 1 if broken else 0

    def _run_folder(self, folder: Path, of: int) -> FolderRun:
        started = time.monotonic()
        run = self._pytest(folder, self._logs / f"{folder.name}.log", [])
        with self._lock:
            self._ended += 1
            said = ", ".join(f"{n} {kind}" for kind, n in run.counts.items())
            print(
                f"[{self._ended}/{of}] {folder}: {said} in {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for line in run.log.read_text("utf-8", "replace").splitlines():
                if line.startswith("SKIPPED"):
                    print(f"    {line}", flush=True)
        return run

    def _run_again(self, run: FolderRun) -> FolderRun:
        print(f"{run.folder}: {len(run.failed)} failed; run once more, alone ...", flush=True)
        log = self._logs / f"{run.folder.name}.again.log"
        return self._pytest(run.folder, log, ["--last-failed", "--last-failed-no-failures", "none"])

    def _pytest(self, folder: Path, log: Path, more: list[str]) -> FolderRun:
        cache = self._logs / f"cache-{folder.name}"
        if not more:
            (cache / "v/cache/lastfailed").unlink(missing_ok=True)
        command = [
            self._python, "-m", "pytest", "-q", "-m", "not soak",
            "-o", f"cache_dir={cache.resolve()}", *self._options, *more, str(folder),
        ]  # fmt: skip
        with log.open("wb") as output:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        return FolderRun(
            folder, code, read_counts(log), log, read_failed(cache) if code == 1 else []
        )

    def _tell_what_failed(self, broken: list[FolderRun], late: list[str]) -> None:
        for run in broken:
            print(f"\n=== {run.folder}: exit code {run.code}; {run.log}")
            print(run.log.read_text("utf-8", "replace")[-20_000:])
        if late:
            print("Passed only when run once more, alone (mend them: they depend on time):")
            print("".join(f"    {name}\n" for name in late), end="")


def find_folders(tests: Path) -> list[Path]:
    """The folders with tests, those that take longest first."""
    found = sorted({path.parent for path in tests.rglob("test_*.py")})
    rank = {name: place for place, name in enumerate(SLOWEST)}
    return sorted(found, key=lambda one: (rank.get(one.name, len(rank)), one))


def is_worth_another_try(run: FolderRun) -> bool:
    """Whether some tests failed, rather than pytest itself or most of them."""
    return run.code == 1 and 0 < len(run.failed) <= _CHANCE_LIMIT


def read_counts(log: Path) -> dict[str, int]:
    """How many passed, failed and were skipped, from pytest's last line."""
    last = log.read_text("utf-8", "replace").rstrip().rpartition("\n")[2]
    return {kind: int(number) for number, kind in _COUNT.findall(last)}


def read_failed(cache: Path) -> list[str]:
    """The tests that failed in the last run, by pytest's own cache."""
    file = cache / "v/cache/lastfailed"
    return list(json.loads(file.read_text("utf-8"))) if file.exists() else []


def count_all(runs: list[FolderRun]) -> dict[str, int]:
    """The counts of all folders together."""
    return {
        kind: sum(one.counts.get(kind, 0) for one in runs)
        for kind in ("passed", "failed", "skipped")
    }


if __name__ == "__main__":
    sys.exit(TestSuite(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]).run())
