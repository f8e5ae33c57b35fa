"""A store that is locked, broken, full or read-only: no one waits for it who need not."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack

import pytest

from mixtura import (
    Aggregator,
    BudgetExceededError,
    Mixture,
    Notice,
    Sampling,
    UnavailableError,
    Usage,
    ask,
)
from mixtura.billing.forecast import forecast_calls, worst_case_spend
from mixtura.billing.price import Price
from mixtura.billing.spending_caps import DailyCap, RunCap, Spend
from mixtura.core.errors import StoreError
from mixtura.core.types import Charge
from mixtura.models.fake import FailedCall, Scripted
from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.cache import Cached
from mixtura.models.wrappers.retry import Retrying
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.sqlite import SqliteStore
from tests.conftest import run
from tests.support.forked_program import run_mixtura
from tests.support.serving import serving, team
from tests.support.stores import wait_until_settled
from tests.support.upstream import running

ASK = ask("Why?")
DEAR = Price(input=1_000_000.0, output=1_000_000.0)  # a dollar a token


def dear(model, usage):
    return DEAR(usage)


def alone(answers, **how):
    model = BudgetedPerAttempt(Scripted("m", answers, usage=Usage(3, 2), **how))
    return Mixture(layers=(), aggregator=Aggregator(model, Sampling(max_tokens=10)))


def worst_of(mixture):
    return worst_case_spend(forecast_calls(mixture, ASK), dear)[0].dollars


@pytest.fixture
def store(stores):
    found = stores.open()
    found.check_usable()
    return found


def test_a_run_that_waits_for_a_locked_store_holds_up_no_one_else(store, stores):
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=1e9)
    capped = BudgetedPerRun(alone(["x"]), lambda: [purse], dear)

    async def watched(free):
        task = asyncio.create_task(capped.complete(ASK))
        for _ in range(20):  # the loop goes round although the lock is held
            await asyncio.sleep(0.01)
        assert not task.done()
        free()
        return await task

    with stores.locked() as free:
        assert run(watched(free)).text == "x"
    assert purse.ledger.used_today() == (5.0, 5)


def test_a_run_that_is_cancelled_while_it_waits_holds_nothing(store, stores):
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=1e9)
    first = RunCap("this run", 1e9)
    capped = BudgetedPerRun(alone(["x"]), lambda: [first, purse], dear)

    async def left():
        task = asyncio.create_task(capped.complete(ASK))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

    with stores.locked():
        run(left())
    assert first.committed_spend == Spend()
    assert purse.ledger.used_today() == (0, 0)


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_a_run_spent_under_a_lock_is_settled_when_the_lock_is_free(store, stores, cancelled):
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=1e9)
    mixture = alone(["x"], delay=30 if cancelled else 0.3)
    capped = BudgetedPerRun(mixture, lambda: [purse], dear)
    worst = worst_of(mixture)

    async def through():
        task = asyncio.create_task(capped.complete(ASK))
        await asyncio.sleep(0.05)
        with stores.locked() as free:
            if cancelled:
                task.cancel()
            await asyncio.wait([task])  # it does not wait for the lock
            assert task.done()
            assert store.settlements.pending
            free()

    run(through())
    wait_until_settled()
    assert not store.settlements.pending
    assert purse.ledger.used_today()[0] < worst
    with store.transaction() as db:
        assert db.fetch_one("SELECT count(*) FROM held") == (0,)


def test_runs_of_two_stores_with_the_money_of_ten_overspend_nothing_under_a_lock(stores):
    pair = [stores.open() for _ in range(2)]
    for one_of in pair:
        one_of.check_usable()
    cap = worst_of(alone(["x"])) * 10
    purses = [DailyCap("the day", DailySpendLedger(s, "day"), dollars=cap) for s in pair]
    models = [alone(["x"] * 99, delay=0.2) for _ in pair]
    capped = [BudgetedPerRun(m, lambda p=p: [p], dear) for m, p in zip(models, purses, strict=True)]

    async def one(i):
        try:
            await capped[i % 2].complete(ASK)
        except BudgetExceededError:
            return 0
        return 1

    async def crowd(free):
        tasks = [asyncio.create_task(one(i)) for i in range(60)]
        await asyncio.sleep(0.1)
        free()
        return sum(await asyncio.gather(*tasks))

    with stores.locked() as free:
        answered = run(crowd(free))
    wait_until_settled()
    assert answered >= 10
    assert purses[0].ledger.used_today()[0] == answered * 5.0 <= cap


def test_an_attempt_that_needs_more_room_waits_for_the_lock_and_holds_up_no_one(store, stores):
    lost = FailedCall(UnavailableError("cut"), (Charge("m", Usage(3, 10), "failed"),))
    flaky = BudgetedPerAttempt(Scripted("m", [lost, "fine"], usage=Usage(3, 2)))

    turns = []

    async def pause(_):
        beside.append(asyncio.create_task(freed(holding.enter_context(stores.locked()))))

    async def freed(free):
        for _ in range(20):
            turns.append(len(flaky.inner_model.asked))
            await asyncio.sleep(0.01)
        free()

    beside = []
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=1e9)
    model = Retrying(flaky, sleep=pause)
    mixture = Mixture(layers=(), aggregator=Aggregator(model, Sampling(max_tokens=10)))

    with ExitStack() as holding:
        assert run(BudgetedPerRun(mixture, lambda: [purse], dear).complete(ASK)).text == "fine"
    assert turns == [1] * 20
    assert purse.ledger.used_today()[0] == 18.0


@pytest.mark.parametrize("problem", ["read-only", "full"])
def test_a_store_that_takes_nothing_refuses_a_capped_run_by_name(store, stores, problem):
    if problem == "full" and stores.kind != "sqlite":
        pytest.skip("a server's disk is not filled here")
    first = RunCap("this run", 1e9)
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=1e9)
    mixture = alone(["x"])
    with store.transaction() as db:
        for i in range(200):  # no free page is left
            row = ("p" * 60, f"9999-{i}", 1.0, 1)
            db.execute("INSERT INTO held (purse, day, dollars, tokens) VALUES (?, ?, ?, ?)", row)
    full = problem == "full"
    stores.set_mode(store, "PRAGMA max_page_count = 1" if full else stores.read_only)

    async def until_refused():
        for _ in range(500):
            purse.reserve(Spend(0.0, 0))

    with pytest.raises(StoreError, match=r"cannot be .*written.*a cap for the day needs it"):
        run(until_refused())
    if not full:
        with pytest.raises(StoreError, match=r"cannot be .*written"):
            run(BudgetedPerRun(mixture, lambda: [first, purse], dear).complete(ASK))
        assert first.committed_spend == Spend()


def test_what_could_not_be_settled_counts_as_held_and_is_written_with_the_next_hold(store, stores):
    book = DailySpendLedger(store, "day")
    hold = book.reserve(7.0, 1, 10.0, None)
    stores.set_mode(store, stores.read_only)
    book.settle(hold, 2.0, 1)
    with stores.open().transaction() as db:
        assert db.fetch_one("SELECT sum(dollars) FROM held") == (7.0,)
    stores.set_mode(store, stores.writable)

    assert book.reserve(8.0, 1, 10.0, None) is not None
    assert book.used_today() == (10.0, 2)


def test_a_locked_cache_is_as_if_nothing_were_kept_and_holds_up_no_one(store, stores):
    answers = AnswerCache(store)
    kept = Cached(Scripted("m", ["one", "two"]), answers, identity="m")
    assert run(kept.complete(ASK)).text == "one"
    turns = []

    async def beside():
        task = asyncio.create_task(kept.complete(ASK))
        while not task.done():
            turns.append(1)
            await asyncio.sleep(0.01)
        return await task

    with stores.locked():
        assert run(beside()).text == "two"
    assert len(turns) > 5
    assert run(kept.complete(ASK)).text == "one"


@pytest.mark.parametrize(
    ("whole", "damaged"),
    [
        (b'"stop"', b'"over"'),
        (b'"assistant"', b'"nobody"'),
        (b'"prompt_tokens":', b'"prompt_tokens":-'),
    ],
)
def test_an_answer_that_is_damaged_in_the_cache_is_asked_for_again(whole, damaged):
    class Answers(dict):
        def put(self, key, body):
            self[key] = body

    answers = Answers()
    kept = Cached(Scripted("m", ["one", "two"]), answers, identity="m")
    assert run(kept.complete(ASK)).text == "one"
    ((key, body),) = answers.items()
    assert whole in body
    answers[key] = body.replace(whole, damaged)

    assert run(kept.complete(ASK)).text == "two"
    assert run(kept.complete(ASK)).text == "two"


def test_a_broken_cache_is_said_once_and_answers_are_given(tmp_path):
    (tmp_path / "file").write_text("")
    answers = AnswerCache(SqliteStore(tmp_path / "file" / "s.sqlite"))
    models = [Cached(Scripted(n, ["1", "2"]), answers, identity=n) for n in "ab"]
    events = []

    said = [run(m.complete(ASK, events.append)).text for m in models for _ in range(2)]

    assert said == ["1", "2", "1", "2"]
    (notice,) = [e.notice for e in events if isinstance(e, Notice)]
    assert "answers are not cached" in notice
    assert "cannot be used" in notice


def test_a_book_of_runs_that_cannot_be_read_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("")
    book = RunStore(SqliteStore(tmp_path / "file" / "s.sqlite"))
    for call in (book.list_runs, lambda: book.get_run("x"), lambda: book.delete_run("x")):
        with pytest.raises(StoreError, match="cannot be used"):
            call()


def test_a_server_with_a_wrong_state_path_answers_and_says_what_is_wrong(tmp_path):
    (tmp_path / "state").write_text("a file, where a folder should be")
    with running() as upstream:
        told = team(upstream, "a", "b").replace("cache = { use = false }", "cache = { use = true }")
        with serving(tmp_path, told) as server:
            assert server.chat().status == 200
            for reply in (
                server.get("/api/runs"),
                server.get("/api/runs/x"),
                server.post("/api/runs/x", b"", method="DELETE"),
            ):
                assert reply.status == 503
                assert "cannot be used" in reply.json["error"]["message"]
        log = (tmp_path / "log").read_text()
        assert "Traceback" not in log
        assert log.count("this run is not kept") == 1
        with serving(tmp_path, told + "[budget]\nday_usd = 5.0\n") as server:
            reply = server.chat()
            assert reply.status == 503
            assert "a cap for the day needs it" in reply.json["error"]["message"]
        assert "Traceback" not in (tmp_path / "log").read_text()

        command = ["ask", "Why?"]
        env = os.environ | {"XDG_STATE_HOME": str(tmp_path / "state"), "NO_PROXY": "*"}
        asked = run_mixtura(command, cwd=tmp_path, env=env, text=True)
    assert asked.returncode == 2
    assert "a cap for the day needs it" in asked.stderr
    assert "Traceback" not in asked.stderr
