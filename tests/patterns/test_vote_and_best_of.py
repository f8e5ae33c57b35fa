"""The vote, and the best of n."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura import (
    Charge,
    ModelError,
    Notice,
    Position,
    Proposal,
    UnavailableError,
    Usage,
)
from mixtura.core.call_ledger import record_charge
from mixtura.models.fake import FailedCall, Scripted, failing_model
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.models.wrappers.retry import Retrying
from mixtura.patterns import BestOf, Chosen, Vote
from mixtura.patterns.final_answer import EXTRACTORS
from tests.conftest import run
from tests.support.pattern_models import AGREE, ASK, drafts_in, said, scores, team, watched

# ---- the vote


EXTRACTED = [
    ("number", "3 + 4 = 7, so the answer is 7 apples, not 8.", "7"),
    ("number", "First 12.\n#### 1,234.50\nI hope 100% of it helps", "2469/2"),
    ("number", r"So \boxed{\dfrac{1}{2}}.", "1/2"),
    ("number", "It is 0.50", "1/2"),
    ("number", "It is 2/4", "1/2"),
    ("number", "The answer to 3 + 4 is **$7.00**", "7"),
    ("number", "minus: −5", "-5"),
    ("number", "１２ (wide)", "12"),
    ("number", "1e3", "1000"),
    ("number", "model v2 says nothing", None),
    ("number", "none", None),
    ("number", "1/0", None),
    ("number", "9" * 5000, None),
    ("choice", "The answer is (b).", "B"),
    ("choice", "Answer: C because of that", "C"),
    ("choice", r"\boxed{\text{D}}", "D"),
    ("choice", "B) Paris", "B"),
    ("choice", "It must be **B**, though A is close.", "B"),
    ("choice", "Long talk.\n\nB", "B"),
    ("choice", "The answer is a matter of taste", None),
    ("choice", "The answer is I think unclear", None),
    ("choice", "A dog and I", None),
    ("choice", "Answer: Option A", "A"),
    ("choice", "The correct option is B, because (A) is wrong.", "B"),
    ("choice", "The answer is not A but C.", "C"),
    ("choice", "Answer: A - Paris", "A"),
    ("choice", "The answer must be D", "D"),
    ("choice", "答案是B选项。", "B"),
    ("choice", "故选：B", "B"),
    ("choice", "La respuesta correcta es C.", "C"),
    ("choice", "<answer>B</answer> since A is odd", "B"),
    ("choice", '{"why": "x", "answer": "A"}', "A"),
    ("choice", "Answer: B or C", None),
    ("choice", r"\boxed{B, C}", None),
    ("choice", "A. Apple\nB. Bear\n\nI am torn between them.", None),
    ("choice", "A. Apple\nB. Bear\n\nCorrect: B. Bear", "B"),
    ("boxed", r"\boxed{x^2 + \frac{1}{3}} and \boxed{ \left( 1,\, 2 \right) }.", "(1,2)"),
    ("boxed", r"\boxed{\frac12}", "1/2"),
    ("boxed", r"\boxed{50\%}", "50"),
    ("boxed", r"\boxed{a{b}c}", "a{b}c"),
    ("boxed", r"\boxed{never closed", None),
    ("boxed", r"\boxed{x + 1}", "x+1"),
    ("boxed", r"\boxed{3x+2}", "3x+2"),
    ("boxed", r"\boxed{2\sqrt{3}}", "2√3"),
    ("boxed", r"\boxed{\dfrac{\sqrt[3]{2}}{2}}", r"\frac{√[3]2}{2}"),
    ("boxed", r"\boxed{\left(3,4\right)}", "(3,4)"),
    ("boxed", r"\boxed{10_2}", "10_2"),
    ("boxed", r"\boxed{3!}", "3!"),
    ("boxed", r"\boxed{5i}", "5i"),
    ("boxed", r"\boxed{x = 5}", "5"),
    ("boxed", r"\boxed{90^\circ}", "90"),
    ("boxed", r"\boxed{18\text{ m}}", "18"),
    ("boxed", r"\boxed{18 m}", "18"),
    ("last-line", "Talk.\n\n**Paris.**\n---\n", "paris"),
    ("last-line", " \n", None),
]


@pytest.mark.parametrize(("kind", "text", "answer"), EXTRACTED)
def test_final_answers_are_taken_out_and_written_alike(kind, text, answer):
    assert EXTRACTORS[kind](text) == answer


@pytest.mark.parametrize("kind", EXTRACTORS)
@given(text=st.text())
def test_no_text_breaks_the_looking_for_its_answer(kind, text):
    assert EXTRACTORS[kind](text) != ""


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_hostile_texts_are_looked_through_in_no_time(kind):
    """The work is bounded; a square of these lengths would not end."""
    for piece in (
        r"\boxed{",
        "the answer is ",
        "answer to ",
        "1,",
        "####",
        "((((",
        "**",
        "\n\n",
        "9",
    ):
        EXTRACTORS[kind](piece * 200_000)


@pytest.mark.parametrize(
    "answer",
    [
        "(" * 390 + "1",
        "-" * 390 + "1",
        "2^" * 190 + "2",
        "((9^64)^64)^64",  # some 250,000 digits
        "((((9^64)^64)^64)^64)^64",  # would fill the memory
        "*".join(["9^64"] * 60),
    ],
)
def test_a_number_without_bound_is_no_answer_and_ends_no_run(answer):
    found = EXTRACTORS["number"](f"The answer is {answer}")

    assert found is None or len(found) <= 200


def test_the_answer_with_the_most_votes_wins_and_the_first_who_gave_it_is_the_answer():
    texts = ["It is 7.", "So 8", "The answer is 8.0", "I say 9"]

    answer, events = watched(Chosen.of(team(*texts), Vote("number")))

    assert answer.text == "So 8"
    assert answer.degraded == ()
    assert [e.notice for e in events if isinstance(e, Notice)] == [
        "proposal 2 of 4, by m2: 2 of 4 votes for 8"
    ]


def test_equal_counts_go_to_what_was_said_first():
    assert run(Chosen.of(team("9", "8", "8", "9"), Vote("number")).complete(ASK)).text == "9"


def test_who_says_no_answer_has_no_vote_and_that_is_said():
    answer = run(Chosen.of(team("no idea", "8", "none"), Vote("number")).complete(ASK))

    assert answer.text == "8"
    assert answer.degraded == ("the vote found no number in 2 proposals",)


def test_without_a_single_vote_the_closest_to_the_others_is_taken_and_that_is_said():
    answer = run(Chosen.of(team(*AGREE), Vote("boxed")).complete(ASK))

    assert answer.text in AGREE[:2]
    assert answer.degraded[0] == "the vote found no boxed in any proposal"


def test_a_proposal_that_was_cut_off_votes_only_where_all_were():
    cut = [Scripted("cut", [said("Step 1", finish="length")]) for _ in range(2)]

    answer = run(Chosen.of([*cut, *team("8")], Vote("number")).complete(ASK))
    assert answer.text == "8"
    assert answer.degraded == ("the vote found no number in 2 proposals",)

    cut = [Scripted("cut", [said("Step 1", finish="length")]) for _ in range(2)]
    assert run(Chosen.of(cut, Vote("number")).complete(ASK)).text == "Step 1"


def test_open_text_is_answered_by_the_proposal_most_like_the_others():
    answer = run(Chosen.of(team(AGREE[2], *AGREE[:2]), Vote()).complete(ASK))

    assert answer.text in AGREE[:2]
    assert answer.degraded == ()


# ---- best of n


def test_a_judge_reads_each_proposal_by_itself():
    judge = scores({"one": 3, "two": 8, "three": 8})

    answer, events = watched(Chosen.of(team("one", "two", "three"), BestOf(judge)))

    assert answer.text == "two"
    assert [drafts_in(request) for request in judge.asked] == [["one"], ["two"], ["three"]]
    last = Position(2, 0, "aggregator")
    places = [e.at for e in events if isinstance(e, Proposal) and len(e.at) == 2]
    assert places == [(last, Position(1, i, "judge")) for i in range(3)]


def test_a_proposal_without_a_score_is_out_and_that_is_said():
    judge = scores({"one": 11, "two": 0, "three": "many"})

    answer = run(Chosen.of(team("one", "two", "three"), BestOf(judge)).complete(ASK))

    assert answer.text == "two"
    assert answer.degraded == (
        "2 proposals without a score: the judge judge gave none from 0 to 10",
    )


def test_a_judge_that_fails_for_one_proposal_costs_and_does_not_end_the_run():
    lost = FailedCall(UnavailableError("down"), (Charge("judge", Usage(9, 0), "failed"),))
    judge = Scripted("judge", [lost, said('{"score": 1}', "judge")])

    answer = run(Chosen.of(team("one", "two"), BestOf(judge)).complete(ASK))

    assert answer.text == "two"
    assert answer.degraded == ("1 proposal without a score: the judge judge failed: down",)
    assert Charge("judge", Usage(9, 0), "failed") in answer.charges
    assert len(answer.charges) == 4


def test_a_judge_that_was_down_for_a_moment_scores_every_proposal_all_the_same():
    async def nowait(_):
        pass

    def mark(request):
        return json.dumps({"score": {"one": 4, "two": 9, "three": 5}[drafts_in(request)[0]]})

    judge = Scripted("judge", [*[UnavailableError("HTTP 503")] * 6, *[mark] * 3])
    chooser = BestOf(Retrying(Limited(judge, RateLimiter(RateLimits())), attempts=4, sleep=nowait))

    answer = run(Chosen.of(team("one", "two", "three"), chooser).complete(ASK))

    assert answer.text == "two"
    assert answer.degraded == ()


def test_without_any_score_the_closest_to_the_others_is_taken_and_that_is_said():
    answer = run(
        Chosen.of(team(*AGREE), BestOf(failing_model(ModelError("no"), "judge"))).complete(ASK)
    )

    assert answer.text in AGREE[:2]
    assert answer.degraded[0] == "no proposal has a score: the judge judge failed: no"


def test_a_function_may_score_at_once_or_later():
    async def length(request, proposal):
        assert request is ASK
        await asyncio.sleep(0)
        return len(proposal.text)

    assert run(Chosen.of(team("a", "ccc", "bb"), BestOf(length)).complete(ASK)).text == "ccc"
    assert run(Chosen.of(team("a", "b"), BestOf(lambda *_: True)).complete(ASK)).text == "a"
    assert (
        run(Chosen.of(team("a", "b"), BestOf(lambda _, p: -ord(p.text))).complete(ASK)).text == "a"
    )


def test_functions_that_wait_are_run_side_by_side():
    there = asyncio.Event()
    begun = []

    async def together(request, proposal):
        begun.append(proposal.text)
        if len(begun) == 3:
            there.set()
        await asyncio.wait_for(there.wait(), 5)
        return 1.0

    assert run(Chosen.of(team("a", "b", "c"), BestOf(together)).complete(ASK)).text == "a"


def test_no_number_is_no_score_and_a_bug_in_a_function_looks_like_a_bug():
    def picky(request, proposal):
        if proposal.text == "a":
            record_charge(Charge("box", Usage(1, 1)))
            raise ModelError("no tests here")
        return float("nan") if proposal.text == "b" else 0.0

    answer = run(Chosen.of(team("a", "b", "c"), BestOf(picky)).complete(ASK))
    assert answer.text == "c"
    assert answer.degraded == ("2 proposals without a score: the verifier failed: no tests here",)
    assert answer.charges[-1] == Charge("box", Usage(1, 1))

    with pytest.raises(ZeroDivisionError):
        run(Chosen.of(team("a", "b"), BestOf(lambda *_: 1 / 0)).complete(ASK))
