"""Checked: proposals are run, and the one that passes most is the answer."""

from __future__ import annotations

import json
from dataclasses import replace
from threading import Event

import pytest

from mixtura import Completion, Message, ModelError, ToolCall, UnavailableError, ask
from mixtura.billing.forecast import forecast_calls
from mixtura.models.fake import Scripted, failing_model
from mixtura.patterns import Chosen
from mixtura.patterns.checked import (
    Checked,
    CheckedScore,
    ProgramsNotRunError,
    score_results,
)
from mixtura.programs.sandbox import SandboxError, ensure_available
from mixtura.programs.schema_check import check_answers
from tests.conftest import run
from tests.support.pattern_models import drafts_in, repeats, team, watched
from tests.support.requirements import leave_out

QUESTION = ask(
    'Write this function:\n\ndef double(n):\n    """Twice n.\n    >>> double(2)\n    4\n    """\n'
)


def program(body, words="Here it is:"):
    return f"{words}\n```python\ndef double(n):\n    {body}\n```"


WRONG, RIGHT, SQUARE = program("return n + 1"), program("return 2 * n"), program("return n * n")


@pytest.fixture
def confined():
    try:
        ensure_available()
    except SandboxError as error:
        leave_out("sandbox", str(error))


def test_the_program_that_passes_the_questions_examples_is_the_answer(confined):
    model = Chosen.of(team(WRONG, RIGHT, "No."), Checked())

    answer, events = watched(model, QUESTION)

    assert answer.text == RIGHT
    assert "it passes 1 of 1 check" in str(events)
    assert not answer.degraded


@pytest.mark.parametrize(
    "question",
    [
        'def double(n):\n    """Twice n."""\n\nassert double(2) == 4\nassert double(3) == 6\n',
        "def double(n):\n    pass\n\nprint(double(2) + 1)\nassert double(2) == 4\n",
        "Write what gives a number\nfrom its half:\n\ndef double(n):\n    ...\n\ndouble(2) == 4",
        "So:\nfrom typing import (\n    Any,\n)\ndef double(n: Any):\n    # double(2) == 4",
        "So:\nimport pytest\nfrom work import double\ndef test_it():\n    assert double(2) == 4",
    ],
)
def test_what_stands_around_the_function_in_a_question_breaks_no_program(question, confined):
    answer, events = watched(Chosen.of(team(WRONG, RIGHT, "No."), Checked()), ask(question))

    assert answer.text == RIGHT
    assert "it passes 1 of 1 check" in str(events) or "it passes 2 of 2 checks" in str(events)
    assert not answer.degraded


METHOD = """class Solution:
    def twoSum(self, nums: List[int], target: int) -> List[int]:
        seen = defaultdict(int)
        for at, one in enumerate(nums):
            if target - one in seen:
                return [seen[target - one], at]
            seen[one] = at"""
FENCED = f"This takes one pass:\n```python\n{METHOD}\n```"


@pytest.mark.parametrize(
    "right",
    [
        FENCED,
        FENCED.replace("class", "from __future__ import annotations\n\nclass"),
        f"Use a table.\n\n{METHOD}\n\nThat is all.",
        "```python\ndef twoSum(nums, target):\n    return [0, 1] if target == 9 else [1, 2]\n```",
        "```python\nclass Solution:\n    def twoSum(self, nums, target):\n        ...\n```\n"
        + FENCED,
    ],
)
def test_a_method_is_run_as_sites_of_programming_tasks_run_it(right, confined):
    question = ask(
        "Which two numbers have this sum?\n\nExample 1:\n\nInput: nums = [2,7,11], target = 9\n"
        "Output: [0,1]\n\nExample 2:\n\nInput: nums = [3,2,4], target = 6\nOutput: [1,2]\n\n"
        "```python\nclass Solution:\n"
        "    def twoSum(self, nums: List[int], target: int) -> List[int]:\n```"
    )
    body = "def twoSum(self, nums, target):\n        return [0, 1]"
    wrong = f"```python\nclass Solution:\n    {body}\n```"

    answer, events = watched(Chosen.of(team(wrong, right), Checked()), question)

    assert answer.text == right
    assert "it passes 2 of 2 checks, the others 1" in str(events)


SLOW_SORT = """import asyncio

async def f(items):
    await asyncio.sleep(0.001)
    await asyncio.gather(*(f(items[n:]) for n in range(1, len(items))))
    return sorted(items)"""


