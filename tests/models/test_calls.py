"""Calls that can be trusted with money and time: gates, hedges, caches, budgets, deadlines."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from itertools import repeat

import pytest

from mixtura import (
    Aggregator,
    BudgetExceededError,
    CacheHit,
    Charge,
    ConfigError,
    Layer,
    Mixture,
    Notice,
    Proposer,
    QuorumNotMetError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    Sampling,
    Token,
    UnavailableError,
    Usage,
    ask,
)
from mixtura.billing.forecast import forecast_calls, worst_case_spend
from mixtura.billing.price import Price
from mixtura.billing.spending_caps import DailyCap, RunCap, Spend
from mixtura.core.call_ledger import open_ledger, record_charge
from mixtura.core.errors import DeadlineExceededError
from mixtura.engine.call_context import deadline_scope
from mixtura.models.fake import FailedCall, Scripted, echo, failing_model, slow_model
from mixtura.models.wrappers.budget import Budgeted
from mixtura.models.wrappers.cache import Cached
from mixtura.models.wrappers.deadline import Deadlined, with_layer_deadlines
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.meter import Metered
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.sqlite import Store
from tests.conftest import run

ASK = ask("Why?")


# ---- limited


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def after(self, seconds, step):
        """A step of a script that takes so long."""

        def taken(_):
            self.now += seconds
            return step

        return taken


async def at_once(models, request=ASK):
    """Ask all; the most that were inside at the same time."""
    most = 0
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(m.complete(request)) for m in models]
        while not all(t.done() for t in tasks):
            most = max(most, sum(m.inner_model.in_flight for m in models))
            await asyncio.sleep(0.001)
    return most


def test_a_429_lowers_the_calls_at_once_and_answers_raise_them_slowly():
    gate = RateLimiter(RateLimits(concurrency=10))

    async def adapting():
        door = gate.loop_state()
        door.inside = 10
        door.record_rate_limit(None)
        lowered = door.allowed
        door.record_rate_limit(None)  # a second one in the same breath says nothing new
        assert door.allowed == lowered == 7.0
        door.record_success("m")
        assert 7.0 < door.allowed < 7.2
        for _ in range(1000):
            door.record_success("m")
        assert door.allowed == 10.0

    run(adapting())


def test_after_a_429_no_one_goes_in_before_the_upstreams_time():
    clock = Clock()
    gate = RateLimiter(RateLimits(), clock=clock)
    limited = Limited(Scripted("m", [RateLimitedError("429").with_retry_after(0.05), "fine"]), gate)

    async def refused_then_fine():
        with pytest.raises(RateLimitedError):
            await limited.complete(ASK)
        second = asyncio.create_task(limited.complete(ASK))
        await asyncio.sleep(0.01)
        assert len(limited.inner_model.asked) == 1
        clock.now += 0.06
        return await second

    assert run(refused_then_fine()).text == "fine"


def test_requests_a_minute_are_counted_over_the_last_minute():
    clock = Clock()
    gate = RateLimiter(RateLimits(requests_per_minute=3), clock=clock)
    model = echo("m")

    async def five():
        tasks = [asyncio.create_task(Limited(model, gate).complete(ASK)) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert len(model.asked) == 3
        clock.now += 61
        gate.loop_state().admit_waiting()
        await asyncio.gather(*tasks)

    run(five())
    assert len(model.asked) == 5


def test_tokens_a_minute_hold_back_what_would_pass_them_but_never_a_first_call():
    clock = Clock()
    gate = RateLimiter(RateLimits(tokens_per_minute=1000), clock=clock)
    model = echo("m")
    large = replace(ASK, sampling=Sampling(max_tokens=800))

    async def two():
        tasks = [asyncio.create_task(Limited(model, gate).complete(large)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert len(model.asked) == 1
        clock.now += 61
        gate.loop_state().admit_waiting()
        await asyncio.gather(*tasks)

    run(two())


def test_one_gpu_serves_one_model_after_another():
    gate, order = RateLimiter(RateLimits(one_model=True)), []

    def said(name):
        def step(request):
            order.append(name)
            return name

        return Scripted(name, [step] * 3, delay=0.005)

    a, b = Limited(said("a"), gate), Limited(said("b"), gate)

    async def mixed():
        await asyncio.gather(*(m.complete(ASK) for m in (a, b, a, b, a, b)))

    run(mixed())
    assert order == ["a"] * 3 + ["b"] * 3


def test_a_call_that_is_cancelled_while_it_waits_takes_no_place():
    gate = RateLimiter(RateLimits(concurrency=1))
    first, second = Limited(slow_model(0.05), gate), Limited(echo(), gate)

    async def left():
        busy = asyncio.create_task(first.complete(ASK))
        await asyncio.sleep(0.005)
        waiting = asyncio.create_task(second.complete(ASK))
        await asyncio.sleep(0.005)
        waiting.cancel()
        await busy
        assert gate.loop_state().inside == 0
        return await second.complete(ASK)

    assert run(left()).text == "Why?"


# ---- hedged


def hedged(first, second, **options):
    return Hedged(first, elsewhere=second, **({"after": 0.02, "share": 1.0} | options))


def test_a_second_copy_answers_when_the_first_token_is_late_and_the_loser_is_called_off():
    late, spare = slow_model(30.0, "slow words", "late"), Scripted("spare", ["quick words"])
    events = []

    answer = run(hedged(late, spare).complete(ASK, events.append))

    assert answer.text == "quick words"
    assert late.in_flight == 0
    assert "".join(e.text for e in events if isinstance(e, Token)) == "quick words"
    assert any(isinstance(e, Notice) for e in events)


def test_a_first_token_in_time_needs_no_copy():
    spare = Scripted("spare", [])

    assert run(hedged(Scripted("quick", ["here"]), spare).complete(ASK)).text == "here"
    assert spare.asked == []


def test_it_looks_at_the_first_token_not_at_the_end():
    long = Scripted("long", ["one two three four five six"], pace=0.015)
    spare = Scripted("spare", ["x"])

    answer = run(hedged(long, spare, after=0.05).complete(ASK))

    assert answer.text.startswith("one two")
    assert spare.asked == []


def test_only_one_copys_tokens_are_reported_though_both_would_speak():
    a = Scripted("a", ["a a a a a a"], delay=0.04, pace=0.005)
    b = Scripted("b", ["b b b b b b"], delay=0.0, pace=0.005)
    events = []

    answer = run(hedged(a, b).complete(ASK, events.append))

    said = "".join(e.text for e in events if isinstance(e, Token))
    assert said == answer.text == "b b b b b b"


def test_a_copy_that_fails_leaves_the_race_to_the_other():
    late = Scripted("late", ["still here"], delay=0.5)
    error = FailedCall(UnavailableError("down"), (Charge("spare", Usage(5, 0), "failed"),))

    answer = run(hedged(late, failing_model(error, "spare")).complete(ASK))

    assert answer.text == "still here"
    assert [(c.model, c.outcome) for c in answer.charges] == [("late", "answer"), ("spare", "lost")]


def test_when_both_copies_fail_the_ledger_has_both_bills():
    def down(name):
        error = FailedCall(UnavailableError(name), (Charge(name, Usage(1, 0), "failed"),))
        return failing_model(error, name, delay=0.03)

    with open_ledger() as ledger, pytest.raises(UnavailableError):
        run(hedged(down("a"), down("b")).complete(ASK))
    assert {c.model for c in ledger.charges} == {"a", "b"}


def test_at_most_the_stated_share_of_calls_gets_a_copy():
    late = Scripted("late", ["x"] * 100, delay=0.004)
    racing = Hedged(late, elsewhere=Scripted("spare", ["y"] * 100), after=0.001, share=0.1)

    async def many():
        for _ in range(60):
            await racing.complete(ASK)

    run(many())
    assert racing.calls == 60
    assert 1 <= racing.copies <= 6


def test_late_is_learned_from_the_first_tokens_seen():
    racing = Hedged(echo(), after=None)
    assert racing.hedge_delay() is None
    for i in range(100):
        racing._seen.append(i / 100)
    assert racing.hedge_delay() == pytest.approx(0.95, abs=0.011)


def test_leaving_a_race_leaves_no_copy_running():
    a, b = slow_model(30.0, name="a"), slow_model(30.0, name="b")

    async def left():
        task = asyncio.create_task(hedged(a, b).complete(ASK))
        await asyncio.sleep(0.05)
        assert (a.in_flight, b.in_flight) == (1, 1)
        task.cancel()
        await asyncio.wait([task])

    run(left())
    assert (a.in_flight, b.in_flight) == (0, 0)


# ---- cached


@pytest.fixture
def store(tmp_path):
    found = Store(tmp_path / "deep" / "mixtura.sqlite")
    yield found
    found.close()


def test_the_same_request_is_paid_for_once_and_says_so(store):
    model = Scripted("m", ["once"])
    kept = Cached(model, AnswerCache(store), identity="m at home")
    events = []

    first = run(kept.complete(ASK))
    again = run(kept.complete(ASK, events.append))

    assert (again.text, again.usage) == (first.text, Usage())
    assert len(model.asked) == 1
    assert isinstance(events[0], CacheHit)
    assert (events[0].charges, events[0].seconds > 0) == (first.charges, True)
    assert isinstance(events[1], Token)


def test_another_draw_another_sampling_another_model_is_another_request(store):
    model = Scripted("m", [str(i) for i in range(9)])
    answers = AnswerCache(store)

    def asked(identity="m", **change):
        kept = Cached(model, answers, identity=identity)
        return run(kept.complete(replace(ASK, **change))).text

    texts = [
        asked(), asked(draw=1), asked(sampling=Sampling(temperature=0.5)), asked(identity="n"),
        asked(tools=({"a": 1},)), asked(),
    ]  # fmt: skip
    assert texts == ["0", "1", "2", "3", "4", "0"]


def test_a_failure_is_never_kept(store):
    model = Scripted("m", [UnavailableError("down"), "up"])
    kept = Cached(model, AnswerCache(store), identity="m")

    with pytest.raises(UnavailableError):
        run(kept.complete(ASK))
    assert run(kept.complete(ASK)).text == "up"


def test_answers_grow_old_and_the_longest_unused_make_room(tmp_path):
    clock = Clock()
    store = Store(tmp_path / "s.sqlite", clock=clock)
    answers = AnswerCache(store, age=100, size=25)

    answers.put("a", b"0123456789")
    clock.now += 1
    answers.put("b", b"0123456789")
    clock.now += 1
    assert answers.get("a")
    clock.now += 1
    answers.put("c", b"0123456789")
    assert [answers.get(k) is not None for k in "abc"] == [True, False, True]
    clock.now += 101
    assert answers.get("a") is None
    store.close()


WRITER = """
import sys
from pathlib import Path
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.sqlite import Store
answers = AnswerCache(Store(Path(sys.argv[1])))
for i in range(400):
    answers.put(f"{sys.argv[2]}-{i}", b"x" * 100)
    answers.get(f"{sys.argv[3]}-{i}")
