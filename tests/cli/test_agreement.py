"""Where the proposals agree, at the command line: asked for with a question, or of a past run."""

from __future__ import annotations

import json

import pytest

from tests.support import command_line, shell
from tests.support.agreement_reports import REPORT, is_report_request, reports_when_asked

desk = command_line.desk
shell = shell.shell


@pytest.fixture
def asks(shell):
    """The command line, with an aggregator that reports where it is asked to."""
    shell.desk.server.answers["chief"] = reports_when_asked("Because.")
    return shell


def report_requests(asks):
    return [one for one in asks.desk.server.requests if is_report_request(one)]


def test_ask_prints_the_report_below_the_answer_and_keeps_it_with_the_run(asks):
    ran = asks.run("ask", "--agreement", "Why is the sky blue?")

    assert (ran.code, ran.out) == (0, "Because.\n")
    told = ran.err[ran.err.index("Agreement ") :]
    assert told.splitlines() == [
        "Agreement 50%: 1 of 2 shared claims undisputed (2 proposals, compared by chief)",
        "Agreed",
        "  - Air scatters light. (ann, ben)",
        "Disputed",
        "  - colour",
        "    - ann: blue",
        "    - ben: red",
        "Only one says",
        "  - Said by one. (ben)",
        "Not covered",
        "  - sunset",
        "No confidence: team is not calibrated: `mixtura calibrate`.",
    ]
    shown = asks.run("show", "last").out
    assert "Agreement 50%: 1 of 2 shared claims undisputed" in shown
    assert "[4.1]" not in shown


def test_the_json_of_ask_has_the_number_the_report_and_a_confidence_of_null(asks):
    answer = asks.run("ask", "-m", "team", "--agreement", "--json", "Why?").json

    assert answer["agreement"]["number"] == 0.5
    assert answer["agreement"]["report"]["agreed"][0]["who"] == ["ann", "ben"]
    assert answer["agreement"]["reason"] is None
    assert answer["confidence"] is None
    assert answer["support"] == {"source": "agreement", "value": 0.5}
    assert [call["role"] for call in answer["calls"]] == [
        "proposer", "proposer", "aggregator", "reporter",
    ]  # fmt: skip
    plain = asks.run("ask", "--json", "Why?").json
    assert "agreement" not in plain
    assert (plain["confidence"], plain["support"]) == (None, None)


def test_a_dry_run_counts_the_report(asks):
    without, with_it = (
        asks.run("ask", "--dry-run", "--json", *more, "Why?").json for more in ([], ["--agreement"])
    )

    assert (without["calls"], with_it["calls"]) == (3, 4)
    assert with_it["max_cost_usd"] > without["max_cost_usd"]
    assert asks.desk.server.requests == []


def test_a_setting_names_another_model_for_the_report(asks):
    text = (asks.desk.folder / "mixtura.toml").read_text()
    asks.desk.write(f'{text}\n[agreement]\nmodel = "ann"\n')
    asks.desk.server.answers["ann"] = reports_when_asked("Air scatters.")

    answer = asks.run("ask", "--agreement", "--json", "Why?").json

    assert (answer["agreement"]["report"]["by"], answer["calls"][-1]["model"]) == ("ann", "ann")


def test_a_setting_that_names_no_model_is_refused_with_its_line(asks):
    text = (asks.desk.folder / "mixtura.toml").read_text()
    asks.desk.write(f'{text}\n[agreement]\nmodel = "nobody"\n')

    complaint = asks.run("ask", "--agreement", "Why?").complaint

    assert "agreement.model: " in complaint
    assert "'nobody'" in complaint


def test_a_report_that_cannot_be_read_is_said_and_the_answer_stays(asks):
    asks.desk.server.answers["chief"] = reports_when_asked("Because.", "no report")

    ran = asks.run("ask", "--agreement", "Why?")

    assert (ran.code, ran.out) == (0, "Because.\n")
    assert "No agreement report: the report of chief cannot be read." in ran.err


