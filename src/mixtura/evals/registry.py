"""Which tasks there are, and what each of them needs and takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from inspect_ai.log import EvalSample

from mixtura.catalog.entry_points import find_entry_points, load_entry_point
from mixtura.core.errors import ConfigError
from mixtura.evals.findings import Findings, JudgeContext
from mixtura.evals.tasks import (
    alpaca_eval,
    arena_hard,
    flask,
    gsm8k,
    humaneval,
    ifeval,
    jsonl,
    mt_bench,
)
from mixtura.evals.tasks import math as mathematics

if TYPE_CHECKING:
    from inspect_ai import Task


class VerdictCounts(NamedTuple):
    """How often the judge is asked about a sample."""

    alone: int = 0
    against: int = 0
    """Where there is another's answer to compare with."""


NO_VERDICTS = VerdictCounts()


def _no_findings(samples: Sequence[EvalSample], side: JudgeContext) -> Findings:  # noqa: ARG001
    return Findings()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """
    A task: *create_task* makes it, with rows from *default_data* where no one names a file.

    *options*: the fields of ``EvalRequest`` that it knows; *arguments*: those of them that
    *create_task* takes, under the same names. *needs_judge*: no score without a judge. *turns*:
    answers to one sample. *collect_findings*: what its answers say besides the score.
    """

    create_task: Callable[..., Task]
    default_data: str | None = None
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    needs_judge: bool = False
    turns: int = 1
    verdicts: VerdictCounts = NO_VERDICTS
    baselines: tuple[str, ...] = ()
    """Whose answers the model's are compared with where no one says."""
    baseline_has_rows: bool = False
    """Whether a file of the baseline's answers has the questions, too."""
    collect_findings: Callable[[Sequence[EvalSample], JudgeContext], Findings] = _no_findings


TASK_SPECS: Mapping[str, TaskSpec] = {
    "gsm8k": TaskSpec(create_task=gsm8k.gsm8k, default_data=gsm8k.HOME),
    "math": TaskSpec(create_task=mathematics.math, default_data=mathematics.HOME),
    "ifeval": TaskSpec(
        create_task=ifeval.ifeval,
        default_data=ifeval.HOME,
        collect_findings=ifeval.collect_findings,
    ),
    "humaneval": TaskSpec(create_task=humaneval.humaneval, default_data=humaneval.HOME),
    "jsonl": TaskSpec(
        create_task=jsonl.jsonl,
        options=("judge", "rubric", "scoring"),
        arguments=("rubric", "scoring"),
        verdicts=VerdictCounts(alone=1),
    ),
    "mt-bench": TaskSpec(
        create_task=mt_bench.mt_bench,
        default_data=mt_bench.HOME,
        options=("judge", "references", "against", "labels"),
        arguments=("references",),
        needs_judge=True,
        turns=2,
        verdicts=VerdictCounts(alone=2, against=4),
        collect_findings=mt_bench.collect_findings,
    ),
    "flask": TaskSpec(
        create_task=flask.flask,
        default_data=flask.HOME,
        options=("judge", "skills", "labels"),
        arguments=("skills",),
        needs_judge=True,
        verdicts=VerdictCounts(alone=1),
        collect_findings=flask.collect_findings,
    ),
    "alpaca-eval": TaskSpec(
        create_task=alpaca_eval.alpaca_eval,
        default_data=alpaca_eval.HOME,
        options=("judge", "against", "outputs", "template", "difficulty", "gamed", "labels"),
        arguments=("outputs", "template"),
        needs_judge=True,
        verdicts=VerdictCounts(1, 1),
        baselines=(alpaca_eval.BASELINE,),
        baseline_has_rows=True,
        collect_findings=alpaca_eval.collect_findings,
    ),
    "arena-hard": TaskSpec(
        create_task=arena_hard.arena_hard,
        default_data=arena_hard.HOME,
        options=("judge", "against", "labels"),
        needs_judge=True,
        verdicts=VerdictCounts(2, 2),
        baselines=tuple(arena_hard.BASELINES.values()),
        collect_findings=arena_hard.collect_findings,
    ),
}
ENTRY_POINT_GROUP = "mixtura.tasks"
"""Other packages add a task by an entry point of this group that names its `TaskSpec`."""


def find_task(name: str) -> TaskSpec | None:
    """The task of that name; None where there is none. Raises ConfigError: a broken package."""
    return TASK_SPECS.get(name) or load_entry_point(ENTRY_POINT_GROUP, name, TaskSpec)


def task_spec(name: str) -> TaskSpec:
    """The task of that name. Raises ConfigError where there is none."""
    if (spec := find_task(name)) is None:
        others = [
            other for other in find_entry_points(ENTRY_POINT_GROUP) if other not in TASK_SPECS
        ]
        names = ", ".join((*TASK_SPECS, *sorted(others)))
        raise ConfigError(f"no task is called '{name}'; the tasks are {names}")
    return spec
