"""Patterns that compare: knockout, guard, gate, analyse; and recursive self-aggregation."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import pytest

from mixtura import (
    Aggregator,
    Layer,
    Position,
    Proposer,
    Sampling,
    Token,
    UnavailableError,
    ask,
)
from mixtura.billing.forecast import forecast_calls
from mixtura.models.fake import Scripted, failing_model
from mixtura.patterns import Chosen
from mixtura.patterns.analyse import Analyse
from mixtura.patterns.analysis_report import AnalysisReport, Claim, Dispute, parse_analysis
from mixtura.patterns.gate import Gate
from mixtura.patterns.guard import Guard
from mixtura.patterns.knockout import Knockout
from mixtura.patterns.recursive import Recursive
from tests.conftest import run
from tests.support.pattern_models import (
    ASK,
    TOOL,
    drafts_in,
    prefers,
    repeats,
    said,
    team,
    watched,
)


def down(name="down"):
    return failing_model(UnavailableError("away"), name)


def layer(*models):
    return (Layer(tuple(Proposer(model) for model in models)),)


# ---- knockout


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_the_best_proposal_wins_a_knockout_wherever_it_stands(size):
    for place in range(size):
        texts = [f"draft {i}" for i in range(size)]
        texts[place] = "the best"
        model = Chosen.of(team(*texts), Knockout(prefers("the best")))

        answer, _ = watched(model)

        assert answer.text == "the best"
        assert len(answer.charges) == model.call_count == size + 2 * (size - 1)
        assert len(forecast_calls(model, ASK)) == model.call_count


def test_each_pair_is_shown_in_both_orders():
    judge = prefers("one")

    run(Chosen.of(team("one", "two"), Knockout(judge)).complete(ASK))

    assert sorted(map(tuple, map(drafts_in, judge.asked))) == [("one", "two"), ("two", "one")]


def test_a_judge_that_always_prefers_one_place_decides_nothing_and_the_draw_does():
    first = run(Chosen.of(team("a", "b"), Knockout(repeats("j", '{"better": 1}'))).complete(ASK))
    second = run(Chosen.of(team("a", "b"), Knockout(repeats("j", '{"better": 2}'))).complete(ASK))

    assert first.text == second.text
    assert not first.degraded


def test_comparisons_without_a_verdict_are_said():
    answer = run(Chosen.of(team("a", "b"), Knockout(repeats("j", "Both."))).complete(ASK))

    assert answer.degraded == ("the judge j gave no verdict in 2 of 2 comparisons",)


# ---- guard


def guard(judge, aggregator=None, members=None, **more):
    own = members or [repeats("strong", "own"), repeats("weak", "other")]
    writer = Aggregator(aggregator or repeats("writer", "synthesis"))
    return Guard(layers=layer(*own), aggregator=writer, judge=judge, **more)


def test_a_synthesis_that_is_preferred_in_both_orders_goes_out():
    model = guard(prefers("synthesis"))

    answer, events = watched(model)

    assert (answer.text, len(answer.charges)) == ("synthesis", model.call_count)
    assert model.call_count == len(forecast_calls(model, ASK)) == 5
    last = (Position(3, 0, "aggregator"),)
    assert "".join(e.text for e in events if isinstance(e, Token) and e.at == last) == "synthesis"


@pytest.mark.parametrize("verdict", ['{"better": 1}', '{"better": 2}', "Neither."])
def test_else_the_best_members_own_answer_goes_out_to_the_letter(verdict):
    answer = run(guard(repeats("judge", verdict)).complete(ASK))

    assert answer.text == "own"
    assert bool(answer.degraded) == (verdict == "Neither.")


def test_the_best_member_is_the_one_that_is_named():
    assert run(guard(prefers("own"), member="weak").complete(ASK)).text == "other"
    with pytest.raises(
        ValueError, match="'nobody' is not a proposer of the last layer: strong, weak"
    ):
        guard(prefers("own"), member="nobody")


def test_a_guard_whose_aggregator_fails_answers_with_the_member():
    answer = run(guard(prefers("x"), aggregator=down()).complete(ASK))

    assert answer.text == "own"
    assert any("down failed" in notice for notice in answer.degraded)


def test_a_guard_whose_judge_fails_answers_with_the_member():
    answer = run(guard(down("judge")).complete(ASK))

    assert answer.text == "own"
    assert "the judge judge gave no verdict in 2 of 2 comparisons" in answer.degraded[0]


def test_a_guard_whose_member_fails_answers_with_the_synthesis():
    members = [down("strong"), repeats("weak", "other")]

    answer = run(guard(prefers("x"), members=members).complete(ASK))

    assert answer.text == "synthesis"
    assert "strong has no answer to compare with" in answer.degraded


def test_a_guard_without_member_or_synthesis_answers_with_another_proposal_and_says_so():
    members = [down("strong"), repeats("weak", "other")]

    answer = run(guard(prefers("x"), aggregator=down("writer"), members=members).complete(ASK))

    assert answer.text == "other"
    assert "strong has no answer, and no synthesis was written" in answer.degraded


def test_the_callers_limits_reach_whoever_may_answer():
    strong, writer = repeats("strong", "own"), repeats("writer", "synthesis")

    run(guard(prefers("x"), writer, [strong]).complete(ask("Q", sampling=Sampling(max_tokens=7))))

    assert [one.asked[0].sampling.max_tokens for one in (strong, writer)] == [7, 7]


# ---- gate


def gate(aggregator, *texts, **more):
    members = layer(*(repeats(f"m{i}", text) for i, text in enumerate(texts)))
    return Gate(layers=members, aggregator=Aggregator(aggregator), **more)


def test_scouts_that_agree_answer_alone():
    strong = repeats("strong", "4")

    answer, _ = watched(gate(strong, "It is 7", "So: 7", "7", extract="number"))

    assert answer.text == "It is 7"
    assert not strong.asked


def test_where_they_differ_the_strong_model_answers_alone_and_then_reads_its_own_answer_too():
    strong = repeats("strong", "mine", "final")
    model = gate(strong, "It is 7", "So: 8", extract="number")

    answer, _ = watched(model)

    assert answer.text == "final"
    assert [drafts_in(request) for request in strong.asked] == [[], ["It is 7", "So: 8", "mine"]]
    assert len(answer.charges) == model.call_count == 4


def test_a_lower_threshold_is_enough_for_the_scouts():
    strong = repeats("strong", "x")

    answer = run(gate(strong, "7", "8", "7", extract="number", threshold=0.6).complete(ASK))

    assert answer.text == "7"
    assert not strong.asked


@pytest.mark.parametrize(("same", "calls"), [("1", 6), ("0", 8)])
def test_open_texts_are_compared_pair_by_pair(same, calls):
    verdicts = [f'{{"same": {same}}}'] * 3
    strong = repeats("strong", *verdicts, "mine", "final")
    model = gate(strong, "one", "two", "three")

    answer = run(model.complete(ASK))

    shown = sorted(tuple(drafts_in(request)) for request in strong.asked[:3])
    assert shown == sorted(combinations(["one", "two", "three"], 2))
    assert answer.text == ("one" if same == "1" else "final")
    assert len(answer.charges) == calls
    assert model.call_count == 8


@pytest.mark.parametrize("extract", ["number", "text"])
def test_scouts_that_were_cut_off_agree_with_nobody(extract):
    strong = repeats("strong", *['{"same": 1}'] * (extract == "text"), "mine", "final")
    scouts = (Scripted(f"m{i}", [said("It is 7", f"m{i}", "length")]) for i in (1, 2))
    model = Gate(layers=layer(*scouts), aggregator=Aggregator(strong), extract=extract)

    assert run(model.complete(ASK)).text == "final"


@pytest.mark.parametrize(
    ("extract", "threshold", "answered_by", "calls"),
    [
        ("number", 1.0, "strong", 2),
        ("number", 0.6, "scout", 0),
        ("text", 1.0, "strong", 2),  # nothing that the others say could be enough
        ("text", 0.3, "scout", 1),
    ],
)
def test_a_scout_that_failed_agrees_with_nobody(extract, threshold, answered_by, calls):
    verdicts = ['{"same": 1}'] * (calls == 1)
    strong = repeats("strong", *verdicts, "strong", "strong")
    scouts = layer(repeats("m1", "7"), down(), repeats("m2", "7"))
    model = Gate(layers=scouts, aggregator=Aggregator(strong), extract=extract, threshold=threshold)

    answer = run(model.complete(ASK))

    assert answer.text == {"strong": "strong", "scout": "7"}[answered_by]
    assert len(strong.asked) == calls


def test_of_open_texts_the_one_that_most_are_the_same_as_goes_out():
    def same(request):
        one, other = drafts_in(request)
        return json.dumps({"same": int(one[0] == other[0])})

    strong = Scripted("strong", [same] * 10)
    model = gate(strong, "a", "a too", "b", "b too", "b as well", threshold=0.4)

    assert run(model.complete(ASK)).text == "b"


def test_a_comparison_without_a_verdict_opens_the_gate_and_is_said():
    strong = repeats("strong", "Hm.", "Hm.", "mine", "final")

    answer = run(gate(strong, "one", "two").complete(ASK))

    assert answer.text == "final"
    assert "strong gave no verdict on 1 of 1 pairs of drafts" in answer.degraded


# ---- analyse


REPORT = {
    "agreed": [{"claim": "Air scatters light.", "slots": [1, 2]}],
    "disputed": [
        {"topic": "colour", "stances": [
            {"claim": "blue", "slots": [1]}, {"claim": "red", "slots": [2]},
        ]}
    ],
    "only_one": [], "not_covered": ["sunset"],
}  # fmt: skip


def analyse(aggregator, members=None):
    own = members or [repeats("a", "blue"), repeats("b", "red")]
    return Analyse(layers=layer(*own), aggregator=Aggregator(aggregator))


def test_the_writer_reads_the_drafts_and_the_report_on_them():
    writer = repeats("writer", f"```json\n{json.dumps(REPORT)}\n```", "The answer.")
    model = analyse(writer)

    answer, events = watched(model)

    assert (answer.text, len(answer.charges)) == ("The answer.", 4)
    assert model.call_count == len(forecast_calls(model, ASK)) == 4
    *drafts, report = drafts_in(writer.asked[1])
    assert (drafts, json.loads(report)) == (["blue", "red"], REPORT)
    assert "agreement 50%: 1 agreed, 1 disputed, 0 said by one, 1 not covered" in str(events)


@pytest.mark.parametrize(
    "reply",
    ["No.", "{", json.dumps({**REPORT, "agreed": [{"claim": "x", "slots": [9]}]}), '{"agreed": 1}'],
)
def test_a_report_that_cannot_be_read_twice_leaves_the_plain_synthesis_and_is_said(reply):
    writer = repeats("writer", reply, reply, "The answer.")

    answer = run(analyse(writer).complete(ASK))

    assert answer.text == "The answer."
    assert drafts_in(writer.asked[2]) == ["blue", "red"]
    said_so = "the analysis of writer cannot be read: the drafts alone were read"
    assert said_so in answer.degraded


def test_a_writer_that_fails_leaves_a_draft_and_never_the_report():
    texts = iter([json.dumps(REPORT)])

    def only_analyses(request):
        return next(texts, UnavailableError("away"))

    answer = run(analyse(Scripted("writer", [only_analyses] * 4)).complete(ASK))

    assert answer.text in ("blue", "red")
    assert answer.degraded


def test_one_draft_needs_no_report():
    writer = repeats("writer", "The answer.")

    assert len(run(analyse(writer, [repeats("a", "blue")]).complete(ASK)).charges) == 2


def test_agreement_is_the_share_of_points_that_several_speak_of():
    claim = Claim("x", (1, 2))
    dispute = Dispute("y", (Claim("a", (1,)), Claim("b", (2,))))

    assert AnalysisReport((claim,) * 3, (dispute,)).agreement == 0.75
    assert AnalysisReport((), (), (Claim("z", (1,)),)).agreement is None
    assert parse_analysis(said(json.dumps(REPORT), finish="length"), 2) is None


@pytest.mark.parametrize(
    "reply", ['{"x": ' + "[" * 9000 + "]" * 9000 + "}", '{"agreed": "\ud800"}']
)
def test_a_hostile_report_is_no_report(reply):
    assert parse_analysis(said(reply), 2) is None


# ---- recursive


def recursive(aggregator, size, **more):
    drawn = (Layer((Proposer(repeats("a", *(f"p{i}" for i in range(size))), samples=size),)),)
    return Recursive(layers=drawn, aggregator=Aggregator(aggregator), **more)


def test_each_step_writes_the_population_anew_from_a_few_of_it():
    writer = repeats(
        "writer", *(f"q{i}" for i in range(6)), *(f"Answer: {i % 2}" for i in range(6))
    )
    model = recursive(writer, 6, subset=3, steps=2, extract="number")

    answer = run(model.complete(ASK))

    read = [drafts_in(request) for request in writer.asked]
    assert [len(set(texts)) for texts in read] == [3] * 12
    assert all(text.startswith("p") for texts in read[:6] for text in texts)
    assert all(text.startswith("q") for texts in read[6:] for text in texts)
    assert len({tuple(texts) for texts in read[:6]}) > 1
    assert answer.text == "Answer: 0"
    assert len(answer.charges) == model.call_count == len(forecast_calls(model, ASK)) == 18
    assert model.layer_count == 4


def test_the_same_request_draws_the_same_few():
    runs = []
    for _ in range(2):
        writer = repeats("writer", *"abcdef")
        run(recursive(writer, 6, subset=2, steps=1).complete(ASK))
        runs.append([drafts_in(request) for request in writer.asked])

    assert runs[0] == runs[1]


def test_draws_of_one_step_have_numbers_and_seeds_of_their_own():
    writer = repeats("writer", *"abcd")

    run(recursive(writer, 4, subset=4, steps=1).complete(ask("Q", sampling=Sampling(seed=5))))

    assert [request.draw for request in writer.asked] == [0, 1, 2, 3]
    assert [request.sampling.seed for request in writer.asked] == [5, 6, 7, 8]


def test_a_draft_that_saw_no_tools_is_no_answer_to_a_request_with_tools():
    away = [UnavailableError("away")] * 2
    request = replace(ASK, tools=(TOOL,))

    with pytest.raises(UnavailableError):
        run(recursive(Scripted("w", ["q0", "q1", *away]), 2).complete(request))

    first = run(recursive(down(), 2).complete(request))
    assert first.text == "p0"  # of the members, which were offered the tools


def test_where_a_whole_step_fails_the_vote_is_over_the_texts_before_it():
    answer = run(recursive(down(), 3).complete(ASK))

    assert answer.text == "p0"
    assert answer.degraded[0].endswith("the vote is over the texts before it")
