"""What looks like an example and is none, and what a question says about its results."""

from __future__ import annotations

import pytest

from mixtura.programs.examples import MAX_EXAMPLES, Example, make_test, read_examples


@pytest.mark.parametrize(
    "line",
    [
        "f(2) returns 5 instead of 4",
        "f(2) returns 5 but should return 4",
        "Currently f(2) returns 5. That should be 4.",
        "Why does f(2) return 5?",
        "f(2) -> 5 (wrong)",
        "f(2) == 5 is false",
        "It is not true that f(2) == 5",
        "For n = 2 my code returns 5",
        "For n = 2 it must not return 5",
        "Input: 2\nActual output: 5",
        "f(2) == 4\nf(2) == 5",
        "f(2) returns 5 or 4",
        "f(2) returns 5, for example",
        "f(2) = 5 × 4 = 20",
        "f(2) = 5 choose 4",
        "f(2) -> 5 -> 4",
        "f(2) = 0.5...",
        "f(2) returns 5 lists",
        "f(2) returns 5 to 7",
        "f(2) -> 0b101",
        "2 * f(2) == 5",
        "Input: 2\nOutput: 5 4 3",
        "Input: 2\nOutput:\n5\n4\n3",
        "Input: 2 1\nOutput: 5",
        "Input:\n2\n1 2\nOutput: 5",
        "Input: {1, 2}\nOutput: 5",
        'Input: {"n": 2}\nOutput: 5',
        "Input: 9\nExplanation: n = 2 -> 5",
        "Input: 2\nOutput: 5\nReturn any of the answers.",
        ">>> f(2)\n5\n4\n3",
        ">>> f(2)  # doctest: +SKIP\n5",
        "When I run it I get:\n```\n>>> f(1)\n5\n>>> f(2)\n5\n```",
        ">>> f(2)\n5\n\nThat is wrong.",
        ">>> f(2)\n5\nIt should be 4.",
        "f(2) returns 5.\nIt should return 4.",
        "f(2) -> 5 （错误）",
        ">>> f(2)  # doctest: +ELLIPSIS\n'5...'",
    ],
)
def test_a_result_that_is_wrong_or_part_of_another_one_is_no_example(line):
    assert read_examples(f"def f(n):\n\n{line}\n", "f") == []


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("f(2) should return 4 but returns 5", "4"),
        ("f(2) returns 4, as expected. f(3) should return 9.", "4"),
        ("Input: 2\nActual output: 5\nExpected output: 4", "4"),
        ("Input: 2\nOutput: 5\nExpected: 4", "4"),
        ("f(2) returns 4\nf(3) should return 9", "4"),
        (">>> f(2)\n4\n\nThe function should be fast.", "4"),
        ("f(2) returns 4 because 2 is even", "4"),
        ("f(2) = 4 (2 + 2)", "4"),
        ('"""f(2) = 4"""', "4"),
        ('"""f(2) -> \'4\'"""', "'4'"),
        ("f(2) returns 5\nassert(f(2) == 4)", "4"),
        ("Count the incorrect words.\nf(2) == 4\nUse a loop instead of recursion.", "4"),
        ("1. f(2) == 4", "4"),
        ("- f(2) == 4", "4"),
        ("Input: 2\nOutput: 4\nExplanation: 2 + 2", "4"),
    ],
)
def test_words_around_an_example_that_do_not_change_it_leave_it_one(line, result):
    found = read_examples(f"def f(n):\n\n{line}\n", "f")

    assert Example("(2, )", result) in found
    assert all(one.result != "5" for one in found)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("f(head: Optional[ListNode]) -> int", "Input: [1, 2]\nOutput: 3"),
        ("f(lists: List[ListNode | None]) -> int", "Input: [[1], [2]]\nOutput: 3"),
        ("f(n: int) -> 'TreeNode'", "Input: 1\nOutput: [2]"),
        ("f(s: str) -> int", "Input: 123\nOutput: 6"),
        ("f(n: int) -> list[str]", "f(1) == [2]"),
        ("f(n: int) -> bool", "f(1) gives 1"),
        ("f(n: int) -> Iterable[int]", "f(1) gives [1]"),
        ("f(n, *, k)", "Input: n = 1, k = 2\nOutput: 3"),
        ("f(n, *more)", "Input: n = 1\nOutput: 3"),
        ("f(n) -> None", "Input: n = 1\nOutput: 3\nf() == 3\nf([1]) is None"),
    ],
)
def test_values_that_the_head_rules_out_are_no_example(head, words):
    if head == "f(n) -> None":  # what is changed has to be something that can be
        found = read_examples(f"def {head}:\n\n{words}\n", "f")
        assert [one.comparison for one in found] == ["changed argument"]
        return
    assert read_examples(f"def {head}:\n\n{words}\n", "f") == []