@pytest.mark.parametrize(
    ("head", "right", "wrong"),
    [
        (
            "def f(items: list[int]) -> None",
            "def f(items):\n    items.sort()",
            "def f(items):\n    items.pop()",
        ),
        (
            "class Solution:\n    async def f(self, items)",
            "class Solution:\n    async def f(self, items):\n        return sorted(items)",
            "def f(items):\n    return items",
        ),
        (
            "async def f(items)",
            SLOW_SORT,
            "async def f(items):\n    return items",
        ),
    ],
)
def test_functions_that_change_their_argument_or_are_awaited_are_run(head, right, wrong, confined):
    question = ask(f"{head}:\n    ...\n\nInput: [2, 1]\nOutput: [1, 2]")

    answer, events = watched(Chosen.of(team(wrong, right), Checked()), question)

    assert answer.text == right
    assert "it passes 1 of 1 check, the others 0" in str(events)


def test_tests_that_a_model_wrote_decide_among_those_that_pass_the_examples(confined):
    tester = repeats(
        "tester", "assert double(3) == 6\nassert double(2) == 4\nassert double(0) == 0"
    )
    model = Chosen.of(team(SQUARE, RIGHT), Checked(tester=tester))

    answer, events = watched(model, QUESTION)

    assert answer.text == RIGHT
    assert "it passes 3 of 3 checks" in str(events)
    assert not drafts_in(tester.asked[0])
    assert "assert double(ARGUMENTS)" in tester.asked[0].messages[-1].text
    assert model.call_count == len(answer.charges) == len(forecast_calls(model, QUESTION)) == 3


def test_a_wrong_test_does_not_outweigh_the_questions_own_examples(confined):
    tester = repeats("tester", "assert double(3) == 9\nassert double(1) == 1")
    wrong = program("return {2: 5}.get(n, n * n)")

    answer, _ = watched(Chosen.of(team(wrong, RIGHT), Checked(tester=tester)), QUESTION)

    assert answer.text == RIGHT


def test_a_program_that_never_ends_or_breaks_off_passes_nothing():
    def run_program(text, test, function):
        return () if "while" in text else (True,)

    loop = program("while True: pass")

    answer, _ = watched(Chosen.of(team(loop, RIGHT), Checked(run_program=run_program)), QUESTION)

    assert answer.text == RIGHT


def test_a_test_of_a_model_that_never_ends_takes_nothing_from_the_questions_examples():
    def run_program(text, test, function):
        if "100" not in test:
            return ("2 * n" in text,)
        return () if "2 * n" in text else (False, True)

    tester = repeats("tester", "assert double(100) == 200")
    model = Chosen.of(team(WRONG, RIGHT), Checked(tester=tester, run_program=run_program))

    answer, events = watched(model, QUESTION)

    assert answer.text == RIGHT
    assert "it passes 1 of 2 checks" in str(events)


def test_a_class_of_programs_scores_its_size_times_the_tests_it_passes():
    results = [(True, True, False), (True, False, True), (True, False, True), (False, True, True)]

    scores = score_results(results, examples=1)

    assert scores == [
        CheckedScore(1, 1), CheckedScore(1, 2), CheckedScore(1, 2), CheckedScore(0, 2),
    ]  # fmt: skip
    assert max(scores) == scores[1]


def test_the_same_program_is_run_once_and_with_all_examples():
    runs = []

    def run_program(text, test, function):
        runs.append((text, function))
        return (True,)

    watched(Chosen.of(team(RIGHT, RIGHT, SQUARE), Checked(run_program=run_program)), QUESTION)

    assert [function for _, function in runs] == ["double", "double"]
    assert len({text for text, _ in runs}) == 2


def test_it_says_of_the_chosen_program_how_many_checks_that_one_passes():
    """Two programs that pass one test each have the score of one that passes both of its two."""
    tests = repeats("tester", "\n".join(f"assert double({n}) == 0" for n in range(3)))

    def run_program(text, test, function):
        return (True, True, False) if "2 * n" in text else (False, False, True)

    other = program("return 2 * n", words="Multiplication does this without any branch or loop:")
    model = Chosen.of(team(other, WRONG, WRONG), Checked(tester=tests, run_program=run_program))
    answer, events = watched(model, ask("def double(n): ."))

    assert answer.text == WRONG
    assert "it passes 1 of 3 checks, the others 2, 1" in str(events)


@pytest.mark.parametrize("question", ["Why is the sky blue?", "def double(n): ..."])
def test_where_nothing_can_be_run_the_proposals_are_counted_and_that_is_said(question):
    model = Chosen.of(team("blue", "blue!", "red"), Checked())

    answer, _ = watched(model, ask(question))

    assert answer.text == "blue"
    assert answer.degraded[0].startswith("nothing to run: ")


