"""What an evaluation asked is what it tells, whatever ended it, to the upstream's own ledger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time

import pytest

from mixtura.core.types import Charge, Usage, ask
from mixtura.evals.call_journal import RequestJournal, journal_path, read_tally
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
    (path,) = folder.glob("logs/calls-*.jsonl")
    return read_tally(path, priced).unfinished


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
        (tmp_path / "mixtura.toml").write_text(CONFIG.format(url=upstream.base_url()))
        (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, SUMS)))
        first = command(tmp_path, *WORDS)
        end = time.monotonic() + 120
        # three samples are answered, five wait for their two drafts each
        while len(upstream.records) < 3 * 3 + 5 * 2 or unfinished(tmp_path) > 5 * 2:
            assert time.monotonic() < end, "it did not come that far"
            time.sleep(0.05)
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
    assert "10 calls under way" in " ".join(again["notes"]), again
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


def test_half_a_line_of_a_killed_process_is_no_call_and_loses_no_other(tmp_path):
    path = journal_path(tmp_path, "x")
    request = ask("one two three four")
    with RequestJournal(path, priced) as journal:
        journal.record_charges(journal.record_request("m", request), [Charge("m", Usage(10, 4))])
        journal.record_request("m", request)
        journal.record_charges(journal.record_request("m", request), [])
    with path.open("ab") as file:
        file.write(b'{"call": "half')
    with RequestJournal(path, priced) as journal:
        journal.record_charges(journal.record_request("n", request), [Charge("n", Usage(5, 1))])
    found = read_tally(path, priced)

    assert (found.calls, found.refused, found.unfinished) == (3, 1, 1)
    assert found.completion_tokens == 4 + 4 + 1
    assert found.prompt_tokens > 15
    assert found.cost_usd == pytest.approx(
        (found.prompt_tokens + 2 * found.completion_tokens) / 1e6
    )
    assert read_tally(journal_path(tmp_path, "none"), priced) is None
