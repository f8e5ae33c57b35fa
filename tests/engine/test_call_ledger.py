"""The ledger: a stranger's wrapper may lose an answer, an error or a task, but never a charge."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from contextlib import suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mixtura import (
    Aggregator,
    Charge,
    Completion,
    Failure,
    Layer,
    Message,
    Mixture,
    ModelError,
    OpenAI,
    Proposer,
    Recorder,
    TimedOutError,
    Token,
    UnavailableError,
    Usage,
    Wrapper,
    ask,
)
from mixtura.billing.spending_caps import RunCap
from mixtura.core import errors
from mixtura.core.call_ledger import open_ledger, record_charge
from mixtura.models.fake import Scripted, echo
from mixtura.models.wrappers.budget_per_attempt import BudgetedPerAttempt
from mixtura.models.wrappers.budget_per_run import BudgetedPerRun
from mixtura.models.wrappers.retry import Retrying
from mixtura.server.metrics import Metrics
from mixtura.storage.run_record import build_run_record
from tests.conftest import run
from tests.support.upstream import Script, running
from tests.support.upstream.dialects import counted

ASK = ask("Why is the sky blue?")


def pricer(_model, usage):
    return usage.prompt_tokens * 1e-6 + usage.completion_tokens * 2e-6


# ---- an upstream that has told what a call costs before the call is lost


async def speak_and_hang(wire):
    await speak_and_tell(wire)
    await wire.hang()


async def speak_and_break(wire):
    await speak_and_tell(wire)
    await wire.end()


async def speak_and_tell(wire):
    await wire.head()
    wire.voice.tally.completion += counted("Well, perhaps")
    await wire.send(wire.voice.usage())
    wire.reported()
    await wire.send(wire.voice.word("Well, perhaps"))


# ---- wrappers of people who have never heard of a ledger


class Stranger(Wrapper):
    """Begins a call and waits until the model has spoken."""

    def begin(self, request):
        spoke = asyncio.Event()

        def listen(event):
            if isinstance(event, Token):
                spoke.set()

        return asyncio.ensure_future(self._model.complete(request, listen)), spoke


class Grouping(Stranger):
    """Two calls in a task group: the second breaks and takes the first with it; then a third."""

    plays = (speak_and_hang, speak_and_break)

    async def complete(self, request, emit=None):
        try:
            async with asyncio.TaskGroup() as group:
                spoke = asyncio.Event()
                group.create_task(self._model.complete(request, lambda _: spoke.set()))
                await spoke.wait()
                group.create_task(self._model.complete(request))
        except* ModelError:
            pass
        return await self._model.complete(request, emit)


class Timing(Stranger):
    """A first call that times out under wait_for."""

    plays = (speak_and_hang,)

    async def complete(self, request, emit=None):
        with suppress(TimeoutError):
            await asyncio.wait_for(self._model.complete(request), 0.5)
        return await self._model.complete(request, emit)


class Impatient(Stranger):
    """Cancels what it has begun and tries again."""

    plays = (speak_and_hang,)

    async def complete(self, request, emit=None):
        task, spoke = self.begin(request)
        await spoke.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return await self._model.complete(request, emit)


class Swallowing(Stranger):
    """Says something of its own where the model failed."""

    plays = (speak_and_break,)

    async def complete(self, request, emit=None):
        try:
            return await self._model.complete(request, emit)
        except ModelError:
            return Completion(Message("assistant", "Who knows."), self.name)


class Leaving(Stranger):
    """Leaves a call running and answers with another one."""

    plays = (speak_and_hang,)

    async def complete(self, request, emit=None):
        self.left, spoke = self.begin(request)
        await spoke.wait()
        return await self._model.complete(request, emit)


class Failing(Stranger):
    """Fails with an error of its own, once what it had begun is called off."""

    plays = (speak_and_hang,)

    async def complete(self, request, emit=None):
        task, spoke = self.begin(request)
        await spoke.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(task, 0.01)
        raise TimedOutError("I had no patience")


STRANGERS = [Grouping, Timing, Impatient, Swallowing, Leaving]


def hosted(upstream, name, *plays):
    upstream.scripts[name] = Script(f"Because of {name}.", plays=list(plays))
    return BudgetedPerAttempt(OpenAI(name, upstream.base_url(), name=name))


def team(upstream, stranger, *, last=False):
    """A mixture of three models, one of which the stranger wraps: a proposer, or the *last*."""
    strange = stranger(hosted(upstream, "m", *stranger.plays))
    others = [hosted(upstream, name) for name in "ab"]
    chief = others.pop() if not last else strange
    members = (Proposer(one) for one in (*others, *([] if last else [strange])))
    return Mixture(layers=(Layer(tuple(members)),), aggregator=Aggregator(chief))


def told(upstream):
    """The upstream's own ledger, a line a call."""
    lines = [record.reported for record in upstream.records]
    assert None not in lines
    return Counter((prompt, wrote) for prompt, wrote, _, _ in lines)


