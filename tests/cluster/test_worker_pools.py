"""The owner of a batch and its workers, all in this process: ends, caps, interruptions."""

import asyncio
from contextlib import asynccontextmanager, closing

import pytest

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.input_rows import BatchInput
from mixtura.batch.part_file import BatchFiles
from mixtura.batch.prompt_form import PromptForm
from mixtura.batch.records import Source
from mixtura.batch.resume import find_resume_point
from mixtura.batch.row_lines import RowLines
from mixtura.batch.session import BatchSession
from mixtura.cluster import worker_pool
from mixtura.cluster.cluster_models import ClusterModel, ClusterModels
from mixtura.cluster.messages import WorkerSetup
from mixtura.cluster.owner import LeaseOwner
from mixtura.cluster.ray_cluster import CALLS_AT_ONCE, calls_at_once
from mixtura.cluster.ray_worker import RayRowWorker
from mixtura.cluster.served_replicas import ServeOwner
from mixtura.cluster.worker_journals import workers_folder
from mixtura.cluster.worker_models import describe_documents
from mixtura.cluster.worker_pool import WorkerPool
from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from mixtura.core.types import Message, Request
from tests.support.batches import read_lines, steady, team_toml, write_rows
from tests.support.clusters import ActorDiedHereError, ClusterHere
from tests.support.upstream import running


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """A worker works in its batch's folder: the tests that follow are not to be there."""
    monkeypatch.chdir(tmp_path)


def read_team(folder, upstream, models):
    (folder / "mixtura.toml").write_text(team_toml(upstream.base_url(), concurrency=4))
    file = str(folder / "mixtura.toml")
    return load(
        file, environ={}, folder=folder, home=folder, keep_answers=models, waits_for_all=True
    )


@pytest.mark.parametrize(
    ("kind", "at_once"),
    [(LeaseOwner, 1), (ServeOwner, CALLS_AT_ONCE), (RayRowWorker, CALLS_AT_ONCE)],
)
def test_a_process_whose_methods_are_no_coroutines_runs_them_one_after_another(kind, at_once):
    # Ray would run them in threads, ten thousand of them, over leases that have no lock.
    assert calls_at_once(kind) == at_once


class SlowCluster(ClusterHere):
    """Its later workers start once *may_start* is set."""

    def __init__(self):
        super().__init__()
        self.may_start = asyncio.Event()

    def start_actor(self, kind, *arguments, **more):
        actor = super().start_actor(kind, *arguments, **more)
        if len(self.workers) > 2:
            start = actor.inside.start_on_node

            async def start_later():
                await self.may_start.wait()
                return await start()

            actor.inside.start_on_node = start_later
        return actor


@asynccontextmanager
async def open_pool(folder, upstream, cluster, max_cost=None):
    """Two workers; equal keys go to the same one."""
    models = ClusterModels(4)
    with closing(CallJournal(folder / "journal", lambda *_: 0.0)) as calls:
        config = read_team(folder, upstream, models)
        models.calls = calls
        plan = config.mixture_spec("team")
        config.build_runnable(plan)
        setup = WorkerSetup(
            "1", describe_documents(config), str(folder), plan, str(folder / "workers"), 4,
            reuses=True, lease_seconds=0.01, max_cost=max_cost,
        )  # fmt: skip
        pool = WorkerPool(cluster, calls, setup, 2, 1)
        models.use_pool(pool)
        await pool.start()
        yield pool


def test_rows_that_come_while_a_dead_worker_is_replaced_are_answered(tmp_path):
    async def work():
        cluster = SlowCluster()
        with running(steady((0.05, 0.1))) as upstream:
            async with open_pool(tmp_path, upstream, cluster) as pool:
                asked = [asyncio.create_task(pool.answer_row(bytes(8) + b"0", question("0")))]
                await asyncio.sleep(0)
                cluster.end_actor(cluster.workers[0])
                await cluster.workers[0].inside.finish(0)  # its journal is closed as by its end
                while len(cluster.workers) < 3:
                    await asyncio.sleep(0.005)
                for name in ("1", "2"):  # equal keys go to the same worker, which is being replaced
                    row = pool.answer_row(bytes(8) + name.encode(), question(name))
                    asked.append(asyncio.create_task(row))
                    await asyncio.sleep(0.01)
                cluster.may_start.set()
                answers = await asyncio.wait_for(asyncio.gather(*asked), 120)
                assert all(one.completion is not None for one in answers)
                await pool.finish()

    asyncio.run(work())


class DiesAsItEnds:
    """What a worker is asked at the end of its batch, and dies of."""

    def __init__(self, cluster, worker):
        self._cluster, self._worker, self._finish = cluster, worker, worker.inside.finish

    async def __call__(self, merged):
        await self._finish(merged)
        self._cluster.end_actor(self._worker)
        await asyncio.Event().wait()


