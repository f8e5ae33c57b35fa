"""The bill of everything at once: hedges, retries, cancels, filters and fallbacks, to the token."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from mixtura import Aggregator, Layer, Mixture, ModelError, Proposer, ask
from mixtura.core.call_ledger import open_ledger
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.transport.client import CallTimeouts
from tests.conftest import run
from tests.support.upstream import running, seeded
from tests.support.upstream.faults import FAULTS

CLOCKS = CallTimeouts(connect=20, first_token=30, progress=30, total=90)
NAMES = ("500", "503_html", "429_milliseconds", "529", "empty", "content_filter", "400_filter",
         "end_unfinished", "hang_up_mid_stream")  # fmt: skip
DIALECTS = {"openai": OpenAI, "anthropic": Anthropic}


async def nowait(_: float) -> None:
    """A retry that does not wait."""


def numbers(usage):
    return (
        usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens, usage.reasoning_tokens
    )  # fmt: skip


async def crowd(team, mixtures, chance):
    """What is on the bill of so many mixtures, some of which are called off on the way."""
    gate = asyncio.Semaphore(24)

    async def one(number):
        async with gate:
            with open_ledger() as ledger:
                task = asyncio.ensure_future(team.complete(ask(f"question {number}")))
            if chance.random() < 0.15:
                await asyncio.wait([task], timeout=chance.uniform(0.0, 0.05))
                task.cancel()
            try:
                assert (await task).charges == ledger.charges
            except ModelError:
                return "failed", ledger.charges
            except asyncio.CancelledError:
                return "cancelled", ledger.charges
            return "answered", ledger.charges

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(mixtures)]
    await asyncio.sleep(0.5)  # lines that were called off while they were made are closed by then
    return [task.result() for task in tasks]


def check(dialect, mixtures, seed):
    faulty = [fault.play(said) for fault in FAULTS if fault.name in NAMES for said in (0, 2)]
    answers = seeded(seed, plays=faulty, faulty=0.15, words=(1, 6), thinking=0.2, cached=0.3)
    with running(answers) as upstream:

        def member(name):
            url = upstream.base_url(dialect)
            model = DIALECTS[dialect](name, url, name=name, timeouts=CLOCKS)
            limited = Limited(model, RateLimiter(RateLimits(concurrency=48)))
            hedged = Hedged(limited, share=0.3, after=0.01)
            return hedged if name == "chief" else Retrying(hedged, attempts=4, sleep=nowait)

        team = Mixture(
            layers=(Layer((Proposer(member("a")), Proposer(member("b")), Proposer(member("c")))),),
            aggregator=Aggregator(member("chief"), fallbacks=(member("spare"), member("last"))),
        )
        outcomes = run(crowd(team, mixtures, random.Random(seed)))
        records = list(upstream.records)

    charges = [charge for _, bill in outcomes for charge in bill]
    exact = Counter(numbers(c.usage) for c in charges if not c.usage.estimated)
    told = Counter(r.reported for r in records if r.reported is not None)
    unread = told - exact
    guessed = [c for c in charges if c.usage.estimated]
    assert not exact - told, "the bill has calls that the upstream does not know"
    # of a call that was called off, the last bytes may have been on their way
    assert unread.total() <= len(guessed)
    assert sum(p + w for p, w, _, _ in exact.elements()) == sum(
        p + w for p, w, _, _ in (told - unread).elements()
    )
    billable = [r for r in records if r.billed]
    assert len(charges) >= len(billable) - unread.total()
    models = {r.model for r in records}
    kinds = Counter(kind for kind, _ in outcomes)
    lines = Counter(c.outcome for c in charges)
    assert {"spare"} <= models, "no fallback was asked"
    assert kinds["cancelled"], "nothing was called off"
    assert lines["retried"], lines
    assert lines["lost"] or lines["failed"], lines
    return {"mixtures": mixtures, "requests": len(records), "lines": dict(lines)} | dict(kinds)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_bill_of_mixtures_that_meet_everything_at_once_is_the_upstreams_own(dialect):
    check(dialect, 120, 7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_bill_of_a_thousand_mixtures_that_meet_everything_at_once(dialect, seed, capsys):
    with capsys.disabled():
        print(check(dialect, 1000, seed))
