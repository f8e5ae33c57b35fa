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

    *steps, chain, last = done.stdout.splitlines()
    counted = json.loads(last)
    assert len(steps) == counted["stays"]
    assert steps[0].endswith("server/app: __call__")
    assert "models/wrappers/retry: complete" in done.stdout
    assert chain.startswith("chain: server/app > server/endpoint > server/job_runner > engine/")
    assert chain.endswith(" > models/hosted > transport/client > transport/pool > transport/http1")
    assert counted["stays"] <= 116, done.stdout
    assert counted["rooms"] <= 63, done.stdout
    assert counted["turns_back"] <= 26, done.stdout
    assert counted["chain"] == {"stays": 15, "rooms": 15, "turns_back": 0}, chain