def test_what_a_worker_kept_that_dies_as_the_batch_ends_is_merged(tmp_path):
    async def work():
        cluster = ClusterHere()
        with running(steady()) as upstream:
            async with open_pool(tmp_path, upstream, cluster) as pool:
                row = pool.answer_row(bytes(8) + b"0", question("0"))
                await asyncio.wait_for(row, 120)
                for worker in cluster.workers:
                    worker.inside.finish = DiesAsItEnds(cluster, worker)
                await pool.finish()
            assert not (tmp_path / "workers").exists()

    asyncio.run(work())


class AwayError(Exception):
    """An actor cannot be reached for now."""


class FlakyCluster(ClusterHere):
    """The first rows that a worker is given never come; then it does not say that some came."""

    def start_actor(self, kind, *arguments, **more):
        actor = super().start_actor(kind, *arguments, **more)
        if kind is RayRowWorker:
            add_rows, faults = actor.inside.add_rows, iter(("lost", "untold"))

            async def add_or_fail(rows):
                fault = next(faults, None)
                if fault != "lost":
                    await add_rows(rows)
                if fault is not None:
                    raise AwayError

            actor.inside.add_rows = add_or_fail
        return actor

    def is_passing(self, error):
        return isinstance(error, AwayError)


def test_rows_that_a_worker_could_not_be_given_are_given_again_and_asked_once(tmp_path):
    async def work():
        with running(steady()) as upstream:
            async with open_pool(tmp_path, upstream, FlakyCluster()) as pool:
                asked = [
                    asyncio.create_task(pool.answer_row(bytes(8) + name.encode(), question(name)))
                    for name in ("0", "1")
                ]
                answers = await asyncio.wait_for(asyncio.gather(*asked), 120)
                assert all(one.completion is not None for one in answers)
                await pool.finish()
            assert len(upstream.records) == 6

    asyncio.run(work())


class OwnedCluster(ClusterHere):
    """Its owner of limits and dollars can be ended; *options*: how it was started."""

    def start_actor(self, kind, *arguments, **more):
        actor = super().start_actor(kind, *arguments, **more)
        if kind is LeaseOwner:
            self.owner, self.options = actor, more
        return actor


def test_where_the_owner_of_a_cap_is_gone_nothing_more_is_spent_and_the_batch_says_so(tmp_path):
    async def work():
        cluster = OwnedCluster()
        with running(steady((0.05, 0.1))) as upstream:
            async with open_pool(tmp_path, upstream, cluster, max_cost=1.0) as pool:
                assert cluster.options["max_restarts"] == 0, "a new one would lend it all again"
                cluster.end_actor(cluster.owner)
                row = asyncio.create_task(pool.answer_row(bytes(8) + b"0", question("0")))
                with pytest.raises(ConfigError, match=r"--max-cost.* is gone .*same command again"):
                    await asyncio.wait_for(row, 120)
                await pool.end()

    asyncio.run(work())


class LostCluster(OwnedCluster):
    """The machine of its first worker is gone together with it."""

    def __init__(self):
        super().__init__()
        self.forgotten = []

    def start_actor(self, kind, *arguments, **more):
        actor = super().start_actor(kind, *arguments, **more)
        if kind is LeaseOwner:
            forget = actor.inside.forget_worker

            def forget_worker(*what):
                self.forgotten.append(what)
                return forget(*what) + 0.25  # as if it had been lent so much

            actor.inside.forget_worker = forget_worker
        elif len(self.workers) == 1:
            start = actor.inside.start_on_node

            async def start_there():
                return (await start())[0], "there"

            actor.inside.start_on_node = start_there
        return actor

    async def call_on_node(self, *_):
        raise ActorDiedHereError


def test_what_workers_of_a_machine_that_is_gone_have_spent_is_not_taken_for_nothing(tmp_path):
    async def work():
        cluster = LostCluster()
        with running(steady()) as upstream:
            async with open_pool(tmp_path, upstream, cluster, max_cost=1.0) as pool:
                name = cluster.workers[0].inside.name
                cluster.end_actor(cluster.workers[0])
                await cluster.workers[0].inside.finish(0)
                row = pool.answer_row(bytes(8) + b"0", question("0"))
                answer = await asyncio.wait_for(row, 120)
                assert answer.completion is not None, "another worker answers it"
                assert cluster.forgotten == [(name, None)]
                await pool.end()
            with closing(CallJournal(tmp_path / "journal", lambda *_: 0.0)) as calls:
                assert calls.dollars > 0.25, "under the cap of a later run, too"

    asyncio.run(work())


class SmallerCluster(ClusterHere):
    """It has no room for a third worker; *says_so*: that is known, as once a machine is gone."""

    def __init__(self, says_so):
        super().__init__()
        self._says_so = says_so

    def count_places(self, cores):
        return 1 if self._says_so and self.workers[0].dead.done() else 2

    def start_actor(self, kind, *arguments, **more):
        actor = super().start_actor(kind, *arguments, **more)
        if len(self.workers) > 2:
            actor.inside.start_on_node = asyncio.Event().wait
        return actor


