"""One process's part of a batch: rows in a window, the second try, what grows, what is refused."""

import asyncio
import sqlite3
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from mixtura.batch.call_journal import CallJournal
from mixtura.batch.group_writer import GroupWriter
from mixtura.batch.input_rows import NO_ROWS, BatchRow
from mixtura.batch.ordered_output import FinishedRow, OrderedOutput, RetriedRows
from mixtura.batch.outcome import BatchProgress
from mixtura.batch.part_file import PartFile, begin_with_copy
from mixtura.batch.resume import RUNNING, STATE
from mixtura.batch.row_lines import RowLines
from mixtura.batch.runner import BatchRunner
from mixtura.core.errors import ConfigError, StoreError
from mixtura.core.types import Completion, Message, Request
from mixtura.storage.batch_journal import MIGRATIONS, BatchJournal, FailedRow, SpentAmount
from tests.support.batch_sessions import BatchFolder, price

OPEN_FILES = Path("/proc/self/fd")


@pytest.fixture
def batch(tmp_path):
    return BatchFolder(tmp_path)


class FirstIsSlow:
    """Answers the prompt 0 once so many others are answered."""

    name, info = "slow", None

    def __init__(self, others):
        self.left, self.enough = others, asyncio.Event()

    async def complete(self, request, emit=None):
        if request.messages[0].text == "0":
            await self.enough.wait()
        self.left -= 1
        if self.left <= 0:
            self.enough.set()
        return Completion(Message("assistant", "Yes."), self.name)


def rows_of(lines):
    for line in lines:
        yield [
            BatchRow(line, str(line), Request((Message("user", str(line)),)), bytes([line]) * 20)
        ]


def test_a_slow_row_does_not_stop_those_behind_it_for_good(tmp_path):
    async def answer():
        output = OrderedOutput(calls, part, first=0, digest=NO_ROWS)
        runner = BatchRunner(FirstIsSlow(15), calls, RowLines(price), window=2)
        # All that the window allows ahead of the first are done before it is.
        await asyncio.wait_for(runner.answer_rows(rows_of(range(60)), output), 5)
        return output.written

    with (
        closing(CallJournal(tmp_path / "journal", price)) as calls,
        closing(PartFile(tmp_path / "part", 0)) as part,
    ):
        assert asyncio.run(answer()) == 60


def test_lines_that_come_after_their_file_was_closed_go_into_no_other_file(tmp_path):
    part = PartFile(tmp_path / "part", 0)
    part.append(b"one\n")
    part.close()
    with (tmp_path / "other").open("wb", buffering=0):  # it has the number of the closed file
        assert not part.append(b"two\n")
    assert (tmp_path / "part").read_bytes() == b"one\n"
    assert (tmp_path / "other").read_bytes() == b""


def test_failed_rows_do_not_wait_for_each_other(tmp_path):
    async def answer():
        failed = [FailedRow(line, 0, False, b"") for line in (0, 100, 200)]
        output = RetriedRows(calls, failed, BatchProgress(201, failed=3))
        runner = BatchRunner(FirstIsSlow(2), calls, RowLines(price), window=2)
        await asyncio.wait_for(runner.answer_rows(rows_of((0, 100, 200)), output), 5)
        return calls.journal.recovered_lines()

    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        assert asyncio.run(answer()) == {0, 100, 200}


def test_the_second_try_of_a_row_does_not_ask_again_what_was_answered(batch):
    batch.write_prompts(["Well?"])

    end = batch.run(failures=1)

    assert (end.done, end.failed) == (1, 0)
    assert sorted(name for name, _ in batch.asked) == ["a", "b", "b", "last"]
    assert (end.calls, end.unanswered, end.reused) == (4, 1, 1)


def test_rows_added_to_a_finished_input_are_all_that_is_asked(batch):
    batch.write_prompts(["One?"])
    batch.run()
    first = batch.files.output.read_bytes()
    batch.asked.clear()

    batch.write_prompts(["One?", "Two?"])
    end = batch.run()

    assert (end.rows, end.done, end.calls, end.reused) == (2, 2, 3, 0)
    assert batch.files.output.read_bytes().startswith(first)


def test_a_batch_that_is_called_off_before_it_goes_on_says_what_was_done_before(batch):
    batch.write_prompts(["Why?", "How?"])
    assert batch.run(failures=3).failed == 1
    batch.write_prompts(["Why?", "How?", "When?"])

    stopped = batch.run(called_off=True)

    assert (stopped.ending, stopped.rows, stopped.done, stopped.failed) == ("interrupted", 3, 1, 1)


