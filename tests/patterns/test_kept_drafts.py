"""Patterns with proposals that were paid for already, and with those that are there by now."""

from __future__ import annotations

import asyncio

import pytest

from mixtura import (
    Aggregator,
    ControlError,
    KeptDrafts,
    Layer,
    Proposer,
    QuorumNotMetError,
    Recorder,
    RunControl,
    ask,
    control_run,
    reuse_drafts,
)
from mixtura.engine.kept_drafts import list_seats
from mixtura.models.fake import echo, slow_model
from mixtura.patterns.adaptive import Adaptive
from mixtura.patterns.modes import Modes
from mixtura.patterns.residual import Residual
from mixtura.patterns.sparse import Sparse
from mixtura.patterns.switch import Switch
from tests.conftest import run
from tests.support.pattern_models import repeats
from tests.support.pattern_teams import MEMBERS, NAMES, Cast, build_team, question

SEVERAL_LAYERS = [name for name in NAMES if name in ("switch", "modes", "adaptive", "residual")]


def first_run(name, folder):
    """A pattern's proposals, by their seats."""
    recorder, mixture = Recorder(), build_team(name, folder, Cast())
    run(mixture.complete(question(name), recorder))
    calls = {call.seat: call.completion for call in recorder.build_trace().calls}
    return {seat: calls[seat] for seat in list_seats(mixture.layers) if calls.get(seat)}


def members_asked(cast):
    return [name for name, _ in cast.asked if name in MEMBERS]


@pytest.mark.parametrize("name", NAMES)
def test_no_pattern_asks_again_for_proposals_that_are_there(name, tmp_path):
    kept, cast = first_run(name, tmp_path), Cast()
    mixture = build_team(name, tmp_path, cast)
    drafts = KeptDrafts(kept)

    with reuse_drafts(drafts):
        answer = run(mixture.complete(question(name)))

    assert kept
    assert members_asked(cast) == []
    assert not {charge.model for charge in answer.charges}.intersection(MEMBERS)
    calls = mixture.planned_calls()
    not_made = [calls[number].model.name for number in drafts.find_calls_not_made(mixture)]
    assert len(not_made) == len(kept)
    assert set(not_made) <= set(MEMBERS)


@pytest.mark.parametrize("name", SEVERAL_LAYERS)
def test_layers_that_were_never_asked_are_left_out_where_nobody_is(name, tmp_path):
    kept = {seat: draft for seat, draft in first_run(name, tmp_path).items() if seat.layer == 1}
    cast = Cast()

    with reuse_drafts(KeptDrafts(kept, asks_missing=False)):
        answer = run(build_team(name, tmp_path, cast).complete(question(name)))

    assert answer.text
    assert members_asked(cast) == []


@pytest.mark.parametrize("name", NAMES)
def test_without_any_proposal_nobody_is_asked_and_there_is_no_answer(name, tmp_path):
    cast = Cast()

    with reuse_drafts(KeptDrafts({}, asks_missing=False)), pytest.raises(QuorumNotMetError):
        run(build_team(name, tmp_path, cast).complete(question(name)))

    assert cast.asked == []


async def answer_as_soon_as_may_be(mixture):
    control = RunControl()
    with control_run(control):
        task = asyncio.create_task(mixture.complete(ask("Why?")))
    while not task.done():
        try:
            control.answer_now()
            break
        except ControlError:  # nothing is there yet
            await asyncio.sleep(0)
    async with asyncio.timeout(60):
        return await task


@pytest.mark.parametrize("kind", [Adaptive, Residual, Sparse, Switch, Modes])
def test_an_answer_now_waits_for_no_further_layer_of_any_pattern(kind):
    second = repeats("second", "later")
    layers = (
        Layer((Proposer(echo("quick")), Proposer(slow_model(3600.0)))),
        Layer((Proposer(second, samples=2),)),
    )
    writer = {} if kind in (Switch, Modes) else {"aggregator": Aggregator(echo("chief"))}

    answer = asyncio.run(answer_as_soon_as_may_be(kind(layers=layers, **writer)))

    assert answer.text
    assert not second.asked
    assert "layer 2 was passed over: an answer was asked for before it" in answer.degraded
