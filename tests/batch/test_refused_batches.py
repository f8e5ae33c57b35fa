"""Providers that refuse what is asked of a batch: no call is lost, and none is paid twice."""

import sqlite3
import time
from contextlib import closing

import pytest

from mixtura.batch.ordered_output import ROWS as ROWS_DONE
from mixtura.batch.resume import SINCE
from tests.batch.test_provider_batches import ROWS, WORDS, answers, folder, team_of  # noqa: F401
from tests.support.batch_provider import provider_fake
from tests.support.batches import read_lines, write_rows
from tests.support.command_line import desk  # noqa: F401 - a fixture

ONE_MODEL = ("batch", "in.jsonl", "out.jsonl", "-m", "a", *WORDS[5:])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_batch_that_can_no_longer_be_cancelled_is_waited_for(folder, provider):  # noqa: F811
    with provider_fake(seconds=600, refuses={"cancel": 400}) as fake:
        folder.write(team_of(provider, fake))

        done = folder.run(*ONE_MODEL, "auto", "--within", "8s")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert (len(fake.batches), len(fake.live)) == (1, 0), "they are paid in the batch"


@pytest.mark.parametrize("wrong", ["create", "read", "results"])
def test_what_a_provider_refuses_of_a_batch_costs_no_row_its_answer(folder, wrong):  # noqa: F811
    with provider_fake(refuses={wrong: 404 if wrong != "create" else 400}) as fake:
        folder.write(team_of("openai", fake))

        done = folder.run(*ONE_MODEL, "auto")

        assert done.code == 0, done.err
        assert len(answers(folder)) == sum(fake.live.values()) == ROWS
        assert f"no {wrong} here" in done.err


@pytest.mark.parametrize(("wrong", "again"), [(401, False), (404, True)])
def test_a_batch_that_cannot_be_read_is_asked_again_only_where_it_is_gone(folder, wrong, again):  # noqa: F811
    with provider_fake(refuses={"read": wrong}) as fake:
        folder.write(team_of("openai", fake))
        failed = folder.run(*ONE_MODEL, "only")
        assert failed.code == 3, failed.err
        said = read_lines(folder.folder / "out.errors.jsonl")[0]["error"]["message"]
        assert "no read here" in said
        fake.refuses.clear()

        done = folder.run(*ONE_MODEL, "only", "--retry-failed")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert (len(fake.batches) > 1, len(fake.live)) == (again, 0)


@pytest.mark.parametrize("lost_replies", [0, 1])
def test_only_ends_in_time_though_its_provider_is_down_and_pays_nothing_twice(folder, lost_replies):  # noqa: F811
    wrong = "list" if lost_replies else "read"
    with provider_fake(refuses={wrong: 503}, lost_replies=lost_replies) as fake:
        folder.write(team_of("openai", fake))

        late = folder.run(*ONE_MODEL, "only", "--within", "6s")

        assert late.code == 4, late.err
        fake.refuses.clear()
        done = folder.run(*ONE_MODEL, "only", "--within", "2h")
        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice, len(fake.live)) == (1, [], 0)


def test_a_batch_of_another_that_is_deleted_meanwhile_is_not_taken_for_ours(folder):  # noqa: F811
    with provider_fake(lost_replies=1) as fake:
        folder.write(team_of("anthropic", fake))
        other = {"custom_id": "theirs", "body": {"model": "theirs", "messages": []}}
        fake.deleted.add(fake.make_batch([other] * ROWS, asked={})["id"])
        fake.paid.clear()

        done = folder.run(*ONE_MODEL, "only")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert (len(fake.batches), fake.paid_twice) == (2, [])


def test_what_finds_a_providers_queue_full_goes_out_later_in_smaller_batches(folder):  # noqa: F811
    with provider_fake(full=2) as fake:
        folder.write(team_of("openai", fake))

        done = folder.run(*ONE_MODEL, "only")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        sizes = [len(one["rows"]) for one in fake.batches.values()]
        assert (sizes[:3], sum(sizes[3:])) == ([4, 2, 2], 2)
        assert (fake.paid_twice, len(fake.live)) == ([], 0)


