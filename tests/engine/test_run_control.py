"""A hand on a run under way: answer now, leave one proposer out."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from mixtura import (
    Aggregator,
    ControlError,
    KeptDrafts,
    Layer,
    Mixture,
    Position,
    Proposer,
    QuorumNotMetError,
    Recorder,
    RunControl,
    ask,
    control_run,
    reuse_drafts,
)
from mixtura.core.errors import UnavailableError
from mixtura.engine.run_control import current_control
from mixtura.models.fake import Scripted, echo, failing_model, slow_model

HOUR = 3600.0


class Gated(Scripted):
    """A model that answers once its gate is open."""

    def __init__(self, name):
        super().__init__(name, ["from behind the gate"])
        self.open = asyncio.Event()

    async def complete(self, request, emit=None):
        self.asked.append(request)
        await self.open.wait()
        return await echo(self.name).complete(request, emit)


def team(*models, quorum=1, layers=1):
    layer = Layer(tuple(Proposer(one) for one in models), quorum=quorum)
    return Mixture(layers=(layer,) * layers, aggregator=Aggregator(echo("chief")))


async def run_and_steer(mixture, steer):
    """Run *mixture*; *steer* is called with the control until it raises no ControlError."""
    control = RunControl()
    with control_run(control):
        task = asyncio.create_task(mixture.complete(ask("Why?")))
    refusals = []
    while not task.done():
        try:
            steer(control)
            break
        except ControlError as error:
            refusals.append(str(error))
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        return await task, refusals


def test_an_answer_now_is_made_of_what_is_there_and_no_further_layer_begins():
    mixture = team(echo("quick"), slow_model(HOUR), layers=2)
    answer, refusals = asyncio.run(run_and_steer(mixture, RunControl.answer_now))
    assert answer.text
    assert any("still under way when an answer was asked for" in one for one in answer.degraded)
    assert any("layer 2 was passed over" in one for one in answer.degraded)
    assert set(refusals) <= {
        "no proposers are under way",
        "the answer needs 1 proposals, 0 are there",
    }


def test_a_proposer_that_is_left_out_is_not_waited_for():
    mixture = team(echo("quick"), slow_model(HOUR))
    answer, _ = asyncio.run(run_and_steer(mixture, lambda control: control.leave_out(1, 1)))
    assert answer.degraded == ("layer 1: slow failed: left out by hand",)


def test_a_proposer_that_the_quorum_needs_is_not_left_out():
    async def refused():
        mixture = team(echo("quick"), slow_model(0.5), quorum=2)
        return await run_and_steer(mixture, lambda control: control.leave_out(1, 1))

    answer, refusals = asyncio.run(refused())
    assert answer.degraded == ()
    assert "the answer needs 2 proposals: without this one too few are left" in refusals


def test_a_run_that_has_no_proposers_under_way_refuses():
    with pytest.raises(ControlError, match="no proposers are under way"):
        RunControl().answer_now()


def test_a_slow_proposer_is_replaced_by_another_model_while_the_others_go_on():
    mixture = team(slow_model(HOUR), echo("quick"))
    other = Scripted("other", ["by another"])
    answer, _ = asyncio.run(run_and_steer(mixture, lambda control: control.ask_again(1, 0, other)))
    assert answer.degraded == ()
    assert len(other.asked) == 1
    assert "by another" in answer.text


def test_a_proposer_that_has_failed_is_asked_again_for_as_long_as_its_layer_waits():
    async def tried():
        flaky = Scripted("flaky", [UnavailableError("overloaded"), "now it works"])
        slow = Gated("slow")
        control = RunControl()
        mixture = team(flaky, slow, quorum=2)
        with control_run(control):
            task = asyncio.create_task(mixture.complete(ask("Why?")))
        while len(flaky.asked) < 2:
            with suppress(ControlError):
                control.ask_again(1, 0)
            await asyncio.sleep(0)
        slow.open.set()
        async with asyncio.timeout(60):
            return await task

    answer = asyncio.run(tried())
    assert answer.degraded == ()
    assert "now it works" in answer.text


def test_a_proposer_that_has_answered_is_not_asked_again():
    async def refused():
        control, slow = RunControl(), Gated("slow")
        with control_run(control):
            task = asyncio.create_task(team(echo("quick"), slow).complete(ask("Why?")))
        while not slow.asked:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        with pytest.raises(ControlError, match="proposer 1 of layer 1 is not under way"):
            control.ask_again(1, 0)
        slow.open.set()
        return await task

    assert asyncio.run(refused()).text


def test_a_mixture_in_a_seat_is_out_of_the_reach_of_the_control_around_it():
    class Witness(Scripted):
        async def complete(self, request, emit=None):
            reached.append(current_control())
            return await super().complete(request, emit)

    reached = []
    with control_run(RunControl()):
        asyncio.run(team(Witness("a", ["from a"])).complete(ask("Why?")))
    assert reached == [None]


def test_all_that_failed_end_their_layer_also_where_they_could_be_asked_again():
    async def failed():
        with control_run(RunControl()):
            mixture = team(
                failing_model(UnavailableError("overloaded"), "a"),
                failing_model(UnavailableError("overloaded"), "b"),
            )
            async with asyncio.timeout(60):
                await mixture.complete(ask("Why?"))

    with pytest.raises(QuorumNotMetError):
        asyncio.run(failed())


# ---- proposals that were paid for already


def first_run(*models):
    recorder = Recorder()
    mixture = team(*models)
    asyncio.run(mixture.complete(ask("Why?"), recorder))
    calls = recorder.build_trace().calls
    return {c.seat: c.completion for c in calls if c.seat.role == "proposer" and c.completion}


def test_only_the_proposers_without_a_draft_are_asked_and_only_they_cost():
    kept = first_run(Scripted("a", ["from a"]), failing_model(UnavailableError("overloaded"), "b"))
    a, b = Scripted("a", ["again a"]), Scripted("b", ["from b"])
    recorder = Recorder()
    with reuse_drafts(KeptDrafts(kept)):
        answer = asyncio.run(team(a, b).complete(ask("Why?"), recorder))
    assert a.asked == []
    assert "from a" in answer.text
    assert "from b" in answer.text
    first = recorder.build_trace().calls[0]
    assert first.notices == ["written in an earlier run: not asked and not paid for again"]
    assert first.charges == ()
    assert {charge.model for charge in answer.charges} == {"b", "chief"}


def test_the_last_step_runs_again_on_what_is_there_with_another_instruction():
    kept = first_run(Scripted("a", ["from a"]), failing_model(UnavailableError("overloaded"), "b"))
    b, chief = Scripted("b", ["from b"]), Scripted("chief", ["a table"])
    mixture = Mixture(layers=team(Scripted("a", []), b).layers, aggregator=Aggregator(chief))
    drafts = KeptDrafts(kept, asks_missing=False, instruction="Write a table.")
    with reuse_drafts(drafts):
        answer = asyncio.run(mixture.complete(ask("Why?")))
    assert answer.text == "a table"
    assert b.asked == []
    asked = chief.asked[0].messages
    assert any("Write a table." in message.text for message in asked)
    assert answer.degraded == ("layer 1: b failed: not asked again",)


def test_without_any_draft_nothing_is_asked():
    with reuse_drafts(KeptDrafts({}, asks_missing=False)), pytest.raises(QuorumNotMetError):
        asyncio.run(team(echo("a")).complete(ask("Why?")))


def test_a_mixture_in_a_seat_takes_no_drafts_of_the_one_around_it():
    inner_member = Scripted("inner", ["from inside"])
    inner = team(echo("other"), inner_member)
    kept = {Position(1, 1, "proposer"): first_run(Scripted("a", ["from a"])).popitem()[1]}
    with reuse_drafts(KeptDrafts(kept)):
        answer = asyncio.run(team(inner, echo("b")).complete(ask("Why?")))
    assert len(inner_member.asked) == 1
    assert "from a" in answer.text
