"""How far the proposals behind an evaluation's answers agree, and whether right answers show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from inspect_ai.log import EvalSample

from mixtura.core.text import to_one_line
from mixtura.evals import log_reader
from mixtura.evals.findings import TableRow, mean_table
from mixtura.evals.statistics import intervals
from mixtura.evals.statistics.calibration import RIGHT_SCORE, BoundedFigure, auroc, with_bounds

NO_NUMBER = "no number"
_LEVELS = ("100 %", "50 to 99 %", "below 50 %", NO_NUMBER)


class AgreementFigures(NamedTuple):
    """
    The agreement numbers of *n* answers: their *mean*, with its 95 % interval over prompts.

    *auroc*: the chance that of a right answer and a wrong one the right one has the higher number,
    ties half; None where there are not both. *without*: why other answers have no number, and how
    many of them.
    """

    n: int
    mean: float | None
    low: float | None
    high: float | None
    auroc: float | None
    auroc_low: float | None
    auroc_high: float | None
    without: Mapping[str, int]


def summarize_agreement(samples: Sequence[EvalSample]) -> AgreementFigures | None:
    """The figures of *samples*; None where no agreement was asked for."""
    rows: dict[str, list[float | None]] = {}
    without: Counter[str] = Counter()
    known: list[tuple[str, float, float]] = []
    for sample in samples:
        found = log_reader.sample_agreement(sample)
        if found is None:
            continue
        rows.setdefault(str(sample.id), []).append(found.number)
        if found.number is None:
            without[to_one_line(found.reason or NO_NUMBER)] += 1
        elif (score := log_reader.score_or_reason(sample)[0]) is not None:
            known.append((str(sample.id), found.number, float(score >= RIGHT_SCORE)))
    if not rows:
        return None
    low, mean, high = intervals.mean_interval(list(rows.values()))
    area = _measure_auroc(known)
    return AgreementFigures(
        sum(one is not None for row in rows.values() for one in row),
        mean, low, high, area.value, area.low, area.high, dict(without.most_common()),
    )  # fmt: skip


def _measure_auroc(known: Sequence[tuple[str, float, float]]) -> BoundedFigure:
    if not known:
        return BoundedFigure(None)
    prompts, numbers, right = zip(*known, strict=True)
    return with_bounds(auroc, prompts, np.array(numbers), np.array(right))


def score_by_agreement(samples: Sequence[EvalSample], most: float) -> tuple[TableRow, ...]:
    """The mean score, in a scale up to *most*, of answers with about the same agreement number."""
    pairs = [
        (_level_name(found.number), log_reader.score_or_reason(sample)[0])
        for sample in samples
        if (found := log_reader.sample_agreement(sample)) is not None
    ]
    return mean_table(sorted(pairs, key=lambda pair: _LEVELS.index(pair[0])), most)


def _level_name(number: float | None) -> str:
    if number is None:
        return NO_NUMBER
    return _LEVELS[0] if number == 1 else _LEVELS[1] if number >= 0.5 else _LEVELS[2]
