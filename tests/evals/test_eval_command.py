"""mixtura eval at the command line: the price first, the result, the exit codes, going on."""

from __future__ import annotations

import json
import os
import signal
import threading

import pytest

from mixtura import cli
from mixtura.evals import alpaca_leaderboard
from mixtura.evals.log_reader import load_evaluation
from tests.support import command_line
from tests.support.command_line import Ran
from tests.support.loopback import Answer

desk = command_line.desk

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

SUMS = [{"question": f"{n} + {n}?", "answer": f"#### {2 * n}"} for n in range(3)]
PAIRS = [
    {"instruction": f"{n}?", "output": "bad", "generator": "base"} for n in range(3)
]  # fmt: skip


@pytest.fixture
def run(desk, monkeypatch, capsys):
    """The command in this process: what it stands on takes seconds to load."""
    monkeypatch.chdir(desk.folder)
    for name in set(os.environ) - set(desk.env):
        if name.startswith(("MIXTURA_", "XDG_", "COLUMNS")) or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    for name, value in desk.env.items():
        monkeypatch.setenv(name, value)
    for name in ("DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(desk.folder / name))

    def called(*words):
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        return Ran(ended.value.code, *capsys.readouterr())

    return called


@pytest.fixture
def sums(desk):
    desk.write("\n".join(map(json.dumps, SUMS)), "sums.jsonl")
    return desk


def adds(request):
    number = int(request["messages"][-1]["content"].split()[0])
    return Answer.text(f"Answer: {2 * number}", prompt_tokens=10)


def test_the_price_is_said_first_then_the_score_and_a_second_run_pays_nothing(sums, run):
    sums.server.answers["ann"] = adds
    told = run("eval", "gsm8k", "--model", "ann", "--data", "sums.jsonl")

    assert told.code == 0, told.err
    assert told.err.startswith("Preparing the evaluation …\n3 samples, 3 calls, at most $")
    assert "gsm8k: ann" in told.out
    assert "score   100.0 %" in told.out
    assert "3 of 3 samples" in told.out
    assert "3 calls" in told.out

    again = run("eval", "gsm8k", "--model", "ann", "--data", "sums.jsonl", "--json")
    assert len(sums.server.asked("ann")) == 3
    assert (again.json["score"], again.json["reused"], again.json["n"]) == (1.0, 3, 3)
    assert again.json["cost_usd"] > 0
    assert "0 samples (3 answered before)" in again.err
    assert again.json["log"].endswith(".eval")


def test_a_dry_run_says_what_it_would_take_and_asks_nothing(sums, run):
    told = run("eval", "gsm8k", "--model", "team", "--data", "sums.jsonl", "--dry-run")

    assert told.out.startswith("3 samples, 9 calls, at most $")
    assert sums.server.requests == []


def test_what_has_no_answer_is_told_with_its_reason_and_the_exit_code_says_so(sums, run):
    sums.server.answers["ann"] = Answer.refused(400, "no such thing")
    told = run("eval", "gsm8k", "--model", "ann", "--data", "sums.jsonl")

    assert told.code == 3
    assert "score   none" in told.out
    assert "3 samples without a score" in told.out
    assert "3 × " in told.out
    assert "no such thing" in told.out


def test_a_cap_stops_with_four_and_names_what_was_not_asked(sums, run):
    words = ("--model", "ann", "--data", "sums.jsonl", "--max-cost", "0.000001")
    told = run("eval", "gsm8k", *words)

    assert told.code == 4
    assert "could cost up to" in told.out
    assert sums.server.requests == []


def test_as_many_prompts_are_in_flight_as_were_asked_for(desk, run, monkeypatch):
    """By the option, else by the variable that Inspect itself reads."""
    rows = [{"question": f"{n} + {n}?", "answer": f"#### {2 * n}"} for n in range(6)]
    desk.write("\n".join(map(json.dumps, rows)), "sums.jsonl")
    words = ("eval", "gsm8k", "--model", "ann", "--data", "sums.jsonl", "--no-cache")
    lock, in_flight, most = threading.Lock(), 0, 0

    def counted(together=None):
        def answer(request):
            nonlocal in_flight, most
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            if together:
                together.wait()  # no answer comes before so many are waited for
            with lock:
                in_flight -= 1
            return adds(request)

        return answer

    desk.server.answers["ann"] = counted()
    assert run(*words, "--connections", "1", "--logs", "one").code == 0
    assert most == 1
    desk.server.answers["ann"] = counted(threading.Barrier(2, timeout=20))
    monkeypatch.setenv("INSPECT_EVAL_MAX_CONNECTIONS", "2")
    assert run(*words, "--logs", "two").code == 0
    assert most == 2
    monkeypatch.setenv("INSPECT_EVAL_MAX_CONNECTIONS", "many")
    assert "INSPECT_EVAL_MAX_CONNECTIONS" in run(*words).complaint


def test_an_interrupt_keeps_what_was_answered_and_the_same_command_goes_on(sums):
    sums.server.answers["ann"] = lambda request: (
        Answer(delay=60) if "2 + 2" in str(request) else adds(request)
    )
    words = ("eval", "gsm8k", "--model", "ann", "--data", "sums.jsonl", "--json")
    process = sums.start(*words)
    sums.server.wait_until_asked(3, seconds=60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert b"the same command continues" in err
    assert out == b""
    sums.server.answers["ann"] = adds
    again = sums.run(*words)
    assert (again.code, again.json["n"]) == (0, 3)


def test_a_judged_task_shows_how_far_the_judge_can_be_trusted_and_writes_the_official_files(
    desk, run
):
    desk.write("\n".join(map(json.dumps, PAIRS)), "base.json")
    desk.server.answers["ann"] = Answer.text("good")
    desk.server.answers["chief"] = lambda request: Answer.text(
        "m" if '"m": "good"' in request["messages"][-1]["content"] else "M"
    )
    told = run(
        "eval", "alpaca-eval", "--model", "ann", "--judge", "chief", "--against", "base.json",
        "--write", "mine",
    )  # fmt: skip

    assert told.code == 0, told.err
    assert "alpaca-eval: ann, judged by chief" in told.out
    assert "length controlled winrate" in told.out
    assert "prefers the answer in first place" in told.out
    assert "Mixtura's own" in told.out
    rows = alpaca_leaderboard.read_annotations(desk.folder / "mine" / "annotations.json")
    assert [(row.preference, row.generator_2) for row in rows] == [(2.0, "ann")] * 3
    assert len(alpaca_leaderboard.read_outputs(desk.folder / "mine" / "model_outputs.json")) == 3
    scored = run("eval", "alpaca-eval", "--annotations", "mine/annotations.json", "--json")
    assert scored.json["n_wins"] == 3


def test_flask_draws_its_skills(desk, run):
    skills = [{"Skill": s, "Criteria": "?", "Scoring": {"1": "bad"}} for s in ("A", "B & C", "D")]
    row = {"idx": 1, "instruction": "?", "answer": "!", "skill": ["A", "B & C", "D"]}
    desk.write(json.dumps(skills), "skills.json")
    desk.write(json.dumps(row), "rows.jsonl")
    desk.server.answers["chief"] = Answer.text('{"A": 5, "B & C": "N/A", "D": 1}')
    told = run(
        "eval", "flask", "--model", "ann", "--judge", "chief", "--data", "rows.jsonl",
        "--skills", "skills.json", "--figure", "radar.svg",
    )  # fmt: skip

    assert told.code == 0, told.err
    assert "B & C" in told.out
    drawn = (desk.folder / "radar.svg").read_text()
    assert "B &amp; C" in drawn
    assert "5.00" in drawn


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gsm8k"], "gsm8k needs --model NAME."),
        (["gsm8k", "--model", "ann", "--write", "x"], "--write is for alpaca-eval, not for gsm8k."),
        (["alpaca-eval", "--model", "ann", "--weights", "w.csv"], "without a model."),
    ],
)
def test_wrong_use_is_said_in_a_line_and_asks_nothing(desk, run, words, said):
    assert said in " ".join(run("eval", *words).complaint.split())
    assert desk.server.requests == []


