"""`mixtura ask` as a person runs it: answers, failures, what is known beforehand, interrupts."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import time

import pytest
from rich.console import Console

from mixtura.core.events import (
    Aggregation,
    CallStarted,
    Position,
    Proposal,
    RunCompleted,
    RunStarted,
)
from mixtura.core.types import Charge, Completion, Message, Usage, ask
from mixtura.engine.streaming import Recorder
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.sqlite import SqliteStore
from mixtura.terminal import PlainLogView, answer_notes
from tests.support import command_line
from tests.support.command_line import ANSWER, Ran, last_message
from tests.support.loopback import Answer

desk = command_line.desk


# ---------------------------------------------------------------- asking


def test_ask_answers_on_standard_output_and_tells_the_rest_on_standard_error(desk):
    ran = desk.run("ask", "Why is the sky blue?")

    assert (ran.code, ran.out) == (0, ANSWER)
    for said in ("Air scatters blue light.", "It is Rayleigh scattering.", "total", "ann", "chief"):
        assert said in ran.err
    assert ran.err.count("Air scatters") == 1
    assert "Because" not in ran.err
    assert "embedded" not in ran.err


def test_with_nothing_set_up_it_says_before_the_answer_that_it_is_not_to_be_relied_on(
    desk, embedded
):
    desk.write("")
    here = {"XDG_CACHE_HOME": str(embedded.parents[2])}
    ran = desk.run("ask", "--max-tokens", "4", "What is the capital of Australia?", env=here)
    quiet = desk.run("ask", "--max-tokens", "4", "--quiet", "Why?", env=here)

    first, *rest = ran.err.splitlines()
    assert ran.code == 0
    assert first.startswith("No API key is set and Ollama does not answer, so a very small model")
    assert first.endswith("do not rely on what it says. Better answers: mixtura pull starter")
    assert "rely" not in "".join(rest)
    assert (quiet.code, "rely" in quiet.err) == (0, False)


def test_the_embedded_model_by_name_says_the_same(desk, embedded):
    here = {"XDG_CACHE_HOME": str(embedded.parents[2])}
    ran = desk.run("ask", "-m", "smollm2-135m", "--max-tokens", "4", "Why?", env=here)

    assert ran.err.startswith("smollm2-135m is a very small model: it shows how Mixtura works;")


def test_every_proposal_reaches_the_aggregator_once_with_the_question(desk):
    desk.run("ask", "--quiet", "Why is the sky blue?")
    (shown,) = desk.server.asked("chief")

    assert [last_message(r) for r in desk.server.asked("ann")] == ["Why is the sky blue?"]
    assert last_message(shown).startswith("Why is the sky blue?")
    assert last_message(shown).count("Air scatters blue light.") == 1
    assert last_message(shown).count("It is Rayleigh scattering.") == 1


def test_a_single_model_answers_alone(desk):
    ran = desk.run("ask", "-m", "ann", "Why?")

    assert (ran.code, ran.out) == (0, "Air scatters blue light.\n")
    assert [r["model"] for r in desk.server.requests] == ["ann"]


def test_a_mixture_can_be_made_on_the_command_line(desk):
    ran = desk.run("ask", "-p", "ann", "-p", "ben*2", "-a", "chief", "--layers", "3", "--json", "Q")

    places = [(c["layer"], c["index"], c["role"], c["model"]) for c in ran.json["calls"]]
    layer = [(0, "proposer", "ann"), (1, "proposer", "ben"), (2, "proposer", "ben")]
    assert sorted(places) == [
        *((1, *place) for place in layer),
        *((2, *place) for place in layer),
        (3, 0, "aggregator", "chief"),
    ]
    assert len(desk.server.requests) == 7


def test_without_an_aggregator_the_first_proposer_brings_them_together(desk):
    ran = desk.run("ask", "-p", "ben", "-p", "ann", "--json", "Why?")

    assert [c["model"] for c in ran.json["calls"] if c["role"] == "aggregator"] == ["ben"]
    assert len(ran.json["calls"]) == 3


def test_another_aggregator_can_be_put_in_place(desk):
    ran = desk.run("ask", "-m", "team", "-a", "ben", "--quiet", "Why?")

    assert ran.out == "It is Rayleigh scattering.\n"
    assert desk.server.asked("chief") == []


def test_quiet_says_the_answer_and_nothing_else(desk):
    assert desk.run("ask", "--quiet", "Why?") == Ran(0, ANSWER, "")


def test_the_system_prompt_reaches_every_model(desk):
    desk.run("ask", "--quiet", "--system", "Speak as a pirate.", "Why?")

    assert len(desk.server.requests) == 3
    for request in desk.server.requests:
        assert request["messages"][0] == {"role": "system", "content": "Speak as a pirate."}


def test_the_callers_sampling_is_for_the_answer_and_the_seed_for_everyone(desk):
    wanted = ("--temperature", "0.1", "--max-tokens", "99", "--seed", "7")
    desk.run("ask", "--quiet", "-p", "ann*2", "-a", "chief", *wanted, "Why?")
    (chief,) = desk.server.asked("chief")

    assert (chief["temperature"], chief["max_tokens"], chief["seed"]) == (0.1, 99, 7)
    assert sorted(r["seed"] for r in desk.server.asked("ann")) == [7, 8]
    assert all(r["temperature"] == 0.7 for r in desk.server.asked("ann"))
    assert not any("max_tokens" in r for r in desk.server.asked("ann"))


@pytest.mark.parametrize(
    ("words", "piped", "asked"),
    [
        (("-",), "Why blue?\n", "Why blue?"),
        ((), "Why blue?\n", "Why blue?"),
        (("Sum this up.",), "A long text.\n", "A long text.\n\nSum this up."),
        (("-", "Sum this up."), "A long text.", "A long text.\n\nSum this up."),
        (("Why", "is", "it", "blue?"), "", "Why is it blue?"),
        (("--", "-m", "is", "what?"), "", "-m is what?"),
        (("Sum this up:", "-"), "\ufeffA long text.", "A long text.\n\nSum this up:"),
        (("what", "is", "5", "-", "3?"), "", "what is 5 - 3?"),
    ],
)
def test_the_question_comes_from_the_words_and_from_what_is_piped_in(words, piped, asked, desk):
    ran = desk.run("ask", "-m", "ann", "--quiet", *words, stdin=piped.encode())

    assert ran.code == 0, ran.err
    assert last_message(desk.server.requests[0]) == asked


def test_a_question_does_not_wait_for_a_pipe_that_says_nothing(desk):
    process = desk.start("ask", "-m", "ann", "Why?", stdin=subprocess.PIPE)

    assert process.wait(20) == 0
    assert last_message(desk.server.requests[0]) == "Why?"
    assert b"`-` waits for it" in process.stderr.read()


def test_a_dash_waits_for_what_is_piped_in(desk):
    process = desk.start("ask", "-m", "ann", "-", "Sum this up.", stdin=subprocess.PIPE)
    time.sleep(1.5)
    process.communicate(b"A long text.", timeout=20)

    assert last_message(desk.server.requests[0]) == "A long text.\n\nSum this up."


def test_another_file_is_read_when_it_is_named(desk):
    path = desk.write('default = "ben"\n' + desk.model("ben"), "other.toml")

    assert "Rayleigh" in desk.run("ask", "--quiet", "--config", str(path), "Why?").out
    assert "Rayleigh" in desk.run("ask", "--quiet", "Why?", env={"MIXTURA_CONFIG": str(path)}).out


def test_the_json_is_one_object_of_the_documented_shape(desk):
    ran = desk.run("ask", "--json", "Why?")
    told = ran.json

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("\n") == 1
    assert told["answer"] == ANSWER.strip()
    assert told["degraded"] is False
    assert told["seconds"] > 0
    assert [(c["role"], c["layer"], c["index"], c["model"]) for c in told["calls"]] == [
        ("proposer", 1, 0, "ann"),
        ("proposer", 1, 1, "ben"),
        ("aggregator", 2, 0, "chief"),
    ]
    for call in told["calls"]:
        assert 0 < call["first_token_seconds"] <= call["seconds"] <= told["seconds"]
        assert call["error"] is None
    assert [c["usage"]["prompt_tokens"] for c in told["calls"]] == [11, 12, 50]
    assert [c["usage"]["completion_tokens"] for c in told["calls"]] == [4, 4, 6]
    assert told["usage"]["prompt_tokens"] == 73
    assert told["usage"]["completion_tokens"] == 14
    assert told["calls"][0]["cost_usd"] == pytest.approx((11 + 4 * 10) / 1e6)
    assert told["cost_usd"] == pytest.approx((73 + 14 * 10) / 1e6)


def test_a_price_that_no_one_knows_is_null_not_zero(desk):
    desk.write(desk.model("ann"))
    told = desk.run("ask", "--json", "-m", "ann", "Why?").json

    assert told["cost_usd"] is None
    assert told["calls"][0]["cost_usd"] is None


def test_a_reason_for_which_several_fail_is_said_once(desk):
    for name in ("ann", "ben", "chief"):
        desk.server.answers[name] = Answer.refused(401, "the key is wrong")
    ran = desk.run("ask", "-m", "ann,ben,chief,ann*2>chief", "Why?")

    assert ran.code == 3
    lines = [line for line in ran.err.splitlines() if re.match(r"1\.\d \w+ failed", line)]
    assert [("HTTP 401" in line, "for the same reason" in line) for line in lines] == [
        (number < 1, number >= 1) for number in range(len(lines))
    ]
    (last,) = (line for line in ran.err.splitlines() if line.startswith("No answer: "))
    assert last.count("HTTP 401") == 1
    assert "3 × ann, ben, chief: HTTP 401" in last


def test_a_proposer_that_fails_is_left_out_and_named(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    told = desk.run("ask", "--json", "Why?").json
    ran = desk.run("ask", "Why?")

    assert told["degraded"] is True
    assert "the key is wrong" in told["calls"][0]["error"]
    assert told["answer"] == ANSWER.strip()
    assert (ran.code, ran.out) == (0, ANSWER)
    assert "1.1 ann failed: HTTP 401: the key is wrong" in ran.err
    assert "the key is wrong" not in last_message(desk.server.asked("chief")[0])


# ---------------------------------------------------------------- no answer


def test_too_few_proposals_end_with_three_and_every_cause(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    desk.server.answers["ben"] = Answer(("half an ans",), breaks_off=True)
    ran = desk.run("ask", "Why?")

    assert (ran.code, ran.out) == (3, "")
    assert "No answer" in ran.err
    assert "the key is wrong" in ran.err
    assert "cut off" in ran.err
    assert desk.server.asked("chief") == []
    assert "Traceback" not in ran.err


def test_a_failure_is_told_to_a_program_as_json_too(desk):
    desk.server.answers["chief"] = Answer(("Because ", "air"), breaks_off=True)
    ran = desk.run("ask", "--json", "Why?")

    assert ran.code == 3
    assert ran.json["answer"] is None
    assert "cut off" in ran.json["error"]
    assert [bool(c["error"]) for c in ran.json["calls"]] == [False, False, True]
    assert ran.json["usage"]["prompt_tokens"] > 23


@pytest.mark.parametrize("form", [(), ("--quiet",)])
def test_where_no_aggregator_answers_a_proposal_does_and_that_is_said(form, desk):
    desk.server.answers["chief"] = Answer.refused(400, "no such model")
    told = desk.run("ask", "--json", "Why?").json
    ran = desk.run("ask", *form, "Why?")

    assert told["degraded"] is True
    assert told["answer"] in ("Air scatters blue light.", "It is Rayleigh scattering.")
    assert "no such model" in told["calls"][2]["error"]
    assert (ran.code, ran.out) == (0, f"{told['answer']}\n")
    if not form:
        assert "no such model" in ran.err
        assert "closest to the others" in ran.err


def test_quiet_still_says_why_there_is_no_answer(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    ran = desk.run("ask", "--quiet", "-m", "ann", "Why?")

    assert (ran.code, ran.out) == (3, "")
    assert "the key is wrong" in ran.err


def test_a_failure_is_told_once_and_marked_in_the_table(desk):
    desk.server.answers["ann"] = Answer.refused(401, "the key is wrong")
    desk.server.answers["chief"] = Answer.refused(400, "no such model")
    ran = desk.run("ask", "Why?")
    table = ran.err.partition("tokens/s")[2]

    assert ran.err.count("the key is wrong") == ran.err.count("no such model") == 1
    assert "ann failed" in table
    assert "chief failed" in table
    assert "closest to the others" in table


def test_one_line_is_all_that_quiet_says_of_a_failure(desk):
    desk.server.answers["ann"] = Answer.refused(400, "many words " * 30 + "\n\non two lines")
    ran = desk.run("ask", "--quiet", "-m", "ann", "Why?", env={"COLUMNS": "40"})

    assert len(ran.err.splitlines()) == 1


def test_a_failure_inside_a_mixture_shows_every_seat_on_the_way(desk):
    desk.server.answers["ben"] = Answer.refused(401, "the key is wrong")
    ran = desk.run("ask", "-p", "ann", "-p", "team", "-a", "chief", "Why?")

    assert ran.code == 0
    assert "1.2 › 1.2 ben failed: HTTP 401: the key is wrong" in ran.err
    assert "1.2 › answer" in ran.err.partition("tokens/s")[2]


def test_what_was_cut_off_is_said():
    bill = (Charge("ann", Usage(9, 5), "retried"), Charge("ann", Usage(9, 1)))
    cut = Completion(Message("assistant", "A long"), "ann", "length", bill)
    said = io.StringIO()
    recorder = Recorder(PlainLogView(io.StringIO(), Console(file=said)))
    for event in (
        RunStarted("m", ask("Why?"), (("ann",), ("ann",))),
        CallStarted("ann", ask("Why?"), (Position(1, 0, "proposer"),)),
        Proposal(cut, (Position(1, 0, "proposer"),)),
        CallStarted("ann", ask("Why?"), (Position(2, 0, "aggregator"),)),
        Aggregation(cut, (Position(2, 0, "aggregator"),)),
        RunCompleted(cut),
    ):
        recorder(event)

    assert "1 proposal, then ann" in said.getvalue()
    assert "(cut off at 1 token)" in said.getvalue()
    assert answer_notes(recorder.build_trace()) == ["The answer was cut off at 1 token."]


def test_a_fallback_answers_where_the_aggregator_cannot(desk):
    desk.server.answers["chief"] = Answer.refused(500, "on fire")
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text() + 'fallbacks = ["ben"]\n')
    ran = desk.run("ask", "--json", "Why?")

    assert ran.code == 0
    assert ran.json["answer"] == "It is Rayleigh scattering."
    assert ran.json["degraded"] is True


# ---------------------------------------------------------------- beforehand


def test_a_dry_run_asks_no_one_and_tells_calls_and_the_most_they_may_cost(desk):
    ran = desk.run("ask", "--dry-run", "--json", "--max-tokens", "100", "Why?")

    assert set(ran.json) == {"calls", "max_cost_usd", "unknown_prices", "missing", "over_cap"}
    assert (ran.code, ran.json["calls"], ran.json["unknown_prices"]) == (0, 3, [])
    assert 0.08 < ran.json["max_cost_usd"] < 0.2  # two drafts of 4,096 at $10 a million, read again
    assert desk.server.requests == []


def test_a_dry_run_with_an_unknown_price_knows_no_most(desk):
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text().replace("price", "# price", 1))
    ran = desk.run("ask", "--dry-run", "--json", "Why?")

    assert (ran.json["max_cost_usd"], ran.json["unknown_prices"]) == (None, ["ann"])
    assert "No price is known for ann." in desk.run("ask", "--dry-run", "Why?").out


# ---------------------------------------------------------------- interrupted


@pytest.mark.parametrize("form", [(), ("--quiet",), ("--json",)])
def test_an_interrupt_ends_at_once_says_what_was_spent_and_hangs_up(form, desk):
    desk.server.answers["ann"] = Answer(delay=60)
    desk.server.answers["ben"] = Answer(("one ", "two ", "three "), pace=20, prompt_tokens=12)
    process = desk.start("ask", *form, "-p", "ann", "-p", "ben", "-p", "chief", "-a", "chief", "Q")
    desk.server.wait_until_asked(3)
    time.sleep(0.3)  # so that the first words have come

    process.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, err = process.communicate(timeout=20)
    took = time.monotonic() - sent

    assert process.returncode == 130
    assert took < 2
    assert b"Traceback" not in err
    assert re.search(rb"Interrupted\. Spent until now: about [56]\d tokens read, \d+ written", err)
    desk.server.wait_until_left(["ann", "ben"])
    if form == ("--json",):
        told = json.loads(out)
        assert told["answer"] is None
        assert [c["model"] for c in told["calls"]] == ["ann", "ben", "chief"]
    else:
        assert out == b""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_what_a_run_spent_that_was_told_to_end_is_written_down(number, desk):
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text() + "[budget]\nday_usd = 1.0\n")
    desk.server.answers["ben"] = Answer(delay=60)
    process = desk.start("ask", "Why?")
    desk.server.wait_until_asked(2)

    process.send_signal(number)
    out, _ = process.communicate(timeout=20)

    assert (process.returncode, out) == (-number, b"")
    store = SqliteStore(
        desk.folder.parent / "home" / ".local" / "state" / "mixtura" / "mixtura.sqlite"
    )
    spent, tokens = DailySpendLedger(store, "day").used_today()
    assert spent < 0.01
    if number == signal.SIGKILL:  # what its finished calls cost counts, the rest is free again
        assert [run["state"] for run in RunStore(store).list_runs()] == ["unfinished"]
    else:
        assert spent > 0
        assert tokens > 0
        assert [run["state"] for run in RunStore(store).list_runs()] == ["stopped"]
    store.close()
