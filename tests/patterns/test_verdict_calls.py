"""A ranker or judge without a verdict is asked again, once: seen, billed, and then missing."""

from __future__ import annotations

import pytest

from mixtura import Charge, Completion, Message, Notice, Recorder, UnavailableError, Usage, ask
from mixtura.models.fake import FailedCall, Scripted
from mixtura.patterns import BestOf, Chosen, Ranker
from mixtura.patterns.verdict_calls import ASKED_AGAIN, REMINDER
from tests.conftest import run

TWICE = '{"best": 1}\nOr:\n{"best": 2}'


def team(*texts):
    return [Scripted(f"m{i}", [text]) for i, text in enumerate(texts, 1)]


def chosen(chooser, *texts):
    recorder = Recorder()
    answer = run(Chosen.of(team(*texts), chooser).complete(ask("?"), recorder))
    return answer, recorder.build_trace()


def judge_calls(trace):
    return [call for call in trace.leaf_calls() if call.model == "judge"]


def test_a_ranker_that_names_two_is_asked_again_once_and_both_calls_are_billed_and_traced():
    judge = Scripted("judge", [TWICE, '{"best": 2}'], usage=Usage(10, 5))

    answer, trace = chosen(Ranker(judge), "one", "two")

    assert answer.degraded == ()
    assert [c for c in answer.charges if c.model == "judge"] == [
        Charge("judge", Usage(10, 5), "retried"),
        Charge("judge", Usage(10, 5)),
    ]
    (call,) = judge_calls(trace)
    assert (call.notices, call.restarts, call.text) == ([ASKED_AGAIN], 1, '{"best": 2}')
    assert call.usage == Usage(20, 10)
    assert [m.text for m in judge.asked[1].messages[-2:]] == [TWICE, REMINDER]


def test_a_ranker_that_names_none_twice_leaves_an_incomplete_result_and_words():
    judge = Scripted("judge", [TWICE, TWICE])

    answer, _ = chosen(Ranker(judge), "one", "two", "one or two")

    assert answer.degraded[0] == "the ranker judge named none of the 3 proposals"
    assert len(judge.asked) == 2
    assert sum(charge.model == "judge" for charge in answer.charges) == 2


def test_a_score_that_cannot_be_read_is_asked_for_again_once_and_then_missing():
    judge = Scripted("judge", ["Nice.", '{"score": -8}', '{"score": 3}', '{"score": 12}'])

    answer, trace = chosen(BestOf(judge), "one", "two")

    assert len(judge.asked) == 4
    assert "without a score: the judge judge gave none from 0 to 10" in answer.degraded[0]
    assert [call.restarts for call in judge_calls(trace)] == [1, 1]
    assert sum(charge.model == "judge" for charge in answer.charges) == 4


@pytest.mark.parametrize("chooser", [Ranker, BestOf])
def test_a_judge_that_fails_when_it_is_asked_again_has_both_calls_on_its_bill(chooser):
    bill = (Charge("judge", Usage(9, 0), "failed"),)
    lost = [FailedCall(UnavailableError("down"), bill) for _ in range(2)]
    paid = (Charge("judge", Usage(7, 1)),)
    first = Completion(Message("assistant", "Hm."), "judge", "stop", paid)
    judge = Scripted("judge", [first, lost[0]] if chooser is Ranker else [first, first, *lost])

    answer, _ = chosen(chooser(judge), "one", "two")

    charges = [charge for charge in answer.charges if charge.model == "judge"]
    assert {charge.outcome for charge in charges} == {"retried", "failed"}
    assert len(charges) == len(judge.asked)
    assert "failed: down" in " ".join(answer.degraded)


def test_a_watcher_is_told_that_a_judge_is_asked_again():
    events = []
    model = Chosen.of(team("one", "two"), Ranker(Scripted("judge", ["?", '{"best": 1}'])))
    run(model.complete(ask("?"), events.append))

    assert ASKED_AGAIN in [event.notice for event in events if isinstance(event, Notice)]
