"""Workers and their journals without a cluster: all is merged, and nothing twice."""

import asyncio
import shutil
import threading
from contextlib import closing
from dataclasses import replace

import pytest

from mixtura.batch.call_journal import CallJournal, in_flight_path
from mixtura.batch.journaled_models import JournaledModels
from mixtura.cluster.messages import KeptPart, RowTask, WorkerSetup
from mixtura.cluster.owner import LeaseOwner
from mixtura.cluster.row_worker import RowWorker
from mixtura.cluster.worker_journals import (
    MergedJournal,
    left_journals,
    merge_left_journals,
    workers_folder,
)
from mixtura.cluster.worker_models import (
    describe_documents,
    name_limiters,
    read_worker_config,
)
from mixtura.config.config import load
from mixtura.core.errors import StoreDamagedError
from mixtura.core.types import ask
from mixtura.storage.batch_journal import KeptCall, SpentAmount
from tests.conftest import run
from tests.support.batch_sessions import price
from tests.support.batches import steady, team_toml
from tests.support.tiny_gguf import written
from tests.support.upstream import Script, running


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """A worker works in its batch's folder: the tests that follow are not to be there."""
    monkeypatch.chdir(tmp_path)


class OwnerHere:
    """The owner of the limits in this process."""

    def __init__(self):
        self._owner = LeaseOwner()

    async def lend(self, *what):
        return self._owner.lend(*what)


def make_setup(folder, upstream, table="", **more):
    file = folder / "mixtura.toml"
    file.write_text(team_toml(upstream.base_url(), concurrency=4, more=table))
    config = load(str(file), environ={}, folder=folder, home=folder)
    return WorkerSetup(
        version="1",
        documents=describe_documents(config),
        plan=config.mixture_spec("team"),
        working_folder=str(folder),
        journals=str(workers_folder(folder / "journal")),
        concurrency=4,
        **more,
    )


def make_tasks(count, *, looks_up=False):
    return [
        RowTask(n, n.to_bytes(20, "big"), ask(f"Question {n}?"), looks_up) for n in range(count)
    ]


async def take_answers(worker, merged, count, find=None):
    """The answers of so many rows, and the parts of the journal that came with them."""
    answers, parts, taken = {}, [], 0
    while len(answers) < count:
        report = await worker.take_report(taken, merged.merged_number(worker.name))
        assert report.error is None, report.error
        taken = report.number
        parts.append(report.part)
        await merged.merge(report.part)
        if report.lookups:
            await worker.give_found({key: await find(key) for key in report.lookups})
        answers |= {one.number: one for one in report.answers}
    return answers, parts


def test_calls_are_merged_before_an_answer_is_used_and_not_made_again_by_another_worker(tmp_path):
    async def work():
        with (
            running(steady()) as upstream,
            closing(CallJournal(tmp_path / "journal", price)) as calls,
        ):
            setup, merged = make_setup(tmp_path, upstream), MergedJournal(calls)
            first, second = (RowWorker(setup, OwnerHere()) for _ in range(2))
            assert await first.start() == first.name
            assert await second.start() == second.name
            await first.add_rows(make_tasks(5))
            answers, parts = await take_answers(first, merged, 5)
            assert calls.journal.count_calls() == calls.made == 15
            for part in parts:  # as after a lost reply
                await merged.merge(part)
            assert calls.made == 15
            assert calls.spent_by_kind["answer"].calls == calls.sent == 15

            await second.add_rows(make_tasks(5, looks_up=True))
            again, _ = await take_answers(second, merged, 5, calls.writer.find_call)

            assert len(upstream.records) == 15
            assert [again[n].completion.text for n in range(5)] == [
                answers[n].completion.text for n in range(5)
            ]
            assert [len(again[n].charges) for n in range(5)] == [3] * 5
            for worker in (first, second):
                await merged.merge(await worker.finish(merged.merged_number(worker.name)))
                await worker.remove_journal()
            assert not workers_folder(tmp_path / "journal").exists()

    run(work())