# ---- agreement


CLAIM = [{"claim": "the sum", "slots": [1, 2]}]
STANCES = [{"claim": "2", "slots": [1]}, {"claim": "3", "slots": [2]}]


def answers_and_reports(request):
    """Wrong about 1 + 1, where the proposals differ, too."""
    asked = request["messages"][-1]["content"]
    at_odds = "1 + 1" in asked
    if "only_one" not in asked:
        return Answer.text(f"Answer: {7 if at_odds else 0 if '0 + 0' in asked else 4}")
    agreed, disputed = ([], [{"topic": "it", "stances": STANCES}]) if at_odds else (CLAIM, [])
    report = {"agreed": agreed, "disputed": disputed, "only_one": [], "not_covered": []}
    return Answer.text(json.dumps(report))


def answers_without_a_report(request):
    report = "only_one" in request["messages"][-1]["content"]
    return Answer.text("no JSON" if report else "Answer: 0")


def test_agreement_is_reported_kept_with_each_answer_and_related_to_being_right(sums, run):
    sums.server.answers["chief"] = answers_and_reports
    words = ("eval", "gsm8k", "--model", "team", "--data", "sums.jsonl", "--agreement")

    assert run(*words, "--dry-run").out.startswith("3 samples, 12 calls, at most $")
    told = run(*words)
    assert told.code == 0, told.err
    assert "Agreement 67 % (" in told.out
    assert "over 3 answers; AUROC 1.00" in told.out
    asked = len(sums.server.requests)
    assert asked == 12

    again = run(*words, "--json").json
    assert len(sums.server.requests) == asked
    assert again["agreement"]["n"] == 3
    assert again["agreement"]["auroc"] == 1.0
    assert [row["name"] for row in again["tables"]["agreement"]] == ["100 %", "below 50 %"]
    kept = load_evaluation(again["log"])
    assert sorted(one.agreement for one in kept.answers) == [0.0, 1.0, 1.0]
    # A report is no part of the answer: its seats and its price are the mixture's.
    assert {call.role for one in kept.answers for call in one.calls} == {"proposer", "aggregator"}

    sums.server.answers["chief"] = answers_without_a_report
    told = run(*words, "--fresh", "--no-cache")
    assert "3 answers without a number: the report of chief cannot be read" in told.out
    assert told.code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "ann"), "--agreement compares proposals, but ann has fewer than two"),
        (("--outputs", "rows.json"), "--agreement compares the proposals of a mixture"),
    ],
)
def test_agreement_of_what_has_no_proposals_is_refused_before_anything_is_asked(
    words, said, sums, run
):
    sums.write(json.dumps(PAIRS), "rows.json")
    task = "gsm8k" if "--model" in words else "alpaca-eval"
    judge = () if "--model" in words else ("--judge", "ann")
    told = run("eval", task, *words, *judge, "--data",
               "sums.jsonl" if not judge else "rows.json", "--agreement")  # fmt: skip

    assert told.code == 2
    assert said in told.err
    assert sums.server.requests == []