def test_many_short_rows_go_to_google_as_a_file_since_their_answers_may_be_long(folder):  # noqa: F811
    with provider_fake() as fake:
        folder.write(team_of("google", fake))
        write_rows(folder.folder / "in.jsonl", 101)

        done = folder.run(*ONE_MODEL, "only")

        assert done.code == 0, done.err
        assert len(answers(folder)) == 101
        assert [one["asked"]["in_file"] for one in fake.batches.values()] == [True]


class _Once(dict):
    """What is refused a single time."""

    def get(self, kind, default=None):
        return self.pop(kind, default)


def test_one_odd_reply_while_a_batch_is_looked_for_does_not_pay_its_calls_live(folder):  # noqa: F811
    with provider_fake(refuses=_Once(list=404), lost_replies=1) as fake:
        folder.write(team_of("openai", fake))

        done = folder.run(*ONE_MODEL, "auto")

        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice, len(fake.live)) == (1, [], 0)


@pytest.mark.parametrize(
    ("wrong", "lost_replies"),
    [("read", 0), ("results", 0), pytest.param("list", 1, marks=pytest.mark.soak)],  # half a minute
)
def test_calls_of_a_batch_that_cannot_be_read_are_not_made_live_until_one_says_so(
    folder,  # noqa: F811
    wrong,
    lost_replies,
):
    with provider_fake(refuses={wrong: 403}, lost_replies=lost_replies) as fake:
        folder.write(team_of("openai", fake))

        failed = folder.run(*ONE_MODEL, "auto")

        assert (failed.code, len(fake.batches), len(fake.live)) == (3, 1, 0), failed.err
        said = read_lines(folder.folder / "out.errors.jsonl")[0]["error"]["message"]
        assert f"no {wrong} here" in said
        assert "--provider-batch off --retry-failed" in said
        fake.refuses.clear()
        done = folder.run(*ONE_MODEL, "auto", "--retry-failed")
        assert (done.code, len(fake.batches), fake.paid_twice, len(fake.live)) == (0, 1, [], 0)
        assert len(answers(folder)) == ROWS


def test_calls_of_a_batch_that_cannot_be_read_are_made_live_where_one_says_so(folder):  # noqa: F811
    with provider_fake(refuses={"read": 403}) as fake:
        folder.write(team_of("openai", fake))
        assert folder.run(*ONE_MODEL, "auto").code == 3

        done = folder.run(*ONE_MODEL, "off", "--retry-failed")

        assert (done.code, len(fake.batches), sum(fake.live.values())) == (0, 1, ROWS), done.err


def set_begin(folder, when):  # noqa: F811
    """The journal says that its first call was gathered *when*, in seconds of the epoch."""
    journal = sqlite3.connect(folder.folder / "out.jsonl.journal")
    with closing(journal), journal:
        journal.execute("UPDATE settings SET value = ? WHERE name = ?", (when, SINCE))


def test_rows_that_are_added_to_a_finished_batch_have_all_of_its_time_again(folder):  # noqa: F811
    with provider_fake() as fake:
        folder.write(team_of("openai", fake))
        assert folder.run(*ONE_MODEL, "auto", "--limit", "2").code == 0
        set_begin(folder, "1")

        done = folder.run(*ONE_MODEL, "auto")

        assert done.code == 0, done.err
        assert (len(fake.batches), len(fake.live)) == (2, 0)


def kill_while_batch_waits(folder, fake, *words):  # noqa: F811
    process = folder.start(*ONE_MODEL, "auto", *words)
    while not fake.batches and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()


def test_a_journal_that_does_not_say_when_its_batches_began_is_damaged(folder):  # noqa: F811
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))
        kill_while_batch_waits(folder, fake)
        set_begin(folder, "soon")

        refused = folder.run(*ONE_MODEL, "auto")

        assert (refused.code, "journal out.jsonl.journal is damaged" in refused.err) == (1, True)