def test_equal_rows_that_share_answers_find_what_another_worker_kept_whoever_of_them_ends_first(
    tmp_path,
):
    async def work():
        with (
            running(steady()) as upstream,
            closing(CallJournal(tmp_path / "journal", price, reuses=True)) as calls,
        ):
            setup, merged = make_setup(tmp_path, upstream, reuses=True), MergedJournal(calls)
            first, second = (RowWorker(setup, OwnerHere()) for _ in range(2))
            (task,) = make_tasks(1, looks_up=True)
            await first.start()
            await first.add_rows([task])
            await take_answers(first, merged, 1, calls.writer.find_call)

            await second.start()
            await second.add_rows([task._replace(number=n) for n in range(4)])
            await take_answers(second, merged, 4, calls.writer.find_call)

            assert len(upstream.records) == 3, "no call was made twice"
            for worker in (first, second):
                await worker.finish(0)

    run(work())


def test_a_worker_sends_no_private_item_and_keeps_the_answers_with_them_in(tmp_path):
    async def work():
        with (
            running(lambda record: Script(f"So: {record.prompt}")) as upstream,
            closing(CallJournal(tmp_path / "journal", price)) as calls,
        ):
            setup, merged = make_setup(tmp_path, upstream, "redact = true\n"), MergedJournal(calls)
            worker = RowWorker(setup, OwnerHere())
            assert await worker.start() == worker.name
            await worker.add_rows([RowTask(0, b"0" * 20, ask("Who is anna@example.com?"), False)])
            answers, _ = await take_answers(worker, merged, 1)
            await worker.finish(merged.merged_number(worker.name))

            assert len(upstream.records) == 3
            assert "anna@example.com" not in repr([record.body for record in upstream.records])
            assert "Who is anna@example.com?" in answers[0].completion.text

    run(work())


def test_what_a_dead_worker_kept_and_lost_is_merged_once_whatever_is_killed_meanwhile(tmp_path):
    async def work():
        with running(steady((0.0, 30.0))) as upstream:
            setup = make_setup(tmp_path, upstream)
            worker = RowWorker(setup, OwnerHere())
            assert await worker.start() == worker.name
            await worker.add_rows(make_tasks(1))
            while len(upstream.records) < 2:
                await asyncio.sleep(0.01)
            # The files as a kill leaves them.
            shutil.copytree(setup.journals, tmp_path / "left")
            await worker.finish(0)

    run(work())
    left = tmp_path / "left"
    (name,) = left_journals(left)
    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        merged = MergedJournal(calls)
        part = None
        merge_left_journals(merged, left, price)
        lost = calls.spent_by_kind["lost"].calls
        assert lost + calls.journal.count_calls() == 2
        assert calls.earlier_calls == calls.journal.count_calls()
        assert not left.exists()
        part = merged.merged_number(name)
    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        assert MergedJournal(calls).merged_number(name) == part
        assert calls.spent_by_kind["lost"].calls == lost
    assert not in_flight_path(left / name).exists()


def test_a_worker_that_drains_keeps_what_is_under_way_and_holds_back_the_rest(tmp_path):
    async def work():
        with (
            running(steady((0.3, 0.5))) as upstream,
            closing(CallJournal(tmp_path / "journal", price)) as calls,
        ):
            merged = MergedJournal(calls)
            worker = RowWorker(make_setup(tmp_path, upstream), OwnerHere())
            assert await worker.start() == worker.name
            await worker.add_rows(make_tasks(10))
            while len(upstream.records) < 4:
                await asyncio.sleep(0.01)
            sent = len(upstream.records)
            await worker.drain()
            await worker.add_rows(
                [task._replace(number=task.number + 10) for task in make_tasks(2)]
            )
            answers, _ = await take_answers(worker, merged, 12)

            assert all(one.held_back for one in answers.values())
            assert len(upstream.records) == sent == calls.journal.count_calls()
            assert {one.status for one in upstream.records} == {"whole"}
            await merged.merge(await worker.finish(0))

    run(work())


