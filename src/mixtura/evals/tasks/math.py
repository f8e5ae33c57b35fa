"""MATH: competition mathematics; the answer stands in a box (Hendrycks et al. 2021, 2103.03874)."""

from __future__ import annotations

import re

import anyio.to_thread
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState, generate, prompt_template

from mixtura.errors import ConfigError
from mixtura.evals import algebra
from mixtura.evals.exact import group
from mixtura.evals.forms import same
from mixtura.evals.tasks.source import Row, samples, text_of
from mixtura.thoughts import without_thoughts

__all__ = ["boxed", "compared", "math", "ready", "same"]

HOME = "https://huggingface.co/datasets/HuggingFaceH4/MATH-500/resolve/main/test.jsonl"
"""The 500 problems of the test set that "Let's Verify Step by Step" (2305.20050) drew."""
PROMPT = r"""{prompt}

Work it out step by step. Put the result, and nothing else, into \boxed{{}} at the end."""


@task
def math(data: str | None = None, seed: int | None = None) -> Task:
    """Rows with `problem` and `answer`, or `problem` and a `solution` with a box."""
    ready()
    return Task(
        dataset=samples("math", data or HOME, _sample, seed=seed),
        solver=[prompt_template(PROMPT), generate()],
        scorer=same_answer(),
        version=2,
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
        if found is None:
            return Score(value=0.0, answer=None, explanation="there is no box")
        right, why = await compared(found, target.text)
        return Score(value=1.0 if right else 0.0, answer=found, explanation=why or None)

    return score


def ready() -> None:
    """Raises ConfigError where math-verify is missing."""
    if not algebra.there():
        raise ConfigError('answers of mathematics need math-verify: pip install "mixtura[eval]"')


async def compared(answer: str, target: str) -> tuple[bool, str]:
    """Whether they are the same; what cannot be compared in time is not, and that is said."""
    try:
        return await anyio.to_thread.run_sync(same, answer, target), ""
    except algebra.UndecidedError as error:
        return False, f"counted as wrong: {error}"


def boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` behind all thoughts holds; None without a whole one."""
    text = without_thoughts(text)
    starts = list(re.finditer(r"\\f?box(?:ed)?\s*", text))
    if not starts:
        return None
    rest = text[starts[-1].end() :]
    if not rest.startswith("{"):
        return re.split(r"[\s$.,]", rest, maxsplit=1)[0] or None
    inside = group(rest, 0)
    return None if inside is None else inside.strip()
