"""Which tasks there are, and what each of them needs and takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from inspect_ai.log import EvalSample

from mixtura.evals.findings import Findings, Side
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


class Verdicts(NamedTuple):
    """How often the judge is asked about a sample."""

    alone: int = 0
    against: int = 0
    """Where there is another's answer to compare with."""


NO_VERDICTS = Verdicts()


def _nothing(samples: Sequence[EvalSample], side: Side) -> Findings:  # noqa: ARG001
    return Findings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """
    A task: *made* by that function, with rows from *home* where no one names a file.

    *takes*: the words of ``run.Asked`` that it knows; *given*: those of them that its function
    takes, under the same names. *judged*: no score without a judge. *turns*: answers to one
    sample. *found*: what its answers say besides the score.
    """

    made: Callable[..., Task]
    home: str | None = None
    takes: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    judged: bool = False
    turns: int = 1
    verdicts: Verdicts = NO_VERDICTS
    beside: tuple[str, ...] = ()
    """Whose answers stand beside where no one says."""
    rows_beside: bool = False
    """Whether a file of answers that stand beside has the questions, too."""
    found: Callable[[Sequence[EvalSample], Side], Findings] = _nothing


KINDS: Mapping[str, Kind] = {
    "gsm8k": Kind(made=gsm8k.gsm8k, home=gsm8k.HOME),
    "math": Kind(made=mathematics.math, home=mathematics.HOME),
    "ifeval": Kind(made=ifeval.ifeval, home=ifeval.HOME, found=ifeval.found),
    "humaneval": Kind(made=humaneval.humaneval, home=humaneval.HOME),
    "jsonl": Kind(
        made=jsonl.jsonl,
        takes=("judge", "rubric", "scoring"),
        given=("rubric", "scoring"),
        verdicts=Verdicts(alone=1),
    ),
    "mt-bench": Kind(
        made=mt_bench.mt_bench,
        home=mt_bench.HOME,
        takes=("judge", "references", "against", "labels"),
        given=("references",),
        judged=True,
        turns=2,
        verdicts=Verdicts(alone=2, against=4),
        found=mt_bench.found,
    ),
    "flask": Kind(
        made=flask.flask,
        home=flask.HOME,
        takes=("judge", "skills", "labels"),
        given=("skills",),
        judged=True,
        verdicts=Verdicts(alone=1),
        found=flask.found,
    ),
    "alpaca-eval": Kind(
        made=alpaca_eval.alpaca_eval,
        home=alpaca_eval.HOME,
        takes=("judge", "against", "outputs", "template", "difficulty", "gamed", "labels"),
        given=("outputs", "template"),
        judged=True,
        verdicts=Verdicts(1, 1),
        beside=(alpaca_eval.BASELINE,),
        rows_beside=True,
        found=alpaca_eval.found,
    ),
    "arena-hard": Kind(
        made=arena_hard.arena_hard,
        home=arena_hard.HOME,
        takes=("judge", "against", "labels"),
        judged=True,
        verdicts=Verdicts(2, 2),
        beside=tuple(arena_hard.BASELINES.values()),
        found=arena_hard.found,
    ),
}