def numbers(charges):
    assert not any(charge.usage.estimated for charge in charges)
    return Counter((c.usage.prompt_tokens, c.usage.completion_tokens) for c in charges)


def assert_books_agree(expected, trace, purse):
    """Trace, its calls, the cap, ``--json`` and the metrics say what the upstream says."""
    prompt = sum(read for read, _ in expected.elements())
    wrote = sum(wrote for _, wrote in expected.elements())
    dollars = pytest.approx(pricer("", Usage(prompt, wrote)))
    assert numbers(trace.charges) == expected
    assert numbers([charge for call in trace.calls for charge in call.charges]) == expected
    assert purse.committed_spend.tokens == prompt + wrote
    assert purse.committed_spend.dollars == dollars
    record = build_run_record(trace, pricer, id="r", started=0.0, via="ask", state="answered")
    assert record["usage"]["prompt_tokens"] == prompt
    assert record["usage"]["completion_tokens"] == wrote
    assert record["cost_usd"] == dollars
    assert sum(call["cost_usd"] for call in record["calls"]) == dollars
    counters = Metrics()
    counters.record_run("team", trace, "answered", pricer, str)
    found = Counter()
    for family in text_string_to_metric_families(counters.render_text().decode()):
        for sample in family.samples:
            found[sample.name, sample.labels.get("kind")] += sample.value
    assert found["mixtura_tokens_total", "prompt"] == prompt
    assert found["mixtura_tokens_total", "completion"] == wrote
    assert found["mixtura_cost_usd_total", None] == dollars


@pytest.mark.parametrize("last", [False, True], ids=["proposer", "aggregator"])
@pytest.mark.parametrize("stranger", STRANGERS)
def test_no_charge_is_lost_in_a_strangers_wrapper(stranger, last):
    recorder, purse = Recorder(), RunCap("run", 1000.0)
    with running() as upstream:
        model = BudgetedPerRun(team(upstream, stranger, last=last), lambda: [purse], pricer)

        async def answered():
            answer = await model.complete(ASK, recorder)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            return answer

        answer = run(answered())
        expected = told(upstream)

    assert expected.total() >= 3
    assert len(answer.charges) == expected.total()
    assert numbers(answer.charges) == expected
    assert_books_agree(expected, recorder.build_trace(), purse)


def test_what_a_stranger_lost_and_failed_over_is_on_its_failure():
    recorder, purse = Recorder(), RunCap("run", 1000.0)
    with running() as upstream:
        model = BudgetedPerRun(team(upstream, Failing), lambda: [purse], pricer)
        answer = run(model.complete(ASK, recorder))
        expected = told(upstream)

    (failure,) = [e.event for e in recorder.events if isinstance(e.event, Failure)]
    assert [(c.model, c.outcome) for c in failure.charges] == [("m", "failed")]
    assert numbers(answer.charges) == expected
    assert_books_agree(expected, recorder.build_trace(), purse)


def test_a_run_that_fails_for_a_stranger_has_paid_for_all_of_it():
    recorder, purse = Recorder(), RunCap("run", 1000.0)
    with running() as upstream:
        whole = team(upstream, Failing, last=True)
        alone = Mixture(layers=(), aggregator=whole.aggregator)
        model = BudgetedPerRun(alone, lambda: [purse], pricer)
        with open_ledger() as ledger, pytest.raises(TimedOutError) as caught:
            run(model.complete(ASK, recorder))
        expected = told(upstream)

    assert not hasattr(caught.value, "charges")
    assert numbers(ledger.charges) == expected
    assert_books_agree(expected, recorder.build_trace(), purse)


