"""Programs that models wrote, run in Mixtura's sandbox once: what came of it is kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

from mixtura.patterns.checked import run_in_sandbox
from mixtura.programs.sandbox import SandboxLimits, check_program

LIMITS = SandboxLimits(seconds=10, wall_seconds=120)
"""By the clock more: on a busy machine a right program must not fail for it."""


class ProgramRuns:
    """
    What running a program with a test gave, by both; *file* only grows. Without a *file* nothing is
    kept on the disk.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._results: dict[str, list[bool]] = {}
        if file is not None and file.exists():
            for line in file.read_text("utf-8").splitlines():
                key, results = json.loads(line)
                self._results[key] = results

    def run_examples(self, program: str, test: str, function: str) -> Sequence[bool]:
        """Which examples of *test* hold, for `Checked`. Raises what running programs raises."""
        key = _fingerprint("examples", program, test, function)
        if key not in self._results:
            self._keep(key, list(run_in_sandbox(program, test, function)))
        return self._results[key]

    def passes(self, program: str, test: str, function: str, setup: str) -> bool:
        """
        Whether *program* passes the *test* that scores it. Raises SandboxError where nothing runs.
        """
        key = _fingerprint("score", program, test, function, setup)
        if key not in self._results:
            outcome = check_program(program, test, function, setup=setup, limits=LIMITS)
            self._keep(key, [outcome.passed])
        return self._results[key][0]

    def results_of(self, program: str, test: str, function: str) -> list[bool]:
        """The list that the test's `check` returns; empty where the program gives none."""
        key = _fingerprint("list", program, test, function)
        if key not in self._results:
            self._keep(key, list(check_program(program, test, function, limits=LIMITS).results))
        return self._results[key]

    def _keep(self, key: str, results: list[bool]) -> None:
        self._results[key] = results
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps([key, results]) + "\n")


def _fingerprint(*parts: str) -> str:
    return blake2b(json.dumps(parts).encode(), digest_size=12).hexdigest()
