"""Functions that a model wrote, tested where they can reach nothing and cannot give the verdict.

Two processes that the kernel confines (`confined.isolation`) talk over two pipes: one runs the
program, the other the test. Each call of the test is a message, its result is read as plain
data, and the verdict comes from the process in which no line of the program ever runs.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from mixtura.programs.confined import worker
from mixtura.programs.confined.isolation import Isolation
from mixtura.programs.confined.memory_import import pack_stdlib

MEGABYTE = 1024**2
_REPORT_BYTES = 64 * 1024
"""Bytes of a checker's report that are read."""
_STOP_INTERVAL = 0.1
# More at once would share the processors and run into the limit of the clock.
_AT_ONCE = threading.BoundedSemaphore(max(1, os.cpu_count() or 1))
_WORKER_COMMAND = (
    "import sys; sys.path.insert(0, sys.argv[1]); from confined.worker import main; main()"
)


class SandboxError(RuntimeError):
    """Nothing can be said of the program: the machine confines nothing, or the test is no test."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What each process may take: seconds of the processor, of the clock; bytes of memory."""

    seconds: float = 10.0
    wall_seconds: float = 30.0
    memory: int = 1024 * MEGABYTE


@dataclass(frozen=True, slots=True)
class SandboxOutcome:
    """
    Whether a program passed its test; if not, why, in words of ours and of the test.

    *reason* has nothing that the program says. *isolation* is what confined it.
    """

    passed: bool
    reason: str
    isolation: Isolation
    results: tuple[bool, ...] = ()
    """What `check` returned, where that is a list: whether each of its examples holds."""


def check_program(
    program: str,
    test: str,
    entry_point: str,
    *,
    setup: str = "",
    limits: SandboxLimits | None = None,
    stop: threading.Event | None = None,
) -> SandboxOutcome:
    """
    Run *test*, whose `check` is called with the function *entry_point* of *program*.

    *setup* comes before both: imports and helpers that the test may use, too. What the test
    passes and what comes back is plain data: numbers, texts, bytes and the containers of the
    language. Takes its turn: as many at once as there are processors. Where *stop* is set it ends
    at once. Raises SandboxError where nothing was run, it was stopped or the test itself is at
    fault: that is neither a pass nor a failure.
    """
    limits = limits or SandboxLimits()
    task: dict[str, Any] = {
        "setup": setup, "entry_point": entry_point,
        "seconds": limits.seconds, "memory": limits.memory, "parent": os.getpid(),
    }  # fmt: skip
    try:
        with _AT_ONCE, _ProcessPair(task, program, test) as pair:
            return pair.wait_for_outcome(limits, stop or threading.Event())
    except OSError as error:
        raise SandboxError(f"the sandbox could not be started: {error}") from None


_UNCONFINED_MESSAGE = (
    "this machine does not confine programs, so none was run (it takes Linux with seccomp on "
    "x86-64 or ARM64, or macOS)"
)


@cache
def ensure_available() -> None:
    """Check that this machine confines programs. Raises SandboxError, in a sentence, where not."""
    check_program("def one():\n    return 1", "def check(f):\n    assert f() == 1", "one")


