"""Numbers, expressions and programs: reference answers are right."""

from __future__ import annotations

import pytest

from mixtura.evals.tasks import gsm8k, humaneval, math
from mixtura.programs import sandbox
from tests.support import evaluations
from tests.support.evaluations import evaluated, evaluating, rows_of
from tests.support.upstream import Script

_own_folders = evaluations._own_folders


# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


# ---- numbers and expressions


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("#### 1,234", 1234), ("Answer: $18", 18), ("**Answer:** -3.50", -3.5),
        ("5 + 7 = 12, so the answer is 12.", 12), ("Answer: 3\nWait. Answer: 4", 4),
        ("Answer: 12 (that is 3 * 4)", 12), ("so 3 of 7", 7), ("Answer: 2 + 2 = 4", 4),
        ("none at all", None), ("", None), ("Answer: 0", 0), ("9" * 999, None),
        (r"Ella earns \(\boxed{132}\) dollars after 12 hours.", 132),
    ],
)  # fmt: skip
def test_the_number_that_an_answer_ends_in_is_found(text, value):
    assert gsm8k.extract_fraction(text) == value


SAME = [
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\pi/2)"), ("p - q", "p-q"),
    (r"\dfrac{14}{3}", "14/3"),
    ("9", "9.0"), (r"\text{Evelyn}", "Evelyn"), ("42", r"42\text{ inches}"), (r"90^\circ", "90"),
    (r"3\sqrt{13}", r"3 \sqrt {13}"), ("1,000", "1000"), (r"\$18.90", "18.90"), ("x=5", "5"),
    (r"\frac12", "0.5"), (r"10\%", "10"), (r"\{1,2\}", r"\{2, 1\}"), ("1,2", "2, 1"),
    (r"1\frac{1}{2}", "3/2"), ("2^{10}", "1024"), (r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
    (r"(-\infty, 2)\cup(3,\infty)", r"(-\infty,2) \cup (3,\infty)"), (r"\sqrt[3]{8}", "2"),
    (r"12\text{ cm}^2", "12"), ("x^2+1", "x^{2}+1"), (r"\text{(C)}", "C"),
]  # fmt: skip
DIFFERENT = [
    ("1", "2"), (r"\frac{1}{2}", r"\frac{2}{1}"), ("(1,2)", "(2,1)"), ("[0,1]", "(0,1)"),
    ("1,2", "1"), (r"\{1,1\}", r"\{1,2\}"), ("x+1", "x-1"), ("3", "-3"), (r"\sqrt{2}", "2"),
    ("12", "1,2"), ("", "1"), (r"\frac{1}{0}", "1"), ("((", "1"),
]  # fmt: skip


def test_answers_that_look_different_and_are_the_same_are_the_same():
    assert [
        pair
        for pair in SAME
        if not (math.is_same_answer(*pair) and math.is_same_answer(*pair[::-1]))
    ] == []
    assert [
        pair for pair in DIFFERENT if math.is_same_answer(*pair) or math.is_same_answer(*pair[::-1])
    ] == []


# ---- reference answers are right


def test_gsm8ks_own_reference_answers_are_all_right():
    wrong = [
        row for row in rows_of("gsm8k/test_first900.jsonl")
        if gsm8k.extract_fraction(row["answer"])
        != gsm8k.extract_fraction(row["answer"].rpartition("####")[2])
    ]  # fmt: skip

    assert wrong == []


MATH = [  # as the rows of the public file are: a solution in words, the result in its last box
    (r"The slope is $\frac{6-2}{3-1}=\boxed{2}$.", "2"),
    (r"By \fbox{step 1}, $r=\sqrt{9+0}$, so the point is $\boxed{\left(3,\frac{\pi}{2}\right)}$.",
     r"\left(3,\frac{\pi}{2}\right)"),
    (r"They add to $\boxed{p-q}$.\n\n[asy]draw((0,0)--(1,1));[/asy]", "p - q"),
    (r"Hence $\boxed{\text{Evelyn}}$ is first.", r"\text{Evelyn}"),
    (r"So it is \[\boxed{\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}}.\]",
     r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    (r"All $x$ in $\boxed{(-\infty,-2]\cup[5,\infty)}$ do.", r"(-\infty, -2] \cup [5, \infty)"),
    (r"It costs $\boxed{\$1{,}250.50}$.", r"\$1,250.50"),
    (r"The angle is $\boxed{90^\circ}$.", "90"),
    (r"Its roots are $\boxed{1 \pm \sqrt{19}}$.", r"1 \pm \sqrt{19}"),
    (r"In base 5 that is $\boxed{1234_5}$.", "1234_{5}"),
]  # fmt: skip


def test_reference_solutions_as_maths_are_all_right(tmp_path):
    rows = [{"problem": f"No. {n}?", "answer": answer} for n, (_, answer) in enumerate(MATH)]

    def otherwise(record):
        return Script(next(s for n, (s, _) in enumerate(MATH) if f"No. {n}?" in record.prompt))

    with evaluating(tmp_path, otherwise) as (_, config):
        result = evaluated(tmp_path, config, "a", "math", rows)

    assert (result.score, result.n, result.missing) == (1.0, len(MATH), ())


@pytest.mark.parametrize(
    ("answer", "passes"),
    [
        ("```python\ndef one():\n    return total([1])\n```", True),
        ("```\ndef one():\n    return 1\n```\nUse it:\n```python\nprint(one())\n```", True),
        ("def one():\n    return 1", True),
        ("return 1", True),
        ("    return 1", True),
        ("```python\nreturn 1\n```", True),
        ("I cannot do that.", False),
        ("```python\ndef two():\n    return 1\n```", False),
    ],
)
def test_the_code_is_found_in_the_ways_that_models_answer(answer, passes):
    prompt = "def total(xs):\n    return sum(xs)\n\n\ndef one():\n    '''One.'''\n"
    code = humaneval.extract_program(answer, prompt, "one")

    test = "def check(f):\n    assert f() == 1\n"
    helpers = humaneval.prompt_helpers(prompt, "one")
    assert sandbox.check_program(code, test, "one", setup=helpers).passed is passes
