"""Progress of an evaluation: samples done, failed and in all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mixtura.evals.prepare import PreparedEval
from mixtura.evals.tasks import grader


class EvalProgress(NamedTuple):
    """Samples done, samples in all, and those of the done ones that have no answer."""

    done: int
    total: int
    failed: int


OnProgress = Callable[[EvalProgress], None]


class SampleCounter:
    """
    Counts finished samples and reports each to *watch*: a judged one is finished once the judge
    has answered, any other once it is answered itself.
    """

    def __init__(self, ready: PreparedEval, watch: OnProgress | None) -> None:
        self._last = grader.JUDGED_MARK if ready.task_spec.needs_judge else ready.name
        self._model = ready.name
        self._watch = watch
        self._done = set(ready.kept)
        self._total = ready.total
        self._failed = 0
        self._report_progress()

    def record_call(self, model: str, sample: str, epoch: int, failed: bool) -> None:
        """A call of *model* for a sample is over."""
        # A model that failed has given nothing that a judge could read.
        over = model == self._last or (failed and model == self._model)
        if over and (sample, epoch) not in self._done:
            self._done.add((sample, epoch))
            self._failed += failed
            self._report_progress()

    def _report_progress(self) -> None:
        if self._watch:
            self._watch(EvalProgress(len(self._done), self._total, self._failed))
