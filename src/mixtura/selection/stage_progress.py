"""Progress of a selection: which stage it is at, and how many answers have come."""

from __future__ import annotations

from collections.abc import Callable

from mixtura.evals.sample_progress import EvalProgress, OnProgress

OnStageProgress = Callable[[str, EvalProgress], None]
"""Called with the label of a stage and its progress."""


def stage_reporter(
    watch: OnStageProgress | None, label: str, before: int = 0, total: int | None = None
) -> OnProgress | None:
    """A callback for one evaluation of a stage, where *before* answers of *total* came earlier.

    None where no one watches; without *total* the evaluation is the whole stage.
    """
    if watch is None:
        return None

    def report_progress(progress: EvalProgress) -> None:
        whole = progress.total if total is None else total
        watch(label, EvalProgress(before + progress.done, whole, progress.failed))

    return report_progress
