"""The sandbox as a library: who gives the verdict, what a program reaches, and what stays behind."""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.evals.confined.plain_data import PlainDataError, decode, encode
from mixtura.evals.sandbox import Limits, SandboxError, check
from tests.hostile_programs import HARMFUL

DATA = Path(os.environ.get("MIXTURA_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
LINUX = sys.platform == "linux"
QUICK = Limits(seconds=1, patience=3, memory=256 * 1024**2)
ONE = "def check(candidate):\n    assert candidate(3) == 7\n"


def left_behind():
    """Children and descriptors of this process, by which anything left would show."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return sorted(" ".join(one.read_text() for one in children).split()), len(os.listdir("/proc/self/fd"))


def test_a_program_that_does_harm_fails_in_time_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check("def one(x): return 7", ONE, "one")  # what is kept is there now
    before, shared = left_behind() if LINUX else None, set(Path("/dev/shm").glob("*"))
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        outcomes = dict(
            zip(
                HARMFUL,
                pool.map(lambda program: check(program, ONE, "one", limits=QUICK), HARMFUL.values()),
                strict=True,
            )
        )

    assert [name for name, outcome in outcomes.items() if outcome.passed or not outcome.reason] == []
    assert time.monotonic() - started < 10 * len(HARMFUL)
    assert "memory" in outcomes["takes memory"].reason or not LINUX
    assert "1 s of the processor" in outcomes["loops"].reason
    assert "3 s" in outcomes["sleeps"].reason
    assert list(tmp_path.iterdir()) == []
    assert set(Path("/dev/shm").glob("*")) == shared
    assert not LINUX or left_behind() == before
