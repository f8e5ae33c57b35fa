"""Runs at the command line: `ask` records them, `runs` lists, `show` draws them again."""

from __future__ import annotations

import base64
import random
import re
import resource
import signal
from pathlib import Path

import pytest

from tests.support import command_line
from tests.support.command_line import ANSWER, terminal
from tests.support.loopback import Answer
from tests.support.recorded_runs import KEY

desk = command_line.desk


# ---------------------------------------------------------------- ask


def state_folder(desk):
    return Path(desk.env["HOME"]) / ".local" / "state" / "mixtura"


def listed(desk, *words):
    return desk.run("runs", "--json", *words).json["runs"]


def test_ask_records_its_run_and_says_its_id_in_the_table(desk):
    ran = desk.run("ask", "Why is the sky blue?")
    (row,) = listed(desk)

    assert row["question"] == "Why is the sky blue?"
    assert (row["model"], row["state"], row["via"]) == ("team", "answered", "ask")
    assert (row["calls"], row["tokens"]) == (3, 87)
    assert row["cost_usd"] == pytest.approx((73 + 14 * 10) / 1e6)
    (last,) = [line for line in ran.err.splitlines() if line.startswith("total")]
    assert f"run {row['id']}" in last
    assert ran.err.count(row["id"]) == 1


@pytest.mark.parametrize("form", ["--quiet", "--json"])
def test_every_form_of_ask_is_recorded_and_the_json_says_where(form, desk):
    ran = desk.run("ask", form, "Why?")
    (row,) = listed(desk)

    assert ran.err == ""
    if form == "--json":
        assert ran.json["run"] == row["id"]
        assert ran.json.keys() - {"run", "error"} <= desk.run("show", "last", "--json").json.keys()


def test_what_a_team_on_the_command_line_is_called_makes_it_again(desk):
    desk.run("ask", "-p", "ann", "-p", "ben*2", "-a", "chief", "--layers", "3", "--quiet", "Q")
    (row,) = listed(desk)

    assert row["model"] == "ann,ben*2>ann,ben*2>chief"
    assert desk.run("show", row["model"], "--json").json["calls"] == 7


def test_a_run_that_failed_and_one_that_was_stopped_are_recorded_with_the_reason(desk):
    desk.server.answers["chief"] = Answer(("Because ", "air"), breaks_off=True)
    assert desk.run("ask", "Why?").code == 3
    desk.server.answers["ann"] = Answer(("slow ",) * 9, pace=30)
    process = desk.start("ask", "-m", "ann", "How?")
    desk.server.wait_until_asked(4)
    assert process.stdout.read(5) == b"slow "
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert desk.run("ask", "--max-cost", "0", "Whence?").code == 4

    assert [(row["question"], row["state"]) for row in listed(desk)] == [
        ("Whence?", "stopped"),
        ("How?", "stopped"),
        ("Why?", "failed"),
    ]
    first, second, third = (desk.run("show", r["id"], "--json").json for r in listed(desk))
    assert "max-cost" in first["error"] or "$0" in first["error"]
    assert (second["error"], second["calls"][0]["text"]) == ("interrupted", "slow ")
    assert "cut off" in third["error"]
    assert third["calls"][0]["text"] == "Air scatters blue light."


@pytest.mark.parametrize(
    ("table", "option", "kept"),
    [
        ("", (), True),
        ("", ("--no-keep",), False),
        ("[runs]\nkeep = false\n", (), False),
        ("[runs]\nkeep = false\n", ("--keep",), True),
        ("[runs]\nmegabytes = 0\n", (), False),
    ],
)
def test_whether_runs_are_kept_is_said_in_the_file_or_for_one_run(table, option, kept, desk):
    desk.write((desk.folder / "mixtura.toml").read_text() + table)
    ran = desk.run("ask", *option, "--json", "Why?")

    assert ran.json["answer"] == ANSWER.strip()
    assert (ran.json["run"] is not None) == kept
    assert bool(listed(desk)) == kept


def test_a_run_that_cannot_be_kept_says_so_and_is_answered(desk):
    desk.write(f'store = "mixtura.toml/s"\n{(desk.folder / "mixtura.toml").read_text()}')
    ran = desk.run("ask", "Why?")

    assert (ran.code, ran.out) == (0, ANSWER)
    assert ran.err.count("this run is not kept") == 1
    assert "total" in ran.err