"""


def test_two_processes_share_the_cache(tmp_path, store):
    pair = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), *names])
        for names in (("p", "q"), ("q", "p"))
    ]
    assert [p.wait(60) for p in pair] == [0, 0]
    assert all(AnswerCache(store).get(f"{n}-{i}") for n in "pq" for i in range(400))


def test_a_killed_writer_leaves_a_store_that_works(tmp_path, store):
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), "p", "q"])
    while child.poll() is None and not store.path.exists():
        pass
    child.send_signal(signal.SIGKILL)
    child.wait(10)

    answers = AnswerCache(store)
    answers.put("after", b"fine")
    assert answers.get("after") == b"fine"


def test_a_file_that_is_no_store_is_a_clear_error(tmp_path):
    path = tmp_path / "mixtura.sqlite"
    path.write_bytes(b"no database at all, but long enough to look at" * 40)

    with pytest.raises(ConfigError, match="cannot be used"):
        AnswerCache(Store(path)).get("x")


def test_a_store_of_a_newer_version_is_not_touched(tmp_path):
    path = tmp_path / "s.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(ConfigError, match="newer"):
        AnswerCache(Store(path)).get("x")


# ---- budgeted

DEAR = Price(input=1_000_000.0, output=1_000_000.0)  # a dollar a token


def dear(model, usage):
    return DEAR(usage)


def team(*names, chief="chief", wrote=2, delay=0.0):
    """Metered doubles: each call reads what it reads and writes *wrote* tokens."""

    def member(name):
        return Metered(Scripted(name, ["x"] * 5000, usage=Usage(3, wrote), delay=delay))

    sampling = Sampling(max_tokens=10)
    layer = Layer(tuple(Proposer(member(n), sampling) for n in names))
    return Mixture(layers=(layer,), aggregator=Aggregator(member(chief), sampling))


def worst_of(mixture, request=ASK):
    return worst_case_spend(forecast_calls(mixture, request), dear)[0]


def asked_of(mixture):
    calls = [p.model.inner_model for layer in mixture.layers for p in layer.proposers]
    return sum(len(m.asked) for m in (*calls, mixture.aggregator.model.inner_model))


def test_a_run_that_might_pass_its_cap_is_refused_before_anything_is_asked():
    mixture = team("a", "b")
    cap = worst_of(mixture).dollars - 0.01
    capped = Budgeted(mixture, lambda: [RunCap("this run", cap)], dear)

    with pytest.raises(BudgetExceededError, match="this run has no room"):
        run(capped.complete(ASK))
    assert asked_of(mixture) == 0


def test_a_run_that_fits_is_made_and_its_purse_holds_only_what_was_spent():
    mixture = team("a", "b")
    purse = RunCap("this run", worst_of(mixture).dollars)

    answer = run(Budgeted(mixture, lambda: [purse], dear).complete(ASK))

    assert purse.committed_spend == Spend(dear("", answer.usage), answer.usage.total_tokens)
    assert answer.usage == Usage(9, 6)


def test_a_thousand_parallel_requests_on_the_money_of_ten_overspend_nothing():
    mixture = team("a", "b", delay=0.01)
    worst = worst_of(mixture)
    purse = RunCap("all", worst.dollars * 10)
    capped = Budgeted(mixture, lambda: [purse], dear)

    async def crowd():
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(1000)]
        return sum(t.result() for t in tasks)

    async def one():
        try:
            await capped.complete(ASK)
        except BudgetExceededError:
            return 0
        return 1

    answered = run(crowd())
    assert answered == 10
    assert asked_of(mixture) == 30
    assert purse.committed_spend.dollars <= worst.dollars * 10


def test_at_the_cap_a_run_may_degrade_to_fewer_proposers_and_then_to_one_model():
    mixture = team("a", "b", "c")
    for cut, calls in ((1, 3), (2, 2), (3, 1)):
        smaller = team("a", "b", "c")
        kept = replace(mixture, layers=(Layer(mixture.layers[0].proposers[: 3 - cut]),)
                       if cut < 3 else ())  # fmt: skip
        cap = worst_of(kept).dollars
        budget = Budgeted(smaller, lambda cap=cap: [RunCap("this run", cap)], dear,
                          at_the_cap="degrade")  # fmt: skip

        answer = run(budget.complete(ASK))

        assert asked_of(smaller) == calls
        assert answer.degraded[0].startswith("the budget:")
    poor = Budgeted(mixture, lambda: [RunCap("this run", 1.0)], dear, at_the_cap="degrade")
    with pytest.raises(BudgetExceededError):
        run(poor.complete(ASK))


def test_a_retry_beyond_what_was_set_aside_is_not_made():
    error = FailedCall(UnavailableError("cut"), (Charge("m", Usage(3, 10), "failed"),))
    double = Scripted("m", [error, "fine"])

    async def nowait(_):
        pass

    flaky = Retrying(Metered(double), sleep=nowait)
    alone = Mixture(layers=(), aggregator=Aggregator(flaky, Sampling(max_tokens=10)))
    exactly = worst_of(alone).dollars

    with pytest.raises(BudgetExceededError, match="no room for this attempt"):
        run(Budgeted(alone, lambda: [RunCap("this run", exactly)], dear).complete(ASK))
    assert len(double.asked) == 1


def test_what_a_capped_mixture_inside_another_spends_is_spent_of_both():
    def member(name):
        return Metered(Scripted(name, ["x"] * 3, usage=Usage(10, 5)))

    sampling = Sampling(max_tokens=10)
    inner = Mixture(layers=(), aggregator=Aggregator(member("inner"), sampling), name="inner")
    own, whole = RunCap("inner", 1_000_000.0), RunCap("outer", 1_000_000.0)
    outer = Mixture(
        layers=(Layer((Proposer(Budgeted(inner, lambda: [own], dear)),)),),
        aggregator=Aggregator(member("chief"), sampling),
    )

    run(Budgeted(outer, lambda: [whole], dear).complete(ASK))

    assert own.committed_spend.tokens == 15
    assert whole.committed_spend.tokens == 30


def test_a_cap_in_dollars_needs_every_price_and_one_in_tokens_none():
    mixture = team("a")

    with pytest.raises(ConfigError, match=r"price of every model.*unknown"):
        run(Budgeted(mixture, lambda: [RunCap("r", 5.0)], lambda *_: None).complete(ASK))
    tokens = Budgeted(mixture, lambda: [RunCap("r", tokens=5000)], lambda *_: None)
    assert run(tokens.complete(ASK)).text == "x"


def test_under_a_cap_every_call_has_a_longest_answer():
    double = Scripted("m", ["x"])
    alone = Mixture(layers=(), aggregator=Aggregator(Metered(double)))

    run(Budgeted(alone, lambda: [RunCap("r", tokens=99_999)], dear).complete(ASK))

    assert double.asked[0].sampling.max_tokens == 4096


def test_a_failed_run_gives_back_what_it_did_not_spend():
    error = FailedCall(UnavailableError("cut"), (Charge("m", Usage(3, 1), "failed"),))
    alone = Mixture(layers=(), aggregator=Aggregator(Metered(failing_model(error, "m"))))
    purse = RunCap("r", 10_000.0)

    with pytest.raises(UnavailableError):
        run(Budgeted(alone, lambda: [purse], dear).complete(ASK))
    assert purse.committed_spend == Spend(4.0, 4)


def test_a_days_purse_is_shared_by_processes_and_filled_anew_the_next_day(tmp_path):
    clock = Clock()
    stores = [Store(tmp_path / "s.sqlite", clock=clock) for _ in range(2)]
    one, two = (DailyCap("the day", DailySpendLedger(s, "day"), dollars=10.0) for s in stores)

    hold = one.reserve(Spend(7.0, 1))
    assert two.reserve(Spend(4.0, 1)) is None
    one.settle(hold, Spend(2.0, 1))
    second = two.reserve(Spend(8.0, 1))
    assert second is not None
    clock.now += 3 * 3600  # the process that held it is gone, perhaps after spending it
    assert one.reserve(Spend(1.0, 1)) is None
    clock.now += 86400
    assert two.reserve(Spend(10.0, 1)) is not None
    for s in stores:
        s.close()


@pytest.mark.parametrize("jump", [120, -40 * 86400, 86400])
def test_a_run_over_midnight_or_a_jump_of_the_clock_passes_no_days_cap(tmp_path, jump):
    clock = Clock()
    clock.now = 86400 * 20000 - 60.0  # a minute before midnight
    store = Store(tmp_path / "s.sqlite", clock=clock)
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=10.0)

    first = purse.reserve(Spend(8.0, 1))
    clock.now += jump
    second = purse.reserve(Spend(10.0, 1))
    purse.settle(first, Spend(8.0, 1))

    assert purse.book.used_today() == (10.0, 1)
    purse.settle(second, Spend(4.0, 1))
    assert purse.book.used_today() == (4.0, 1)
    clock.now -= jump
    assert purse.book.used_today() == (8.0, 1)
    store.close()


# ---- deadline


def test_a_deadline_ends_a_run_and_nothing_runs_on():
    late = slow_model(30.0)
    alone = Mixture(layers=(), aggregator=Aggregator(late))

    with pytest.raises(BudgetExceededError, match=r"no answer within 0.05 s"):
        run(Deadlined(alone, 0.05).complete(ASK))
    assert late.in_flight == 0


def test_a_deadline_leaves_time_for_the_answer():
    quick, late = Scripted("quick", ["here"]), slow_model(30.0, name="late")
    layer = Layer((Proposer(quick), Proposer(late)))
    mixture = Mixture(layers=(layer,), aggregator=Aggregator(echo("chief")))

    answer = run(Deadlined(with_layer_deadlines(mixture, 0.3), 0.3).complete(ASK))

    assert "here" in answer.text
    assert "late" in answer.degraded[0]


def test_a_layer_that_has_no_time_left_ends_the_run_as_its_deadline_does():
    late = Meter("late", ["too late"] * 2, delay=30.0)
    mixture = Mixture(layers=(Layer((Proposer(late, samples=2),)),), aggregator=Aggregator(late))

    said = r"no answer within 0.1 s: layer 1"
    with open_ledger() as ledger, pytest.raises(DeadlineExceededError, match=said):
        run(Deadlined(with_layer_deadlines(mixture, 0.1), 0.1).complete(ASK))
    assert [charge.usage.prompt_tokens for charge in ledger.charges] == [7, 7]


def test_a_layer_that_fails_in_time_fails_as_ever():
    bad = failing_model(UnavailableError("down"), "bad")
    mixture = Mixture.of([Proposer(bad, samples=2), bad], echo("chief"))

    with pytest.raises(QuorumNotMetError, match=r"\(3 × bad: down\)"):
        run(Deadlined(with_layer_deadlines(mixture, 30), 30).complete(ASK))


# ---- what was cancelled is on the bill


class Meter(Scripted):
    """A double that says what a cancelled call cost, as the adapters do."""

    async def complete(self, request, emit=None):
        try:
            return await super().complete(request, emit)
        except asyncio.CancelledError:
            record_charge(Charge(self.name, Usage(7, 0), "failed"))
            raise


def cut_off(member):
    """The bill of a mixture that does not wait for *member*."""
    layer = Layer((Proposer(Scripted("quick", ["here"])), Proposer(member)), patience=0.05)
    answer = run(Mixture(layers=(layer,), aggregator=Aggregator(echo("c"))).complete(ASK))
    return [(c.model, c.usage.prompt_tokens) for c in answer.charges if c.outcome == "lost"]


def stuck(name):
    return Meter(name, ["never"], delay=30.0)


def test_a_cut_off_retry_keeps_what_its_first_attempt_cost():
    class Flaky(Meter):
        async def complete(self, request, emit=None):
            if not self.asked:
                self.asked.append(request)
                record_charge(Charge("m", Usage(2000, 3), "failed"))
                raise UnavailableError("cut")
            return await super().complete(request, emit)

    async def nowait(_):
        pass

    flaky = Retrying(Flaky("m", ["never"], delay=30.0), sleep=nowait)
    assert cut_off(flaky) == [("m", 2000), ("m", 7)]


def test_a_cut_off_race_keeps_the_bill_of_both_copies():
    racing = Hedged(stuck("a"), elsewhere=stuck("b"), after=0.01, share=1.0)

    assert sorted(cut_off(racing)) == [("a", 7), ("b", 7)]


def test_a_cut_off_mixture_keeps_the_bill_of_its_members_that_answered():
    x = Scripted("x", ["here"], usage=Usage(5, 1))
    inner = Mixture(layers=(Layer((Proposer(x),)),), aggregator=Aggregator(stuck("chief")))

    assert sorted(cut_off(inner)) == [("chief", 7), ("x", 5)]


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("wrap", ["hedged", "raced", "cached", "retried"])
def test_whoever_is_called_off_has_the_bill_of_what_was_answered_a_moment_before(
    wrap, turns, store
):
    model = Scripted("m", ["here"], usage=Usage(5, 1))
    wrapped = {
        "hedged": Hedged(model, after=30.0),
        "raced": Hedged(slow_model(30.0), elsewhere=model, after=0.0, share=1.0),
        "cached": Cached(model, AnswerCache(store), identity="m"),
        "retried": Retrying(model),
    }[wrap]

    async def called_off():
        with open_ledger() as ledger:
            task = asyncio.create_task(wrapped.complete(ASK))
        while model.in_flight or not model.asked:
            await asyncio.sleep(0)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return ledger.charges

    assert [c.usage for c in run(called_off())] == [Usage(5, 1)]


def test_a_run_that_is_out_of_time_has_its_whole_bill():
    x = Scripted("x", ["here"], usage=Usage(5, 1))
    team = Mixture(layers=(Layer((Proposer(x),)),), aggregator=Aggregator(stuck("chief")))
    purse = RunCap("all", tokens=10**9)
    capped = Budgeted(team, lambda: [purse], lambda m, u: None)

    with open_ledger() as ledger, pytest.raises(DeadlineExceededError):
        run(Deadlined(capped, 0.05).complete(ASK))

    charges = [(c.model, c.usage.prompt_tokens) for c in ledger.charges]
    assert sorted(charges) == [("chief", 7), ("x", 5)]
    assert purse.committed_spend.tokens == sum(c.usage.total_tokens for c in ledger.charges)


def test_no_one_waits_at_the_gate_for_an_upstream_that_wants_an_hour():
    gate = RateLimiter(RateLimits())
    refused = Limited(failing_model(RateLimitedError("429").with_retry_after(3600.0)), gate)

    async def twice():
        for model in (refused, Limited(echo(), gate)):
            with pytest.raises(RateLimitedError):
                await model.complete(ASK)

    run(twice())


@pytest.mark.parametrize("queued", [False, True])
def test_no_one_waits_at_the_gate_longer_than_the_answer_is_waited_for(queued):
    async def waits(seconds):
        door = RateLimiter(RateLimits(concurrency=1)).loop_state()
        await door.enter_queue("m", 1)
        door.record_rate_limit(0 if queued else 30.0)
        with deadline_scope(seconds):
            task = asyncio.create_task(door.enter_queue("m", 1))
        await asyncio.sleep(0)
        door.record_rate_limit(30.0)
        try:
            await asyncio.wait_for(task, 0.05)
        finally:
            await asyncio.wait([task])

    with pytest.raises(RateLimitedError, match="30 s without calls"):
        run(waits(20.0))
    with pytest.raises(TimeoutError):
        run(waits(40.0))


def test_a_layer_does_not_wait_for_one_who_could_only_come_back_after_its_deadline():
    limited = Retrying(failing_model(RateLimitedError("429").with_retry_after(30.0)))
    members = tuple(Proposer(model) for model in (limited, echo("b")))
    team = Mixture(layers=(Layer(members, deadline=20.0),), aggregator=Aggregator(echo("chief")))

    answer = run(asyncio.wait_for(team.complete(ASK), 5))

    assert answer.degraded == ("layer 1: failing failed: 429",)


def test_a_fallback_answers_where_the_run_has_no_time_to_wait_for_the_aggregator():
    chief = Retrying(failing_model(RateLimitedError("429").with_retry_after(30.0), "chief"))
    members = (Layer((Proposer(echo("a")),)),)
    team = Mixture(layers=members, aggregator=Aggregator(chief, fallbacks=(echo("spare"),)))

    answer = run(asyncio.wait_for(Deadlined(team, 20.0).complete(ASK), 5))

    assert answer.degraded == ("the aggregator chief failed: 429",)


def test_who_is_refused_and_called_off_in_the_same_moment_leaves_no_place_free():
    door = RateLimiter(RateLimits(concurrency=1)).loop_state

    async def refused_and_left():
        await door().enter_queue("m", 1)
        queued = asyncio.create_task(door().enter_queue("m", 1))
        await asyncio.sleep(0)
        door().record_rate_limit(3600.0)
        queued.cancel()
        await asyncio.wait([queued])
        return door().inside

    assert run(refused_and_left()) == 1


def test_a_model_whose_quota_is_spent_is_left_alone_for_a_while_and_says_so():
    clock = Clock()
    gate = RateLimiter(RateLimits(), clock=clock)
    spent = Scripted("m", [QuotaError("402: no credits"), "paid again"])
    models = Limited(spent, gate), Limited(echo("other"), gate)

    async def asked():
        with pytest.raises(QuotaError, match="no credits"):
            await models[0].complete(ASK)
        clock.now += 100
        with pytest.raises(QuotaError, match="spent 100 s ago"):
            await models[0].complete(ASK)
        await models[1].complete(ASK)
        clock.now += 250
        return await models[0].complete(ASK)

    assert run(asked()).text == "paid again"
    assert len(spent.asked) == 2


# ---- a member that others can do without


def beside(*proposers, aggregator=None, quorum=1):
    layer = Layer(tuple(map(Proposer, proposers)), quorum)
    return Mixture(layers=(layer,), aggregator=Aggregator(aggregator or echo("chief")))


async def nowait(_):
    pass


def again(model):
    return Retrying(model, attempts=4, sleep=nowait)


DOWN = UnavailableError("HTTP 503")


def test_a_proposer_that_is_unavailable_is_tried_once_more_where_others_answer():
    broken = Scripted("broken", repeat(DOWN))

    answer = run(beside(again(broken), echo("a")).complete(ASK))

    assert len(broken.asked) == 2
    assert answer.degraded == ("layer 1: broken failed: HTTP 503",)


def test_the_last_proposer_alive_and_the_aggregator_have_all_their_attempts():
    dead, last = Scripted("dead", [RejectedError("HTTP 404")]), Scripted("last", [DOWN] * 3 + ["x"])
    chief = Scripted("chief", [DOWN, DOWN, DOWN, "done"])

    answer = run(beside(again(dead), again(last), aggregator=again(chief)).complete(ASK))

    assert (len(dead.asked), len(last.asked), len(chief.asked)) == (1, 4, 4)
    assert answer.text == "done"


def test_a_proposer_that_the_quorum_needs_has_all_its_attempts():
    broken = Scripted("broken", [DOWN, DOWN, DOWN, "x"])

    answer = run(beside(again(broken), echo("a"), quorum=2).complete(ASK))

    assert len(broken.asked) == 4
    assert answer.degraded == ()


def test_a_model_that_the_quorum_needs_does_not_rest():
    broken = Scripted("broken", [DOWN] * 5 + ["x"])
    mixture = beside(Limited(broken, RateLimiter(RateLimits())), echo("a"), quorum=2)

    async def story():
        for _ in range(5):
            with pytest.raises(QuorumNotMetError):
                await mixture.complete(ASK)
        return await mixture.complete(ASK)

    assert run(story()).degraded == ()


@pytest.mark.parametrize("wrapped", [lambda model: model, lambda model: Hedged(model, after=9.0)])
def test_where_all_rest_the_last_is_asked_all_the_same(wrapped):
    clock = Clock()
    down = [clock.after(2.0, DOWN)] * 5
    models = [Scripted(name, down + ["back"] * 5) for name in "abc"]
    limited = [Limited(model, RateLimiter(RateLimits(), clock=clock)) for model in models]
    mixture = beside(*map(wrapped, limited))

    async def story():
        for model in limited:
            for _ in range(5):
                with pytest.raises(UnavailableError):
                    await model.complete(ASK)
        return await mixture.complete(ASK)

    answer = run(story())

    assert [len(model.asked) for model in models] == [5, 5, 6]
    assert len(answer.degraded) == 2


def test_a_model_that_keeps_failing_rests_where_others_can_do_without_it():
    clock = Clock()
    broken = Scripted("broken", repeat(clock.after(2.0, DOWN)))
    limited = Limited(broken, RateLimiter(RateLimits(), clock=clock))
    mixture = beside(again(limited), echo("a"))

    async def asked(times):
        before = len(broken.asked)
        answers = [await mixture.complete(ASK) for _ in range(times)]
        return len(broken.asked) - before, answers[-1].degraded[0]

    async def story():
        calls, _ = await asked(2)
        assert calls == 4
        calls, said = await asked(3)
        assert calls == 1, "the fifth failure was the last that anyone waited for"
        assert said == "layer 1: broken failed: failed 5 times in a row: not asked for 30 s more"
        with pytest.raises(UnavailableError, match="503"):
            await limited.complete(ASK)  # who depends on it asks all the same
        clock.now += 31
        calls, said = await asked(2)
        assert calls == 1, "one look, and it rests for longer"
        assert said.endswith("not asked for 60 s more")

    run(story())


def test_a_model_that_answers_again_is_asked_as_before():
    clock = Clock()
    down = clock.after(2.0, DOWN)
    flaky = Scripted("flaky", [*[down] * 5, "back", *[down] * 4, "fine"])
    limited = Limited(flaky, RateLimiter(RateLimits(), clock=clock))
    mixture = beside(limited, echo("a"))

    async def story():
        for _ in range(6):
            await mixture.complete(ASK)
        clock.now += 31
        return [(await mixture.complete(ASK)).degraded for _ in range(6)]

    assert [bool(d) for d in run(story())] == [False, True, True, True, True, False]


def test_what_many_runs_meet_in_one_breath_is_one_failure():
    broken = Scripted("broken", repeat(DOWN))
    mixture = beside(Limited(broken, RateLimiter(RateLimits(), clock=Clock())), echo("a"))

    async def many():
        await asyncio.gather(*(mixture.complete(ASK) for _ in range(20)))

    run(many())
    assert len(broken.asked) == 20


def test_an_answer_that_a_cap_may_have_cut_is_not_kept(store):
    cut = replace(run(echo().complete(ASK)), finish_reason="length")
    kept = Cached(Scripted("m", [cut, "whole"]), AnswerCache(store), identity="m")

    run(kept.complete(ASK))
    assert run(kept.complete(ASK)).text == "whole"


def test_the_worst_case_of_digits_is_a_token_each():
    assert forecast_calls(echo(), ask("7" * 3000))[0].usage.prompt_tokens >= 3000


def within_a_mixture(model):
    return Mixture(layers=(Layer((Proposer(model),)),), aggregator=Aggregator(echo("a")))


@pytest.mark.parametrize(
    "model",
    [
        Mixture(layers=(), aggregator=Aggregator(echo("a"), fallbacks=(echo("b"),))),
        within_a_mixture(Hedged(echo("a"), elsewhere=echo("b"))),
        within_a_mixture(Retrying(Hedged(echo("a"), elsewhere=Retrying(echo("b"))))),
        within_a_mixture(Hedged(echo("a"), elsewhere=within_a_mixture(echo("b")))),
    ],
    ids=["fallback", "elsewhere", "wrapped", "a mixture elsewhere"],
)
def test_who_may_stand_in_without_a_price_is_refused_before_anything_is_asked(model):
    capped = Budgeted(model, lambda: [RunCap("r", 1e9)], lambda m, u: DEAR(u) if m == "a" else None)

    with pytest.raises(ConfigError, match=r"that of b is unknown"):
        run(capped.complete(ASK))


def test_a_mixture_as_a_fallback_is_priced_by_its_members():
    spare = within_a_mixture(echo("b"))
    alone = Mixture(layers=(), aggregator=Aggregator(echo("a"), fallbacks=(spare,)))

    assert run(
        Budgeted(
            alone, lambda: [RunCap("r", 1e9)], lambda m, u: DEAR(u) if m in "ab" else None
        ).complete(ASK)
    )


def test_members_that_are_not_metered_are_paid_for_all_the_same():
    purse = RunCap("r", 1e9)
    answer = run(Budgeted(Mixture.of([echo()], echo()), lambda: [purse], dear).complete(ASK))

    assert purse.committed_spend.tokens == answer.usage.total_tokens > 0
