"""IFEval: prompts with instructions that a program can check (Zhou et al. 2023, 2311.07911)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalSample
from inspect_ai.scorer import SampleScore, Score, Scorer, Target, Value, metric, scorer
from inspect_ai.solver import TaskState, generate

from mixtura.evals.findings import Findings, JudgeContext, score_metadata
from mixtura.evals.tasks.dataset import Row, list_field, load_samples, text_field
from mixtura.evals.tasks.ifeval_checks import check_arguments, follows_instruction, follows_loosely

HOME = (
    "https://raw.githubusercontent.com/google-research/google-research/master"
    "/instruction_following_eval/data/input_data.jsonl"
)
STRICT, LOOSE = "strict", "loose"
STRICTNESS_CHECKS: Mapping[str, Callable[[str, Mapping[str, Any], str], bool]] = {
    STRICT: follows_instruction,
    LOOSE: follows_loosely,
}


@task
def ifeval(data: str | None = None, seed: int | None = None) -> Task:
    """Rows with `prompt`, `instruction_id_list` and `kwargs`; the prompt is asked as it is.

    Raises ConfigError, with the file and the line, for rows that cannot be read.
    """
    return Task(
        dataset=load_samples("ifeval", data or HOME, _row_to_sample, seed=seed),
        solver=generate(),
        scorer=instructions_followed(),
        version=1,
    )


def _row_to_sample(row: Row) -> Sample:
    names = list_field(row, "instruction_id_list", str)
    arguments = list_field(row, "kwargs", dict)
    if not names:
        raise ValueError("`instruction_id_list` is empty: there is nothing to check")
    if len(names) != len(arguments):
        raise ValueError("it must have as many `kwargs` as instructions")
    stated = [{key: value for key, value in one.items() if value is not None} for one in arguments]
    # Before a model is asked: an instruction that cannot be checked would be found after it is
    # paid.
    for name, one in zip(names, stated, strict=True):
        check_arguments(name, one)
    about = {"instructions": names, "given": stated}
    return Sample(input=text_field(row, "prompt"), id=row.get("key"), metadata=about)


@metric
def instruction_accuracy(manner: str):
    """The share of all instructions that are followed, however they share prompts."""

    def share(scores: list[SampleScore]) -> Value:
        return instruction_share([cast(Row, score.score.metadata) for score in scores], manner)

    return share


@metric
def prompt_accuracy(manner: str):
    """The share of prompts of which every instruction is followed."""

    def share(scores: list[SampleScore]) -> Value:
        rows = [cast(Row, score.score.metadata)[manner] for score in scores]
        return sum(map(all, rows)) / len(rows) if rows else 0.0

    return share


def instruction_share(rows: Sequence[Mapping[str, Any]], manner: str) -> float:
    """The share of all instructions of *rows* that are followed, *manner* being strict or loose."""
    each = [followed for row in rows for followed in row[manner]]
    return sum(each) / len(each) if each else 0.0


def collect_findings(samples: Sequence[EvalSample], side: JudgeContext) -> Findings:  # noqa: ARG001
    """The four scores of the paper: of prompts and of instructions, strictly and loosely."""
    rows = [row for row in map(score_metadata, samples) if row]
    shares: dict[str, float] = {}
    for manner in STRICTNESS_CHECKS if rows else ():
        shares[f"prompt_{manner}"] = sum(all(row[manner]) for row in rows) / len(rows)
        shares[f"instruction_{manner}"] = instruction_share(rows, manner)
    return Findings(figures=shares)


@scorer(
    metrics=[
        prompt_accuracy(STRICT),
        instruction_accuracy(STRICT),
        prompt_accuracy(LOOSE),
        instruction_accuracy(LOOSE),
    ]
)
def instructions_followed() -> Scorer:
    """1 where every instruction is followed to the letter; the metadata has each of them."""

    async def score(state: TaskState, target: Target) -> Score:  # noqa: ARG001
        answer = state.output.completion
        pairs = list(zip(state.metadata["instructions"], state.metadata["given"], strict=True))
        followed = {
            manner: [check(name, arguments, answer) for name, arguments in pairs]
            for manner, check in STRICTNESS_CHECKS.items()
        }
        missed = [name for (name, _), done in zip(pairs, followed[STRICT], strict=True) if not done]
        return Score(
            value=1.0 if all(followed[STRICT]) else 0.0,
            explanation=f"not followed: {', '.join(missed)}" if missed else "all followed",
            metadata=followed,
        )

    return score