@pytest.mark.parametrize(
    ("head", "example"),
    [
        ("f(a: List[float], /, b: 'str | None' = None) -> Union[int, str]", "([1, 2], 'x', )"),
        ("f(a: Grid, b: T) -> typing.Optional[Literal[3]]", "([1, 2], 'x', )"),
        ("f(a: Sequence[int], b: Annotated[str, 'a text'], *, k=1) -> float", "([1, 2], 'x', )"),
    ],
)
def test_values_that_the_head_allows_are_examples(head, example):
    question = f"Grid = list[int]\n\ndef {head}:\n\nInput: a = [1, 2], b = 'x'\nOutput: 3\n"

    assert read_examples(question, "f") == [Example(example, "3")]


def test_calls_of_a_class_are_no_example_of_its_last_method():
    head = "class Queue:\n    def __init__(self):\n    def push(self, one) -> None:\n"

    assert read_examples(f'{head}\nInput:\n["Queue", "push"]\n[[], [1]]\nOutput: []', "push") == []


@pytest.mark.parametrize("depth", [190, 198, 199, 200, 201])
def test_a_value_that_no_test_can_hold_takes_nothing_from_the_other_examples(depth):
    deep = "[" * depth + "]" * depth
    lines = [f"f({deep}) == 1", f"f(2) == {deep}", f"Input: {deep}\nOutput: 1", "f(3) == 4"]
    found = read_examples("\n".join(["def f(n):", *lines]), "f")

    names: dict = {}
    exec(make_test(found), names)
    assert Example("(3, )", "4") in found
    assert names["check"](lambda n: 4).count(True) == 1


def test_a_question_of_any_size_is_read_soon():
    for part in (
        "f() ",
        "f(",
        "f(2) == [",
        "f(2) is 4 but ",
        "n = 2 returns [",
        "Input: [ Output: [",
    ):
        for text in (part * 20_000, f"{part * 100}\n" * 200):
            assert len(read_examples(f"def f(n):\n{text}", "f")) <= MAX_EXAMPLES


DOCSTRING = """def f(n):
    '''Wrong numbers are refused.
    >>> f(1)
    2
    '''
"""


def test_examples_in_a_docstring_are_taken_whatever_the_words_around_them_say():
    assert read_examples(DOCSTRING, "f") == [Example("(1, )", "2")]


@pytest.mark.parametrize(
    ("question", "right", "wrong"),
    [
        (
            "def f(items: List[int]) -> None:\n\nInput: items = [2, 1]\nOutput: [1, 2]\n",
            lambda items: items.sort(),
            lambda items: items.append(3),
        ),
        (
            "Sort it in place.\ndef f(items):\n\nf([2, 1]) -> [1, 2]\n",
            lambda items: items.sort(),
            lambda items: None,
        ),
        (
            "Return the groups in any order.\ndef f(n):\n\nf(1) == [['b'], ['a', 'c']]\n",
            lambda n: [["c", "a"], ["b"]],
            lambda n: [["c"], ["a", "b"]],
        ),
        (
            "def f(n):\n\nf(1) == [0.3, {'a': 0.6}]\n",
            lambda n: [0.1 + 0.2, {"a": 0.2 * 3}],
            lambda n: [0.3, {"a": 0.7}],
        ),
    ],
)
def test_programs_that_do_what_is_asked_pass(question, right, wrong):
    for program, passes in ((right, True), (wrong, False)):
        names: dict = {}
        exec(make_test(read_examples(question, "f")), names)
        assert names["check"](program) == [passes]