def test_rows_of_the_second_try_are_committed_together(tmp_path):
    async def answer():
        failed = [FailedRow(line, 0, False, b"") for line in range(50)]
        output = RetriedRows(calls, failed, BatchProgress(50, failed=50), clock=lambda: 0.0)
        for rows in rows_of(range(50)):
            await output.add(FinishedRow(rows[0], b"{}\n", failed=rows[0].line == 7))
        before = calls.journal.recovered_lines()
        await output.flush()
        return before, calls.journal.recovered_lines()

    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        assert asyncio.run(answer()) == (set(), set(range(50)) - {7})


def test_an_input_that_loses_rows_while_it_is_asked_is_not_taken_for_whole(batch):
    prompts = [f"Question {n}?" for n in range(5)]
    batch.write_prompts(prompts)

    with pytest.raises(ConfigError, match=r"in.jsonl changed while it was read: it had 5 rows"):
        batch.run(begun=lambda: batch.write_prompts(prompts[:2]))

    assert not batch.files.output.exists()
    batch.write_prompts(prompts)
    assert batch.run().done == 5
    assert len(batch.files.output.read_bytes().splitlines()) == 5
    assert len(batch.asked) == 15


def test_a_row_that_an_interrupted_second_try_answered_does_not_count_as_failed(batch):
    batch.write_prompts(["One?", "Two?"])
    batch.run(failures=9)
    recovered = (0, b'{"custom_id": "1"}\n')
    with closing(CallJournal(batch.files.journal, price)) as calls:
        begin_with_copy(batch.files.part, batch.files.output)
        calls.journal.write(recovered=[recovered], settings={STATE: RUNNING})

    end = batch.run()

    assert (end.done, end.failed) == (2, 0)
    assert recovered[1] in batch.files.output.read_bytes()


def test_a_journal_of_an_earlier_version_is_taken_over_with_its_calls(tmp_path):
    path = tmp_path / "journal"
    before = sqlite3.connect(path, isolation_level=None)
    for statement in ";".join(MIGRATIONS[:2]).split(";"):
        before.execute(statement)
    rows = [(bytes([n]) * 20, b"%d" % n) for n in range(3)]
    before.executemany("INSERT INTO calls (key, body) VALUES (?, ?)", rows)
    before.execute("PRAGMA user_version = 2")
    before.close()

    with closing(CallJournal(path, price)) as calls:
        calls.journal.write(calls=[(b"n" * 20, b"new")])
        kept, _ = calls.journal.read_kept_after(0)

        assert calls.looks_up
        assert calls.earlier_calls == 3
        assert [(one.number, one.key, one.body) for one in kept] == [
            *((number, *row) for number, row in enumerate(rows, start=1)), (4, b"n" * 20, b"new"),
        ]  # fmt: skip


def test_many_calls_are_kept_together_and_found_with_and_without_an_index(tmp_path):
    calls = [(n.to_bytes(20, "big"), b"%d" % n) for n in range(700)]
    keys = [key for key, _ in calls]
    with closing(BatchJournal(tmp_path / "journal")) as journal:
        journal.write(calls=calls)
        before = journal.find_calls(keys)
        journal.index_calls()
        journal.write(calls=[(keys[0], b"a second answer")])

        assert before == journal.find_calls(keys) == dict(calls)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 511, 512, 513, 1100])
def test_a_group_of_calls_is_kept_with_what_it_costs_however_many_they_are(tmp_path, count):
    calls = [(n.to_bytes(20, "big"), b"%d" % n) for n in range(count)]
    spent = [
        SpentAmount("answer", "Ünë 'x' \"y\"", count, 3, 4, 0.1, 0),
        SpentAmount("refused", "b", 1, 0, 0, 0.0, 1),
    ]
    twice = [SpentAmount(*one[:2], *(2 * number for number in one[2:])) for one in spent]
    with closing(BatchJournal(tmp_path / "journal")) as journal:
        for start in (b"a", b"b"):
            group = [(start + key[1:], body) for key, body in calls]
            journal.keep_calls([part for call in group for part in call], spent)
        kept, amounts = journal.read_kept_after(count)

        assert [(one.key, one.body) for one in kept] == group
        assert amounts == twice == journal.read_spent()


@pytest.mark.parametrize("size", [2, 700_000])
def test_a_group_of_calls_that_cannot_be_kept_leaves_neither_calls_nor_costs(tmp_path, size):
    call, spent = [b"k" * 20, b"x" * size], SpentAmount("answer", "m", 1, 2, 3, 0.5, 0)
    with closing(BatchJournal(tmp_path / "journal")) as journal:
        journal.keep_calls(call, [spent])
        with closing(sqlite3.connect(journal.path)) as other:
            other.execute(
                "CREATE TRIGGER bad BEFORE INSERT ON calls WHEN NEW.body = 'bad'"
                " BEGIN SELECT RAISE(ABORT, 'it is bad'); END"
            )
        with pytest.raises(StoreError, match="cannot be written"):
            journal.keep_calls([*call, *call, b"y" * 20, "bad"], [spent])
        with pytest.raises(StoreError, match="cannot be written"):
            journal.keep_calls([*call, *call], [spent, spent._replace(dollars=None)])

        assert journal.count_calls() == 1
        assert journal.read_spent() == [spent]


