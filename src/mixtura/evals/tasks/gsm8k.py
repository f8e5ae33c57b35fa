"""GSM8K: grade-school mathematics; the answer is a number (Cobbe et al. 2021, arXiv 2110.14168)."""

from __future__ import annotations

from fractions import Fraction

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, Scorer, Target, accuracy, scorer
from inspect_ai.solver import TaskState

from mixtura.evals.tasks.dataset import Row, load_samples, prompted_task, text_field
from mixtura.patterns import final_answer
from mixtura.patterns.numbers import is_single_number

HOME = (
    "https://raw.githubusercontent.com/openai/grade-school-math/master"
    "/grade_school_math/data/test.jsonl"
)
PROMPT = """{prompt}

Work it out step by step. Then write the result on a line of its own, the number alone:
Answer: NUMBER"""


@task
def gsm8k(data: str | None = None, seed: int | None = None) -> Task:
    """Rows with `question` and `answer`; the target is the number behind `####`.

    Raises ConfigError, with the file and the line, for rows that cannot be read.
    """
    samples = load_samples("gsm8k", data or HOME, _row_to_sample, seed=seed)
    return prompted_task(samples, PROMPT, same_number(), version=2)


def _row_to_sample(row: Row) -> Sample:
    question, answer = text_field(row, "question"), row.get("answer")
    answer = str(answer) if type(answer) in (int, float) else text_field(row, "answer")
    reasoning, mark, target = answer.rpartition("####")
    if extract_fraction(target) is None or not (mark or is_single_number(target)):
        raise ValueError("`answer` must be a number, or end with #### and a number")
    return Sample(input=question, target=target.strip(), metadata={"reasoning": reasoning.strip()})


@scorer(metrics=[accuracy()])
def same_number() -> Scorer:
    """1 where the answer comes to the target's number, else 0."""

    async def score(state: TaskState, target: Target) -> Score:
        number = extract_fraction(state.output.completion)
        return Score(
            value=1.0 if number is not None and number == extract_fraction(target.text) else 0.0,
            answer=None if number is None else str(number),
        )

    return score


def extract_fraction(text: str) -> Fraction | None:
    """The number that an answer comes to, found as a vote finds it (`patterns.final_answer`)."""
    number = final_answer.extract_number(text)
    return None if number is None else Fraction(number)
