"""MATH: competition mathematics; the answer stands in a box (Hendrycks et al. 2021, 2103.03874)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from math import isclose, pi

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState, generate, prompt_template

from mixtura.evals.tasks.source import Row, samples, text_of

HOME = "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl"
"""The 500 problems of the test set that "Let's Verify Step by Step" (2305.20050) drew."""
PROMPT = r"""{prompt}

Work it out step by step. Put the result, and nothing else, into \boxed{{}} at the end."""


@task
def math(data: str | None = None, seed: int | None = None) -> Task:
    """Rows with `problem` and `answer`, or `problem` and a `solution` with a box."""
    return Task(
        dataset=samples("math", data or HOME, _sample, seed=seed),
        solver=[prompt_template(PROMPT), generate()],
        scorer=same_answer(),
        version=1,
    )


def _sample(row: Row) -> Sample:
    problem, known = text_of(row, "problem"), row.get("answer")
    if type(known) in (int, float):
        target = str(known)
    else:
        target = text_of(row, "answer") if known else boxed(text_of(row, "solution", "answer"))
    if not target:
        raise ValueError("there is neither an `answer` nor a box in `solution`")
    about = {name: row[name] for name in ("subject", "type", "level") if name in row}
    return Sample(input=problem, target=target, id=row.get("unique_id"), metadata=about)


@scorer(metrics=[accuracy()])
def same_answer() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        found = boxed(state.output.completion)
        right = found is not None and same(found, target.text)
        return Score(value=1.0 if right else 0.0, answer=found)

    return score


def boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` holds, its own braces in balance; None without one."""
    starts = list(re.finditer(r"\\f?box(?:ed)?\s*", text))
    if not starts:
        return None
    rest = text[starts[-1].end() :]
    if not rest.startswith("{"):
        return re.split(r"[\s$.,]", rest, maxsplit=1)[0] or None
    inside = _group(rest, 0)
    return None if inside is None else inside.strip()


def same(one: str, other: str) -> bool:
    """Whether two answers are the same number, tuple, set or expression."""
    a, b = plain(one), plain(other)
    if a == b:
        return True
    left, right = _items(a), _items(b)
    if left is None and right is None:
        return _equal(a, b)
    if left is None or right is None or left[0] != right[0] or len(left[1]) != len(right[1]):
        return False
    if left[0] in ("{}", ""):  # sets and lists of solutions have no order
        return _matched(left[1], right[1])
    return all(same(x, y) for x, y in zip(left[1], right[1], strict=True))