@pytest.mark.parametrize("changed", ["command", "input"])
def test_what_is_another_batch_in_the_same_journal_has_all_of_its_time(folder, changed):  # noqa: F811
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))
        kill_while_batch_waits(folder, fake)
        set_begin(folder, "1")
        journal = sqlite3.connect(folder.folder / "out.jsonl.journal")
        with closing(journal), journal:
            if changed == "input":  # as if a row was done by then, which is another one now
                journal.execute("UPDATE settings SET value = '1' WHERE name = ?", (ROWS_DONE,))
        if changed == "input":
            (folder.folder / "in.jsonl").write_text('"Why?"\n"How?"\n')
        fake.seconds = 0.1

        done = folder.run(*ONE_MODEL, "auto", *(("--system", "Brief.") * (changed == "command")))

        assert done.code == 0, done.err
        assert (len(fake.live), fake.paid_twice) == (0, [])


def test_calls_that_are_in_a_batch_at_their_provider_are_made_live_only_where_one_says_so(folder):  # noqa: F811
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))
        kill_while_batch_waits(folder, fake)
        without = ONE_MODEL[:-1]

        for words in (without, (*without, "--engine", "ray")):
            refused = folder.run(*words)
            assert "may be paid already" in refused.complaint
            assert "--provider-batch auto" in refused.complaint
        assert not fake.live
        fake.seconds = 0.1
        assert folder.run(*ONE_MODEL, "auto").code == 0
        assert (len(fake.batches), fake.paid_twice, len(fake.live)) == (1, [], 0)
        write_rows(folder.folder / "in.jsonl", ROWS + 1)
        assert folder.run(*without).code == 0, "all of them are answered now"
        assert sum(fake.live.values()) == 1


@pytest.mark.parametrize("caps", [("no", "cap"), ("cap", "no")], ids=["more", "less"])
def test_calls_that_are_in_a_batch_are_found_there_whether_there_is_a_cap_or_not(folder, caps):  # noqa: F811
    before, after = (("--max-cost", "50") * (cap == "cap") for cap in caps)
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))
        kill_while_batch_waits(folder, fake, *before)
        fake.seconds = 0.1

        done = folder.run(*ONE_MODEL, "auto", *after)

        assert done.code == 0, done.err
        assert (len(fake.batches), fake.paid_twice, len(fake.live)) == (1, [], 0)


def test_what_a_batch_under_a_cap_refused_or_left_out_is_asked_without_one(folder):  # noqa: F811
    with provider_fake(seconds=600, row_error="Question 0?", left_out="Question 1?") as fake:
        folder.write(team_of("openai", fake))
        kill_while_batch_waits(folder, fake, "--max-cost", "50")
        fake.seconds = 0.1

        done = folder.run(*ONE_MODEL, "auto")

        assert done.code == 0, done.err
        assert len(answers(folder)) == ROWS
        assert (len(fake.batches), fake.paid_twice, sum(fake.live.values())) == (2, [], 2)


def test_calls_that_are_in_a_batch_at_their_provider_are_made_live_with_off(folder):  # noqa: F811
    with provider_fake(seconds=600) as fake:
        folder.write(team_of("openai", fake))
        kill_while_batch_waits(folder, fake)

        done = folder.run(*ONE_MODEL, "off")

        assert (done.code, sum(fake.live.values())) == (0, ROWS), done.err
        assert "their cost is unknown here, in no figure and under no cap" in " ".join(
            done.err.split()
        )


def test_rows_that_failed_with_calls_in_a_batch_are_not_made_live_where_a_row_is_added(folder):  # noqa: F811
    with provider_fake(refuses={"read": 401}) as fake:
        folder.write(team_of("openai", fake))
        team = ("batch", "in.jsonl", "out.jsonl", "-m", "team")
        assert folder.run(*team, "--provider-batch", "auto").code == 3
        assert folder.run(*team).code == 3, "it is told how that ended"
        done = (folder.folder / "out.jsonl").read_bytes()
        write_rows(folder.folder / "in.jsonl", ROWS + 1)

        assert "may be paid already" in folder.run(*team).complaint
        assert not fake.live
        write_rows(folder.folder / "in.jsonl", ROWS)
        assert folder.run(*team).code == 3, "what was refused has changed nothing"
        assert (folder.folder / "out.jsonl").read_bytes() == done