@pytest.mark.parametrize("says_so", [True, False])
def test_where_a_machine_is_gone_and_nothing_takes_its_workers_place_the_others_answer_its_rows(
    tmp_path, monkeypatch, says_so
):
    monkeypatch.setattr(worker_pool, "START_SECONDS", 36.0 if says_so else 0.5)

    async def work():
        cluster = SmallerCluster(says_so)
        with running(steady((0.05, 0.1))) as upstream:
            async with open_pool(tmp_path, upstream, cluster) as pool:
                names = [f"{number}" for number in range(8)]
                asked = [  # half of them go to the worker that is ended
                    asyncio.create_task(pool.answer_row(bytes(7) + name.encode(), question(name)))
                    for name in names
                ]
                await asyncio.sleep(0)
                cluster.end_actor(cluster.workers[0])
                await cluster.workers[0].inside.finish(0)
                answers = await asyncio.wait_for(asyncio.gather(*asked), 120)
                assert all(one.completion is not None for one in answers)
                again = pool.answer_row(bytes(7) + b"0", question("0"))
                assert (await asyncio.wait_for(again, 120)).completion is not None
                await pool.finish()
            assert len({record.id for record in upstream.records}) == 3 * 8
            assert len(upstream.records) <= 3 * 8 + 4, "those that were under way"

    asyncio.run(work())


class BrokenCluster(ClusterHere):
    """Nothing can be asked of its workers, and nobody says that they died."""

    def start_actor(self, kind, *arguments, **more):
        actor = super().start_actor(kind, *arguments, **more)
        if kind is RayRowWorker:
            self.end_actor(actor)
        return actor

    def is_dead(self, error):
        return False


def test_a_cluster_that_fails_at_the_start_is_told_in_words(tmp_path):
    async def work():
        with (
            running(steady()) as upstream,
            pytest.raises(ConfigError, match="the cluster failed: "),
        ):
            async with open_pool(tmp_path, upstream, BrokenCluster()):
                pass

    asyncio.run(work())


def question(text):
    return Request((Message("user", text),))


async def run_batch(folder, upstream, *, until=None, max_cost=None):
    """
    The outcome of a batch with two workers; it is drained once the upstream was asked *until*
    calls.
    """
    files = BatchFiles(folder / "out.jsonl", folder / "journal")
    models = ClusterModels(4)
    config = read_team(folder, upstream, models)
    plan = config.mixture_spec("team")
    with closing(CallJournal(files.journal, config.usage_cost)) as calls:
        models.calls = calls
        config.build_runnable(plan)
        rows = BatchInput(Source(str(folder / "in.jsonl"), "in.jsonl", "jsonl"), PromptForm())
        start = find_resume_point(calls, rows, files, {"-m": "team"})
        setup = WorkerSetup(
            "1", describe_documents(config), str(folder), plan,
            str(workers_folder(files.journal)), 4, max_cost=max_cost, lease_seconds=0.01,
        )  # fmt: skip
        pool = WorkerPool(ClusterHere(), calls, setup, 2, 1)
        models.use_pool(pool)
        session = BatchSession(
            ClusterModel("team", pool), models, calls, rows, files, RowLines(config.usage_cost),
            start,
        )  # fmt: skip
        await pool.start()
        running_session = asyncio.create_task(session.run())
        if until is not None:
            while len(upstream.records) < until and not running_session.done():
                await asyncio.sleep(0.005)
            session.drain()
        outcome = await asyncio.wait_for(running_session, 120)
        await pool.finish()
        assert not workers_folder(files.journal).exists()
        return outcome, calls.dollars


def test_an_interrupted_batch_awaits_what_all_workers_have_under_way_and_goes_on_later(tmp_path):
    names = write_rows(tmp_path / "in.jsonl", 20)

    async def work():
        with running(steady((0.05, 0.1))) as upstream:
            first, _ = await run_batch(tmp_path, upstream, until=15)
            sent = len(upstream.records)
            assert (first.ending, first.lost, first.calls) == ("interrupted", 0, sent)
            assert {record.status for record in upstream.records} == {"whole"}

            second, _ = await run_batch(tmp_path, upstream)

            assert (second.ending, second.calls) == ("done", 60 - sent)
            assert len(upstream.records) == 60, "no call was made twice"

    asyncio.run(work())  # what dead actors were asked ends with the loop
    assert [line["custom_id"] for line in read_lines(tmp_path / "out.jsonl")] == names


def test_a_cap_holds_for_all_workers_together(tmp_path):
    write_rows(tmp_path / "in.jsonl", 20)

    async def work():
        with running(steady()) as upstream:
            capped, dollars = await run_batch(tmp_path, upstream, max_cost=0.02)

            assert capped.ending == "capped"
            assert "cap of the batch" in capped.reason
            assert 0 <= dollars <= 0.02

            done, _ = await run_batch(tmp_path, upstream)

            assert done.ending == "done"
            assert len(upstream.records) == 60

    asyncio.run(work())  # what dead actors were asked ends with the loop
