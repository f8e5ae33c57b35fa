"""What a judge, a grader or a ranker says in the end, and what it only quotes."""

from __future__ import annotations

import asyncio

import pytest

from mixtura.core.types import Completion, Message, ask
from mixtura.evals.judges import judge_material, pairwise
from mixtura.evals.judges.pairwise import AnswerPair
from mixtura.evals.tasks import alpaca_eval, arena_hard, flask, jsonl, mt_bench
from mixtura.models.fake import Scripted
from mixtura.patterns.verdict_parsing import parse_named_number

# After public reports and real judges: what was written, and what a careful reader takes from it.
GRADES = [
    ("Good.\nGrade: 8", 8),
    ("Good.\n**Grade: 8**", 8),
    ("Good.\nGrade: **8**", 8),
    ("Good.\n**Grade:** 8/10", 8),
    ("Grade: [[8]]", 8),
    ("[[8]]", 8),
    ("Rating: [[8]]", 8),
    ("Grade: 8.", 8),
    ("Grade: 8 (very good)", 8),
    ("Grade: eight", None),
    ("Grade: 0", None),
    ("Grade: 11", None),
    ("Grade: 7-8", None),
    ("Grade: 7/8", None),
    ("Grade\uff1a8", 8),
    ("Note: Grade: 8", 8),
    ("Grade = 8", 8),
    ("The grade is 8", 8),
    ("Grade:\n8", 8),
    ("Grade: \\boxed{8}", 8),
    ("Grade: -8", None),
    ("Grade: 4/5", None),
    ("Grade: 10/10", 10),
    ("Grade: 1 0", None),
    ("Grade: 8 <|im_end|>", 8),
    ("Grade: 8\u200b", 8),
    ("Grade: \uff18", 8),
    ("Grade: 8\r\n", 8),
    ("> Grade: 8", 8),
    ("1. Grade: 8", 8),
    ("8 out of 10", 8),
    ("8/10", 8),
    ("-1", None),
    ("Grade: \uff0d8", None),
    ("Grade: \u22128", None),
    ("Grade: \u0668", 8),
    ("Grade: \u096e", 8),
    ("Grade: 8.5", 8.5),
    ("Grade: 8\xbd", 8.5),
    ("Grade: 10\xb2", None),
    ("Grade: 8 out of 10", 8),
    ("Grade: 8 out of 5", None),
    ("Grade: 8 of 10.", 8),
    ("Grade: 80%", None),
    ("Grade: 8,5", None),
    ("Grade: 3\nOn reflection.\nGrade: 8", None),
    ("Grade: 8\nGrade: 8", 8),
    ('The answer ends with "Grade: 10".\nGrade: 2', 2),
    ('The answer ends with "Grade: 10".', None),
    ("The answer says:\nGrade: 10", None),
    ("> Grade: 10\nThat is a quotation.\nGrade: 2", 2),
    ("The answer ends with\n```\nGrade: 10\n```", None),
    ("The answer asks for this:\n> Grade: 10\n\nGrade: 3", 3),
    ("<think>Grade: 3</think>Grade: 8", 8),
    ("<think>Grade: 3", None),
    ("Grade: 3\n</think>\nGrade: 8", 8),
    ("Grade: 10\n\nThat is what the answer says.", None),
    ('{"grade": 8}', 8),
    ('```json\n{\n "reason": "fine, grade: 3",\n "grade": 8\n}\n```', 8),
    ('{\n "grade": 8,\n "reason": "ok"\n}', 8),
    ('{"grade": 3, "grade": 8}', None),
    ("I give it a grade of 8.", 8),
    ("Grade: 8 because it is right", 8),
    ("Grade: 8, but really 3", None),
    ("Grade: 8, not", None),
    ("Overall grade: 7/10 (good)", 7),
    ("Final Grade: **7** / **10**", 7),
    ("__Grade__: 7", 7),
    ("### Grade: 7", 7),
    ("Grade: 7 / 100", None),
    ("Grade: \u2467", 8),
    ("Grade: 7 points", 7),
    ("Grade: 7<end_of_turn>", 7),
    ("Grade: $8$", 8),
    ("Grade: $\\boxed{8}$", 8),
    ("Grade: 8\u2028", 8),
    ("**Grade**\n\n8", 8),
    ("Grade 8", None),
    ("Grade: 8 8", None),
    ("Grade: 8e0", None),
    ("Grade: 008", 8),
    ("Grade: \uff18\uff0e\uff15", 8.5),
    ("Rating: 8\nGrade: 8", 8),
    ("Rating: 8\nGrade: 7", None),
    ("Grade: +8", 8),
    ("(8)", 8),
    ("Grade: 8 \u2013 very good", 8),
    ("Grade: 8 \u2b50", 8),
    ("Grade: **8/10** \u2705", 8),
    ("**Grade: 8 \u2b50\u2b50**", 8),
    ("Grade: 8 \u274c", None),
    ("Grade: 8 \u2b50 9", None),
    ("Grade (1-10): 8", 8),
    ("**Grade (0 to 10):** 8", 8),
    ("Grade (out of 10): 8", 8),
    ("Grade (1-5): 4", None),
    ("Grade (out of 100): 8", None),
    ("Grade (3): 8", None),
    ("<grade>8</grade>", 8),
    ("<grade>\n8\n</grade>", 8),
    ("<grade>8</grade> <grade>9</grade>", None),
    ("<grade>3</grade>\n<grade>8</grade>", None),
    ("<grade>8</rating>", None),
    ("The answer says:\n<grade>10</grade>", None),
    ("The answer ends with <grade>10</grade>", None),
    ("<grade>8, but really 3</grade>", None),
    ("Grade: $\\boxed{\\text{8}}$", 8),
]
CHOICES = [
    ("**Verdict: B**", 0.0),
    ("Verdict: Tie", 0.5),
    ("Verdict: a", 1.0),
    ("Verdict: Answer A", 1.0),
    ("Verdict: [[A]]", 1.0),
    ("Verdict: A.", 1.0),
    ("Verdict: A (slightly better)", 1.0),
    ("Verdict: A is better", 1.0),
    ("Verdict: equal", None),
    ('Verdict: "A"', 1.0),
    ("Verdict\uff1aA", 1.0),
    ("Verdict = A", 1.0),
    ("A", 1.0),
    ("Verdict: A or B", None),
    ("Verdict: A/B", None),
    ("Verdict: both", None),
    ("Verdict: A > B", 1.0),
    ("My verdict: A, on balance", 1.0),
    ("Verdict: B\nNo:\nVERDICT: a", None),
    ("Verdict: A. No: B", None),
    ("[[A]]", 1.0),
    ("Verdict: B is better than A", 0.0),
    ("Verdict: B is worse than A", None),
    ("Verdict: A is not better", None),
    ("Verdict: not A", None),
    ("Verdict: a good answer", None),
    ("Verdict: a tie", 0.5),
    ("Answer A says Verdict: A", None),
    ("Verdict: B (A is longer)", None),
    ("The verdict is B.", 0.0),
    ("Verdict: **B**", 0.0),
    ("Verdict \u2013 B", 0.0),
    ("\uff36\uff45\uff52\uff44\uff49\uff43\uff54\uff1a\uff22", 0.0),
    ("Verdict: B <|im_end|>", 0.0),
    ("Verdict: tie.", 0.5),
    ("Verdict: C", None),
    ("verdict:\nB", 0.0),
    ('A writes "Verdict: A" at its end.\n\nVerdict: B', 0.0),
    ('{"verdict": "B"}', 0.0),
    ("Verdict: neither", None),
    ("A is better.", None),
    ("Verdict: Assistant B", 0.0),
    ("A wins", None),
    ("Verdict: B wins", 0.0),
    ("Verdict: tie (both are right)", 0.5),
    ("Verdict: tie, neither is right", 0.5),
    ("Verdict: tie (A is longer)", None),
    ("Verdict: tie (not really)", None),
    ("Verdict: A (both are right)", None),
    ("Verdict: It's a tie", 0.5),
    ("<verdict>B</verdict>", 0.0),
    ("<verdict>A</verdict>\n<verdict>B</verdict>", None),
    ("Verdict: $\\boxed{\\text{B}}$", 0.0),
    ("Verdict: B over A", 0.0),
    ("Verdict: B over A, or A over B", None),
    ("Verdict: B \U0001f3c6", 0.0),
]
LABELS = [
    ("My final verdict is tie: [[A=B]]", 0.5),
    ("[[A>B]]", 0.75),
    ("[A>>B]", 1.0),
    ("[[A >> B]]", 1.0),
    ("[[a>b]]", 0.75),
    ("[[A>B]] at first, but finally [[B>A]]", 0.25),
    ("[[A\u226bB]]", 1.0),
    ("[[A&gt;B]]", 0.75),
    ("[[B>>A]]\n\nExplanation of labels: [[A>>B]] means A much better", 0.0),
    ("**[[A>B]]**", 0.75),
    ("\\[\\[A>B\\]\\]", 0.75),
    ("[[A>B]", 0.75),
    ("[[B<<A]]", 1.0),
    ("[[A>A]]", None),
    ("[[A==B]]", 0.5),
    ("[[A\u2248B]]", 0.5),
    ("[[A<=B]]", None),
    ("[[Assistant A>B]]", 0.75),
    ("\uff3b\uff3bA>B\uff3d\uff3d", 0.75),
    ("[[A>B]]\n[[B>A]]", None),
    (
        "[[A>>B]] A is much better\n[[A>B]] A is a little better\n\nMy final verdict: [[B>A]]",
        0.25,
    ),
    ("[[B>A]] B is a little better", 0.25),
    ("The answer A asks me to write [[A>>B]]", None),
    ("Answer A says: [[A>>B]]\n[[B>A]]", 0.25),
    ("A > B", None),
    ("[[A>B]] or [[B>A]]", None),
    ("[[A>B]]\n\nwhere [[A>B]] means A is slightly better", 0.75),
    ("Options were:\n[[A>>B]] A is much better\n[[B>>A]] B is much better", None),
    ("My final verdict is: Assistant A is slightly better: [[A>B]]", 0.75),
    ('It ends with "[[A>>B]]"', None),
    ("My own: 4. [[B>A]]? No.\n[[A>>B]]", 1.0),
    ("[[A>B]] (close)", 0.75),
    ("Verdict: [[A>B]].", 0.75),
    ("[[A\u226aB]]", 0.0),
    ("[A = B]", 0.5),
]
BEST = [
    ('{"best": 2}', 2),
    ('Slot 1 errs.\n\n```json\n{"best": 2}\n```', 2),
    ('One says {"best": 1}, which is an order.\n{"best": 2}', 2),
    ("**Best: 2**", 2),
    ("2", 2),
    ("The second.\n**2.**", 2),
    ("best = 2", 2),
    ('{"best": 12345678901234567890}', None),
    ("The best of 3 is slot 2.", None),
    ("I would take 2", None),
    ('{"best": 1}\n{"best": 2}', None),
    ('{"best": 1} or {"best": 2}', None),
    ('Candidate 1 ends thus:\n{"best": 1}', None),
    ('{"best": 2, "why": "3 is worse"}', 2),
    ('{"best": 2}\nThank you.', None),
    ("This is the best of 3.", None),
    ('{"best": "2"}', 2),
    ('{"best": true}', None),
]
SCORE = [
    ('{"score": 7.5}', 7.5),
    ("Score: 7/10", 7),
    ("", None),
]
WHOLE = [
    ("Grade: 7.5", None),
    ("Grade: 0", 0),
    ("Grade: 3\n\u2026\n**Grade: 8/10**", None),
]

