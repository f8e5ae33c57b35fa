"""Every candidate alone on the searched prompts: its answers and its scores, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixtura.core.errors import MixturaError
from mixtura.core.text import to_one_line
from mixtura.evals.log_reader import LoggedEvaluation
from mixtura.selection.measurements import Evaluator
from mixtura.selection.prompts import PromptSplit
from mixtura.selection.search import Measurement
from mixtura.selection.stage_progress import OnStageProgress, stage_reporter


@dataclass(frozen=True, slots=True)
class CandidateAnswers:
    """Candidates that answered: *alone*, their scores on every slice, and their first *texts*."""

    alone: Mapping[str, tuple[Measurement, ...]]
    texts: Mapping[str, list[str | None]]


@dataclass(frozen=True, slots=True)
class CandidateCollector:
    """Has candidates answer; those that answer nothing are left out, with a warning."""

    evaluator: Evaluator
    prompts: PromptSplit
    draws: int
    watch: OnStageProgress | None
    warnings: list[str]

    def collect_answers(self, names: Sequence[str]) -> CandidateAnswers:
        """Raises MixturaError where fewer than two answer, SelectionCapError at the cap."""
        answered = {name: self._answer_slices(name) for name in names}
        # A prompt without an answer is only a missing score. A model without any would enter every
        # race and take its partners' calls with it.
        there = {
            n: f for n, f in answered.items() if any(a.has_answer for c in f for a in c.answers)
        }
        for name in names:
            if name not in there:
                why = to_one_line(answered[name][0].answers[0].missing)
                self.warnings.append(f"{name} is left out, since it gave no answer: {why}")
        if len(there) < 2:
            raise MixturaError(f"fewer than two candidates answered. {' '.join(self.warnings)}")
        if self.evaluator.scoring_mode == "win rate":
            self._find_reference(there)
        return CandidateAnswers(
            {name: self._measure_slices(parts) for name, parts in there.items()},
            {name: _first_texts(parts) for name, parts in there.items()},
        )

    def _answer_slices(self, name: str) -> list[LoggedEvaluation]:
        total = self.prompts.searched_count * self.draws
        evaluations: list[LoggedEvaluation] = []
        for part in self.prompts.slices:
            before = sum(len(one.answers) for one in evaluations)
            report = stage_reporter(self.watch, f"{name}, alone", before, total)
            evaluations.append(self.evaluator.evaluate_alone(name, part, report))
        return evaluations

    def _find_reference(self, answered: Mapping[str, Sequence[LoggedEvaluation]]) -> None:
        """The best of the first slice, where all are judged beside the first candidate."""
        # Beside a weak reference every candidate wins, and no verdict tells them apart: it is to be
        # the best of them, and to find that one the first candidate will do.
        self.evaluator.reference = next(iter(answered))
        part = self.prompts.slices[0]
        scores = {
            name: self.evaluator.measure_answers(evaluations[0], part).score or 0.0
            for name, evaluations in answered.items()
        }
        self.evaluator.reference = max(scores, key=scores.__getitem__)

    def _measure_slices(self, evaluations: Sequence[LoggedEvaluation]) -> tuple[Measurement, ...]:
        return tuple(
            self.evaluator.measure_answers(one, part)
            for one, part in zip(evaluations, self.prompts.slices, strict=True)
        )


def _first_texts(evaluations: Sequence[LoggedEvaluation]) -> list[str | None]:
    """A candidate's first answer to each prompt."""
    return [
        one.text if one.has_answer else None
        for contender in evaluations
        for one in sorted(contender.answers, key=lambda one: one.sample)
        # The first draw alone: every candidate has one, so they are compared on as many texts each.
        if one.epoch == 1
    ]
