"""Confidence against outcomes: does the support of an answer say whether it is right?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from mixtura.core.agreement import Support, SupportSource
from mixtura.evals.log_reader import LoggedEvaluation, SampleAnswer
from mixtura.evals.statistics.calibration import (
    RIGHT_SCORE,
    BoundedFigure,
    RecordedOutcome,
    auroc,
    calibration_error,
    cross_fit,
    reliability_bins,
    with_bounds,
)
from mixtura.reports.rows import Row
from mixtura.reports.runs import TaskRuns, contender_label

MIN_ANSWERS = 30
"""Answers with support and a score from which on a contender is in the analysis."""


def recorded_outcomes(contender: LoggedEvaluation) -> dict[SupportSource, list[RecordedOutcome]]:
    """Its answers that have support and a score, by what their support is a share of."""
    return _collect_outcomes(contender, lambda answer: [answer.support])


def _collect_outcomes(
    contender: LoggedEvaluation, measures: Callable[[SampleAnswer], Iterable[Support | None]]
) -> dict[SupportSource, list[RecordedOutcome]]:
    found: dict[SupportSource, list[RecordedOutcome]] = {}
    for answer in contender.answers:
        for support in measures(answer):
            if support is not None and answer.score is not None:
                one = RecordedOutcome(
                    f"{contender.task} {answer.sample}", support.value,
                    answer.score >= RIGHT_SCORE,
                )  # fmt: skip
                found.setdefault(support.source, []).append(one)
    return found


def _all_measures(answer: SampleAnswer) -> list[Support | None]:
    """What the pattern counted, and the agreement number of an evaluation with `--agreement`."""
    number = answer.agreement
    if number is None or (answer.support and answer.support.source == "agreement"):
        return [answer.support]
    return [answer.support, Support("agreement", number)]


def confidence_rows(runs: TaskRuns) -> list[Row]:
    """AUROC and calibration error of each contender whose pattern counts something."""
    rows = (
        measure_outcomes(outcomes, source) | {"who": contender_label(one)}
        for one, source, outcomes in _iterate_counted(runs)
    )
    return sorted(rows, key=lambda row: -(row["auroc"] or 0.0))


def measure_outcomes(outcomes: list[RecordedOutcome], source: SupportSource) -> Row:
    """
    The figures of one set of outcomes. The error is that of confidences fitted without the prompt
    they are of; None, as the AUROC is, where all answers are right, or all wrong.
    """
    prompts = [one.prompt for one in outcomes]
    support = np.array([one.support for one in outcomes])
    right = np.array([float(one.right) for one in outcomes])
    area = with_bounds(auroc, prompts, support, right)
    known = [(i, value) for i, value in enumerate(cross_fit(outcomes)) if value is not None]
    error = BoundedFigure(None)
    if known:
        places = [i for i, _ in known]
        fitted = np.array([value for _, value in known])
        error = with_bounds(
            calibration_error, [prompts[i] for i in places], fitted, right[places],
            grows_with_chance=True,
        )  # fmt: skip
    return {
        "source": source,
        "auroc": area.value, "auroc_low": area.low, "auroc_high": area.high,
        "error": error.value, "error_low": error.low, "error_high": error.high,
        "right": float(right.mean()),
        "answers": len(outcomes),
    }  # fmt: skip


def reliability_rows(runs: TaskRuns) -> list[Row]:
    """The points of the reliability diagram: of each contender, bins of rising confidence."""
    rows: list[Row] = []
    for one, source, outcomes in _iterate_counted(runs):
        pairs = [
            (value, float(outcome.right))
            for value, outcome in zip(cross_fit(outcomes), outcomes, strict=True)
            if value is not None
        ]
        if not pairs:
            continue
        confidences, right = np.array(pairs).T
        rows += [
            {
                "who": contender_label(one), "source": source, "confidence": found.confidence,
                "right": found.right, "right_low": found.low, "right_high": found.high,
                "answers": found.answers,
            }
            for found in reliability_bins(confidences, right)
        ]  # fmt: skip
    return rows


def _iterate_counted(
    runs: TaskRuns,
) -> Iterator[tuple[LoggedEvaluation, SupportSource, list[RecordedOutcome]]]:
    for one in runs.contenders:
        for source, outcomes in _collect_outcomes(one, _all_measures).items():
            if len(outcomes) >= MIN_ANSWERS:
                yield one, source, outcomes
