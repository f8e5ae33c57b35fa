"""Calls of a batch that are committed together: which of them, when, and what one's fault does."""

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from mixtura.batch.call_journal import CallJournal, in_flight_path
from mixtura.batch.group_writer import FULL_CALLS, GROUP_SECONDS, GroupWriter
from mixtura.core.errors import StoreError
from mixtura.core.types import Charge, Completion, Message, Usage
from mixtura.storage.batch_journal import BatchJournal, SpentAmount
from tests.support.batch_sessions import price


def key_of(number):
    return number.to_bytes(20, "big")


def pack_number(number):
    if number < 0:
        raise ValueError(f"{number} is no call")
    return key_of(number), b"%d" % number, SpentAmount("answer", "m", 1, 2, 3, 0.5, 0)


@pytest.fixture
def journal(tmp_path):
    with closing(BatchJournal(tmp_path / "journal")) as journal:
        yield journal


def run(journal, work):
    """Do it with a writer, which is closed then."""

    async def do():
        writer = GroupWriter(journal, pack_number)
        try:
            return await asyncio.wait_for(work(writer), 60)
        finally:
            writer.close()

    return asyncio.run(do())


def test_calls_that_come_together_are_committed_together_with_what_they_cost(journal):
    count = FULL_CALLS + 70

    async def work(writer):
        await asyncio.gather(*map(writer.keep_call, range(count)))
        return writer.commits

    assert run(journal, work) <= 3
    assert journal.count_calls() == count
    assert journal.find_calls([key_of(7), key_of(count)]) == {key_of(7): b"7"}
    assert journal.read_spent() == [
        SpentAmount("answer", "m", count, 2 * count, 3 * count, count / 2, 0)
    ]


def test_a_call_that_cannot_be_written_fails_alone(journal):
    async def work(writer):
        return await asyncio.gather(*map(writer.keep_call, (1, -2, 3)), return_exceptions=True)

    first, wrong, last = run(journal, work)

    assert (first, str(wrong), last) == (None, "-2 is no call", None)
    assert journal.count_calls() == 2


def test_what_comes_during_a_commit_waits_for_it_and_is_committed_at_once_after_it(journal):
    slow, goes_on = threading.Event(), threading.Event()

    def block():
        slow.set()
        goes_on.wait(60)

    async def work(writer):
        job = asyncio.create_task(writer.run_job(block))
        await asyncio.to_thread(slow.wait, 60)
        calls = [writer.keep_call(number) for number in range(2 * FULL_CALLS)]
        # Behind the timer of the group, which is over before this one.
        await asyncio.sleep(2 * GROUP_SECONDS)
        assert not any(call.done() for call in calls)
        goes_on.set()
        await asyncio.gather(job, *calls)
        return writer.commits

    assert run(journal, work) == 1


def test_a_job_comes_after_the_calls_that_were_given_before_it(journal):
    async def work(writer):
        writer.keep_call(1)
        return await writer.run_job(lambda: journal.find_calls([key_of(1)]))

    assert run(journal, work) == {key_of(1): b"1"}


def test_closing_writes_calls_that_no_one_waits_for(journal):
    async def work(writer):
        writer.keep_call(1).cancel()
        writer.keep_call(2)
        writer.add_spent(SpentAmount("failed", "m", 1, 0, 0, 0.0, 1))

    run(journal, work)

    assert journal.count_calls() == 2
    assert [(one.kind, one.calls) for one in journal.read_spent()] == [("answer", 2), ("failed", 1)]


def test_after_a_failed_commit_every_call_fails(journal):
    journal.count_calls()
    with closing(sqlite3.connect(journal.path)) as other:
        other.execute("DROP TABLE calls")

    async def work(writer):
        waiting = [writer.keep_call(1), writer.run_job(lambda: "done")]
        said = await asyncio.gather(*waiting, return_exceptions=True)
        assert all("no such table: calls" in str(one) for one in said)
        with pytest.raises(StoreError, match="no such table: calls"):
            writer.keep_call(2)
        with pytest.raises(StoreError, match="no such table: calls"):
            await writer.find_call(key_of(1))

    run(journal, work)


def test_what_answers_cost_is_known_before_they_are_committed(tmp_path):
    answer = Completion(Message("assistant", "Yes."), "m", charges=(Charge("m", Usage(4, 5)),))

    async def keep():
        waiting = calls.keep_answer(key_of(1), "m", answer)
        assert not waiting.done()
        assert (calls.made, calls.dollars, calls.spent_by_kind["answer"].tokens) == (1, 1.0, 9)
        await waiting
        assert (calls.made, calls.dollars, calls.spent_by_kind["answer"].tokens) == (1, 1.0, 9)

    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        asyncio.run(keep())


def test_calls_under_way_that_an_earlier_version_has_left_are_counted_as_lost(tmp_path):
    path = tmp_path / "journal"
    with closing(CallJournal(path, price)):
        pass
    left = b'{"key":"%s","run":1,"model":"m","prompt_tokens":7}' % key_of(1).hex().encode()
    in_flight_path(path).write_bytes(left.ljust(255) + b"\n" + b"\0" * 256)

    for _ in range(2):  # once, however often the journal is opened
        with closing(CallJournal(path, price)) as calls:
            assert (calls.spent_by_kind["lost"].calls, calls.spent_by_kind["lost"].tokens) == (1, 7)
