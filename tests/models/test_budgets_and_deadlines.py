"""Calls under a budget, under a deadline, and the bill of what was cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from mixtura import (
    Aggregator,
    BudgetExceededError,
    Charge,
    Completion,
    ConfigError,
    Layer,
    Message,
    Mixture,
    Proposer,
    QuorumNotMetError,
    QuotaError,
    RateLimitedError,
    Sampling,
    UnavailableError,
    Usage,
)
from mixtura.billing.forecast import forecast_calls, worst_case_spend
from mixtura.billing.spending_caps import DailyCap, RunCap, Spend
from mixtura.core.call_ledger import open_ledger, record_charge
from mixtura.core.errors import DeadlineExceededError
from mixtura.engine.call_context import deadline_scope
from mixtura.engine.kept_drafts import KeptDrafts, list_seats, reuse_drafts
from mixtura.models.fake import FailedCall, Scripted, echo, failing_model, slow_model
from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.budget_queue import TRIES_PER_END, BudgetQueued, InFlight
from mixtura.models.wrappers.cache import Cached
from mixtura.models.wrappers.deadline import Deadlined, with_layer_deadlines
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.spending import DailySpendLedger
from tests.conftest import run
from tests.support.call_models import ASK, Clock, dear


def team(*names, chief="chief", wrote=2, delay=0.0):
    """Doubles with a budget per attempt: each reads what it reads and writes *wrote* tokens."""

    def member(name):
        return BudgetedPerAttempt(Scripted(name, ["x"] * 5000, usage=Usage(3, wrote), delay=delay))

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
    capped = BudgetedPerRun(mixture, lambda: [RunCap("this run", cap)], dear)

    with pytest.raises(BudgetExceededError, match="over its cap of"):
        run(capped.complete(ASK))
    assert asked_of(mixture) == 0


def test_a_run_that_fits_is_made_and_its_purse_holds_only_what_was_spent():
    mixture = team("a", "b")
    purse = RunCap("this run", worst_of(mixture).dollars)

    answer = run(BudgetedPerRun(mixture, lambda: [purse], dear).complete(ASK))

    assert purse.committed_spend == Spend(dear("", answer.usage), answer.usage.total_tokens)
    assert answer.usage == Usage(9, 6)


@pytest.mark.parametrize(
    ("kept", "asks_missing"), [((0, 1, 2), True), ((0, 1), True), ((1,), False)]
)
def test_a_cap_counts_only_what_is_asked_again(kept, asks_missing):
    mixture = team("a", "b", "c")
    seats = list_seats(mixture.layers)
    draft = Completion(Message("assistant", "there already"), "x")
    drafts = KeptDrafts({seats[i]: draft for i in kept}, asks_missing)
    without = kept if asks_missing else (0, 1, 2)
    worst = worst_case_spend(forecast_calls(mixture, ASK, without=without), dear)[0].dollars
    with reuse_drafts(drafts):
        purse, less = RunCap("this run", worst), RunCap("this run", worst - 0.01)
        answer = run(BudgetedPerRun(mixture, lambda: [purse], dear).complete(ASK))
        with pytest.raises(BudgetExceededError, match="over its cap of"):
            run(BudgetedPerRun(mixture, lambda: [less], dear).complete(ASK))

    assert asked_of(mixture) == 4 - len(without)
    assert purse.committed_spend.dollars == dear("", answer.usage)


def test_a_thousand_parallel_requests_on_the_money_of_ten_overspend_nothing():
    mixture = team("a", "b", delay=0.01)
    worst = worst_of(mixture)
    purse = RunCap("all", worst.dollars * 10)
    capped = BudgetedPerRun(mixture, lambda: [purse], dear)

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
        budget = BudgetedPerRun(smaller, lambda cap=cap: [RunCap("this run", cap)], dear,
                          at_the_cap="degrade")  # fmt: skip

        answer = run(budget.complete(ASK))

        assert asked_of(smaller) == calls
        assert answer.degraded[0].startswith("the budget:")
    poor = BudgetedPerRun(mixture, lambda: [RunCap("this run", 1.0)], dear, at_the_cap="degrade")
    with pytest.raises(BudgetExceededError):
        run(poor.complete(ASK))


def test_a_retry_beyond_what_was_set_aside_is_not_made():
    error = FailedCall(UnavailableError("cut"), (Charge("m", Usage(3, 10), "failed"),))
    double = Scripted("m", [error, "fine"])

    async def nowait(_):
        pass

    flaky = Retrying(BudgetedPerAttempt(double), sleep=nowait)
    alone = Mixture(layers=(), aggregator=Aggregator(flaky, Sampling(max_tokens=10)))
    exactly = worst_of(alone).dollars

    with pytest.raises(BudgetExceededError, match="no room for this attempt"):
        run(BudgetedPerRun(alone, lambda: [RunCap("this run", exactly)], dear).complete(ASK))
    assert len(double.asked) == 1


def test_what_a_capped_mixture_inside_another_spends_is_spent_of_both():
    def member(name):
        return BudgetedPerAttempt(Scripted(name, ["x"] * 3, usage=Usage(10, 5)))

    sampling = Sampling(max_tokens=10)
    inner = Mixture(layers=(), aggregator=Aggregator(member("inner"), sampling), name="inner")
    own, whole = RunCap("inner", 1_000_000.0), RunCap("outer", 1_000_000.0)
    outer = Mixture(
        layers=(Layer((Proposer(BudgetedPerRun(inner, lambda: [own], dear)),)),),
        aggregator=Aggregator(member("chief"), sampling),
    )

    run(BudgetedPerRun(outer, lambda: [whole], dear).complete(ASK))

    assert own.committed_spend.tokens == 15
    assert whole.committed_spend.tokens == 30


def test_a_cap_in_dollars_needs_every_price_and_one_in_tokens_none():
    mixture = team("a")

    with pytest.raises(ConfigError, match=r"price of every model.*unknown"):
        run(BudgetedPerRun(mixture, lambda: [RunCap("r", 5.0)], lambda *_: None).complete(ASK))
    tokens = BudgetedPerRun(mixture, lambda: [RunCap("r", tokens=5000)], lambda *_: None)
    assert run(tokens.complete(ASK)).text == "x"


def test_under_a_cap_every_call_has_a_longest_answer():
    double = Scripted("m", ["x"])
    alone = Mixture(layers=(), aggregator=Aggregator(BudgetedPerAttempt(double)))

    run(BudgetedPerRun(alone, lambda: [RunCap("r", tokens=99_999)], dear).complete(ASK))

    assert double.asked[0].sampling.max_tokens == 4096


def test_a_failed_run_gives_back_what_it_did_not_spend():
    error = FailedCall(UnavailableError("cut"), (Charge("m", Usage(3, 1), "failed"),))
    alone = Mixture(layers=(), aggregator=Aggregator(BudgetedPerAttempt(failing_model(error, "m"))))
    purse = RunCap("r", 10_000.0)

    with pytest.raises(UnavailableError):
        run(BudgetedPerRun(alone, lambda: [purse], dear).complete(ASK))
    assert purse.committed_spend == Spend(4.0, 4)


def test_a_days_purse_is_shared_by_processes_and_filled_anew_the_next_day(stores):
    clock = Clock()
    pair = [stores.open(clock=clock) for _ in range(2)]
    one, two = (DailyCap("the day", DailySpendLedger(s, "day"), dollars=10.0) for s in pair)
    for s in pair:
        s.check_usable()

    hold = one.reserve(Spend(7.0, 1))
    assert two.reserve(Spend(4.0, 1)) is None
    one.settle(hold, Spend(2.0, 1))
    second = two.reserve(Spend(8.0, 1))
    assert second is not None
    clock.now += 3 * 3600  # the process that held it is gone, perhaps after spending it
    assert one.reserve(Spend(1.0, 1)) is None
    clock.now += 86400
    assert two.reserve(Spend(10.0, 1)) is not None


@pytest.mark.parametrize("jump", [120, -40 * 86400, 86400])
def test_a_run_over_midnight_or_a_jump_of_the_clock_passes_no_days_cap(stores, jump):
    clock = Clock()
    clock.now = 86400 * 20000 - 60.0  # a minute before midnight
    store = stores.open(clock=clock)
    store.check_usable()
    purse = DailyCap("the day", DailySpendLedger(store, "day"), dollars=10.0)

    first = purse.reserve(Spend(8.0, 1))
    clock.now += jump
    second = purse.reserve(Spend(10.0, 1))
    purse.settle(first, Spend(8.0, 1))

    assert purse.ledger.used_today() == (10.0, 1)
    purse.settle(second, Spend(4.0, 1))
    assert purse.ledger.used_today() == (4.0, 1)
    clock.now -= jump
    assert purse.ledger.used_today() == (8.0, 1)


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

    with pytest.raises(QuorumNotMetError, match="3 × bad: down"):
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
    capped = BudgetedPerRun(team, lambda: [purse], lambda m, u: None)

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

    with pytest.raises(RateLimitedError, match="no calls for another 30 s"):
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
        with pytest.raises(QuotaError, match="used up 100 s ago"):
            await models[0].complete(ASK)
        await models[1].complete(ASK)
        clock.now += 250
        return await models[0].complete(ASK)

    assert run(asked()).text == "paid again"
    assert len(spent.asked) == 2


class RoomForOne:
    """Answers one call at a time and refuses the others, as a cap does; counts what it is asked."""

    name, info = "one", None

    def __init__(self):
        self.asked = 0
        self.at_first_end = []
        """Who is called off in the moment in which the first one has ended."""
        self._inside = False

    async def complete(self, request, emit=None):
        self.asked += 1
        if self._inside:
            raise BudgetExceededError("no room: the rest is set aside for others")
        self._inside = True
        try:
            await asyncio.sleep(0)
            return await echo().complete(request, emit)
        finally:
            self._inside = False
            while self.at_first_end:
                asyncio.get_running_loop().call_soon(self.at_first_end.pop().cancel)


def test_of_many_that_wait_for_room_under_a_cap_only_a_few_try_again_at_each_end():
    model, queue = RoomForOne(), InFlight()

    async def work():
        calls = [BudgetQueued(model, queue).complete(ASK) for _ in range(300)]
        return await asyncio.wait_for(asyncio.gather(*calls), 60)

    assert len(run(work())) == 300
    assert model.asked <= 300 * (TRIES_PER_END + 2)


def test_one_that_is_called_off_as_its_turn_comes_leaves_it_to_another():
    model, queue = RoomForOne(), InFlight()

    async def work():
        calls = [asyncio.ensure_future(BudgetQueued(model, queue).complete(ASK)) for _ in range(40)]
        model.at_first_end = calls[1:30]
        return await asyncio.wait_for(asyncio.gather(*calls[30:]), 20)

    assert len(run(work())) == 10
