"""How long a layer waits for late members, when that is learned from their last answers."""

from __future__ import annotations

from math import inf

import pytest

from mixtura import (
    Aggregator,
    CallRestarted,
    Layer,
    Mixture,
    Notice,
    Proposer,
    QuorumNotMetError,
    Token,
    UnavailableError,
    ask,
)
from mixtura.core.straggler_patience import MAX_MODELS, LearnedPatience, ResponseTimes
from mixtura.models.fake import echo, failing_model
from tests.support.virtual_time import Timed, now, run_in_virtual_time

ASK = ask("Why is the sky blue?")
ENOUGH = 10
"""Runs after which a model's times are known."""


def team(*members, learned=None, **layer):
    learned = learned or LearnedPatience()
    proposers = tuple(m if isinstance(m, Proposer) else Proposer(m) for m in members)
    row = Layer(proposers, learned=learned, **layer)
    return Mixture(layers=(row,), aggregator=Aggregator(echo("chief")))


def runs_of(mixture, times=1, emit=None):
    """The answers of so many runs, one after the other, and the seconds each took."""

    async def ask_often():
        rows = []
        for _ in range(times):
            began = now()
            answer = await mixture.complete(ASK, emit)
            rows.append((answer, now() - began))
        return rows

    return run_in_virtual_time(ask_often())


def steady(name, seconds=1.0, **options):
    return Timed(name, [seconds], **options)


def turning(name, later, seconds=1.0, **options):
    """A model that takes *seconds* until it is known, then what *later* says."""
    return Timed(name, [*[seconds] * ENOUGH, *later], **options)


def test_a_member_that_takes_much_longer_than_it_usually_does_is_cut_off_and_named():
    late = turning("late", [60.0])

    *before, (answer, seconds) = runs_of(team(steady("a"), steady("b"), late), ENOUGH + 1)

    assert seconds == pytest.approx(1.8)
    assert answer.degraded == (
        "layer 1: late failed: cut off after 1.8 s: it usually takes 1.0 s for such an answer",
    )
    assert "late-11" not in answer.text
    assert late.called_off == 1
    assert not any(answer.degraded for answer, _ in before)


def test_all_are_waited_for_until_enough_of_their_answers_were_seen():
    late = Timed("late", [60.0, 1.0])

    (answer, seconds), *_ = runs_of(team(steady("a"), steady("b"), late))

    assert seconds == pytest.approx(60)
    assert answer.degraded == ()


def test_a_slow_model_is_not_late_for_being_slow():
    rows = runs_of(team(steady("a"), steady("b"), steady("slow", 9.0)), 2 * ENOUGH)

    assert not any(answer.degraded for answer, _ in rows)


def test_no_one_is_late_before_two_thirds_have_answered():
    members = [steady("a"), steady("b"), turning("c", [20.0]), turning("d", [29.0])]

    *_, (answer, seconds) = runs_of(team(*members), ENOUGH + 1)

    # two of four are no two thirds: with the third, the fourth has half as much time again
    assert seconds == pytest.approx(29)
    assert answer.degraded == ()


def test_a_member_that_failed_does_not_count_as_an_answer():
    broken = failing_model(UnavailableError("down"), "broken")
    late = turning("late", [60.0])

    *_, (answer, seconds) = runs_of(team(steady("a"), broken, late), ENOUGH + 1)

    assert seconds == pytest.approx(60)
    assert len(answer.degraded) == 1


def test_longer_answers_are_given_more_time():
    members = [turning(name, [8.0]) for name in "ab"]
    late = turning("late", [11.0])
    mixture = team(*members, late)

    runs_of(mixture, ENOUGH)
    for member in members:  # the others write much more this time
        member.tokens = 1000
    ((answer, _),) = runs_of(mixture)

    assert answer.degraded == ()


def test_a_model_that_has_become_slower_is_waited_for_again_after_a_while():
    slower = turning("slower", [5.0])

    rows = runs_of(team(steady("a"), steady("b"), slower), 12 * ENOUGH)

    assert rows[ENOUGH][0].degraded
    assert not rows[-1][0].degraded


def test_answers_from_a_cache_teach_nothing():
    cached = turning("cached", [3.0], seconds=0.0, charged=False)
    members = [turning(name, [3.0], seconds=0.0, charged=False) for name in "ab"]

    rows = runs_of(team(*members, cached), 2 * ENOUGH)

    assert not any(answer.degraded for answer, _ in rows)


def test_times_too_short_to_mean_anything_make_no_one_late():
    late = turning("late", [0.2], seconds=0.001)

    rows = runs_of(team(steady("a", 0.001), steady("b", 0.001), late), ENOUGH + 1)

    assert not any(answer.degraded for answer, _ in rows)


def test_what_a_late_member_had_written_is_used_and_marked():
    late = turning("late", [inf], words=30)

    *_, (answer, _) = runs_of(team(steady("a"), steady("b"), late), ENOUGH + 1)

    assert "late-11" in answer.text
    assert "marked as incomplete" in answer.degraded[0]


def test_a_deadline_holds_beside_what_was_learned():
    members = [turning(name, [60.0]) for name in "abc"]

    with pytest.raises(QuorumNotMetError, match="patience or deadline") as error:
        runs_of(team(*members, deadline=1.5), ENOUGH + 1)
    assert error.value.late


