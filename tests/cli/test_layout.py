"""What commands print at 80 and at 160 columns, and how far something is that takes long."""

from __future__ import annotations

import io
import itertools
from types import SimpleNamespace

import pytest
from rich.console import Console

from mixtura.catalog import local_models
from mixtura.cli.progress import (
    LineTracker,
    ProgressDisplay,
    show_progress,
)
from mixtura.core.text import format_duration
from tests.support import shell as in_process
from tests.support.loopback import Answer

desk, shell = in_process.desk, in_process.shell

WIDTHS = pytest.mark.parametrize("width", [80, 160])


@WIDTHS
def test_runs_has_whole_ids_and_times_and_fits(width, shell):
    shell.desk.server.answers["bad"] = Answer.refused(400, "no")
    shell.desk.write((shell.desk.folder / "mixtura.toml").read_text() + shell.desk.model("bad"))
    for model, asked in (("ann", "Why " + "blue " * 40), ("bad", "Why?"), ("team", "How?")):
        shell.run("ask", "-m", model, asked)
    ids = [row["id"] for row in shell.run("runs", "--json").json["runs"]]
    lines = shell.run("runs", COLUMNS=str(width)).out.splitlines()

    assert [line.split()[0] for line in lines[2:]] == ids
    assert max(map(len, lines)) <= width
    assert all("today " in line for line in lines[2:])
    assert "…" not in "".join(line[: line.index("today") + 20] for line in lines[2:])
    assert ("seconds" in lines[0]) is (width == 160)
    assert "failed: Why?" in lines[3]


@pytest.mark.parametrize("width", [10, 17, 30, 40, 60])
def test_an_id_is_whole_however_narrow_it_is(width, shell):
    run = shell.run("ask", "-m", "ann", "--json", "Why?").json["run"]
    said = shell.run("runs", COLUMNS=str(width)).out

    assert run in "".join(said.split())
    assert max(map(len, said.splitlines())) <= width


@WIDTHS
def test_show_lists_every_mixture_and_who_answers_whole(width, shell):
    told = shell.run("show", "--json").json
    lines = shell.run("show", COLUMNS=str(width)).out.splitlines()

    assert max(map(len, lines)) <= width
    for row in told:
        (line,) = (one for one in lines if one.split()[0] == row["name"])
        assert line.split()[2] == str(row["calls"])
        assert line.split()[4] == row["aggregator"]


@WIDTHS
def test_models_has_every_name_and_figure_whole(width, shell):
    said = shell.run("models", COLUMNS=str(width)).out

    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    for model in local_models.known_models().values():
        line = next(one for one in said.splitlines() if one.startswith(f"{model.name} "))
        assert f"{model.size / 1e9:.1f} GB" in line
        assert model.license.split()[0] in line


@WIDTHS
def test_doctor_cuts_no_address_name_or_variable(width, shell):
    shell.desk.server.answers["bad"] = Answer.refused(400, "a " + "long " * 30 + "reason")
    shell.desk.write((shell.desk.folder / "mixtura.toml").read_text() + shell.desk.model("bad"))
    secret = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
    ran = shell.run("doctor", COLUMNS=str(width), OPENAI_API_KEY=secret)

    assert ran.code == 3
    # The first line is the path of a file: whole, so that it can be copied.
    assert max(map(len, ran.out.splitlines()[1:])) <= width
    assert "…" not in ran.out
    assert f" {shell.desk.server.base_url} " in ran.out
    assert "reason" in ran.out
    assert "INSPECT_EVAL_MAX_CONNECTIONS" in ran.out
    assert secret[8:] not in ran.out + ran.err


LONG = "a-model-with-a-very-long-name-that-somebody-chose-for-a-fine-tune-of-theirs"


