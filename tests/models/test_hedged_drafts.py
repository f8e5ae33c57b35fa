"""A hedge that watches drafts: copied when late, or when they fall behind their model's pace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import inf

import pytest

from mixtura import CallRestarted, Hedged, Notice, Token, UnavailableError, ask
from mixtura.core.errors import partial_text
from mixtura.models.fake import failing_model
from tests.support.virtual_time import Timed, now, run_in_virtual_time

DRAFT = replace(ask("Why is the sky blue?"), draft=True)
ENOUGH = 60
"""Calls after which a model's pace and its fluctuations are known."""


def hedged(model, spare, **options):
    settings = {"share": 1.0, "clock": now, "after": 2.0} | options
    return Hedged(model, elsewhere=spare, **settings)


def asked(racing, times, request=DRAFT, emit=None):
    """The answers, and the seconds that each took."""

    async def ask_often():
        rows = []
        for _ in range(times):
            began = now()
            answer = await racing.complete(request, emit)
            rows.append((answer, now() - began))
        return rows

    return run_in_virtual_time(ask_often())


def writer(later, *, seconds=10.0, name="first"):
    """A model that speaks after a second and is done after *seconds*, later as *later* says."""
    steady = [seconds + 0.1 * (i % 10) for i in range(ENOUGH)]
    return Timed(name, [*steady, *later], words=20, silence=1.0)


def spare(seconds=4.0):
    return Timed("spare", [seconds], words=20, silence=0.5)


def test_a_draft_that_stalls_is_copied_and_the_copy_answers():
    first, events = writer([inf]), []

    *_, (answer, seconds) = asked(hedged(first, spare()), ENOUGH + 1, emit=events.append)

    assert "spare" in answer.text
    assert "first" not in answer.text
    assert seconds < 15
    assert first.called_off == 1
    assert [(c.model, c.outcome) for c in answer.charges] == [
        ("first", "lost"),
        ("spare", "answer"),
    ]
    assert any("behind its usual pace" in e.notice for e in events if isinstance(e, Notice))


def test_a_draft_that_is_written_slowly_is_copied_though_its_first_token_was_in_time():
    *before, (answer, seconds) = asked(hedged(writer([80.0]), spare()), ENOUGH + 1)

    assert "spare" in answer.text
    assert seconds < 20
    assert all("first" in one.text for one, _ in before)


def test_the_tokens_of_the_copy_follow_the_word_that_the_call_began_anew():
    events = []

    *_, (answer, _) = asked(hedged(writer([inf]), spare()), ENOUGH + 1, emit=events.append)

    (begun,) = [i for i, e in enumerate(events) if isinstance(e, CallRestarted)]
    said = "".join(e.text for e in events[begun:] if isinstance(e, Token))
    assert said == answer.text


def test_a_first_call_that_is_done_before_its_copy_is_the_answer():
    events = []
    slow_spare = spare(100.0)

    *_, (answer, _) = asked(hedged(writer([20.0]), slow_spare), ENOUGH + 1, emit=events.append)

    assert "first" in answer.text
    assert slow_spare.called_off == 1
    assert not any(isinstance(e, CallRestarted) for e in events)


def test_a_draft_that_keeps_its_models_pace_is_not_copied_however_long_it_is():
    first, other = writer([]), spare()
    racing = hedged(first, other)
    asked(racing, ENOUGH)
    first.words = 200  # ten times as much, at the same pace
    first._seconds = iter([1.0 + 9.5 * 10])

    ((answer, _),) = asked(racing, 1)

    assert "first" in answer.text
    assert other.calls == 0


def test_an_answer_that_a_person_reads_is_not_watched_behind_its_first_token():
    other = spare()

    *_, (answer, _) = asked(hedged(writer([80.0]), other), ENOUGH + 1, replace(DRAFT, draft=False))

    assert "first" in answer.text
    assert other.calls == 0


def test_a_draft_without_a_first_token_is_copied():
    first = writer([])
    racing = hedged(first, spare())
    asked(racing, ENOUGH)
    first._silence = 50.0

    ((answer, seconds),) = asked(racing, 1)

    assert "spare" in answer.text
    assert seconds < 10


def test_a_copy_that_fails_leaves_the_draft_alone():
    broken = failing_model(UnavailableError("down"), "broken")

    *_, (answer, seconds) = asked(hedged(writer([30.0]), broken), ENOUGH + 1)

    assert "first" in answer.text
    assert seconds == pytest.approx(30)


def test_a_draft_that_is_late_at_once_ends_with_its_answer():
    model = Timed("first", [1.0] * 3)
    racing = hedged(model, spare(), after=0.0, share=0.05)

    answers = asked(racing, 3)

    assert len(answers) == 3


def test_half_of_the_share_is_kept_for_drafts_that_are_twice_as_late():
    # A little late, every second call: that uses up half of the tenth that may be copied.
    first, other = writer([16.0, 10.0] * 30 + [inf]), spare(5.0)
    racing = hedged(first, other, share=0.1)

    *_, (answer, _) = asked(racing, 2 * ENOUGH + 1)

    assert "spare" in answer.text
    assert racing.copies == other.calls <= 0.1 * racing.calls


def test_whoever_leaves_the_race_gets_the_longer_of_the_two_texts_and_leaves_nothing_running():
    first, other = writer([inf]), spare(1000.0)
    racing = hedged(first, other)
    asked(racing, ENOUGH)

    async def left():
        task = asyncio.create_task(racing.complete(DRAFT))
        await asyncio.sleep(30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as error:
            await task
        return partial_text(error.value)

    text = run_in_virtual_time(left())

    assert text.count("first-61") == first.words // 2
    assert (first.called_off, other.called_off) == (1, 1)
