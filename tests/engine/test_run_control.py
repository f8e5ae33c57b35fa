"""A hand on a run under way: answer now, leave one proposer out."""

from __future__ import annotations

import asyncio

import pytest

from mixtura import Aggregator, ControlError, Layer, Mixture, Proposer, RunControl, ask, control_run
from mixtura.models.fake import echo, slow_model

HOUR = 3600.0


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