# ---- a past run


def test_a_past_run_is_compared_once_with_its_price_first_and_then_kept(asks):
    asks.run("ask", "--quiet", "Why?")
    before = asks.run("show", "last", "--json").json

    price = asks.run("show", "last", "--agreement", "--dry-run").out
    assert price.startswith("1 call of chief, at most ")
    assert report_requests(asks) == []

    ran = asks.run("show", "last", "--agreement")
    assert ran.err == price
    assert "Agreement 50%" in ran.out

    again = asks.run("show", "last", "--agreement", "--json")
    assert again.err == ""
    assert again.json["agreement"]["number"] == 0.5
    assert again.json["cost_usd"] > before["cost_usd"]
    assert again.json["usage"]["total_tokens"] > before["usage"]["total_tokens"]
    assert again.json["calls"][-1]["role"] == "reporter"
    assert again.json["answer"] == before["answer"]
    assert len(report_requests(asks)) == 1


def test_a_cap_holds_for_the_report_of_a_past_run(asks):
    asks.run("ask", "--quiet", "Why?")

    ran = asks.run("show", "last", "--agreement", "--max-cost", "0.000001")

    assert (ran.code, ran.out) == (4, "")
    assert "Nothing was sent" in ran.err
    assert report_requests(asks) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "team", "--agreement"), "--agreement goes with a run"),
        (("show", "--agreement"), "--agreement goes with a run"),
        (("show", "last", "--dry-run"), "--max-cost and --dry-run go with --agreement"),
    ],
)
def test_an_agreement_of_no_run_is_refused(words, said, asks):
    assert said in asks.run(*words).complaint


def test_a_conversation_reports_on_each_answer_or_on_the_last_one_when_asked(asks):
    told = asks.run("chat", "--agreement", stdin=b"Why?\nHow?\n")
    assert (told.code, told.out) == (0, "Because.\nBecause.\n")
    assert told.err.count("Agreement 50%: 1 of 2 shared claims") == 2
    assert len(report_requests(asks)) == 2

    told = asks.run("chat", stdin=b"/agreement\nWhy?\n/agreement\n/agreement\n")
    assert (told.code, told.out) == (0, "Because.\n")
    assert "nothing was asked yet" in told.err
    assert "1 call of chief, at most" in told.err
    # The second time it is what was kept with the run.
    assert told.err.count("Agreement 50%: 1 of 2 shared claims") == 2
    assert len(report_requests(asks)) == 3
    assert asks.run("show", "last", "--json").json["agreement"]["number"] == 0.5


def test_a_report_that_fails_does_not_end_the_conversation(asks):
    told = asks.run("chat", "-m", "ann", stdin=b"Why?\n/agreement\nMore?\n")

    assert told.code == 0
    assert "fewer than two proposals" in told.err
    assert len(asks.desk.server.asked("ann")) == 2


def test_proposals_are_compared_of_a_run_without_an_answer_too(asks):
    asks.desk.server.answers["ann"] = reports_when_asked("No review.")
    asks.desk.write("x = 1", "x.py")
    assert asks.run("review", "-p", "ann", "-p", "ben", "--file", "x.py").code == 3

    said = asks.run("show", "last", "--agreement").out
    assert "No answer: " in said
    assert "Agreement 50%: 1 of 2 shared claims undisputed" in said


def test_a_run_with_one_proposal_has_nothing_to_compare(asks):
    asks.run("ask", "--quiet", "-m", "ann", "Why?")

    assert "fewer than two proposals" in asks.run("show", "last", "--agreement").complaint


def test_hostile_claims_reach_the_terminal_as_text(asks):
    wild = {**REPORT, "not_covered": ["\x1b[2J\x1b]8;;http://bad.example\x07line\nbreak"]}
    asks.desk.server.answers["chief"] = reports_when_asked("Because.", json.dumps(wild))

    ran = asks.run("ask", "--agreement", "Why?")

    assert "\x1b" not in ran.err
    assert "line break" in ran.err