def _matched(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    left = list(theirs)
    for item in ours:
        twin = next((other for other in left if same(item, other)), None)
        if twin is None:
            return False
        left.remove(twin)
    return True


def _equal(a: str, b: str) -> bool:
    try:
        return isclose(_Sum(a).value(), _Sum(b).value(), rel_tol=1e-9, abs_tol=1e-12)
    except (ValueError, ArithmeticError):
        return False


# ---- one way to write it

_WORDS = (
    (r"\{,\}", ","),
    (r"\\[dtc]frac", r"\\frac"), (r"\\left|\\right|\\[bB]ig+[lr]?", ""), (r"\\displaystyle", ""),
    (r"(?<!\\)\\[,;:!> ]|\\q?quad|~|\\?\$", ""),
    (r"\\(?:text|mathrm|mbox|textbf|mathbf)\s*{([^{}]*)}", r"\1"),
    (r"\^\s*{?\s*\\circ\s*}?|\\degree|°", ""), (r"\\%|%", ""), (r"\\(?:cdot|times)", "*"),
    (r"\\le(?:q|qslant)?(?![a-z])", "≤"), (r"\\ge(?:q|qslant)?(?![a-z])", "≥"),
    (r"\\neq?(?![a-z])", "≠"), (r"\\{", "{"), (r"\\}", "}"), (r"−", "-"), (r"π", r"\\pi"),
    (r"\\(?:dots|ldots|cdots)", "..."), (r"\\cup", "∪"), (r"\\infty", "∞"),
)  # fmt: skip
_UNITS = re.compile(
    r"(?<=\d)(?:degrees?|cents?|dollars?|units?|square\w*|cubic\w*|inch(?:es)?|feet|foot|ft|cm|mm"
    r"|km|meters?|miles?|mph|hours?|minutes?|seconds?|days?|weeks?|years?|points?|percent)"
    r"(?:\^{?\d}?)?$"
)


def plain(answer: str) -> str:
    """An answer without what changes only its looks."""
    for pattern, instead in _WORDS:
        answer = re.sub(pattern, instead, answer)
    answer = re.sub(r"\s+", "", answer).rstrip(".")
    answer = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", answer) if _thousands(answer) else answer
    answer = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", answer)
    answer = re.sub(r"\\frac(\d)(?={)", r"\\frac{\1}", answer)
    answer = re.sub(r"(\\frac{[^{}]*})(\d)", r"\1{\2}", answer)
    answer = re.sub(r"\\sqrt(\w)", r"\\sqrt{\1}", answer)
    answer = re.sub(r"([_^]){(\w)}", r"\1\2", answer)
    answer = re.sub(r"^(?:[a-zA-Z]|[a-zA-Z]\([a-z]\))(?:=|\\in)(?=.)", "", answer)
    answer = re.sub(r"^\(([A-Z])\)$", r"\1", answer)
    return _UNITS.sub("", answer)


def _thousands(answer: str) -> bool:
    """Whether commas only group digits: `1,000` is one number, `(1,000)` and `1,2` are not."""
    return bool(re.fullmatch(r"[^(){}\[\]]*?-?\d{1,3}(,\d{3})+(\.\d+)?\D*", answer))


def _items(answer: str) -> tuple[str, list[str]] | None:
    """The brackets and items of a tuple, an interval, a set or a list; None for a single thing."""
    around = ""
    if len(answer) > 1 and answer[0] in "([{" and answer[-1] in ")]}":
        inner = _split(answer[1:-1])
        if inner is not None and (len(inner) > 1 or answer[0] == "{"):
            around, parts = answer[0] + answer[-1], inner
            return around, parts
    parts = _split(answer)
    return (around, parts) if parts is not None and len(parts) > 1 else None


def _split(text: str) -> list[str] | None:
    """At the commas outside of all brackets; None where brackets do not close."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            return None
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return None if depth or not all(parts) else parts


def _group(text: str, start: int) -> str | None:
    """What stands between the brace at *start* and the one that closes it."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start + 1 : at]
    return None


class _Sum:
    """Reads an expression of numbers, fractions, roots, powers and pi. Raises ValueError."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def value(self) -> float:
        found = self._sum()
        if self._at < len(self._text):
            raise ValueError(self._text[self._at :])
        return found

    def _next(self, *choices: str) -> str:
        for choice in choices:
            if self._text.startswith(choice, self._at):
                self._at += len(choice)
                return choice
        return ""

    def _sum(self) -> float:
        found = self._product()
        while sign := self._next("+", "-"):
            more = self._product()
            found = found + more if sign == "+" else found - more
        return found

    def _product(self) -> float:
        found = self._power()
        while self._at < len(self._text) and self._text[self._at] not in "+-)}":
            found = found / self._power() if self._next("/") else found * self._factor()
        return found

    def _factor(self) -> float:
        self._next("*")
        return self._power()

    def _power(self) -> float:
        if sign := self._next("-", "+"):
            return -self._power() if sign == "-" else self._power()
        base = self._atom()
        if not self._next("^"):
            return base
        exponent = self._atom()
        if abs(exponent) > 64 or (base < 0 and not float(exponent).is_integer()):
            raise ValueError("a power too far")
        return float(base**exponent)

    def _atom(self) -> float:
        if number := re.compile(r"\d+(?:\.\d+)?|\.\d+").match(self._text, self._at):
            return self._number(number)
        if self._next("\\pi"):
            return pi
        if self._next("\\frac"):
            return self._braced() / self._braced()
        if self._next("\\sqrt"):
            root = self._index()
            return self._braced() ** (1 / root)
        if self._text.startswith("{", self._at):
            return self._braced()
        if self._next("("):
            found = self._sum()
            if not self._next(")"):
                raise ValueError("a bracket stays open")
            return found
        raise ValueError(self._text[self._at :])

    def _number(self, number: re.Match[str]) -> float:
        """A number; `1\\frac{2}{3}` is a mixed one."""
        self._at = number.end()
        found = float(Fraction(number[0]))
        if "." not in number[0] and re.compile(r"\\frac{\d+}{\d+}").match(self._text, self._at):
            self._next("\\frac")
            return found + self._braced() / self._braced()
        return found

    def _index(self) -> float:
        found = re.compile(r"\[(\d+)\]").match(self._text, self._at)
        if not found:
            return 2
        self._at = found.end()
        return float(found[1])

    def _braced(self) -> float:
        inside = (
            _group(self._text, self._at) if self._text[self._at : self._at + 1] == "{" else None
        )
        if inside is None:
            raise ValueError(self._text[self._at :])
        self._at += len(inside) + 2
        return _Sum(inside).value()