def test_a_worker_that_cannot_be_built_says_why(tmp_path):
    async def work():
        with running(steady()) as upstream:
            setup = make_setup(tmp_path, upstream)
            text = setup.documents[0][0].replace('base_url = "', 'base_url = "${NOWHERE_SET}')
            wrong = WorkerSetup(
                "1", ((text, "mixtura.toml"),), str(tmp_path), setup.plan, setup.journals, 4
            )
            said = await RowWorker(wrong, OwnerHere()).start()

        assert not isinstance(said, str)
        assert "mixtura.toml" in str(said)

    run(work())


def test_a_worker_knows_the_keys_that_were_saved_on_its_machine(tmp_path, monkeypatch):
    async def work():
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
        monkeypatch.delenv("TEAM_KEY", raising=False)
        (tmp_path / "config" / "mixtura").mkdir(parents=True)
        (tmp_path / "config" / "mixtura" / "keys.env").write_text("TEAM_KEY=key-of-the-team-1\n")
        with (
            running(steady()) as upstream,
            closing(CallJournal(tmp_path / "journal", price)) as calls,
        ):
            setup = make_setup(tmp_path, upstream)
            text = setup.documents[0][0].replace("retries", 'api_key_env = "TEAM_KEY"\nretries')
            worker = RowWorker(replace(setup, documents=((text, "mixtura.toml"),)), OwnerHere())
            assert await worker.start() == worker.name
            await worker.add_rows(make_tasks(1))
            answers, _ = await take_answers(worker, MergedJournal(calls), 1)
            await worker.finish(0)

        assert answers[0].completion is not None
        assert "key-of-the-team-1" not in repr(setup)

    run(work())


def test_a_mixture_of_the_file_is_not_replaced_by_a_saved_one_of_its_name(tmp_path):
    with running(steady()) as upstream:
        saved = '[mixtures.team]\naggregator = "a"\nlayers = [["b"]]\n'
        (tmp_path / "mixtura.saved.toml").write_text(saved)
        setup = make_setup(tmp_path, upstream)

        read = read_worker_config(setup)

    assert len(setup.documents) == 2
    team = read.mixture_spec("team")
    assert (team.layers, team.aggregator) == (setup.plan.layers, setup.plan.aggregator)


def test_each_worker_has_all_of_a_model_that_runs_within_it(tmp_path):
    written(tmp_path / "small.gguf")
    own = '[models.own]\nmodel = "small.gguf"\ncontext = 512\n'
    with (
        running(steady()) as upstream,
        closing(CallJournal(tmp_path / "journal", price)) as calls,
    ):
        setup = make_setup(tmp_path, upstream)
        text = setup.documents[0][0].replace('["a", "b"]', '["a", "own"]') + own
        models = JournaledModels(8)
        models.calls = calls
        sent = replace(setup, documents=((text, "mixtura.toml"),))
        config = read_worker_config(sent, models)
        config.build_runnable(config.mixture_spec("team"))

        shared = name_limiters(models)

    assert len(models.limiters) == 2
    assert [name.split()[1].split(":")[0] for name in shared] == ["127.0.0.1"]
    one, ten = models.window_of(1), models.window_of(10)
    assert ten - one == 9 * 2 * 8, "and rows for all of them"


def test_a_part_whose_merge_is_called_off_counts_once(tmp_path):
    async def work():
        with closing(CallJournal(tmp_path / "journal", price)) as calls:
            merged = MergedJournal(calls)
            spent = SpentAmount("answer", "a", 1, 10, 10, 2.0, 0)
            part = KeptPart("w.journal", [KeptCall(1, b"k" * 20, b"{}")], [spent])
            merging = asyncio.create_task(merged.merge(part))
            await asyncio.sleep(0)
            merging.cancel()
            await asyncio.gather(merging, return_exceptions=True)
            await merged.merge(part)
            await calls.writer.run_job(lambda: None)

            assert calls.journal.count_calls() == calls.made == 1
            assert [one.dollars for one in calls.journal.read_spent()] == [2.0]

    run(work())