def test_where_programs_cannot_be_confined_none_is_run_and_that_is_said():
    def run_program(text, test, function):
        raise ProgramsNotRunError("programs are only run on Linux and macOS")

    answer, _ = watched(Chosen.of(team(WRONG, RIGHT), Checked(run_program=run_program)), QUESTION)

    assert answer.text in (WRONG, RIGHT)
    assert "programs are only run on Linux and macOS" in answer.degraded


def test_where_one_program_cannot_be_run_no_other_goes_on_behind_the_answer():
    begun, released = Event(), Event()

    def run_program(text, test, function):
        if not begun.is_set():
            begun.set()
            released.wait(10)
            return [True]
        raise ProgramsNotRunError("there is no sandbox")

    # `watched` fails where a task is left.
    answer, _ = watched(Chosen.of(team(WRONG, RIGHT), Checked(run_program=run_program)), QUESTION)
    released.set()

    assert "there is no sandbox" in answer.degraded


@pytest.mark.parametrize(
    ("tester", "said"),
    [
        (repeats("tester", "I cannot."), "the tester tester wrote no test that can be used"),
        (failing_model(UnavailableError("away"), "tester"), "the tester tester failed: "),
    ],
)
def test_without_usable_tests_the_examples_decide_and_that_is_said(tester, said, confined):
    answer, _ = watched(Chosen.of(team(WRONG, RIGHT), Checked(tester=tester)), QUESTION)

    assert answer.text == RIGHT
    assert any(said in notice for notice in answer.degraded)


def test_that_no_proposal_passes_anything_is_said(confined):
    answer, _ = watched(Chosen.of(team(WRONG, SQUARE.replace("n * n", "0")), Checked()), QUESTION)

    assert "no proposal passes any check" in answer.degraded


# ---- JSON


SCHEMA = {
    "type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
}  # fmt: skip


def test_an_answer_with_a_schema_is_one_that_fits_it():
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    request = replace(ask("A number?"), response_format=wanted)

    model = Chosen.of(team("seven", json.dumps({"n": "7"}), json.dumps({"n": 7})), Checked())

    answer, events = watched(model, request)
    assert answer.text == '{"n": 7}'
    assert "1 of 3 fit the schema" in str(events)


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("[" * 5000 + "]" * 5000, "{}"), ("[" * 201 + "]" * 201, "[" * 200 + "]" * 200),
        ("NaN", "1"), ("{", "```json\n{}\n```"),
    ],
)  # fmt: skip
def test_hostile_json_fits_nothing_and_a_fence_is_no_fault(bad, good):
    assert check_answers({}, [bad, good]) == [False, True]


def test_a_call_of_a_tool_is_not_held_to_the_schema_of_the_answer_that_comes_after_it():
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    request = replace(ask("A number?"), response_format=wanted)
    calls = Completion(Message("assistant", "", (ToolCall("1", "clock", "{}"),)), "m", "tool_calls")
    members = [Scripted("a", [calls]), Scripted("b", [calls]), *team("seven")]

    answer = run(Chosen.of(members, Checked()).complete(request))

    assert answer.message.tool_calls
    assert not answer.degraded


def test_that_no_proposal_fits_the_schema_is_said():
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    request = replace(ask("A number?"), response_format=wanted)

    answer, _ = watched(Chosen.of(team("seven", "eight"), Checked()), request)

    assert "no proposal fits the schema" in answer.degraded


# ---- a function


def test_a_function_of_ones_own_scores_and_ties_are_counted():
    model = Chosen.of(team("a b", "c", "a b!"), Checked(lambda _, proposal: "a" in proposal.text))

    assert run(model.complete(ask("Q"))).text == "a b"


def test_a_function_that_fails_everywhere_leaves_the_closest_to_the_others():
    async def fails(request, proposal):
        raise ModelError("no")

    answer = run(Chosen.of(team("a", "b"), Checked(fails)).complete(ask("Q")))

    assert answer.degraded[0] == "the verifier failed: no"


@pytest.mark.parametrize(
    ("scores", "text"), [((float("nan"), 1), "b"), ((float("-inf"),) * 2, "a")]
)
def test_a_function_without_a_number_for_a_proposal_leaves_it_out(scores, text):
    marks = dict(zip("ab", scores, strict=True))
    model = Chosen.of(team("a", "b"), Checked(lambda _, proposal: marks[proposal.text]))

    answer = run(model.complete(ask("Q")))

    assert answer.text == text
    assert answer.degraded == (("the verifier gave no number",) if text == "b" else ())
