"""Answers are checked as a careful reader checks them: numbers, mathematics, programs."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from mixtura.evals.answers import symbolic_equality
from mixtura.evals.tasks import gsm8k, humaneval, math
from mixtura.patterns import final_answer
from mixtura.programs import sandbox
from tests.support.paths import CASES

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


def cases(name):
    text = (CASES / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


@pytest.mark.parametrize("case", cases("answers/gsm8k.jsonl"), ids=lambda case: case["id"])
def test_a_reply_with_a_number_is_judged_as_a_careful_reader_judges_it(case):
    found = gsm8k.extract_fraction(case["reply"])

    assert (found is not None and found == gsm8k.extract_fraction(case["target"])) == case["right"]


NUMBERS = [
    ("Answer: ½", "1/2"), ("Answer: 5⅓", "16/3"), ("Answer: 1¹⁄₂", "3/2"), ("Answer: 10²", "100"),
    ("Answer: 18¹", "18"), ("Answer: 10⁶", "1000000"), ("Answer: 18 m²", "18"),
    ("Answer: 12,34,56,789", "123456789"), ("Answer: 1'234'567.50", "2469135/2"),
    ("Answer: 70 000", "70000"), ("Answer: 1.234.567,89", "123456789/100"),
    ("Answer: 3,5", "7/2"), ("Answer: 70.000", "70"), ("Answer: ₹1,80,000/-", "180000"),
    ("The answer is not 26 but 18.", "18"), ("Answer: 18 (not 26)", "18"),
    ("The answer is 18 rather than 26.", "18"), ("There are 18 eggs, not 26.", "18"),
    ("Answer: ١٨", "18"), ("Answer: १८", "18"), ("Answer: １８", "18"), ("Answer: ١٢٣٫٥", "247/2"),
    ("Answer: −18", "-18"), ("Answer: -$18", "-18"), ("Answer: – 18", "-18"),
    ("Answer: 18–20", None), ("Answer: between 18 and 20", None), ("Answer: 18 or 20", None),
    ("Answer: 4:30", None), ("Answer: 3,4,5", None), ("Answer: 3/0", None),
    ("Answer: 2 lakh", "200000"), ("Answer: 5K", "5000"), ("Answer: 18kg", "18"),
    ("Answer: 18 dollars and 50 cents", "37/2"), ("Answer: two and a half", "5/2"),
    ("Answer: one hundred and five", "105"), ("Answer: minus five", "-5"),
    (r"The final answer is \boxed{-\frac{3}{4}}", "-3/4"), (r"\boxed{2\frac{1}{2}}", "5/2"),
    (r"\boxed{1\,234}", "1234"), ("Respuesta: 18 (26 menos 8)", "18"), ("答案是18。", "18"),
    ("She makes 18 dollars (9 eggs at $2 each).", "18"), ("Answer: 16 - 3", "13"),
    ("Answer: (16 - 3 - 4) * 2", "18"), ("Answer: 36 ÷ 2", "18"), ("Answer: 1e-3", "1/1000"),
    ("Answer: 1,234,567 apples and 5 pears", "1234567"), ("Answer: 18 cm^2", "18"),
    ("Answer: negative 5", "-5"), ("Answer: Negative $5", "-5"), ("Answer: non-negative 5", "5"),
    ('{"answer": "18", "steps": 3}', "18"), ('{"answer": 18, "confidence": 0.9}', "18"),
    ('```json\n{"steps": [{"answer": 3}], "answer": "$18", "n": 2}\n```\nDone in 2.', "18"),
    ('{"answer": null, "steps": 3}', "3"), ('{"answer": 18}\nAnswer: 19', "19"),
    ("Answer: ~~26~~ 18", "18"), ("~~Answer: 26~~\nAnswer: 18", "18"), ("Answer: ~~26~~", None),
    ("Answer: 26? No, 18.", "18"), ("Answer: 26? No wait, it is 18.", "18"),
    ("Answer: 18? No.", "18"), (r"\boxed{\sqrt{9}}", "3"), ("Answer: √9", "3"),
    ("Answer: √(16)", "4"), ("Answer: 2√9", "6"), ("Answer: -√9", "-3"),
    (r"\boxed{\sqrt[3]{8}}", "2"), ("Answer: minus 5", "-5"),
    ("Answer: √10", None), (r"Answer: 5\sqrt{2}", None), ("Answer: √50 ≈ 7.07", "707/100"),
    ("Answer: 1/2 or 0.5", "1/2"), ("Answer: 18 or 18.0", "18"), ("Answer: 1/2 or 0.6", None),
    ("Answer: 2**3", "8"), ("Answer: 2 ** 3", "8"), ("Answer: 2**3 = 8", "8"),
    ("Answer: **18**", "18"), ("Answer: 3 **18**", "3"),
    ("The answer is 1-1/2", "3/2"), ("#### 2-1/2", "5/2"), ("Answer: 10-1/2 inches", "21/2"),
    ("Answer: 5-3/2", "7/2"), ("Answer: 16 - 1/2", "31/2"), ("Answer: 1-1/2 + 1", "3/2"),
    ("<final_answer>18</final_answer> I checked 3 times.", "18"), ("[ANSWER]18[/ANSWER] 3", "18"),
    ("Answer: one half", "1/2"), ("Answer: two thirds of it", "2/3"),
    ("Answer: nine-tenths", "0.9"),
    ("Answer: two and one half", "5/2"), ("Answer: three quarters", "3"),
    ("答案：十八元", "18"),
    ("答案是两百零五。", "205"), ("答案：一亿二千万", "120000000"),
    ("答案：三万亿", "3000000000000"),
    ("Answer: half", "1/2"), ("Answer: a third of it", "1/3"), ("Answer: the third", None),
    ("Answer: third", None), ("Answer: 18, 20", None), ("Answer: $18, $20 and $22", None),
    ("Answer: 18, 3 more than Tom", "18"), ("Answer: 18, 18.0", "18"),
    ("答案：二〇二六", "2026"), ("答案：一共有十八个", None), ("Answer - 18", "18"),
    ("Total – 18 eggs", "18"), ("The answer is - 18", "-18"), ("The change is -18", "-18"),
    ("<think>\n#### 20\n</think>\n18", "18"), ("<think>The answer is 20.", None),
    (r"\boxed{1,\!234}", "1234"), ("Answer: 3 and a half", "7/2"), ("Answer: a dozen", "12"),
    ("Answer: half a dozen", "6"), ("Answer: two dozen", "24"), ("Answer: 12 dozen", "12"),
    ("Answer: 3 and three quarters", "15/4"), ("Answer: 3 and two more", "3"),
    ("She makes **$18** a day.\n\nLet me know if you have 2 more questions!", "18"),
    ("That is 18. I hope this helps with all 5!", "18"), ("Let me know: 18", "18"),
    ("The answer is 16. Wait, that's wrong. The answer is 18.", "18"),
    ("Answer: 17.6, which rounds to 18", "18"), ("Answer: 17.6 rounded to 2 places", "17.6"),
    ("Answer: 75% of 24 is 18", "18"), ("Answer: 75% of 24 eggs is $18.", "18"),
    ("Answer: 2x + 1", None), (r"\boxed{3+4i}", None), ("Answer: 3π", None), ("Answer: n/2", None),
    (r"\boxed{(3,4)}", None), ("Answer: 2024-12-25", None), ("Answer: 12/25/2024", None),
    ("Answer: March 5, 2024", None), ("Answer: 9π ≈ 28.3", "28.3"), ("Answer: y = 2*4 = 8", "8"),
    ("Answer: 12 apples, on March 5, 2024", "12"), ("On March 5, 2024 she had 12 apples.", "12"),
    ("Answer: 18; Confidence: 95%", "18"), ("18\n\n**Confidence:** 95%", "18"),
    ("She is right.\nConfidence: 0.9", "0.9"), ("Answer: 95% confidence", "95"),
    ("Answer: 2x10^3", "2000"), ("Answer: 5x", "5"),
    ("I get 20.\n#### 20\n</think>\nAnswer: 18", "18"), ("[THINK]#### 20[/THINK]18", "18"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "number"), NUMBERS)
def test_numbers_are_read_in_every_way_that_people_write_them(reply, number):
    assert gsm8k.extract_fraction(reply) == (None if number is None else Fraction(number))


@pytest.mark.parametrize("piece", ["½", "²", "1 000 ", "not 1 ", "Answer: 1 ", "1.234.", "x=1 "])
def test_a_long_reply_of_odd_numbers_does_not_hold_up_the_rest(piece):
    final_answer.extract_number(piece * 20_000)  # a square of this length would not end


# ---- mathematics


@pytest.mark.parametrize("case", cases("answers/math.jsonl"), ids=lambda case: case["id"])
def test_an_answer_of_mathematics_is_judged_as_a_careful_reader_judges_it(case):
    assert math.is_same_answer(case["reply"], case["target"]) == case["right"]


ALIKE = [
    (r"\mathbb{R}", r"(-\infty,\infty)"), (r"x \in \mathbb{R}", r"(-\infty, \infty)"),
    (r"\text{all real numbers}", r"(-\infty,\infty)"), ("i", r"\sqrt{-1}"), ("2i", r"\sqrt{-4}"),
    (r"e^{i\pi}", "-1"), (r"e^{\frac{i\pi}{2}}", "i"), ("3-4i", r"3-4\sqrt{-1}"),
    (r"\sin 30^\circ", r"\frac12"), (r"2\cos(60°)", "1"), (r"\tan{45^{\circ}}", "1"),
    ("2⁻¹", r"\frac12"), ("x⁴", "x^4"), ("x¹⁰", "x^{10}"), ("x₁", "x_1"), ("2ⁿ", "2^n"),
    ("½", "0.5"),
    ("2½", r"\frac52"), ("5⅓", r"\frac{16}{3}"), ("–5", "-5"), ("१८", "18"), ("6÷2", "3"),
    (r"x<2 \text{ or } x>3", r"(-\infty,2)\cup(3,\infty)"),
    (r"7\pi\text{ cm}^2", r"7\pi"), (r"\frac\pi2", r"\frac{\pi}{2}"), (r"\frac x2", "x/2"),
    (r"\lbrace1,2\rbrace", r"\{1,2\}"), (r"\textstyle\frac12", r"\frac12"),
    (r"(0,\frac12)\cup(1,2)", r"(1,2)\cup(0,0.5)"), ("x²+2x+1", "(x+1)^2"),
    ("(3, pi/2)", r"(3,\frac{\pi}{2})"), ("2*sqrt(3)", r"2\sqrt{3}"), ("(-inf, 3]", r"x\le3"),
    ("twenty-one", "21"), (r"\text{five}", "5"), ("one half", r"\frac12"), ("1e3", "1000"),
    ("(x,y)=(1,2)", "(1,2)"), ("a = 1, b = 2", "b=2,a=1"), (r"\overline{AB}", "AB"), ("6\\ ", "6"),
    (r"14\text{ cm and }15\text{ cm}", "14,15"), ("[2,5] U [7,9]", r"[2,5]\cup[7,9]"),
    (r"x>2\text{ and }x<5", "(2,5)"), ("x<5 and x>=2", "[2,5)"), (r"\{x \mid x>2\}", r"(2,\infty)"),
    (r"\{x:x>2\}", "x>2"), ("**3**", "3"), ("`3`", "3"), ("1 1/2", "3/2"),
    ("5,", "5"), (r"\text{3 to 4}", "3:4"), ("3 to 4", r"\frac34"),
    ("-1 1/2", r"-\frac{3}{2}"), ("1 1/2, 2", r"\frac32,2"), ("1 1/2", "1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_what_is_the_same_is_the_same_however_it_is_written(one, other):
    assert math.is_same_answer(one, other)
    assert math.is_same_answer(other, one)


def test_a_letter_in_front_of_its_choice_is_that_letter():
    assert math.is_same_answer(r"\mathbf{(D)}\ 12", "D")
    assert not math.is_same_answer(r"\mathbf{(D)}\ 12", "C")


DIFFERENT = [
    ("x⁴", "x^3"), ("2½", "1"), ("x₁", "x_2"), ("2⁻¹", "-2"), (r"(0,1)\cup(1,2)", "(0,2)"),
    (r"(-\infty,2]\cup(3,\infty)", r"x<2 \text{ or } x>3"),
    (r"\mathbb{R}", r"(0,\infty)"), (r"\mathbb{R}", r"[-\infty,5)"), (r"\mathbb{Z}", r"\mathbb{R}"),
    (r"\mathbb{Z}", r"(-\infty,\infty)"), ("i", r"-\sqrt{-1}"), ("i", "1"), (r"e^{i\pi}", "1"),
    (r"e^{i\pi}", "-1.000000000000001"), ("i+x", r"\sqrt{-1}"), ("2i", "2"), ("j", r"\sqrt{-1}"),
    (r"\sin 30^\circ", r"\sin 30"), (r"\sin 30^\circ", r"\frac13"), (r"\sin 30", r"\frac12"),
    ("1 1/2", "11/2"), ("1 1/2", "1/2"), ("-1 1/2", r"-\frac12"), ("1 1/2", "1"),
    ("10^{-50}", "10^{-51}"), ("e^{-50}", "e^{-51}"), (r"10^{30}\pi", r"(10^{30}+1)\pi"),
    (r"\sqrt2", "1.41421356"), ("0.3333333333", r"\frac13"), ("x=5", "y=5"), ("10_2", "10_3"),
    ("a=1,b=2", "a=2,b=1"), ("x=1,y=2", "x=1,y=3"), ("seven", "8"), ("one", "two"), ("1e3", "100"),
    (r"x>2\text{ or }x<1", "(1,2)"), ("(x,y)=(1,2)", "(2,1)"), ("pi", "3.14"), ("2pi", "2"),
    (r"x\le5", r"(-\infty,5)"), (r"2\pm 3", "5"), ("(3,4)", "3,4"), ("i", "-i"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_only_nearly_the_same_is_not_the_same(one, other):
    assert not math.is_same_answer(one, other)
    assert not math.is_same_answer(other, one)


@pytest.mark.parametrize(
    ("reply", "held"),
    [(r"<think>\boxed{4}</think> 5", None), (r"[THINK]\boxed{4}[/THINK]\boxed{5}", "5"),
     (r"It is \boxed{4}. Or?</think>\boxed{5}", "5"), (r"<think>\boxed{4}", None)],
)  # fmt: skip
def test_a_box_in_a_thought_is_no_answer(reply, held):
    assert math.last_boxed(reply) == held


def test_an_expression_that_takes_too_long_ends_its_own_process_and_not_the_next_answer():
    with pytest.raises(symbolic_equality.UndecidedError):
        symbolic_equality.are_equal("9^{9^{9^9}}", "1")

    assert symbolic_equality.are_equal("x+1", "1+x")


# ---- programs

ROWS = {row["task_id"]: row for row in cases("data/he_bash.jsonl")}
REPLIES = [case for case in cases("answers/humaneval.jsonl") if case["task"] in ROWS]


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case["id"])
def test_the_program_in_a_reply_is_found_and_run(case):
    row = ROWS[case["task"]]
    written = humaneval.extract_program(case["reply"], row["prompt"], row["entry_point"])
    name, limits = row["entry_point"], sandbox.SandboxLimits(seconds=5, wall_seconds=60)
    setup = humaneval.prompt_helpers(row["prompt"], name)
    found = sandbox.check_program(written, row["test"], name, setup=setup, limits=limits)

    assert found.passed == case["right"], found.reason


PROMPT = 'from typing import List\n\n\ndef add(a: int, b: int) -> int:\n    """ Add.\n    """\n'
GOOD = "def add(a, b):\n    return a + b\n"
BAD = "def add(a, b):\n    return 0\n"
BAD_BLOCK = f"```python\n{BAD}```\n"
FOUND = {
    "a block of a shell first": f"```bash\npip install x\n```\n```python\n{GOOD}```",
    "its output behind": f"```python\n{GOOD}```\nOutput:\n```\n3\n```",
    "a fence that is not closed": f"Here:\n```python\n{GOOD}",
    "in a list": "1. Do it:\n\n   ```python\n   def add(a, b):\n       return a + b\n   ```\n",
    "quoted": "> ```python\n> def add(a, b):\n>     return a + b\n> ```",
    "tildes": f"~~~\n{GOOD}~~~",
    "between words": f"Here is the function:\n\n{GOOD}\nThis adds two numbers.",
    "a body": "    return a + b\n\n\nprint(add(1, 2))",
    "a body and words": "    return a + b\n\nThis function adds.",
    "behind words": f"Here it is: ```python\n{GOOD}```",
    "closed behind code": "```python\ndef add(a, b):\n    return a + b```",
    "imports of the future": f"```python\nfrom __future__ import annotations\n{GOOD}```",
    "a helper behind": (
        "```python\ndef add(a, b):\n    return plus(a, b)\n```\nwith\n"
        "```python\ndef plus(a, b):\n    return a + b\n```"
    ),
    "a wrong try first": (
        f"```python\ndef add(a, b):\n    return 0\n```\nWrong. Corrected:\n```python\n{GOOD}```"
    ),
    "another way behind": (
        f"```python\n{GOOD}```\nAnother way, slower:\n```python\ndef add(a, b):\n    return 0\n```"
    ),
    "its use behind": f"```python\n{GOOD}```\nUsage:\n```python\nassert add(1, 1) == 3\n```",
    "a template's mark": f"```python\n{GOOD}```<|im_end|>",
    "in HTML": (
        '<p>Here:</p>\n<pre><code class="language-python">def add(a, b):\n'
        "    return a + b if a &lt; 9 else None\n</code></pre>"
    ),
    "a session": ">>> def add(a, b):\n...     return a + b\n...\n>>> add(1, 2)\n3\n",
    "a session in a block": (
        "```pycon\n>>> def add(a, b):\n...     c = a + b\n...     return c\n>>> add(1, 2)\n3\n```"
    ),
    "a fence on one line": "```python def add(a, b): return a + b```",
    "between quotes": "Use `def add(a, b): return a + b`, not `a - b`.",
    "in JSON": json.dumps({"why": "a sum", "code": GOOD}),
    "in a block of JSON": f"```json\n{json.dumps({'code': GOOD})}\n```",
    "a block in JSON": json.dumps({"code": f"```python\n{GOOD}```"}),
    "behind a thought": (
        "<think>\n```python\nraise SystemExit\ndef add(a, b):\n    return 1\n```</think>\n"
        f"```python\n{GOOD}```"
    ),
    "behind a thought in another mark": f"[THINK]\n{BAD}[/THINK]\n{GOOD}",
    "behind a mark in capitals": f"<Think>\n{BAD_BLOCK}</Think>\n```python\n{GOOD}```",
    "behind a thought that is only closed": f"{BAD_BLOCK}\n</think>\n```python\n{GOOD}```",
    "behind a thought behind words": (f"Sure.\n<think>\n{BAD_BLOCK}</think>\n```python\n{GOOD}```"),
    "in a tag with two blocks": f"<answer>\n{BAD_BLOCK}Corrected:\n```python\n{GOOD}```\n</answer>",
    "before a block that breaks off": (
        f"```python\n{GOOD}```\nNow with a test:\n```python\ndef add(a, b"
    ),
    "behind a byte order mark": f"\ufeff{GOOD}",
    "an indented block": "Here:\n\n    def add(a, b):\n        return a + b\n\nDone.",
    "a body behind a thought": (
        "<think>`def add(a, b): return 0`? No.</think>\n    return a + b\n"
    ),
    "HTML in its text": (
        "def add(a, b):\n    '''\n    <pre>\n    add(1, 2)\n    </pre>\n    '''\n    return a + b\n"
    ),
    "a session in its text": (
        "```python\ndef add(a, b):\n    '''\n>>> add(1, 2)\n3\n    '''\n    return a + b\n```"
    ),
    "its head once more behind": (
        f"```python\n{GOOD}```\nIts head:\n```python\ndef add(a: int, b: int) -> int:\n    ...\n```"
    ),
    "lines of Windows": f"```python\n{GOOD}```".replace("\n", "\r\n"),
}


@pytest.mark.parametrize("how", FOUND)
def test_a_right_program_is_found_however_it_is_told(how):
    names: dict = {"__name__": "candidate"}
    exec(compile(humaneval.extract_program(FOUND[how], PROMPT, "add"), "candidate", "exec"), names)

    assert names["add"](1, 2) == 3


@pytest.mark.parametrize("reply", [f"<think>\n{GOOD}", f"<think>\n```python\n{GOOD}```\n"])
def test_a_program_in_a_thought_that_never_ends_is_no_answer(reply):
    assert "return" not in humaneval.extract_program(reply, PROMPT, "add")
