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
    A task: *made* by that function, with rows from *home* where no one names a file.

    *takes*: the words of ``EvalRequest`` that it knows; *given*: those of them that its function
    takes, under the same names. *judged*: no score without a judge. *turns*: answers to one
    sample. *found*: what its answers say besides the score.
    """

    made: Callable[..., Task]
    home: str | None = None
    takes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    judged: bool = False
    turns: int = 1
    verdicts: VerdictCounts = NO_VERDICTS
    beside: tuple[str, ...] = ()
    """Whose answers stand beside where no one says."""
    rows_beside: bool = False
    """Whether a file of answers that stand beside has the questions, too."""
    found: Callable[[Sequence[EvalSample], JudgeContext], Findings] = _no_findings


TASK_SPECS: Mapping[str, TaskSpec] = {
    "gsm8k": TaskSpec(made=gsm8k.gsm8k, home=gsm8k.HOME),
    "math": TaskSpec(made=mathematics.math, home=mathematics.HOME),
    "ifeval": TaskSpec(made=ifeval.ifeval, home=ifeval.HOME, found=ifeval.collect_findings),
    "humaneval": TaskSpec(made=humaneval.humaneval, home=humaneval.HOME),
    "jsonl": TaskSpec(
        made=jsonl.jsonl,
        takes=("judge", "rubric", "scoring"),
        given=("rubric", "scoring"),
        verdicts=VerdictCounts(alone=1),
    ),
    "mt-bench": TaskSpec(
        made=mt_bench.mt_bench,
        home=mt_bench.HOME,
        takes=("judge", "references", "against", "labels"),
        given=("references",),
        judged=True,
        turns=2,
        verdicts=VerdictCounts(alone=2, against=4),
        found=mt_bench.collect_findings,
    ),
    "flask": TaskSpec(
        made=flask.flask,
        home=flask.HOME,
        takes=("judge", "skills", "labels"),
        given=("skills",),
        judged=True,
        verdicts=VerdictCounts(alone=1),
        found=flask.collect_findings,
    ),
    "alpaca-eval": TaskSpec(
        made=alpaca_eval.alpaca_eval,
        home=alpaca_eval.HOME,
        takes=("judge", "against", "outputs", "template", "difficulty", "gamed", "labels"),
        given=("outputs", "template"),
        judged=True,
        verdicts=VerdictCounts(1, 1),
        beside=(alpaca_eval.BASELINE,),
        rows_beside=True,
        found=alpaca_eval.collect_findings,
    ),
    "arena-hard": TaskSpec(
        made=arena_hard.arena_hard,
        home=arena_hard.HOME,
        takes=("judge", "against", "labels"),
        judged=True,
        verdicts=VerdictCounts(2, 2),
        beside=tuple(arena_hard.BASELINES.values()),
        found=arena_hard.collect_findings,
    ),
}
ENTRY_POINT_GROUP = "mixtura.tasks"
"""Other packages add a task by an entry point of this group that names its `TaskSpec`."""


def find_task(name: str) -> TaskSpec | None:
    """The task of that name; None where there is none. Raises ConfigError: a broken package."""
    return TASK_SPECS.get(name) or load_entry_point(ENTRY_POINT_GROUP, name, TaskSpec)


def task_spec(name: str) -> TaskSpec:
    """The task of that name. Raises ConfigError where there is none."""
    if (found := find_task(name)) is None:
        others = [
            other for other in find_entry_points(ENTRY_POINT_GROUP) if other not in TASK_SPECS
        ]
        names = ", ".join((*TASK_SPECS, *sorted(others)))
        raise ConfigError(f"no task is called '{name}'; there is: {names}")
    return found
