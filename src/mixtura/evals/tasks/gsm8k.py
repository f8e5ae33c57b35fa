"""GSM8K: grade-school mathematics; the answer is a number (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

import re
from decimal import Decimal

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState, generate, prompt_template

from mixtura.evals.tasks.source import Row, samples

HOME = (
    "https://raw.githubusercontent.com/openai/grade-school-math/master"
    "/grade_school_math/data/test.jsonl"
)
PROMPT = """{prompt}

Work it out step by step. Then write the result on a line of its own, the number alone:
Answer: NUMBER"""

_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?")
_ANNOUNCED = re.compile(r"(?:answer\s*(?:is\b|[:=])|####)(.*)", re.IGNORECASE)
_TOO_LONG = 40


@task
def gsm8k(data: str | None = None, seed: int | None = None) -> Task:
    """Rows with `question` and `answer`; the target is the number behind `####`."""
    return Task(
        dataset=samples("gsm8k", data or HOME, _sample, seed=seed),
        solver=[prompt_template(PROMPT), generate()],
        scorer=same_number(),
        version=1,
    )


def _sample(row: Row) -> Sample:
    reasoning, mark, target = row["answer"].rpartition("####")
    if not mark or number(target) is None:
        raise ValueError("`answer` has no number after ####")
    return Sample(
        input=row["question"], target=target.strip(), metadata={"reasoning": reasoning.strip()}
    )


@scorer(metrics=[accuracy()])
def same_number() -> Scorer:
    async def score(state: TaskState, target: Target) -> Score:
        found = number(state.output.completion)
        return Score(
            value=1.0 if found is not None and found == number(target.text) else 0.0,
            answer=None if found is None else str(found),
        )

    return score


def number(text: str) -> Decimal | None:
    """The number that an answer ends in: the last one that is announced, else the last one."""
    for said in reversed(_ANNOUNCED.findall(text.replace("*", ""))):
        if found := _numbers(said.rpartition("=")[2]):
            return found[0]
    found = _numbers(text)
    return found[-1] if found else None


def _numbers(text: str) -> list[Decimal]:
    found = [n.replace(",", "") for n in _NUMBER.findall(text) if any(map(str.isdigit, n))]
    return [Decimal(n) for n in found if n.isascii() and len(n) <= _TOO_LONG]
