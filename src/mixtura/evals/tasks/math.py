"""MATH: competition mathematics; the answer stands in a box (Hendrycks et al. 2021, 2103.03874)."""

from __future__ import annotations

import re

import anyio.to_thread
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState

from mixtura.core.errors import ConfigError
from mixtura.core.missing_packages import missing_package_text
from mixtura.evals.answers import symbolic_equality
from mixtura.evals.answers.answer_equality import is_same_answer
from mixtura.evals.answers.exact_value import brace_group
from mixtura.evals.tasks.dataset import Row, load_samples, prompted_task, text_field
from mixtura.protocols.thoughts.parser import without_thoughts

__all__ = ["compare_answers", "is_same_answer", "last_boxed", "math", "require_math_verify"]

HOME = "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl"
"""The 500 problems of the test set that "Let's Verify Step by Step" (2305.20050) drew."""
PROMPT = r"""{prompt}

Work it out step by step. Put the result, and nothing else, into \boxed{{}} at the end."""


@task
def math(data: str | None = None, seed: int | None = None) -> Task:
    """Rows with `problem` and `answer`, or `problem` and a `solution` with a box.

    Raises ConfigError, with the file and the line, for rows that cannot be read, and without
    math-verify.
    """
    require_math_verify()
    samples = load_samples("math", data or HOME, _row_to_sample, seed=seed)
    return prompted_task(samples, PROMPT, same_answer(), version=2)


def _row_to_sample(row: Row) -> Sample:
    problem, known = text_field(row, "problem"), row.get("answer")
    if type(known) in (int, float):
        target = str(known)
    else:
        target = (
            text_field(row, "answer")
            if known
            else last_boxed(text_field(row, "solution", "answer"))
        )
    if not target:
        raise ValueError("it has neither an `answer` nor a \\boxed{} in `solution`")
    about = {name: row[name] for name in ("subject", "type", "level") if name in row}
    return Sample(input=problem, target=target, id=row.get("unique_id"), metadata=about)


@scorer(metrics=[accuracy()])
def same_answer() -> Scorer:
    """1 where the answer in the box equals the target, else 0."""

    async def score(state: TaskState, target: Target) -> Score:
        boxed = last_boxed(state.output.completion)
        if boxed is None:
            return Score(value=0.0, answer=None, explanation="the answer has no \\boxed{}")
        right, why = await compare_answers(boxed, target.text)
        return Score(value=1.0 if right else 0.0, answer=boxed, explanation=why or None)

    return score


def require_math_verify() -> None:
    """Check that math-verify is installed. Raises ConfigError where it is not."""
    if not symbolic_equality.is_available():
        what = "checking answers of mathematics"
        raise ConfigError(missing_package_text(what, "math-verify", "eval"))


async def compare_answers(answer: str, target: str) -> tuple[bool, str]:
    """Whether they are the same; what cannot be compared in time is not, and that is said."""
    # In a thread: it waits for another process, and the loop has other samples.
    try:
        return await anyio.to_thread.run_sync(is_same_answer, answer, target), ""
    except symbolic_equality.UndecidedError as error:
        return False, f"counted as wrong: {error}"


def last_boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` behind all thoughts holds; None without a whole one."""
    text = without_thoughts(text)
    starts = list(re.finditer(r"\\f?box(?:ed)?\s*", text))
    if not starts:
        return None
    rest = text[starts[-1].end() :]
    if not rest.startswith("{"):
        return re.split(r"[\s$.,]", rest, maxsplit=1)[0] or None
    inside = brace_group(rest, 0)
    return None if inside is None else inside.strip()
