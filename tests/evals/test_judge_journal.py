"""A comparison or a selection that is killed counts its judge's calls like all others."""

from __future__ import annotations

import json
import signal
import threading
import time

import pytest

from tests.evals.test_eval_journal import command, result_of
from tests.support.upstream import Script, running

pytestmark = pytest.mark.filterwarnings("ignore")

CONFIG = "cache = { use = false }\n" + "".join(
    f'[models.{name}]\nbase_url = "URL"\nmodel = "{name}"\nretries = 0\n'
    "price = { input = 1.0, output = 2.0 }\n"
    for name in ("a", "b", "judge")
)
ROWS = [{"question": f"What is the number {n}?"} for n in range(10, 14)]
BEFORE = 3
"""Verdicts that are given before the judge falls silent."""


def settled(upstream, process):
    """Wait until nothing more comes in: the judge holds every call that is left."""
    end, count, still = time.monotonic() + 100, 0, 0
    while still < 10:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come that far"
        held = [r for r in upstream.records if r.model == "judge" and r.reported is None]
        now = len(upstream.records)
        still = still + 1 if held and now == count else 0
        count = now
        time.sleep(0.1)


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "a", "b"),
        ("select", "--models", "a", "b", "--aggregator", "a", "--size", "2"),
    ],
)
def test_a_killed_run_that_is_begun_again_tells_what_its_judge_was_asked(words, tmp_path):
    free, verdicts = threading.Event(), []

    def answers(record):
        if record.model != "judge":
            return Script(f"It is {record.model}.")
        verdicts.append(record)
        late = not free.is_set() and len(verdicts) > BEFORE
        return Script("Because.\nVerdict: A", delay=60 if late else 0)

    words = (*words, "--on", "rows.jsonl", "--judge", "judge", "--json")
    with running(answers) as upstream:
        (tmp_path / "mixtura.toml").write_text(CONFIG.replace("URL", upstream.base_url()))
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
        first = command(tmp_path, *words)
        settled(upstream, first)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        lost = sum(r.reported is None for r in upstream.records)
        free.set()
        told = result_of(command(tmp_path, *words))
        paid = [r.reported for r in upstream.records if r.reported is not None]
        asked = len(upstream.records)

    assert lost
    assert any(f"{lost} calls were under way" in said for said in told["warnings"]) or lost == 1
    exact = sum(row[0] + 2 * row[1] for row in paid) / 1e6
    # those under way are estimated: their prompts, and an answer as long as others
    assert exact < told["spent_usd"] < exact * 2
    if "calls" in told:
        assert told["calls"] == asked