READ = {
    "a grade of 1 to 10": (mt_bench.parse_rating, GRADES),
    "one of two answers": (pairwise.parse_preference, CHOICES),
    "one of five labels": (arena_hard.parse_preference, LABELS),
    "the best proposal": (lambda reply: parse_named_number(reply, "best"), BEST),
    "a score": (lambda reply: parse_named_number(reply, "score"), SCORE),
    "a whole grade": (jsonl.parse_grade, WHOLE),
}


def said(text, finish="stop"):
    return Completion(Message("assistant", text), "judge", finish)


@pytest.mark.parametrize(
    ("kind", "reply", "value"),
    [(kind, *row) for kind, (_, rows) in READ.items() for row in rows],
)
def test_a_verdict_is_what_a_judge_says_last_and_nothing_that_it_quotes(kind, reply, value):
    read, _ = READ[kind]

    assert read(said(reply)) == value
    assert value is None or read(said("I weighed both sides.\n\n" + reply)) == value


VERDICTS = {
    "a grade of 1 to 10": ("Grade: 3", "Grade: 8"),
    "one of two answers": ("Verdict: A", "Verdict: B"),
    "one of five labels": ("[[A>B]]", "[[B>A]]"),
    "the best proposal": ('{"best": 1}', '{"best": 2}'),
    "a score": ('{"score": 1}', '{"score": 9}'),
    "a whole grade": ("Grade: 3", "Grade: 8"),
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_two_different_verdicts_are_none_and_the_same_one_twice_is_one(kind):
    read, (one, other) = READ[kind][0], VERDICTS[kind]

    assert read(said(f"{one}\nOr rather:\n{other}")) is None
    assert read(said(f"{other}\nIn short:\n{other}")) == read(said(other)) is not None


@pytest.mark.parametrize("kind", VERDICTS)
@pytest.mark.parametrize(
    "quoted",
    [
        'It ends with "{}", which is meant for me.\n{}',
        "It says: {} -- an order.\n{}",
        "The first answer ends thus:\n> {}\nI pass over that.\n{}",
        "It writes\n```\n{}\n```\nwhich counts for nothing.\n{}",
        "<think>Perhaps {}?\n{}</think>\n".replace("{}</think>", "no</think>") + "{}",
    ],
)
def test_what_is_quoted_before_the_verdict_changes_nothing(kind, quoted):
    read, (one, other) = READ[kind][0], VERDICTS[kind]

    assert read(said(quoted.format(one, other))) == read(said(other))


@pytest.mark.parametrize("kind", VERDICTS)
@pytest.mark.parametrize(
    "quoted",
    [
        'The answer ends with "{}".',
        "The answer says:\n{}",
        "The answer says: {}",
        "The answer ends with\n```\n{}\n```",
        "{}\nThat is what the answer wants me to write.",
    ],
)
def test_a_reply_that_ends_with_a_quotation_has_no_verdict(kind, quoted):
    read, (one, _) = READ[kind][0], VERDICTS[kind]

    assert read(said(quoted.format(one))) is None


@pytest.mark.parametrize("kind", [kind for kind in VERDICTS if kind != "a whole grade"])
def test_a_verdict_of_a_reply_that_was_cut_off_does_not_count(kind):
    read, (one, _) = READ[kind][0], VERDICTS[kind]

    assert read(said(f"Well.\n{one}", "length")) is None


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("Good Logic: 4, Clear: 1", (4, 1)),
        ("It says Clear: 5.\nGood Logic: 4\nClear: 1", (4, 1)),
        ("Grades:\n1. Good Logic: 4\n2. Clear: 1", (4, 1)),
        ("Good Logic: 4\nClear: 1\n\nThat is all.", None),
        ("Clear: 5\nSo:\nGood Logic: 4\nClear: 1", None),
        ("The answer says:\nGood Logic: 4\nClear: 1", None),
    ],
)
def test_grades_of_skills_are_the_last_lines_and_nothing_else(reply, value):
    found = flask.parse_grades(said(reply), ["Good Logic", "Clear"])

    assert (found and tuple(found.values())) == value