def test_a_run_that_is_called_off_inside_a_stranger_has_paid_for_all_of_it():
    class Stuck(Grouping):
        plays = (speak_and_hang, speak_and_break, speak_and_hang)

    recorder, purse = Recorder(), RunCap("run", 1000.0)
    with running() as upstream:
        model = BudgetedPerRun(team(upstream, Stuck, last=True), lambda: [purse], pricer)

        async def called_off():
            there = asyncio.Event()

            def watch(event):
                recorder(event)
                if isinstance(event, Token) and len(event.at) == 1 and event.at[0].layer == 2:
                    there.set()

            task = asyncio.create_task(model.complete(ASK, watch))
            await there.wait()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

        with open_ledger() as ledger:
            run(called_off())
        expected = told(upstream)

    assert expected.total() == 5
    assert numbers(ledger.charges) == expected
    assert_books_agree(expected, recorder.build_trace(), purse)


def test_a_run_inside_another_runs_call_counts_there_too():
    """Also where the model that began it throws its answer away."""

    class Asking(Wrapper):
        async def complete(self, request, emit=None):
            await self._model.complete(request)
            return Completion(Message("assistant", "My own words."), self.name)

    recorder, purse, inner = Recorder(), RunCap("outer", 1000.0), RunCap("inner", 1000.0)
    with running() as upstream:
        within = BudgetedPerRun(team(upstream, Impatient), lambda: [inner], pricer)
        outer = Mixture(layers=(), aggregator=Aggregator(Asking(within)))
        answer = run(BudgetedPerRun(outer, lambda: [purse], pricer).complete(ASK, recorder))
        expected = told(upstream)

    assert answer.text == "My own words."
    assert numbers(answer.charges) == expected
    assert inner.committed_spend == purse.committed_spend
    assert_books_agree(expected, recorder.build_trace(), purse)


def test_two_runs_side_by_side_do_not_pay_for_each_other():
    async def both():
        async def one(name):
            with open_ledger() as ledger:
                model = Scripted(name, ["yes"], usage=Usage(len(name), 1), delay=0.01)
                return ledger.bill_answer(await model.complete(ASK))

        return await asyncio.gather(one("a"), one("bb"))

    first, second = run(both())
    assert [c.model for c in first.charges] == ["a"]
    assert [c.model for c in second.charges] == ["bb"]
    with open_ledger() as outside:
        assert not outside.charges


def test_what_a_model_that_knows_no_ledger_says_on_its_answer_is_entered_once_for_every_call():
    class Unaware:
        name = "u"

        async def complete(self, request, emit=None):
            charges = (Charge("u", Usage(3, 1)),)
            return Completion(Message("assistant", "yes"), "u", charges=charges)

    twice = Layer((Proposer(Unaware(), samples=2),))
    inner = Mixture(layers=(twice,), aggregator=Aggregator(Retrying(Unaware())))
    with open_ledger() as ledger:
        answer = run(Mixture(layers=(), aggregator=Aggregator(inner)).complete(ASK))

    assert answer.charges == ledger.charges == (Charge("u", Usage(3, 1)),) * 3


def test_a_model_enters_what_it_paid_for_before_it_fails():
    class Paying(Wrapper):
        async def complete(self, request, emit=None):
            record_charge(Charge("box", Usage(5, 1), "failed"))
            raise UnavailableError("the box is empty")

    bad = Proposer(Paying(echo("box")))
    model = Mixture(layers=(Layer((bad, Proposer(echo("e")))),), aggregator=Aggregator(echo("c")))

    assert Charge("box", Usage(5, 1), "failed") in run(model.complete(ASK)).charges


@pytest.mark.parametrize("name", sorted(dir(errors)))
def test_no_error_carries_money(name):
    kind = getattr(errors, name)
    if inspect.isclass(kind) and issubclass(kind, errors.MixturaError):
        assert "charges" not in inspect.signature(kind).parameters
        assert not any("charge" in word for one in kind.__mro__ for word in vars(one))
