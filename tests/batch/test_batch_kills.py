"""A batch that is killed, interrupted, or finds its journal taken: nothing lost, nothing twice."""

import asyncio
import json
import random
import signal
import sqlite3
import subprocess
import threading
import time
from contextlib import closing

import pytest

from tests.support.batches import read_lines, steady, team_toml, unavailable, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture
from tests.support.upstream import Script, running

CONCURRENCY = 4
WORDS = ("batch", "in.jsonl", "out.jsonl", "-m", "team", "--json")


def kill_until_done(desk, upstream, seed, words=WORDS):  # noqa: F811
    """Start the batch again and again and kill it after a few calls; kills, and the outcome."""
    dice, kills = random.Random(seed), 0
    while True:
        process = desk.start(*words)
        until = len(upstream.records) + dice.randint(1, 24)
        while len(upstream.records) < until and process.poll() is None:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.02))  # anywhere in a call, a commit, a line of the output
        if process.poll() is not None:
            out, err = process.communicate()
            assert process.returncode in (0, 3), err
            return kills, json.loads(out.splitlines()[-1])
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1


def kill_batches(desk, least, *, faulty):  # noqa: F811
    """Batches under kills until there were *least* of them; all of them are checked."""
    desk.write("")
    kills = seed = lost = repeated = 0
    with running(steady((0.002, 0.03), faulty)) as upstream:
        desk.write(team_toml(upstream.base_url(), concurrency=CONCURRENCY))
        names = write_rows(desk.folder / "in.jsonl", 30, equal=3)
        before = desk.run("batch", "in.jsonl", "calm.jsonl", "-m", "team", "--quiet")
        calm = (desk.folder / "calm.jsonl").read_bytes()
        assert faulty or before.code == 0
        while kills < least:
            for path in desk.folder.glob("out.*"):
                path.unlink()
            asked = len(upstream.records)
            some, end = kill_until_done(desk, upstream, seed)
            kills += some
            seed += 1
            again = len(upstream.records) - asked - 3 * len(names)
            paid = sum(one.billed and one.status == "whole" for one in upstream.records[asked:])
            assert paid - 3 * len(names) <= end["lost_calls"], "no kept answer is paid again"
            answered = [line["custom_id"] for line in read_lines(desk.folder / "out.jsonl")]
            failed = []
            if end["failed"]:
                failed = [
                    line["custom_id"] for line in read_lines(desk.folder / "out.errors.jsonl")
                ]
            assert answered == [name for name in names if name not in failed]
            assert end["lost_calls"] <= some * 4 * CONCURRENCY
            lost += end["lost_calls"]
            repeated += again
            if not faulty:
                assert (desk.folder / "out.jsonl").read_bytes() == calm
                assert 0 <= again <= end["lost_calls"]
                assert (end["lost_cost_usd"] > 0) == (end["lost_calls"] > 0)
    # Seen with -s: the figures of a soak.
    print(
        f"{kills} kills in {seed} batches, {lost} calls lost, {repeated} requests beyond one each"
    )


@pytest.mark.parametrize("faulty", [0.0, 0.15])
def test_a_killed_batch_makes_only_those_calls_again_that_were_under_way(desk, faulty):  # noqa: F811
    kill_batches(desk, 10, faulty=faulty)


@pytest.mark.soak
@pytest.mark.parametrize("faulty", [0.0, 0.15])
def test_three_hundred_kills_lose_nothing(desk, faulty):  # noqa: F811
    kill_batches(desk, 150, faulty=faulty)


def test_ctrl_c_awaits_the_calls_under_way_and_the_same_command_goes_on(desk):  # noqa: F811
    with running(steady((0.05, 0.1))) as upstream:
        desk.write(team_toml(upstream.base_url(), concurrency=CONCURRENCY))
        names = write_rows(desk.folder / "in.jsonl", 20)
        process = desk.start(*WORDS)
        while len(upstream.records) < 15:
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

        assert process.returncode == 130, err
        end = json.loads(out.splitlines()[-1])
        assert (end["ending"], end["lost_calls"]) == ("interrupted", 0)
        assert {record.status for record in upstream.records} == {"whole"}
        assert not (desk.folder / "out.jsonl").exists()

        done = desk.run(*WORDS)

        assert done.code == 0, done.err
        assert len(upstream.records) == 60, "no call was made twice"
        assert [line["custom_id"] for line in read_lines(desk.folder / "out.jsonl")] == names


def stop_twice(process):
    """Ctrl-C, and once more when that is told; what is said from then on."""
    process.send_signal(signal.SIGINT)
    said = b""
    while b"Stopping" not in said:
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=20)
    assert process.returncode == 130, said + rest
    return out, rest


def test_a_second_ctrl_c_stops_at_once(desk):  # noqa: F811
    with running(steady((30.0, 30.0))) as upstream:
        desk.write(team_toml(upstream.base_url()))
        write_rows(desk.folder / "in.jsonl", 2)
        process = desk.start("batch", "in.jsonl", "out.jsonl", "-m", "team")
        while len(upstream.records) < 4:
            time.sleep(0.002)

        _, rest = stop_twice(process)

        assert b"0 of 2 rows are done." in rest
        assert b"The same command continues from there." in rest
        with closing(sqlite3.connect(desk.folder / "out.jsonl.journal")) as journal:
            spent = journal.execute("SELECT kind, SUM(calls) FROM spent GROUP BY kind").fetchall()
        assert spent == [("failed", 4)], "they may be billed"


