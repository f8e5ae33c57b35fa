"""The way of one chat request through the modules does not grow unnoticed."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.paths import ROOT


def test_the_way_of_one_chat_request_is_no_longer_than_it_was():
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "walk.py"), "--steps"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip

    *steps, last = done.stdout.splitlines()
    counted = json.loads(last)
    assert len(steps) == counted["stays"]
    assert steps[0].endswith("server/app: __call__")
    assert "models/wrappers/retry: complete" in done.stdout
    assert "transport/http1" in done.stdout
    assert counted["stays"] <= 113, done.stdout
    assert counted["rooms"] <= 64, done.stdout
    assert counted["turns_back"] <= 25, done.stdout
    assert counted["chain"]["turns_back"] <= 1, done.stdout