class _ProcessPair(ExitStack):
    """The two processes of one check; after the block neither is left, whatever happened."""

    def __init__(self, task: dict[str, Any], program: str, test: str) -> None:
        super().__init__()
        self._task, self._program, self._test = task, program, test

    def __enter__(self) -> _ProcessPair:
        super().__enter__()
        try:
            # Our copies of their ends are closed again: an end of file comes only when no one holds
            # the other.
            with ExitStack() as theirs:
                calls_in, calls_out = _open_pipe(theirs, theirs)
                replies_in, replies_out = _open_pipe(theirs, theirs)
                self._verdicts, verdicts_out = _open_pipe(self, theirs)
                self._candidate = self._start_process(
                    {"program": self._program}, calls_in, replies_out
                )
                self._checker = self._start_process(
                    {"test": self._test}, replies_in, calls_out, verdicts_out
                )
        except BaseException:
            self.close()
            raise
        return self

    def _start_process(self, part: dict[str, str], *descriptors: int) -> subprocess.Popen[bytes]:
        words = [*descriptors, -1][:3]
        # A file, not a pipe: a pipe would have to be read while it is written, and no one reads it
        # yet.
        with tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(self._task | part).encode())
            stdin.seek(0)
            library = _library_descriptor()
            process = subprocess.Popen(  # noqa: S603  (untrusted it is: see the module's line)
                [
                    sys.executable, "-I", "-S", "-B", "-c", _WORKER_COMMAND,
                    *map(str, (Path(worker.__file__).parents[1], library, *words)),
                ],
                stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                pass_fds=(library, *descriptors), cwd="/", env={}, start_new_session=True,
            )  # fmt: skip
        self.callback(_kill_process, process)
        return process

    def wait_for_outcome(self, limits: SandboxLimits, stop: threading.Event) -> SandboxOutcome:
        report, late = self._read_report(time.monotonic() + limits.wall_seconds, stop)
        isolation, verdict = report.get("isolation"), report.get("outcome")
        if isolation is None:
            late_reason = f"nothing came within {limits.wall_seconds:g} s" if late else ""
            raise SandboxError(
                f"{_UNCONFINED_MESSAGE}: {report.get('said') or late_reason or 'no process starts'}"
            )
        if verdict == "refused":
            raise SandboxError(f"{_UNCONFINED_MESSAGE}: {report['reason']}")
        if verdict == "unusable":
            raise SandboxError(f"the test cannot be used: {report['reason']}")
        if verdict in ("passed", "failed"):
            results = tuple(report.get("results") or ())
            return SandboxOutcome(verdict == "passed", report["reason"], isolation, results)
        if late:
            return SandboxOutcome(
                False, f"it was not done after {limits.wall_seconds:g} s", isolation
            )
        return SandboxOutcome(False, self._exit_reason(verdict, limits), isolation)

    def _read_report(self, deadline: float, stop: threading.Event) -> tuple[dict[str, Any], bool]:
        """All that the checker reports, and whether the deadline came first."""
        # Not select(), which takes no descriptor above 1,023: a server may have that many.
        waiting = select.poll()
        waiting.register(self._verdicts, select.POLLIN)
        read = b""
        while len(read) < _REPORT_BYTES:
            if stop.is_set():
                raise SandboxError("it was called off")
            left = deadline - time.monotonic()
            if left <= 0:
                return _merge_report_rows(read), True
            # In short waits: it may be called off meanwhile.
            if not waiting.poll(min(left, _STOP_INTERVAL) * 1000):
                continue
            more = os.read(self._verdicts, _REPORT_BYTES)
            if not more:
                break
            read += more
        return _merge_report_rows(read), False

    def _exit_reason(self, verdict: object, limits: SandboxLimits) -> str:
        """Why one of them ended before the verdict, as the kernel has it."""
        ended = self._candidate if verdict == "ended" else self._checker
        # The pipe is closed a moment before the kernel says how the process ended.
        with suppress(subprocess.TimeoutExpired):
            if ended.wait(1) in (-signal.SIGXCPU, -signal.SIGKILL):
                return f"it used more than {limits.seconds:g} s of the processor"
        if ended is self._checker:
            return "its result broke the test's process off"
        return "it ended its process, or broke off the talk with the test"


def _open_pipe(reader: ExitStack, writer: ExitStack) -> tuple[int, int]:
    reading, writing = os.pipe()
    reader.callback(os.close, reading)
    writer.callback(os.close, writing)
    return reading, writing


def _kill_process(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


def _merge_report_rows(read: bytes) -> dict[str, Any]:
    """The rows of a report as one; the checker's own, so only the last can be cut off."""
    merged: dict[str, Any] = {}
    for line in read.splitlines():
        with suppress(ValueError):
            merged |= cast("dict[str, Any]", json.loads(line))
    return merged


@cache
def _library_descriptor() -> int:
    """A descriptor of the standard library for `memory_import`, once for all processes."""
    with tempfile.TemporaryFile() as file:
        pack_stdlib(cast("BinaryIO", file))
        return os.dup(file.fileno())
