"""What members answered, as tables of numbers: equal numbers for equal final answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mixtura.evals.log_reader import LoggedEvaluation, SampleAnswer
from mixtura.patterns.final_answer import EXTRACTORS, Extract
from mixtura.selection.counting import NO_ANSWER, DrawTable


def build_draw_table(
    answers: Mapping[str, Sequence[LoggedEvaluation]], kind: Extract, draws: int
) -> DrawTable:
    """By member, its evaluations on parts of the prompts, in their order; *kind*: what is counted.

    Every member answered the same prompts, each *draws* times.
    """
    rows = [[_prompt_rows(one, draws) for one in parts] for parts in answers.values()]
    members = [[row for part in parts for row in part] for parts in rows]
    count = len(members[0])
    labels = np.full((count, len(members), draws), NO_ANSWER)
    scores = np.full(labels.shape, math.nan)
    lengths = np.zeros(labels.shape)
    for prompt in range(count):
        numbers: dict[str, int] = {}
        for i, member in enumerate(members):
            for j, answer in enumerate(member[prompt]):
                if answer is None:
                    continue
                # What was cut off counts only where all were, which then is no answer here.
                found = None if answer.cut else EXTRACTORS[kind](answer.text)
                if found is not None:
                    labels[prompt, i, j] = numbers.setdefault(found, len(numbers))
                lengths[prompt, i, j] = len(answer.text)
                scores[prompt, i, j] = math.nan if answer.score is None else answer.score
    every = [[one for part in parts for one in part.answers] for parts in answers.values()]
    return DrawTable(
        tuple(answers),
        labels,
        scores,
        tuple(_mean_of_known([one.cost_usd for one in row if one.has_answer]) for row in every),
        tuple(
            _mean_of_known([one.duration_seconds for one in row if one.has_answer]) for row in every
        ),
        lengths,
    )


def _prompt_rows(evaluation: LoggedEvaluation, draws: int) -> list[list[SampleAnswer | None]]:
    """The draws of each prompt in the order of the file; None for one that failed."""
    rows: dict[str, list[SampleAnswer | None]] = {}
    for one in sorted(evaluation.answers, key=lambda one: (one.sample, one.epoch)):
        row = rows.setdefault(one.sample, [None] * draws)
        row[one.epoch - 1] = one if one.has_answer else None
    return list(rows.values())


def _mean_of_known(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