def test_a_full_disk_loses_the_run_and_not_the_answer(desk):
    desk.run("ask", "--quiet", "Why?")
    size = (state_folder(desk) / "mixtura.sqlite").stat().st_size
    process = desk.start(
        "ask", base64.b64encode(random.Random(2).randbytes(90000)).decode(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip
    out, err = process.communicate(timeout=30)

    assert (process.returncode, out.decode()) == (0, ANSWER), err
    assert b"this run is not kept" in err
    # What was kept of its beginning is deleted, where the disk has room for that.
    *lost, first = (run["state"] for run in listed(desk))
    assert (lost in ([], ["unfinished"]), first) == (True, "answered")


def test_no_key_reaches_the_disk(desk):
    desk.env |= {"HOUSE_KEY": KEY}
    desk.server.answers["ann"] = Answer.refused(401, f"Incorrect API key provided: {KEY}")
    desk.server.answers["chief"] = Answer(("It is sk-very-sec", "ret-0123456789."))
    desk.write(desk.model("ann", 'api_key_env = "HOUSE_KEY"') + desk.model("ben")
               + desk.model("chief", 'api_key_env = "HOUSE_KEY"'))  # fmt: skip
    asked = ("ask", "-p", "ann", "-p", "ben", "-a", "chief", f"What is {KEY}?")
    assert desk.run(*asked).code == 0
    told = desk.run("show", "last", "--json")

    assert any(KEY in headers.get("Authorization", "") for headers in desk.server.headers)
    assert KEY not in told.out
    assert told.json["answer"] == "It is ***."
    assert KEY.encode() not in b"".join(p.read_bytes() for p in state_folder(desk).iterdir())


# ---------------------------------------------------------------- runs, show


def test_runs_lists_the_newest_first_and_finds_words(desk):
    for asked in ("What is the sea?", "What is the sky?", "Who\x1b[31m are\nyou?"):
        desk.run("ask", "-m", "ann", "--quiet", asked)
    ran = desk.run("runs")

    lines = ran.out.splitlines()[2:]
    assert [line.partition("today")[2].split(maxsplit=4)[4].rstrip() for line in lines] == [
        "Who are you?",
        "What is the sky?",
        "What is the sea?",
    ]
    assert "sea" in desk.run("runs", "SEA", "what").out
    assert "sky" not in desk.run("runs", "SEA", "what").out
    assert desk.run("runs", "--json", "--limit", "2").json["more"] is True
    assert desk.run("runs", "--json", "--limit", "3").json["more"] is False
    assert "more" in desk.run("runs", "--limit", "2").err
    assert "No run has all" in desk.run("runs", "zebra").err


def test_before_the_first_run_nothing_is_wrong(desk):
    ran = desk.run("runs")

    assert (ran.code, ran.out) == (0, "")
    assert "No run is kept yet" in ran.err
    assert desk.run("runs", "--json").json == {"runs": [], "more": False}
    assert "no run is kept yet" in desk.run("show", "last").complaint


def test_a_run_that_is_deleted_is_gone(desk):
    ids = [desk.run("ask", "-m", "ann", "--json", asked).json["run"] for asked in "abc"]
    gone = desk.run("runs", "--delete", ids[0], "--delete", "last")

    assert gone.out.split() == ["deleted:", ids[0], "deleted:", ids[2]]
    assert [row["id"] for row in listed(desk)] == [ids[1]]
    assert "no run is called" in desk.run("runs", "--delete", ids[0]).complaint


def test_show_draws_a_run_as_it_was(desk):
    desk.server.answers["ben"] = Answer.refused(401, "the key is wrong")
    seen = desk.run("ask", "Why is the sky blue?")
    shown = desk.run("show", "last")

    table = seen.err[seen.err.index("        model") :]
    rows = [line.split() for line in table.splitlines() if line[:1] in ("1", "a")]
    assert rows
    assert [line.split() for line in shown.out.splitlines() if line[:1] in ("1", "a")] == rows
    order = ["Why is the sky blue?", "[1.1] ann", "Air scatters", "[1.2] ben", "the key is wrong",
             "[answer] chief", "Because air", "total"]  # fmt: skip
    assert sorted(order, key=shown.out.index) == order
    assert shown.err == ""


def test_show_at_a_terminal_puts_the_proposals_side_by_side(desk):
    desk.server.answers["ann"] = Answer.text("word " * 200 + "the end")
    run_id = desk.run("ask", "--json", "Why?").json["run"]
    screen = terminal(desk, "show", run_id[9:13])

    assert screen.close() == 0
    assert any("1.1 ann" in line and "1.2 ben" in line for line in screen.lines)
    assert "the end" in screen.text
    assert "more line" not in screen.text
    assert "Because air scatters blue light most." in screen.text
    assert "Answer by chief" in screen.text


def test_a_hostile_run_shown_again_stays_text(desk):
    hostile = "\x1b[31mred\x1b]0;title\x07 \u202ebackwards [bold]b[/bold]"
    for name in ("ann", "ben", "chief"):
        desk.server.answers[name] = Answer((hostile,))
    desk.run("ask", "--quiet", hostile)
    screen = terminal(desk, "show", "last")

    assert screen.close() == 0
    assert "\x1b[31mred" not in screen.raw
    assert not {"\x07", "\u202e"} & set(screen.raw)
    assert "[bold]b[/bold]" in screen.text
    assert "\x1b" not in desk.run("show", "last").out + desk.run("runs").out
    assert "\x1b" not in desk.run("show", "last", "--json").out


def test_the_json_of_a_run_is_what_ask_said_and_who_said_what(desk):
    told = desk.run("ask", "--json", "Why?").json
    kept = desk.run("show", told["run"], "--json").json

    assert kept["answer"] == told["answer"] == "".join(s["text"] for s in kept["sentences"])
    assert [c["text"] for c in kept["calls"]] == [c["text"] for c in told["calls"]]
    assert all(c["similarity"].keys() == {"levenshtein", "tfidf"} for c in kept["calls"])
    assert kept["started"].endswith("Z")


def test_a_run_is_written_as_one_file_of_html(desk):
    desk.server.answers["chief"] = Answer.text("</script><b>Größe</b> of the sky")
    desk.run("ask", "--quiet", "Why?")
    ran = desk.run("show", "last", "--html", "run.html")
    whole = (desk.folder / "run.html").read_text(encoding="utf-8")

    assert (ran.code, ran.out) == (0, "")
    assert whole.startswith("<!doctype html>")
    assert "</script><b>" not in whole
    assert 'src="http' not in whole
    assert desk.run("show", "last", "--html", "-").out.startswith("<!doctype html>")
    assert desk.run("show", "last", "--html", "no/such/folder/x").code == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "papper"), "no mixture and no run is called 'papper': did you mean 'paper'?"),
        (("show", "zzzz"), "no mixture and no run is called 'zzzz': `mixtura show` lists"),
        (("show", "2"), "'2' may be 2"),
        (("show", "team", "--html", "x"), "--html goes with a run"),
        (("show", "--html", "x"), "--html goes with a run"),
        (
            ("runs", "--delete", "zzzz"),
            "no run is called 'zzzz': `mixtura runs` lists them, 'last' is the newest",
        ),
        (("runs", "--limit", "0"), "--limit"),
    ],
)
def test_a_wrong_name_says_what_would_be_right(words, said, desk):
    for asked in ("a", "b"):
        desk.run("ask", "-m", "ann", "--quiet", asked)

    assert said in desk.run(*words).complaint


def test_a_mixture_goes_before_a_run_of_its_name(desk):
    desk.run("ask", "--quiet", "Why?")
    desk.write((desk.folder / "mixtura.toml").read_text() + desk.model("last"))

    assert desk.run("show", "last", "--json").json["aggregator"] == "last"


def test_what_a_judge_says_of_drafts_is_shown_as_none_of_them(desk):
    desk.server.answers["picker"] = Answer.text('{"best": [2]}')
    layers = 'pattern = "sparse"\nlayers = [["ann", "ben"]]\naggregator = "chief"'
    team = f'[mixtures.few]\n{layers}\njudge = "picker"\nkeep = 1\n'
    desk.write((desk.folder / "mixtura.toml").read_text() + desk.model("picker") + team)

    asked = desk.run("ask", "-m", "few", "Why?")
    shown = desk.run("show", "last")
    judged = desk.run("show", "last", "--json").json["calls"][2]

    for told in (asked.err, shown.out):
        assert "best" not in told
        assert "judge 1.1  picker" in told
        assert len(re.findall(r"^1\.1 +ann", told, re.MULTILINE)) == 1
    assert (judged["role"], judged["layer"], judged["text"]) == ("judge", 1, '{"best": [2]}')
