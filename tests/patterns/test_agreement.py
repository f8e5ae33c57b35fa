"""Agreement and support: what any pattern can say of how well its answer is backed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mixtura.billing.forecast import forecast_calls
from mixtura.core.agreement import Support
from mixtura.core.calibration import Calibration, CalibrationCurve
from mixtura.core.errors import BudgetExceededError, UnavailableError
from mixtura.core.events import CallStarted, RunCompleted, Token
from mixtura.core.roles import Aggregator, Layer, Proposer
from mixtura.engine.mixture import Mixture
from mixtura.models.fake import Scripted, slow_model
from mixtura.models.wrappers.deadline import Deadlined
from mixtura.patterns.agreement import AgreementReported
from mixtura.patterns.analyse import Analyse
from mixtura.patterns.choosing import Chosen
from mixtura.patterns.mux import Mux
from mixtura.patterns.vote import Vote
from mixtura.patterns.weighted import Weighted
from tests.conftest import run
from tests.support.agreement_reports import REPORT
from tests.support.pattern_models import ASK, drafts_in, repeats, team, watched


def reported(pattern, reporter):
    return AgreementReported.of(pattern, reporter)


def mixture(*texts):
    return Mixture.of(team(*texts), repeats("writer", "The answer."))


def test_a_report_of_two_proposals_names_who_says_what_and_gives_one_number():
    reporter = repeats("critic", json.dumps(REPORT))
    model = reported(mixture("blue", "red"), reporter)

    answer, events = watched(model)

    assert answer.text == "The answer."
    assert answer.agreement.number == 0.5
    report = answer.agreement.report
    assert report["agreed"] == [{"claim": "Air scatters light.", "who": ["m1", "m2"]}]
    assert report["only_one"] == [{"claim": "Said by one.", "who": ["m2"]}]
    assert report["disputed"][0]["stances"][1] == {"claim": "red", "who": ["m2"]}
    assert (report["members"], report["by"]) == (["m1", "m2"], "critic")
    assert answer.support == Support("agreement", 0.5)
    assert answer.confidence is None
    # Billed, forecast, and over before the run is.
    assert len(answer.charges) == len(forecast_calls(model, ASK)) == model.call_count == 4
    assert isinstance(events[-1], RunCompleted)
    assert events[-1].completion == answer


def test_the_reporter_is_shown_the_proposals_without_the_names_of_their_models():
    reporter = repeats("critic", json.dumps(REPORT))

    run(reported(mixture("blue", "red"), reporter).complete(ASK))

    (asked,) = reporter.asked
    assert drafts_in(asked) == ["blue", "red"]
    assert "m1" not in str(asked.messages)


def test_a_report_stands_at_a_place_of_its_own_and_no_token_of_it_is_the_answers():
    _, events = watched(reported(mixture("blue", "red"), repeats("critic", json.dumps(REPORT))))

    places = [event.at[0].role for event in events if isinstance(event, CallStarted)]
    shown = {
        event.at[0].role for event in events if isinstance(event, Token) and "sunset" in event.text
    }
    assert places == ["proposer", "proposer", "aggregator", "reporter"]
    assert shown == {"reporter"}


def test_draws_of_one_model_are_told_apart():
    drawn = Chosen.of([Proposer(repeats("m", "blue", "red"), samples=2)], Vote())

    answer = run(reported(drawn, repeats("critic", json.dumps(REPORT))).complete(ASK))

    assert answer.agreement.report["members"] == ["m #1", "m #2"]


@pytest.mark.parametrize(
    ("replies", "reason", "calls"),
    [
        (["No.", "No."], "the report of critic cannot be read", 5),
        ([UnavailableError("away")], "critic failed: away", 3),
        (['{"agreed": [], "disputed": []}'], "no claim is made by more than one", 4),
    ],
)
def test_without_a_number_the_answer_stays_and_the_agreement_says_why(replies, reason, calls):
    answer = run(reported(mixture("blue", "red"), Scripted("critic", replies)).complete(ASK))

    assert (answer.text, answer.degraded) == ("The answer.", ())
    assert answer.agreement.number is None
    assert reason in answer.agreement.reason
    assert (answer.support, len(answer.charges)) == (None, calls)


def test_one_proposal_is_compared_with_nothing_and_costs_no_call():
    answer = run(reported(mixture("blue"), Scripted("critic", [])).complete(ASK))

    assert "only one proposal" in answer.agreement.reason
    assert len(answer.charges) == 2


def test_analyse_gives_its_own_report_and_pays_once():
    writer = repeats("writer", json.dumps(REPORT), "The answer.")
    pattern = Analyse(
        layers=(Layer(tuple(map(Proposer, team("blue", "red")))),), aggregator=Aggregator(writer)
    )
    model = reported(pattern, Scripted("critic", []))

    answer = run(model.complete(ASK))

    assert (answer.agreement.number, answer.support.value) == (0.5, 0.5)
    assert len(answer.charges) == model.call_count == 4


def test_a_report_that_takes_too_long_loses_no_answer():
    late = reported(mixture("blue", "red"), slow_model(60.0, name="critic"))

    answer = run(Deadlined(late, 1.0).complete(ASK))

    assert answer.text == "The answer."
    assert "deadline" in answer.agreement.reason


def test_a_cap_that_ends_the_report_ends_the_run_as_any_other_cap_does():
    over = Scripted("critic", [BudgetExceededError("the cap of the day")])

    with pytest.raises(BudgetExceededError):
        run(reported(mixture("blue", "red"), over).complete(ASK))


def test_cheaper_forms_of_a_reported_mixture_are_reported_too():
    narrow = reported(mixture("blue", "red", "green"), repeats("critic", json.dumps(REPORT)))
    one = narrow.with_layers((Layer(narrow.layers[0].proposers[:2]),))

    assert run(one.complete(ASK)).agreement.number == 0.5
    assert one.call_count == 4


# ---- support


def draws(model, *texts):
    return Proposer(repeats(model, *texts), samples=len(texts))


@pytest.mark.parametrize(
    ("pattern", "support"),
    [
        (Chosen.of(team("It is 4.", "It is 4.", "It is 5."), Vote("number")), ("votes", 2 / 3)),
        (Chosen.of(team("a b", "a b", "c d"), Vote()), None),
        (Chosen.of([draws("x", "1", "1", "2"), draws("y", "3", "4", "5")], Mux("number")),
         ("votes", 2 / 3)),
        (Chosen.of(team("1", "2"), Mux("number")), None),
        (Chosen.of(team("1", "2"), Weighted(repeats("judge", "1", "0"), "number", 0.5)),
         ("weights", 0.8808)),
        (Mixture.of(team("a", "b"), repeats("writer", "c")), None),
    ],
)  # fmt: skip
def test_the_support_of_an_answer_is_the_share_of_what_its_pattern_counted(pattern, support):
    answer = run(pattern.complete(ASK))

    assert (answer.support and answer.support.source) == (support and support[0])
    if support:
        assert answer.support.value == pytest.approx(support[1], abs=1e-4)
    assert answer.confidence is None


def test_a_calibration_turns_support_into_the_confidence_of_the_answer():
    curve = CalibrationCurve("isotonic", 98, 70, ((0.2, 0.1), (0.7, 0.6), (1.0, 1.0)))
    known = Calibration({"votes": curve})
    vote = Chosen.of(team("4", "4", "5"), Vote("number"))

    answer = run(replace(vote, calibration=known).complete(ASK))

    assert answer.confidence == pytest.approx(0.1 + 0.5 * (2 / 3 - 0.2) / 0.5)
    assert known.find_confidence(Support("weights", 0.5)) is None
    assert known.find_confidence(Support("votes", 0.0)) == 0.1
    # Nothing is certain after 98 answers.
    assert known.find_confidence(Support("votes", 1.0)) == 0.99