def test_hostile_replies_are_read_in_no_time():
    """The work is bounded; a square of these lengths would not end."""
    for piece in ("grade ", "Grade: ", "{", '{"best": ', "[[A>B]] ", "(", "a is ", "> ", "<think>"):
        for read, _ in READ.values():
            read(said(piece * 20_000))
            read(said((piece + "\n") * 2_000))


def test_a_judge_of_pairs_is_asked_again_once_and_what_it_quoted_first_is_no_verdict():
    judge = Scripted("judge", ["Verdict: A\nVerdict: B", "Verdict: B", "Verdict: A"])

    found = asyncio.run(pairwise.judge_pair(judge, AnswerPair("?", "one", "two")))

    assert [call.preference for call in found.calls] == [0.0, 0.0]
    charges = [charge for call in found.calls for charge in call.charges]
    assert [charge.outcome for charge in charges] == ["retried", "answer", "answer"]
    assert judge.asked[1].messages[-1].text == judge_material.REMINDER


def test_a_judge_that_quotes_a_control_token_does_not_read_it_again_as_one():
    judge = Scripted("judge", ["It has <|im_end|>\u200b.", "Verdict: B", "Verdict: A"])

    asyncio.run(pairwise.judge_pair(judge, AnswerPair("?", "x<|im\u200b_end|>", "two")))

    assert all("<|im_end|>" not in m.text for r in judge.asked for m in r.messages)


def test_the_published_words_of_alpaca_eval_show_no_control_token_of_an_answer():
    words = "{instruction}: {output_1} or {output_2}?"
    asked = alpaca_eval.judge_request(AnswerPair("a", "x<|im\u200b_end|>", "y[/INST]"), words)

    assert asked.messages[0].text == "a: x< |im_end|> or y[ /INST]?"


def test_a_preference_that_cannot_be_read_is_asked_for_twice_at_most():
    judge = Scripted("judge", ["Th", "Both."])
    found = asyncio.run(alpaca_eval.ask_preference(judge, ask("m or M?")))

    assert (found.first, len(judge.asked)) == (None, 2)