def test_calls_of_workers_without_an_answer_are_counted_once_and_not_those_of_earlier_runs(
    tmp_path,
):
    async def work():
        with closing(CallJournal(tmp_path / "journal", price)) as calls:
            merged = MergedJournal(calls)
            spent = [
                SpentAmount("answer", "a", 1, 10, 10, 2.0, 0),
                SpentAmount("failed", "a", 2, 20, 4, 1.0, 0),
                SpentAmount("refused", "b", 3, 0, 0, 0.0, 0),
                SpentAmount("lost", "b", 4, 40, 40, 1.0, 0),
            ]
            part = KeptPart("w.journal", [KeptCall(1, b"k" * 20, b"{}")], spent)
            await merged.merge(KeptPart("left.journal", [], spent), earlier=True)
            assert calls.sent == 0
            await merged.merge(part)
            await merged.merge(part)
            assert (calls.made, calls.sent) == (1, 6)

    run(work())


def test_what_is_counted_for_a_journal_that_cannot_be_read_gives_way_to_what_that_says(tmp_path):
    async def work():
        with closing(CallJournal(tmp_path / "journal", price)) as calls:
            merged = MergedJournal(calls)
            early = SpentAmount("answer", "a", 1, 10, 10, 2.0, 0)
            await merged.merge(KeptPart("w.journal", [KeptCall(1, b"k" * 20, b"{}")], [early]))
            await merged.count_unread("w.journal", 7.0)
            await merged.count_unread("w.journal", 7.0)
            assert calls.dollars == 7.0
        with closing(CallJournal(tmp_path / "journal", price)) as calls:
            assert calls.dollars == 7.0, "a later run counts it, too"
            late = SpentAmount("answer", "a", 2, 20, 20, 3.0, 0)
            part = KeptPart("w.journal", [KeptCall(2, b"l" * 20, b"{}")], [late])
            merged = MergedJournal(calls)
            merged.merge_now(part)
            merged.merge_now(part)
            assert (calls.dollars, calls.journal.count_calls()) == (3.0, 2)
        with closing(CallJournal(tmp_path / "journal", price)) as calls:
            assert calls.dollars == 3.0

    run(work())


def test_a_part_that_is_given_again_is_on_the_disk_before_its_journal_may_be_removed(tmp_path):
    async def work():
        with closing(CallJournal(tmp_path / "journal", price)) as calls:
            merged, may_write = MergedJournal(calls), threading.Event()
            spent = [SpentAmount("answer", "a", 1, 10, 10, 2.0, 0)]
            busy = asyncio.create_task(calls.writer.run_job(may_write.wait))
            await asyncio.sleep(0.05)
            part = KeptPart("w.journal", [KeptCall(1, b"k" * 20, b"{}")], spent)
            merging = asyncio.create_task(merged.merge(part))
            await asyncio.sleep(0)
            merging.cancel()
            await asyncio.gather(merging, return_exceptions=True)

            # What the worker has more than that, as it ends: nothing.
            ends = asyncio.create_task(merged.merge(KeptPart("w.journal", [], spent)))
            for _ in range(20):
                await asyncio.sleep(0)
            ended_early = ends.done()
            may_write.set()
            await ends
            await busy
            assert not ended_early
            assert calls.journal.count_calls() == 1

    run(work())


def test_a_journal_that_does_not_say_how_far_others_are_merged_is_damaged(tmp_path):
    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        calls.journal.write(settings={"worker:w.journal": "[1, ["})
    with (
        closing(CallJournal(tmp_path / "journal", price)) as calls,
        pytest.raises(StoreDamagedError, match="is damaged: move it away"),
    ):
        MergedJournal(calls)
