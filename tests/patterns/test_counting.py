"""Patterns that count: mux, switch and weighted votes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import Layer, Proposer, QuorumNotMetError, UnavailableError
from mixtura.core.types import Completion, Message, ToolCall
from mixtura.models.fake import Scripted, failing_model
from mixtura.patterns import Chosen
from mixtura.patterns.answer_groups import group_by_answer, largest_group
from mixtura.patterns.combine import Combine
from mixtura.patterns.mux import Mux
from mixtura.patterns.switch import Switch, weigh_answers
from mixtura.patterns.weighted import (
    Weighted,
    least_group_mean,
    rank_votes,
    softmax,
    token_confidences,
    weigh_truths,
)
from tests.conftest import run
from tests.support.pattern_models import ASK, repeats, said, watched


def draws(name, *answers):
    """A proposer that is drawn once for each answer."""
    return Proposer(repeats(name, *(f"Answer: {one}" for one in answers)), samples=len(answers))


def layers(*members):
    return tuple(Layer((member,)) for member in members)


# ---- groups


def test_proposals_with_the_same_final_answer_are_one_group_in_the_order_of_the_first():
    proposals = [said(f"… so the answer is {n}.") for n in ("7", "4", "7.0", "nothing")]

    groups = group_by_answer(proposals, "number")

    assert [group.positions for group in groups] == [(0, 2), (1,)]
    assert largest_group(groups).answer == "7"


def test_open_texts_that_are_alike_are_one_group():
    proposals = [said("The sky is blue."), said("Bananas."), said("the sky is blue")]

    assert [g.positions for g in group_by_answer(proposals, "text")] == [(0, 2), (1,)]


def test_a_draft_that_was_cut_off_is_counted_only_where_all_were():
    cut, whole = said("Answer: 3", finish="length"), said("Answer: 4")

    assert [g.answer for g in group_by_answer([cut, whole], "number")] == ["4"]
    assert [g.answer for g in group_by_answer([cut, cut], "number")] == ["3"]


def calls(name, arguments):
    message = Message("assistant", "Let me see.", (ToolCall("1", name, arguments),))
    return Completion(message, "m", "tool_calls")


def test_calls_of_tools_are_the_same_answer_for_the_same_tool_and_arguments_alone():
    proposals = [
        calls("f", '{"n": 3, "m": 1}'), calls("g", '{"n": 3, "m": 1}'), said("Answer: 3"),
        calls("f", '{"m":1,"n":3}'), calls("f", "no JSON"),
    ]  # fmt: skip

    assert [g.positions for g in group_by_answer(proposals, "number")] == [(0, 3), (1,), (2,), (4,)]


# ---- mux


def test_the_member_whose_draws_agree_most_answers_with_its_first_such_draw():
    model = Chosen.of([draws("unsure", 4, 5, 5), draws("sure", 9, 7, 7, 7)], Mux("number"))

    answer, events = watched(model)

    assert (answer.text, answer.model) == ("Answer: 7", "mux")
    assert len(answer.charges) == model.call_count == 7
    assert "3 of 4 draws of sure say 7" in str(events)


def test_of_equally_sure_members_the_more_accurate_one_answers():
    members = [draws("weak", 1, 1), draws("strong", 2, 2)]

    known = Chosen.of(members, Mux("number", {"weak": 0.4, "strong": 0.8}))

    assert run(known.complete(ASK)).text == "Answer: 2"


def test_of_equals_in_both_the_answer_that_more_proposals_give_is_taken():
    members = [draws("a", 1, 1), draws("b", 2, 2), draws("c", 2, 3)]

    assert run(Chosen.of(members, Mux("number")).complete(ASK)).text == "Answer: 2"


def test_draws_without_an_answer_count_as_draws():
    half = Proposer(repeats("half", "Answer: 1", "I do not know."), samples=2)

    answer = run(Chosen.of([half, draws("most", 2, 2, 3)], Mux("number")).complete(ASK))

    assert answer.text == "Answer: 2"


def loses(name, answer, lost):
    """A proposer of which all draws but the first are lost."""
    texts = iter([f"Answer: {answer}", *[UnavailableError("away")] * lost])
    return Proposer(Scripted(name, [lambda _: next(texts)] * (lost + 1)), samples=lost + 1)


def test_a_member_that_lost_its_other_draws_is_not_sure_of_the_one_that_is_left():
    members = [loses("half", 9, 2), draws("whole", 7, 7, 8)]

    answer, events = watched(Chosen.of(members, Mux("number")))

    assert answer.text == "Answer: 7"
    assert "2 of 3 draws of whole say 7" in str(events)


def test_draws_that_were_lost_make_no_member_of_a_learned_vote_surer():
    members = [loses("half", 9, 2), draws("whole", 7, 7, 8)]
    chooser = Combine("number", weights={"surest": 1.0})

    assert run(Chosen.of(members, chooser).complete(ASK)).text == "Answer: 7"


def test_without_any_answer_the_closest_to_the_others_is_taken_and_that_is_said():
    members = [Proposer(repeats("a", "blue sky")), Proposer(repeats("b", "a blue sky"))]

    answer = run(Chosen.of(members, Mux("number")).complete(ASK))

    assert "mux found no answer in any proposal" in answer.degraded


@given(st.lists(st.lists(st.sampled_from("123"), min_size=1, max_size=4), min_size=1, max_size=4))
def test_mux_takes_the_highest_share_whatever_the_draws(members):
    proposals = [
        Completion(Message("assistant", f"Answer: {n}"), f"m{i}")
        for i, own in enumerate(members)
        for n in own
    ]

    verdict = run(Mux("number").choose(ASK, proposals, None))

    shares = [max(own.count(n) for n in own) / len(own) for own in members]
    chosen = members[int(proposals[verdict.which].model[1:])]
    assert max(chosen.count(n) for n in chosen) / len(chosen) == max(shares)


# ---- switch


def test_a_member_whose_draws_agree_ends_the_run():
    second = draws("second", 9, 9)
    model = Switch(layers=layers(draws("first", 7, 7), second), extract="number")

    answer, _ = watched(model)

    assert (answer.text, len(answer.charges)) == ("Answer: 7", 2)
    assert not second.model.asked
    assert model.call_count == 4


def test_a_member_whose_draws_differ_hands_over_and_no_member_reads_another():
    first, second = draws("first", 7, 8), draws("second", 9, 9)

    answer, _ = watched(Switch(layers=layers(first, second), extract="number"))

    assert (answer.text, len(answer.charges)) == ("Answer: 9", 4)
    assert all(request.messages == ASK.messages for request in second.model.asked)


def test_where_nobody_agrees_the_weights_of_all_members_decide():
    members = layers(draws("a", 1, 2, 1), draws("b", 2, 2, 3), draws("c", 2, 4, 1))

    answer, events = watched(Switch(layers=members, extract="number"))

    assert answer.text == "Answer: 2"
    assert "the highest of 4 answers" in str(events)


def test_the_weight_of_an_answer_is_the_papers_sum():
    proposals = [said(f"Answer: {n}", "m") for n in (1, 1, 2, 2)]
    groups = group_by_answer(proposals, "number")

    weights = weigh_answers(proposals, groups, {"m": 0.5}, {})

    entropy = -2 * 0.5 * math.log(0.5)
    assert weights == pytest.approx([0.5 * (1 - entropy / math.log(4)) * 0.5] * 2)


def test_a_threshold_below_one_is_enough_where_so_many_draws_agree():
    model = Switch(
        layers=layers(draws("a", 1, 1, 2), draws("b", 5)), extract="number", threshold=0.6
    )

    assert len(run(model.complete(ASK)).charges) == 3


def test_a_member_that_fails_is_left_out_and_named():
    down = Proposer(failing_model(UnavailableError("away"), "down"), samples=2)

    answer = run(Switch(layers=layers(down, draws("up", 3, 3)), extract="number").complete(ASK))

    assert answer.text == "Answer: 3"
    assert any("down" in notice for notice in answer.degraded)


def test_where_every_member_fails_that_is_the_error():
    down = Proposer(failing_model(UnavailableError("away"), "down"))

    with pytest.raises(QuorumNotMetError):
        run(Switch(layers=layers(down), extract="number").complete(ASK))


def test_a_draw_that_was_lost_agrees_with_nothing_also_in_the_end():
    texts = iter(["Answer: 9", UnavailableError("away")])
    half = Proposer(Scripted("half", [lambda _: next(texts)] * 2), samples=2)

    answer, events = watched(Switch(layers=layers(draws("a", 1, 2), half), extract="number"))

    assert "the highest of" in str(events)
    assert answer.degraded


def test_a_member_that_lost_most_of_its_draws_weighs_as_much_as_is_left_of_them():
    members = layers(loses("half", 9, 3), draws("whole", 7, 7, 7, 8))

    answer, events = watched(Switch(layers=members, extract="number"))

    assert answer.text == "Answer: 7"
    sure = 1 + (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert f"a weight of {0.75 * sure:.2f}, the highest of 3 answers" in str(events)


def test_draws_that_were_all_cut_off_do_not_keep_the_next_member_from_being_asked():
    cut = Scripted("cut", [said("Answer: 3", "cut", "length")] * 2)
    members = layers(Proposer(cut, samples=2), draws("whole", 7, 7))

    answer = run(Switch(layers=members, extract="number").complete(ASK))

    assert answer.text == "Answer: 7"


def test_open_texts_of_the_member_it_stopped_at_are_compared_with_each_other_alone():
    """Beside others the same words weigh otherwise: they no longer seem alike."""
    first = Proposer(repeats("first", "v w x y z a b c d", "v w x y z e f g h"), samples=2)
    second = Proposer(repeats("second", "v w x y z p", "v w x y z q"), samples=2)

    answer, events = watched(Switch(layers=layers(first, second)))

    assert answer.text == "v w x y z p"
    assert "2 of 2 draws of second agree" in str(events)


def test_switch_without_members_is_refused():
    with pytest.raises(ValueError, match="no member"):
        Switch(layers=())


# ---- weighted


def with_probability(digit, probability):
    other = {"token": "0" if digit == "1" else "1", "logprob": math.log(1 - probability)}
    row = {"token": digit, "logprob": math.log(probability)}
    return Completion(
        Message("assistant", digit), "judge", logprobs=({**row, "top_logprobs": [row, other]},)
    )


def test_proposals_count_by_the_probability_of_the_one_token_that_says_they_are_right():
    judge = Scripted(
        "judge",
        [with_probability("1", 0.9), with_probability("0", 0.9), with_probability("0", 0.8)],
    )
    members = [draws("a", 1), draws("b", 2), draws("c", 2)]

    answer, events = watched(Chosen.of(members, Weighted(judge, "number", temperature=0.2)))

    first, second, third = softmax([0.9, 0.1, 0.2], 0.2)
    assert first > second + third
    assert answer.text == "Answer: 1"
    assert f"{first:.0%} of the weight" in str(events)
    assert all(request.extra == {"logprobs": True, "top_logprobs": 20} for request in judge.asked)
    assert len(answer.charges) == 3


def test_without_log_probabilities_the_digit_itself_counts():
    members = [draws("a", 1), draws("b", 2), draws("c", 2)]

    answer = run(Chosen.of(members, Weighted(repeats("j", "0", "1", "1"), "number")).complete(ASK))

    assert answer.text == "Answer: 2"


def test_a_proposal_without_a_verdict_weighs_as_the_others_on_average_and_that_is_said():
    judge = repeats("j", "1", "perhaps", "perhaps")
    members = [draws("a", 1), draws("b", 2)]

    answer = run(Chosen.of(members, Weighted(judge, "number")).complete(ASK))

    assert answer.degraded == ("j gave no verdict on 1 proposal",)


def test_a_weight_that_is_missing_is_the_mean_of_the_other_weights():
    first, second = softmax([1.0, 0.0], 0.5)

    weights = weigh_truths([1.0, None, 0.0], 0.5)

    assert weights == pytest.approx([first / 1.5, 0.5 / 1.5, second / 1.5])


def test_of_equal_weights_the_answer_that_came_first_is_taken_whatever_rounding_favours():
    chances = [0.7, 0.2, 0.6, 0.2, 0.6, 0.7]
    judge = Scripted("judge", [with_probability("1", one) for one in chances])
    members = [draws(f"m{i}", answer) for i, answer in enumerate((1, 1, 1, 2, 2, 2))]

    answer = run(Chosen.of(members, Weighted(judge, "number")).complete(ASK))

    assert answer.text == "Answer: 1"


def test_where_the_judge_fails_the_closest_to_the_others_is_taken_and_why_is_said():
    judge = failing_model(UnavailableError("away"), "j")

    answer = run(Chosen.of([draws("a", 1), draws("b", 1)], Weighted(judge, "number")).complete(ASK))

    assert "j gave no verdict on 2 proposals: " in answer.degraded[0]
    assert "away" in answer.degraded[0]


def sure(text, *confidences, name="m"):
    """A proposal whose tokens have these confidences: the mean of -log p of two in each place."""
    rows = tuple(
        {"token": "x", "logprob": -0.1, "top_logprobs": [
            {"token": "x", "logprob": -0.1}, {"token": "y", "logprob": 0.1 - 2 * one},
        ]}
        for one in confidences
    )  # fmt: skip
    return Completion(Message("assistant", f"Answer: {text}"), name, logprobs=rows)


def weigh(confidence, *proposals, judge=None, request=ASK):
    members = [Proposer(Scripted(f"m{i}", [one])) for i, one in enumerate(proposals)]
    chooser = Weighted(judge or Scripted("judge"), "number", confidence=confidence)
    return run(Chosen.of(members, chooser).complete(request)), members


def test_a_proposal_weighs_by_the_confidence_of_its_tokens_and_nobody_is_asked():
    answer, members = weigh("tokens", sure(1, 9.0, 8.0), sure(2, 3.0), sure(2, 4.0, 4.2))

    assert answer.text == "Answer: 1"
    assert answer.support.value == pytest.approx(8.5 / (8.5 + 3.0 + 4.1))
    (asked,) = members[0].model.asked
    assert asked.extra == {"logprobs": True, "top_logprobs": 5}


def test_the_least_confident_group_of_tokens_decides():
    assert least_group_mean([5.0, 1.0, 3.0, 9.0, 9.0], 2) == 2.0
    assert least_group_mean([5.0, 1.0, 3.0], 2048) == 3.0


@given(st.lists(st.floats(0, 30), min_size=1, max_size=40), st.integers(1, 50))
def test_a_group_is_found_as_by_looking_at_every_one(confidences, size):
    size = min(size, len(confidences))
    groups = [confidences[i : i + size] for i in range(len(confidences) - size + 1)]

    assert least_group_mean(confidences, size) == pytest.approx(
        min(sum(group) / size for group in groups), abs=1e-9
    )


def test_by_self_certainty_ranks_vote():
    answer, _ = weigh("self-certainty", sure(1, 9.0), sure(2, 3.0), sure(2, 4.0))

    assert answer.text == "Answer: 2"
    assert answer.support.value == pytest.approx((1 + 2**0.5) / (1 + 2**0.5 + 3**0.5))
    assert rank_votes([3.0, 9.0, 3.0], 1) == [2, 3, 2]


@pytest.mark.parametrize("confidence", ["tokens", "self-certainty"])
def test_a_token_that_is_all_but_impossible_outweighs_no_text(confidence):
    odd = sure(1, 1.0)
    odd.logprobs[0]["top_logprobs"][1]["logprob"] = -9999.0

    assert token_confidences(odd) == (15.05,)
    assert weigh(confidence, odd, sure(2, 14.0), sure(2, 14.0))[0].text == "Answer: 2"


@pytest.mark.parametrize("confidence", ["tokens", "self-certainty"])
def test_where_a_proposal_has_no_log_probabilities_the_judge_is_asked_and_that_is_said(confidence):
    proposals = [sure(1, 9.0), said("Answer: 2", "m1"), sure(1, 9.0)]
    chosen, _ = weigh(confidence, *proposals, judge=repeats("judge", "0", "1", "0"))
    blind, _ = weigh(confidence, *proposals, judge=failing_model(UnavailableError("away"), "j"))

    assert chosen.text == "Answer: 2"
    assert chosen.degraded == (
        "1 proposal without log-probabilities: judge was asked about each one instead",
    )
    assert blind.text == "Answer: 1"
    assert "j gave no verdict on 3 proposals: away" in "; ".join(blind.degraded)


def test_log_probabilities_that_the_caller_did_not_ask_for_are_not_in_the_answer():
    asked = replace(ASK, extra={"logprobs": True, "top_logprobs": 2})
    silent, _ = weigh("tokens", sure(1, 9.0), sure(2, 3.0))
    wanted, members = weigh("tokens", sure(1, 9.0), sure(2, 3.0), request=asked)

    assert (silent.logprobs, len(wanted.logprobs)) == ((), 1)
    assert members[0].model.asked[0].extra == {"logprobs": True, "top_logprobs": 2}


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=8), st.floats(0.01, 10))
def test_weights_add_up_to_one(scores, temperature):
    assert sum(softmax(scores, temperature)) == pytest.approx(1)