@WIDTHS
def test_a_very_long_name_leaves_room_for_what_is_said_of_its_model(width, shell):
    shell.desk.write(shell.desk.model(LONG) + shell.desk.model("ann"))
    lines = shell.run("doctor", COLUMNS=str(width)).out.splitlines()
    table = lines[lines.index("Test calls of one token") :]

    assert max(map(len, lines[1:])) <= width
    assert sum(line.endswith("  works") for line in table) == 2
    assert LONG in "".join(line.split("  ")[0].strip() for line in table)


@WIDTHS
def test_what_a_last_step_does_stands_under_its_heading(width, shell):
    lines = shell.run("show", "gate", COLUMNS=str(width)).out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("   layers 2 to 3 ("))

    last = next(i for i in range(first, len(lines)) if lines[i].endswith(")"))
    assert last - first == (1 if width == 80 else 0)
    assert all(line.startswith("      ") for line in lines[first + 1 : last + 1])
    assert max(map(len, lines[: last + 1])) <= width


def test_doctor_lists_the_variables_that_are_read_by_name_alone(shell):
    secret = "sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"
    shell.desk.write(shell.desk.model("ann", 'api_key_env = "HOUSE_KEY"'))
    ran = shell.run("doctor", "--json", HOUSE_KEY=secret, MIXTURA_CACHE="/somewhere/else")
    rows = {row["name"]: row for row in ran.json["environment"]}

    assert rows["HOUSE_KEY"]["set"] is True
    assert rows["MIXTURA_CACHE"]["set"] is True
    assert rows["MIXTURA_CONFIG"]["set"] is False
    assert rows["OPENAI_API_KEY"]["purpose"] == "API key for openai"
    assert secret not in ran.out
    assert "/somewhere/else" not in ran.out


# ---------------------------------------------------------------- progress


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "0 s"), (59, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_a_duration_is_said_as_people_do(seconds, said):
    assert format_duration(seconds) == said


def test_a_log_gets_a_line_at_every_tenth_with_the_time_left_and_one_at_the_end():
    clock = itertools.count(0, 6)
    tracker = LineTracker(lambda: next(clock))
    said = [tracker.line_due(done, 100) for done in (0, 5, 10, 11, 50, 100, 100)]

    assert said == [
        None, None, ", about 1 min 48 s left", None, ", about 24 s left", " in 30 s", None,
    ]  # fmt: skip


def test_what_an_earlier_run_has_done_is_not_taken_for_speed():
    clock = iter([0, 100])
    tracker = LineTracker(lambda: next(clock))

    assert tracker.line_due(50, 100) is None
    assert tracker.line_due(60, 100) == ", about 6 min 40 s left"


def test_what_is_quick_says_its_end_alone():
    tracker = LineTracker(lambda: 0.0)
    said = [tracker.line_due(done, 10) for done in range(11)]

    assert said == [None] * 10 + [" in 0 s"]


def log_console():
    return Console(file=io.StringIO(), force_terminal=False, width=60, highlight=False)


def screen_console():
    return Console(file=io.StringIO(), force_terminal=True, width=80, highlight=False)


def counts(done, total, failed=0):
    return SimpleNamespace(done=done, total=total, failed=failed)


def test_an_evaluation_in_a_log_is_plain_lines():
    console = log_console()
    clock = itertools.count(0, 6)
    display = ProgressDisplay(console, None, lambda: next(clock))
    for done in (0, 5, 10):
        display("team", counts(done, 10, done // 5))

    assert console.file.getvalue().splitlines() == [
        "team: 5 of 10 prompts, about 6 s left, 1 failed",
        "team: 10 prompts done in 12 s, 2 failed",
    ]


def test_an_evaluation_at_a_terminal_is_a_bar_with_the_time_left():
    console = screen_console()
    with show_progress(console) as progress:
        progress("team", counts(3, 10, 1))
    drawn = console.file.getvalue()

    for said in ("team", "3/10", "left", "1 failed"):
        assert said in drawn
    with show_progress(console, quiet=True) as progress:
        assert progress is None