def test_a_deadline_holds_for_the_strongest_member_too():
    strong = turning("strong", [60.0])
    members = (strong, steady("a"), steady("b"))
    mixture = team(*members, learned=LearnedPatience(strongest="strong"), deadline=5.0)

    *_, (answer, seconds) = runs_of(mixture, ENOUGH + 1)

    assert seconds == pytest.approx(5.0)
    assert answer.degraded == (
        "layer 1: strong failed: cut off by the layer's patience or deadline",
    )


def test_seconds_that_were_set_count_before_what_was_learned():
    late = turning("late", [60.0])

    *_, (answer, seconds) = runs_of(
        team(steady("a"), steady("b"), late, quorum=2, patience=7.0), ENOUGH + 1
    )

    assert seconds == pytest.approx(8)
    assert "patience or deadline" in answer.degraded[0]


# ---- the strongest member


def strongest(name, **options):
    return LearnedPatience(strongest=name, **options)


def test_the_strongest_member_is_asked_a_second_time_and_never_cut_off():
    best = turning("best", [60.0, 1.0])
    events = []

    *_, (answer, seconds) = runs_of(
        team(steady("a"), steady("b"), best, learned=strongest("best")), ENOUGH + 1, events.append
    )

    assert seconds == pytest.approx(2.8)
    assert answer.degraded == ()
    assert "best-12" in answer.text
    assert "best-11" not in answer.text
    assert (best.calls, best.called_off) == (ENOUGH + 2, 1)
    assert [c.outcome for c in answer.charges if c.model == "best"] == ["lost", "answer"]
    assert any(isinstance(e, Notice) and "second time" in e.notice for e in events)
    begun = max(i for i, e in enumerate(events) if isinstance(e, CallRestarted))
    tokens = [e for e in events[begun:] if isinstance(e, Token) and e.at[-1].role == "proposer"]
    said = [token.text for token in tokens]
    assert len(said) == best.words
    assert all(text.startswith("best-12") for text in said)


def test_the_strongest_members_first_call_counts_when_it_is_done_first():
    best = turning("best", [2.5, 60.0])

    *_, (answer, seconds) = runs_of(
        team(steady("a"), steady("b"), best, learned=strongest("best")), ENOUGH + 1
    )

    assert seconds == pytest.approx(2.5)
    assert "best-11" in answer.text


def test_a_strongest_member_that_may_not_be_asked_again_is_waited_for():
    best = turning("best", [60.0])
    learned = strongest("best", asks_again=False)

    *_, (answer, seconds) = runs_of(team(steady("a"), steady("b"), best, learned=learned), 11)

    assert seconds == pytest.approx(60)
    assert answer.degraded == ()
    assert best.calls == ENOUGH + 1


def test_one_answer_of_the_strongest_model_is_enough():
    best = Timed("best", [*[1.0] * 2 * ENOUGH, 1.0, 60.0])
    drawn = Proposer(best, samples=2)

    *_, (answer, seconds) = runs_of(team(steady("a"), drawn, learned=strongest("best")), 11)

    assert seconds == pytest.approx(1.8)
    assert len(answer.degraded) == 1
    assert best.calls == 2 * ENOUGH + 2


def test_at_most_a_twentieth_of_the_strongest_members_calls_is_made_twice():
    best = turning("best", [2.0, 1.0] * 100)  # every other call is late

    runs_of(team(steady("a"), steady("b"), best, learned=strongest("best")), 100)

    assert 1 <= best.calls - 100 <= 5


def test_a_mixture_in_a_mixture_is_waited_for_but_not_made_twice():
    slow = turning("slow", [60.0])
    inner = Mixture.of([slow], echo("writer"), name="inner")

    *_, (answer, seconds) = runs_of(
        team(steady("a"), steady("b"), inner, learned=strongest("inner")), ENOUGH + 1
    )

    assert seconds == pytest.approx(60)
    assert answer.degraded == ()
    assert slow.calls == ENOUGH + 1


# ---- in programs


def test_mixture_of_learns_its_patience_and_waits_for_the_aggregators_model():
    late, chief = turning("late", [60.0]), turning("chief", [60.0, 1.0])

    *_, (cut, _) = runs_of(Mixture.of([steady("a"), steady("b"), late], chief), ENOUGH + 1)
    *_, (whole, _) = runs_of(
        Mixture.of([steady("a"), steady("b"), turning("c", [60.0, 1.0])], echo("c")), ENOUGH + 1
    )

    assert len(cut.degraded) == 1
    assert whole.degraded == ()
    assert "c-12" in whole.text


@pytest.mark.parametrize(
    ("patience", "seconds", "learned"),
    [(None, None, False), (3.0, 3.0, False), (strongest("x"), None, True)],
)
def test_mixture_of_takes_seconds_or_waits_for_all(patience, seconds, learned):
    (layer,) = Mixture.of([echo("a")], echo("b"), patience=patience).layers

    assert layer.patience == seconds
    assert layer.learned is (patience if learned else None)


def test_times_are_kept_of_the_latest_models_only():
    times = ResponseTimes()
    for number in range(MAX_MODELS + 10):
        for _ in range(8):
            times.record(f"m{number}", 100.0, 1.0)

    assert times.usual_seconds("m0", 100.0) is None
    assert times.usual_seconds("m1009", 100.0) == 1.0
