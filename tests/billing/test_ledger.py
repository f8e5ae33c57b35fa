"""The bill: every token that an upstream counted is on it, lost ones included, and no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from mixtura import (
    Aggregator,
    Layer,
    Mixture,
    ModelError,
    Proposer,
    Request,
    Sampling,
    Usage,
    ask,
)
from mixtura.billing.price import Price
from mixtura.billing.spending_caps import RunCap
from mixtura.core.call_ledger import open_ledger
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.transport.client import CallTimeouts
from tests.conftest import run
from tests.support.upstream import running, seeded
from tests.support.upstream.faults import FAULTS
from tests.support.upstream.server import Script

CLOCKS = CallTimeouts(connect=5, first_token=8, progress=10, total=30)
DIALECTS = [(OpenAI, "openai"), (Anthropic, "anthropic")]


async def nowait(_: float) -> None:
    """A retry that does not wait."""


def plays(*names, said=0):
    return [fault.play(said) for fault in FAULTS if fault.name in names]


def numbers(usage: Usage):
    return (
        usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens
    )  # fmt: skip


@pytest.mark.parametrize(("dialect", "kind"), DIALECTS)
def test_the_ledger_of_many_mixtures_is_the_upstreams_own_to_the_token(dialect, kind):
    reconciled(dialect, kind, mixtures=200)


@pytest.mark.soak
@pytest.mark.parametrize(("dialect", "kind"), DIALECTS)
def test_the_ledger_of_a_thousand_mixtures_is_the_upstreams_own_to_the_token(dialect, kind):
    reconciled(dialect, kind, mixtures=1000)


def reconciled(dialect, kind, *, mixtures):
    """
    With retries of refused calls and with hedges; every call that was answered is counted.

    On a slow machine a copy can be called off while its last bytes are on their way: what
    they say no one reads, so such a call is on the bill as lost, with our own count.
    """
    faulty = plays("500", "503_html", "429_milliseconds", "529", "empty", "hang")
    answers = seeded(11, plays=faulty, faulty=0.08, words=(1, 4), thinking=0.2, cached=0.3)
    with running(answers) as upstream:

        def member(name):
            model = dialect(name, upstream.base_url(kind), name=name, timeouts=CLOCKS)
            hedged = Hedged(
                Limited(model, RateLimiter(RateLimits(concurrency=64))), share=0.2, after=3.0
            )
            return Retrying(hedged, attempts=6, sleep=nowait)

        team = Mixture(
            layers=(Layer((Proposer(member("a")), Proposer(member("b")))),),
            aggregator=Aggregator(member("chief")),
        )

        async def crowd():
            gate = asyncio.Semaphore(32)

            async def one(i):
                async with gate:
                    with open_ledger() as ledger, suppress(ModelError):
                        answer = await team.complete(ask(f"question {i}"))
                        assert answer.charges == ledger.charges
                    return ledger.charges

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(i)) for i in range(mixtures)]
            return [charge for task in tasks for charge in task.result()]

        charges = run(crowd())
        told = [r.reported for r in upstream.records if r.reported is not None]

    exact = [c for c in charges if not c.usage.estimated]
    lost = [c for c in charges if c.outcome == "lost"]
    assert len(upstream.records) > 3 * mixtures
    counted, said = Counter(numbers(c.usage) for c in exact), Counter(told)
    unread = said - counted
    assert not counted - said, "the bill has calls that the upstream does not know"
    assert unread.total() <= len([c for c in lost if c.usage.estimated])
    assert sum(c.usage.total_tokens for c in exact) == sum(
        p + w for p, w, _, _ in (said - unread).elements()
    )
    assert any(c.outcome == "retried" for c in charges)
    assert lost, "no copy was beaten: the test shows nothing of hedges"


def test_what_broken_and_beaten_calls_said_is_on_the_bill_word_for_word():
    """No usage was told for them: our own count of the pieces stands there, and says so."""
    broken, kind = plays("end_unfinished", said=2), "openai"
    with running() as upstream:
        upstream.scripts = {
            "flaky": Script("one two three four", plays=[*broken] * 1),
            "stuck": Script(ever=plays("hang")[0]),
            "spare": Script("here at once"),
        }

        def model(name):
            return OpenAI(name, upstream.base_url(kind), name=name, timeouts=CLOCKS)

        retried = Retrying(model("flaky"), sleep=nowait)
        raced = Hedged(model("stuck"), elsewhere=model("spare"), after=0.05, share=1.0)
        first = run(retried.complete(Request(ask("q").messages, draft=True)))
        second = run(raced.complete(ask("q")))
        said = [r.tally.completion for r in upstream.records if r.model == "flaky"]

    assert [c.outcome for c in first.charges] == ["retried", "answer"]
    assert [c.usage.completion_tokens for c in first.charges] == said
    assert [c.usage.estimated for c in first.charges] == [True, False]
    assert [(c.model, c.outcome) for c in second.charges] == [
        ("stuck", "lost"),
        ("spare", "answer"),
    ]
    assert second.charges[0].usage.prompt_tokens > 0


def test_a_thousand_requests_at_once_over_real_sockets_pass_no_cap():
    dear, kind = Price(input=1_000_000.0, output=1_000_000.0), "openai"
    with running(seeded(5, words=(1, 4))) as upstream:

        def member(name):
            return BudgetedPerAttempt(
                OpenAI(name, upstream.base_url(kind), name=name, timeouts=CLOCKS)
            )

        sampling = Sampling(max_tokens=8)
        team = Mixture(
            layers=(Layer((Proposer(member("a"), sampling), Proposer(member("b"), sampling))),),
            aggregator=Aggregator(member("chief"), sampling),
        )
        from mixtura.billing.forecast import forecast_calls, worst_case_spend

        worst = worst_case_spend(forecast_calls(team, ask("q")), lambda _, usage: dear(usage))[
            0
        ].dollars
        purse = RunCap("all", 10 * worst)
        capped = BudgetedPerRun(team, lambda: [purse], lambda _, usage: dear(usage))

        async def crowd():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one()) for _ in range(1000)]
            return sum(task.result() for task in tasks)

        async def one():
            from mixtura import BudgetExceededError

            try:
                await capped.complete(ask("q"))
            except BudgetExceededError:
                return 0
            return 1

        answered = run(crowd())
        spent = sum(dear(Usage(*r.reported[:2])) for r in upstream.records if r.reported)

    assert answered == 10
    assert len(upstream.records) == 30
    assert purse.committed_spend.dollars == pytest.approx(spent)
    assert spent <= 10 * worst
