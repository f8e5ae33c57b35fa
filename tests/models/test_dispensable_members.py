"""A member of a mixture that others can do without."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import repeat

import pytest

from mixtura import (
    Aggregator,
    ConfigError,
    Layer,
    Mixture,
    Proposer,
    QuorumNotMetError,
    RejectedError,
    UnavailableError,
    ask,
)
from mixtura.billing.forecast import forecast_calls
from mixtura.billing.spending_caps import RunCap
from mixtura.models.fake import Scripted, echo
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.cache import Cached
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.storage.answer_cache import AnswerCache
from tests.conftest import run
from tests.support.call_models import ASK, DEAR, Clock, again, dear

# ---- a member that others can do without


def beside(*proposers, aggregator=None, quorum=1):
    layer = Layer(tuple(map(Proposer, proposers)), quorum)
    return Mixture(layers=(layer,), aggregator=Aggregator(aggregator or echo("chief")))


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
        assert said == "layer 1: broken failed: failed 5 times in a row: no requests for 30 s"
        with pytest.raises(UnavailableError, match="503"):
            await limited.complete(ASK)  # who depends on it asks all the same
        clock.now += 31
        calls, said = await asked(2)
        assert calls == 1, "one look, and it rests for longer"
        assert said.endswith("no requests for 60 s")

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
    capped = BudgetedPerRun(
        model, lambda: [RunCap("r", 1e9)], lambda m, u: DEAR(u) if m == "a" else None
    )

    with pytest.raises(ConfigError, match=r"that of b is unknown"):
        run(capped.complete(ASK))


def test_a_mixture_as_a_fallback_is_priced_by_its_members():
    spare = within_a_mixture(echo("b"))
    alone = Mixture(layers=(), aggregator=Aggregator(echo("a"), fallbacks=(spare,)))

    assert run(
        BudgetedPerRun(
            alone, lambda: [RunCap("r", 1e9)], lambda m, u: DEAR(u) if m in "ab" else None
        ).complete(ASK)
    )


def test_members_that_are_not_metered_are_paid_for_all_the_same():
    purse = RunCap("r", 1e9)
    answer = run(BudgetedPerRun(Mixture.of([echo()], echo()), lambda: [purse], dear).complete(ASK))

    assert purse.committed_spend.tokens == answer.usage.total_tokens > 0
