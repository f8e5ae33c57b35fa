"""What an evaluation asked is what it tells, whatever ended it, to the upstream's own ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from mixtura.evals.kept_calls import read_tally
from tests.support.config_files import priced_model
from tests.support.forked_program import MixturaProcess
from tests.support.upstream import Script, running

pytestmark = pytest.mark.filterwarnings("ignore")

TEAM = '[mixtures.team]\nlayers = [["a", "a"]]\naggregator = "b"\n'
CONFIG = f"cache = {{{{ use = false }}}}\n{priced_model('a')}{priced_model('b')}{TEAM}"
SUMS = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 18)]
WORDS = ("eval", "gsm8k", "--model", "team", "--data", "rows.jsonl", "--json")


def command(folder, *words):
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("INSPECT_", "MIXTURA_"))}
    return MixturaProcess(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environ | {"HOME": str(folder), "XDG_STATE_HOME": str(folder), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def unfinished(folder):
    """How many calls are under way, as the evaluation has written it down."""
    (path,) = folder.glob("logs/calls-*.journal")
    return read_tally(path, priced).unfinished


def begun(folder, upstream, *, calls, under_way):
    """An evaluation that has made so many calls, of which no more are *under_way*."""
    (folder / "mixtura.toml").write_text(CONFIG.format(url=upstream.base_url()))
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, SUMS)))
    process = command(folder, *WORDS)
    end = time.monotonic() + 120
    while len(upstream.records) < calls or unfinished(folder) > under_way:
        assert time.monotonic() < end, "it did not come that far"
        time.sleep(0.05)
    return process


def result_of(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def test_a_killed_evaluation_that_is_begun_again_tells_every_call_that_was_made(tmp_path):
    held, free = threading.Event(), threading.Event()

    def answers(record):
        number = record.prompt.split("What is ")[-1].split()[0]
        late = not free.is_set() and int(number) >= 13
        if late:
            held.set()
        return Script(f"Answer: {2 * int(number)}", delay=60 if late else 0)

    with running(answers) as upstream:
        # three samples are answered, five wait for their two drafts each
        first = begun(tmp_path, upstream, calls=3 * 3 + 5 * 2, under_way=5 * 2)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        under_way = len([r for r in upstream.records if r.reported is None])
        paid = [r.reported for r in upstream.records if r.reported is not None]
        free.set()

        again = result_of(command(tmp_path, *WORDS))
        asked = len(upstream.records)
        whole = upstream.ledger()
        once_more = result_of(command(tmp_path, *WORDS))

    assert len(paid) == 9
    assert under_way == 10
    assert again["calls"] == asked
    assert (again["n"], again["refused"]) == (8, 0)
    assert "10 calls were under way" in " ".join(again["notes"]), again
    exact = [r.reported for r in upstream.records if r.reported is not None]
    # those under way are estimated: their prompts, and an answer as long as others
    assert again["completion_tokens"] >= sum(row[1] for row in exact)
    assert again["prompt_tokens"] > sum(row[0] for row in exact)
    tokens = again["prompt_tokens"] + 2 * again["completion_tokens"]
    assert again["cost_usd"] == pytest.approx(tokens / 1e6)
    assert {k: v for k, v in once_more.items() if k not in ("seconds", "reused", "notes")} == {
        k: v for k, v in again.items() if k not in ("seconds", "reused", "notes")
    }
    assert len(upstream.records) == asked
    assert whole is not None


def test_an_evaluation_that_is_begun_afresh_tells_only_its_own_calls(tmp_path):
    def answers(record):
        number = record.prompt.split("What is ")[-1].split()[0]
        return Script(f"Answer: {2 * int(number)}")

    with running(answers) as upstream:
        (tmp_path / "mixtura.toml").write_text(CONFIG.format(url=upstream.base_url()))
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, SUMS[:2])))
        first = result_of(command(tmp_path, *WORDS))
        afresh = result_of(command(tmp_path, *WORDS, "--fresh"))
        spent = upstream.ledger()

    assert first["calls"] == afresh["calls"] == 6
    assert 2 * afresh["prompt_tokens"] == spent.prompt
    assert 2 * afresh["completion_tokens"] == spent.completion


def priced(_, usage):
    return (usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6


def test_only_calls_under_way_are_made_again_and_no_other_run_takes_part(tmp_path):
    free = threading.Event()

    def answers(record):
        number = record.prompt.split("What is ")[-1].split()[0]
        late = not free.is_set() and record.model == "b" and int(number) >= 13
        return Script(f"Answer: {2 * int(number)}", delay=60 if late else 0)

    with running(answers) as upstream:
        # every draft is there, and five samples wait for their last call
        first = begun(tmp_path, upstream, calls=8 * 3, under_way=5)
        second = command(tmp_path, *WORDS)
        _, said = second.communicate(timeout=120)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        free.set()
        again = result_of(command(tmp_path, *WORDS))

    assert second.returncode == 2
    assert "another process is working with the journal" in said
    assert "--journal" not in said
    assert (again["n"], again["calls"]) == (8, 8 * 3 + 5)
    assert len(upstream.records) == 8 * 3 + 5
    drafts = [record for record in upstream.records if record.model == "a"]
    assert len(drafts) == 8 * 2
