"""Whether two expressions are equal, as math-verify says: in a process of its own.

Some expressions take it for ever, and only a process can be ended. This file is that process's
program, too: a line with two expressions in, a line with a verdict out. It has no keys in its
environment, a limit on memory, and one on time for each pair.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

CPU_SECONDS = 5.0
"""Of the processor, for one pair."""
WALL_SECONDS = 60.0
"""Of the clock, for one pair and the start before it: the process is ended after that."""
MEMORY_BYTES = 2 * 1024**3
RELATIVE_TOLERANCE = 1e-12
"""How far apart two numbers may lie, as a share of the larger: what is left of rounding."""

EXACT_TOLERANCE = 1e-40
"""The same of two numbers worked out to 60 digits."""


class UndecidedError(Exception):
    """The two could not be compared in time, or in the memory there is."""


class _CompareProcess:
    """The process that compares; started at the first question, and anew after it was ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None

    def are_equal(self, one: str, other: str) -> bool:
        """Whether two expressions are equal.

        Raises UndecidedError where that takes too long, or more memory than there may be.
        """
        # One question at a time: a verdict says nothing of which question it belongs to.
        with self._lock:
            line = self._exchange_line(json.dumps([one, other]).encode() + b"\n")
        verdict = json.loads(line) if line else None
        if not isinstance(verdict, bool):
            raise UndecidedError("the two could not be compared in time")
        return verdict

    def _exchange_line(self, line: bytes) -> bytes:
        running = (
            self._running if self._running and self._running.poll() is None else _start_process()
        )
        self._running = running
        assert running.stdin
        assert running.stdout
        # The process keeps its own time by the processor; one that sleeps or hangs has only this
        # clock.
        clock = threading.Timer(WALL_SECONDS, running.kill)
        clock.daemon = True
        clock.start()
        try:
            running.stdin.write(line)
            running.stdin.flush()
            return running.stdout.readline()
        except OSError:  # it has ended
            return b""
        finally:
            clock.cancel()

    def terminate(self) -> None:
        """End the process; the next question starts another."""
        running, self._running = self._running, None
        if running is None:
            return
        running.kill()
        for pipe in (running.stdin, running.stdout):
            with contextlib.suppress(OSError):
                assert pipe
                pipe.close()
        running.wait()


def _start_process() -> subprocess.Popen[bytes]:
    # The rest of our environment has keys in it, and this process reads what models wrote.
    kept = ("PATH", "PYTHONPATH", "PYTHONHOME", "SYSTEMROOT", "LANG")
    return subprocess.Popen(  # noqa: S603 - every argument is ours
        # -P: the folder of this file must not hide a package from the program.
        [sys.executable, "-P", str(Path(__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in kept if name in os.environ},
    )


_process = _CompareProcess()
atexit.register(_process.terminate)
are_equal = _process.are_equal


def is_available() -> bool:
    """Whether math-verify is installed."""
    return find_spec("math_verify") is not None


# ---- the process's own part


class _TimeLimitError(BaseException):
    """No one but the loop below catches it."""


def _limit_resources() -> Callable[[float], object]:
    """Bound this process; returns the function that sets the clock, where there is one."""
    try:
        import resource
        import signal
    except ImportError:  # Windows: only the parent's clock holds
        return _ignore_clock
    with contextlib.suppress(
        ValueError, OSError
    ):  # macOS takes no such limit; the clocks hold there
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def raise_time_limit(*_: object) -> None:
        raise _TimeLimitError

    # Ctrl-C goes to the parent's whole group; it is the parent who ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGVTALRM, raise_time_limit)
    # Time of the processor: on a busy machine a verdict must not become undecided.
    return partial(signal.setitimer, signal.ITIMER_VIRTUAL)


def _ignore_clock(seconds: float) -> None:
    """Where there is none."""


def _verify_equal(one: str, other: str) -> bool:
    import math_verify  # pyright: ignore

    # Its own limit is an alarm on the clock, which a busy machine would ring early.
    read: Any = partial(math_verify.parse, parsing_timeout=None)  # pyright: ignore
    # The target first: math-verify's comparison is not symmetric, and expects it there.
    parsed: Any = [read(rf"\boxed{{{text}}}") for text in (other, one)]
    if not all(parsed):
        return False
    if not math_verify.verify(*parsed, timeout_seconds=None):  # pyright: ignore
        return _equal_as_complex(parsed[0][0], parsed[1][0])
    target, answer = parsed[0][0], parsed[1][0]
    numbers = [getattr(part, "is_number", False) for part in (target, answer)]
    return not all(numbers) or _nearly_equal(target, answer)


def _equal_as_complex(one: Any, other: Any) -> bool:
    """Whether two exact numbers are equal where ``i``, a letter to math-verify, is the unit."""
    import sympy  # pyright: ignore

    both: list[Any] = [one, other]
    if not all(isinstance(x, sympy.Expr) and not x.has(sympy.Float) for x in both):  # pyright: ignore
        return False
    letters: list[Any] = [letter for x in both for letter in x.free_symbols]
    if any(letter.name != "i" for letter in letters):
        return False
    unit: Any = sympy.I  # pyright: ignore
    values: list[Any] = [x.subs(dict.fromkeys(letters, unit)) for x in both]  # pyright: ignore
    sizes: list[Any] = [sympy.N(sympy.Abs(x), 60) for x in (values[0] - values[1], *values)]  # pyright: ignore
    complex_one = bool(letters) or any(x.has(unit) for x in values)
    return complex_one and bool(sizes[0] <= EXACT_TOLERANCE * max(sizes[1:]))


def _nearly_equal(one: Any, other: Any) -> bool:
    """Whether two numbers are equal but for rounding; math-verify looks at six digits only."""
    import sympy  # pyright: ignore

    # As sympy's own numbers: a float makes 0 of what is very small.
    sizes: list[Any] = [sympy.N(sympy.Abs(x), 40) for x in (one - other, one, other)]  # pyright: ignore
    return bool(sizes[0] <= RELATIVE_TOLERANCE * max(sizes[1:]))


def main() -> None:
    import logging

    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # nothing that a library prints is a verdict
    clock = _limit_resources()
    import math_verify  # pyright: ignore  # noqa: F401

    for line in sys.stdin:
        verdict: bool | None = None
        try:
            clock(CPU_SECONDS)
            verdict = _verify_equal(*json.loads(line))
        except (_TimeLimitError, MemoryError):
            verdict = None
        except Exception:  # noqa: BLE001  (what it cannot read is equal to nothing)
            verdict = False
        finally:
            clock(0)
        out.write(json.dumps(verdict) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
