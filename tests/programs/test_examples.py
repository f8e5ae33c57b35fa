"""Examples of a function, read from questions and from tests that a model wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixtura.programs.examples import (
    MAX_EXAMPLES,
    Example,
    find_function,
    make_test,
    read_assertions,
    read_examples,
)

PROMPT = '''Write this function:

def add(a, b):
    """Add two numbers.
    >>> add(1, 2)
    3
    >>> add([1], [2])
    [1, 2]
    >>> print(add(1, 2))
    3
    """
'''


def test_doctests_with_plain_values_are_examples():
    assert find_function(PROMPT) == "add"
    assert read_examples(PROMPT, "add") == [
        Example("(1, 2, )", "3"), Example("([1], [2], )", "[1, 2]"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("f(2) == 4", "4"),
        ("For example, f(2) returns 4.", "4"),
        ("f(2) -> 4", "4"),
        ("f(2) ➞ [1, 2], as it should", "[1, 2]"),
        ("`f(2)` should return `'a b'`", "'a b'"),
        ("f(2) should be -1.5", "-1.5"),
        ("f(2) => {'a': (1, None)}", "{'a': (1, None)}"),
        ("f(2) = 4", "4"),
        ("f(2) ==> 4", "4"),
        ('f(2)   # returns "4"', "'4'"),
        (">>> f(2) == 4", "4"),
        ("f(2) => true", "True"),
        ("f(2) -> 19 - 5 = 14", None),
        ("f(2) = 2 * 3", None),
        (">>> f(2) == 4 == 4", None),
        ("assert f(2) == 4, 'a message'", "4"),
        ("f(2) -> 1,000", None),
        ("f(x) == 4", None),
        ("g(2) == 4", None),
        ("my.f(2) == 4", None),
        ("f(2) == g(3)", None),
        ("f(2, key=3) == 4", None),
    ],
)
def test_lines_with_a_call_and_its_result_are_examples(line, result):
    expected = [] if result is None else [Example("(2, )", result)]

    assert read_examples(line, "f") == expected


@pytest.mark.parametrize(
    ("head", "words", "example"),
    [
        ("f(n)", "For n = 1,000 the output is 3", None),
        ("f(n)", "For n = 2 it will be 1, the output should be \"1\".", Example("(2, )", "'1'")),
        ("f(s, c)", "With s = 'a, b', c = [1, 2], the result should be ('b', False)",
         Example("('a, b', [1, 2], )", "('b', False)")),
        ("f(s, c)", "With s = 'a, b' the result should be 3", None),
        ("f(n)", "If n = 2 + 3, it returns 4", None),
        ("f(n: int) -> tuple", "Input: 3\n    Output: (1, 2)\n    Explanation: 4",
         Example("(3, )", "(1, 2)")),
        ("f(grid, size)", "Input:\n  grid : [[0], [1]]\n  size : 2\nOutput: 5",
         Example("([[0], [1]], 2, )", "5")),
        ("f(*all)", "Input: 3\nOutput: 4", None),
        ("g(n)", "Input: 3\nOutput: 4", None),
    ],
)  # fmt: skip
def test_inputs_with_an_output_are_examples(head, words, example):
    question = f'def {head}:\n    """\n    {words}\n    """\n'

    assert read_examples(question, "f") == ([] if example is None else [example])


METHOD = "class Solution:\n    def f(self, nums: List[int], at: int) -> int:\n"


@pytest.mark.parametrize(
    "words",
    [
        "Example 1:\n\nInput: nums = [2,7], at = 1\nOutput: 7\nExplanation: the second.",
        "Solution().f([2, 7], 1) returns 7",
        ">>> Solution().f([2, 7], 1)\n7\n",
    ],
)
def test_examples_of_a_method_are_read_without_its_object(words):
    question = f"{words}\n\n{METHOD}"

    assert find_function(question) == "f"
    assert read_examples(question, "f") == [Example("([2, 7], 1, )", "7")]


@pytest.mark.parametrize(
    "words",
    [
        "**Example 1:**\n\n**Input:** nums = [2,7], at = 1\n**Output:** 7\n**Explanation:** 7.",
        "**Input:** nums = \\[2,7\\], at = 1\n**Output:** 7",
        "- **Input**: `nums = [2,7], at = 1`\n- **Output**: `7`",
        "- Input: `nums` = `[2,7]`, `at` = `1`\n- Output: `7`",
        "<strong>Input:</strong> nums = [2,7], at = 1\n<strong>Output:</strong> 7\n",
        "Input:\nnums = [2,7], at = 1\nOutput:\n7",
        "Input:\n```\n[2,7], 1\n```\nOutput:\n```text\n7\n```",
        "Input: [2, 7], 1\nOutput: 7",
        "> Input: nums = [2,7], at = 1\n> Output: 7",
    ],
)
def test_examples_are_read_however_the_question_sets_them(words):
    question = f"{METHOD}\n{words}\n"

    assert read_examples(question, "f") == [Example("([2, 7], 1, )", "7")]


@pytest.mark.parametrize(
    ("words", "result"),
    [
        ("Output: [true,false]", "[True, False]"),
        ('Output: {"a": [null, 1.5]}', "{'a': [None, 1.5]}"),
        ("Output: [null, NaN]", None),
        ("Output: [1, x]", None),
        ("Output:\n\n2. The next", None),
        ("Output:\n2. The next", None),
        ("Output:", None),
    ],
)
def test_a_result_may_be_json_and_what_comes_after_an_empty_one_is_none(words, result):
    question = f"def f(n):\n\nInput: 3\n{words}\n"

    expected = [] if result is None else [Example("(3, )", result)]
    assert read_examples(question, "f") == expected


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        ("f(2) == 4, f(3) == 9 and f(4) == 16", [2, 3, 4]),
        ("The call f(n) is pure: f(2) == 4.", [2]),
        ("Write def f(n): the square, as f(2) == 4", [2]),
        ("f(1) + f(2) == 5", []),
        ("f(1) == f(2) == 4", []),
        ("g(f(1), f(2)) == 4", []),
        ("not f(2) == 5, but f(2) == 4", [2]),
    ],
)
def test_every_example_of_a_line_is_read_and_no_part_of_a_longer_term(line, numbers):
    assert read_examples(line, "f") == [Example(f"({n}, )", str(n * n)) for n in numbers]


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("Write def f(a, b): the sum of both.", "f"),
        ("Write `def f(a, b)` for the sum.", "f"),
        ("def f(a):\n    ...\nIt is called as def g(b) is.", "f"),
        ("Find it. Your code should pass:\nassert f('ab') == 1\nassert f('b') is None", "f"),
        ("- `assert not f(1)`\n- `assert len(f(2)) == 3`", "f"),
        ("assert g(1)\nassert f(1)\nassert f(2)", "f"),
        ("Write it.\n>>> f(2)\n4", "f"),
        ("> assert Solution().f(2) == 4", "f"),
        ("Make it pass:\ndef test_small():\n    assert f(1) == 2\n\ndef test():\n    pass", "f"),
        ("def f(a):\n    ...\n\ndef test_small():\n    assert f(1) == 2", "f"),
        ("def test_prime(number):\n    ...", "test_prime"),
        ("assert sorted([2, 1]) == [1, 2]", None),
        ("The keyword def in Python (see there) is undef f(x).", None),
        ("I assert f(x) is right.", None),
    ],
)
def test_the_function_that_a_question_asks_for_is_found(question, name):
    assert find_function(question) == name


@pytest.mark.parametrize(
    ("line", "example"),
    [
        ("assert f(1, 'a') == [1]", Example("(1, 'a', )", "[1]")),
        ("  assert f(1) is None", Example("(1, )", "None")),
        ("assert f(1)", Example("(1, )", "True")),
        ("assert not f(1)", Example("(1, )", "False")),
        ("assert f(f(1)) == 2", None),
        ("assert f(open('x')) == 2", None),
        ("assert __import__('os').system('true') == 0", None),
        ("assert f(1) == [1], 'a message'", Example("(1, )", "[1]")),
        ("- `assert f(1) == 2`", Example("(1, )", "2")),
        ("3. assert f(1) == 2", Example("(1, )", "2")),
        ("assert 2 == f(1)", Example("(1, )", "2")),
        ("assert Solution().f(1) == 2", Example("(1, )", "2")),
        ("assert Solution(3).f(1) == 2", None),
        ("assert solution.f(1) == 2", None),
        ("f(1) == 2", None),
        ("assert f(1) != 2", None),
    ],
)
def test_assertions_of_a_model_are_read_as_values_and_never_as_code(line, example):
    found = read_assertions(line, "f")

    if line.endswith("!= 2"):  # a comparison of another kind has no result to hold it to
        assert found in ([], [Example("(1, )", "True")])
        return
    assert found == ([] if example is None else [example])


def test_assertions_joined_in_a_line_are_several():
    found = read_assertions("assert f(1) == 2 and f(2) == 3", "f")

    assert found == [Example("(1, )", "2"), Example("(2, )", "3")]


def test_no_more_examples_are_read_than_are_used():
    lines = "\n".join(f"assert f({n}) == {n}" for n in range(200))

    assert len(read_assertions(lines, "f")) == MAX_EXAMPLES


@given(st.text(max_size=300))
def test_any_text_can_be_read(text):
    read_examples(text + "\nf(1) == 2", "f")
    read_assertions(text, "f")
    find_function(text)


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN)
def test_a_test_that_is_made_of_examples_says_of_each_whether_it_holds(value):
    names: dict = {}
    exec(make_test([Example("(1, )", repr(value)), Example("(2, )", "'something else'")]), names)

    assert names["check"](lambda number: value) == [True, value == "something else"]


def test_a_call_that_raises_is_an_example_that_does_not_hold():
    names: dict = {}
    exec(make_test([Example("(0, )", "1"), Example("(2, )", "0.5")]), names)

    assert names["check"](lambda n: 1 / n) == [False, True]