def test_a_second_ctrl_c_writes_what_was_answered_where_nothing_is_kept(desk):  # noqa: F811
    slow, quick = steady((30.0, 30.0)), steady()

    def script(record):
        return (slow if "Question 1?" in str(record.body) else quick)(record)

    with running(script) as upstream:
        desk.write(team_toml(upstream.base_url()))
        names = write_rows(desk.folder / "in.jsonl", 5)
        process = desk.start("batch", "in.jsonl", "-", "-m", "team")
        while [record.status for record in upstream.records].count("whole") < 12:
            time.sleep(0.002)
        time.sleep(0.3)  # until the last of them are kept

        out, rest = stop_twice(process)

        assert b"4 of 5 rows are done." in rest
        answered = [json.loads(line)["custom_id"] for line in out.splitlines()]
        assert answered == [names[0], *names[2:]]


def test_a_second_process_on_the_same_journal_is_refused(desk):  # noqa: F811
    with running(steady((1.0, 1.0))) as upstream:
        desk.write(team_toml(upstream.base_url()))
        write_rows(desk.folder / "in.jsonl", 2)
        first = desk.start(*WORDS)
        while not upstream.records:
            time.sleep(0.002)

        complaint = desk.run(*WORDS).complaint

        assert "another process is working with the journal out.jsonl.journal" in complaint
        assert "--journal" in complaint
        assert first.wait(60) == 0


def test_a_refused_process_leaves_the_standard_input_of_the_first_alone(desk):  # noqa: F811
    refused, calm = threading.Event(), steady()

    async def fails_late(wire):
        await asyncio.to_thread(refused.wait, 60)
        await unavailable(wire)

    def fails_once(record):
        # Its row is asked again at the end: the input is read once more then.
        first = "Question 0?" in record.prompt and not refused.is_set()
        return Script(ever=fails_late) if first else calm(record)

    with running(fails_once) as upstream:
        desk.write(team_toml(upstream.base_url(), retries=0))
        names = write_rows(desk.folder / "in.jsonl", 2)
        words = ("batch", "-", "out.jsonl", "-m", "team", "--format", "jsonl")
        with (desk.folder / "in.jsonl").open("rb") as rows:
            first = desk.start(*words, stdin=rows)
        while len(upstream.records) < 5:
            time.sleep(0.002)

        second = desk.run(*words, stdin=b'{"prompt": "Another?"}\n')

        assert "another process is working with the journal" in second.complaint
        refused.set()
        _, err = first.communicate(timeout=60)
        assert first.returncode == 0, err
        assert [line["custom_id"] for line in read_lines(desk.folder / "out.jsonl")] == names
        assert not list(desk.folder.glob("*input*"))


def test_what_a_killed_process_kept_of_standard_input_is_removed_by_the_next(desk):  # noqa: F811
    with running(steady((0.2, 0.3))) as upstream:
        desk.write(team_toml(upstream.base_url()))
        names = write_rows(desk.folder / "in.jsonl", 6)
        rows = (desk.folder / "in.jsonl").read_bytes()
        words = ("batch", "-", "out.jsonl", "-m", "team")
        with (desk.folder / "in.jsonl").open("rb") as stdin:
            killed = desk.start(*words, stdin=stdin)
        while not upstream.records:
            time.sleep(0.002)
        killed.send_signal(signal.SIGKILL)
        killed.communicate()
        assert len(list(desk.folder.glob("*input*"))) == 1

        done = desk.run(*words, stdin=rows)

        assert done.code == 0, done.err
        assert [line["custom_id"] for line in read_lines(desk.folder / "out.jsonl")] == names
        assert not list(desk.folder.glob("*input*"))


def small_team_toml(model_file):
    """A mixture of the embedded model with itself: short answers, the same for a seed."""
    model = f'[models.small]\nmodel = "{model_file}"\ncontext = 1024\n'
    sampling = "sampling = { temperature = 0.0, max_tokens = 6 }"
    layer = f'[[{{ model = "small", {sampling} }}, {{ model = "small", {sampling} }}]]'
    return (
        f'{model}[mixtures.team]\naggregator = {{ model = "small", {sampling} }}\n'
        f"layers = {layer}\n"
    )


@pytest.mark.soak
def test_thirty_kills_with_the_embedded_model_lose_nothing(desk, embedded):  # noqa: F811
    desk.write(small_team_toml(embedded))
    names = write_rows(desk.folder / "in.jsonl", 8)
    kills, lost, dice = 0, 0, random.Random(3)
    while kills < 30:
        for path in desk.folder.glob("out.*"):
            path.unlink()
        again = 0
        while True:
            process = desk.start(*WORDS)
            try:
                out, err = process.communicate(timeout=dice.uniform(0.5, 4.0 + again))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                again += 1
                continue
            break
        kills += again
        assert process.returncode == 0, err
        end = json.loads(out.splitlines()[-1])
        lost += end["lost_calls"]
        assert [line["custom_id"] for line in read_lines(desk.folder / "out.jsonl")] == names
        assert read_kept_calls(desk.folder / "out.jsonl.journal") == 3 * len(names)
        assert end["lost_calls"] <= again * 32
    print(f"{kills} kills with the embedded model, {lost} calls lost")


def read_kept_calls(path):
    with closing(sqlite3.connect(path)) as journal:
        return journal.execute("SELECT COUNT(*) FROM calls").fetchone()[0]