@pytest.mark.skipif(
    not OPEN_FILES.exists(), reason="this system has no /proc/self/fd, which lists open files"
)
@pytest.mark.parametrize(("count", "size"), [(500, 8_000), (40, 250_000), (2, 3_000_000)])
def test_a_group_of_long_answers_needs_no_room_for_temporary_files(
    tmp_path, monkeypatch, count, size
):
    connect, seen = sqlite3.connect, set()

    def look_at_open_files():
        for link in OPEN_FILES.iterdir():
            with suppress(OSError):
                seen.add(str(link.readlink()))

    def connect_and_look(*words, **options):
        connection = connect(*words, **options)
        connection.set_progress_handler(look_at_open_files, 50)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_look)
    group = [part for n in range(count) for part in (n.to_bytes(20, "big"), b"x" * size)]
    with closing(BatchJournal(tmp_path / "journal")) as journal:
        journal.keep_calls(group, [SpentAmount("answer", "m", count, 2, 3, 0.5, 0)])

        assert journal.count_calls() == count
    assert str(tmp_path / "journal-wal") in seen
    assert not [name for name in seen if "etilqs" in name], "SQLite's name of a temporary file"


def test_a_kept_call_whose_place_was_not_cleared_is_not_lost(tmp_path):
    async def keep(calls):
        for key in (b"k" * 20, b"x" * 20):
            calls.begin_request(key, "m", 10)
        await calls.keep_answer(b"k" * 20, "m", Completion(Message("assistant", "Yes."), "m"))
        calls.forget_request(0, kept=True)

    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        asyncio.run(keep(calls))

    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        assert calls.spent_by_kind["lost"].calls == 1, "the other one"


def test_whoever_waits_for_the_journal_is_told_of_any_error(tmp_path):
    def wrong():
        raise KeyError("a mistake of ours")

    async def ask(journal):
        writer = GroupWriter(journal, pack=wrong)
        for job in (wrong, lambda: "done"):
            with pytest.raises(KeyError, match="ours"):
                await asyncio.wait_for(writer.run_job(job), 5)
        writer.close()

    with closing(BatchJournal(tmp_path / "journal")) as journal:
        asyncio.run(ask(journal))


def test_two_batches_with_journals_of_their_own_do_not_write_one_output(batch):
    batch.write_prompts(["One?", "Two?"])
    other = replace(batch, journal="other.journal")

    def refused():
        with pytest.raises(ConfigError, match=r"another process is writing .*out.jsonl.part"):
            other.run(command="B")

    # Whenever a model is asked, in the second try, too.
    end = batch.run(reached=refused, failures=9)

    assert (end.done, end.failed) == (0, 2)
    with pytest.raises(ConfigError, match="--overwrite"):
        other.run(command="B")


def test_another_command_does_not_replace_an_output_whose_failed_rows_are_asked_again(batch):
    batch.write_prompts(["One?", "Two?"])
    batch.run(failures=9)
    before = batch.files.output.read_bytes()
    assert batch.run(drains=True, retry_failed=True).ending == "interrupted"

    with pytest.raises(ConfigError, match=r"-m was A and is B.*--overwrite"):
        batch.run(command="B")
    batch.write_prompts(["One?", "Three?"])
    with pytest.raises(ConfigError, match=r"rows that were done have changed.*--overwrite"):
        batch.run()

    assert batch.files.output.read_bytes() == before
    batch.write_prompts(["One?", "Two?"])
    assert batch.run(retry_failed=True).done == 2


def test_a_batch_that_is_called_off_while_it_reads_closes_its_input_after_that(tmp_path):
    reads, goes_on = threading.Event(), threading.Event()

    def slow_rows():
        reads.set()
        goes_on.wait(10)
        yield from rows_of([0])

    async def call_off(chunks):
        runner = BatchRunner(FirstIsSlow(9), calls, RowLines(price), window=2)
        output = RetriedRows(calls, [], BatchProgress(1))
        task = asyncio.create_task(runner.answer_rows(chunks, output))
        await asyncio.to_thread(reads.wait, 10)
        task.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        over = task.done()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        chunks.close()
        return over

    with closing(CallJournal(tmp_path / "journal", price)) as calls:
        assert not asyncio.run(call_off(slow_rows()))
