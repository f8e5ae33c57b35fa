"""A search for a team, performed: what it asks for is measured, as far as the cap has room."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixtura.core.errors import BudgetExceededError
from mixtura.core.text import pluralize_count
from mixtura.selection import search
from mixtura.selection.candidates import CandidateAnswers, CandidateCollector
from mixtura.selection.measurements import Evaluator, SelectionCapError, SelectionTerms
from mixtura.selection.prompts import PromptSplit
from mixtura.selection.search import Measurement, Search, Team, Trial, pool_measurements
from mixtura.selection.stage_progress import OnStageProgress, stage_reporter

_ENDED_EARLY = "the cap ended the search early: continue with a higher --max-cost"


@dataclass(frozen=True, slots=True)
class TeamSearch:
    """Teams measured on the prompts to search with."""

    evaluator: Evaluator
    terms: SelectionTerms
    prompts: PromptSplit
    watch: OnStageProgress | None
    warnings: list[str]

    def collect_answers(
        self, names: Sequence[str], *, kept_share: float, before: str
    ) -> CandidateAnswers:
        """
        What each of *names* answers alone; *kept_share* of the cap is kept for what follows.

        Raises MixturaError where fewer than two answer, BudgetExceededError where the cap ends it,
        *before* what.
        """
        cap = self.terms.max_cost
        self.evaluator.reserve = 0.0 if cap is None else cap * kept_share
        try:
            return CandidateCollector(
                self.evaluator, self.prompts, self.terms.draws_per_candidate, self.watch,
                self.warnings,
            ).collect_answers(names)  # fmt: skip
        except SelectionCapError as error:
            raise budget_exceeded_error(error, before) from None

    def _begin_search(self, alone: Mapping[str, tuple[Measurement, ...]]) -> Search:
        def sort_key(name: str) -> float:
            value = pool_measurements(alone[name]).score
            return math.inf if value is None else -value

        return search.begin_search(
            Search(
                models=tuple(sorted(alone, key=sort_key)),
                size=self.terms.size,
                slices=tuple(part.prompts for part in self.prompts.slices),
                aggregator=self.terms.aggregator,
                bounds=self.terms.bounds,
                beam=self.terms.beam,
            )
        )

    def search_teams(self, alone: Mapping[str, tuple[Measurement, ...]]) -> Search:
        """The search at its end, or where the cap ended it: then there is a warning."""
        state = self._begin_search(alone)
        while trials := search.next_trials(state):
            try:
                state = self.measure_trials(state, trials, _stage_label(state))
            except SelectionCapError:
                self.warn_ended_early()
                break
        return state

    def measure_trials(self, state: Search, trials: Sequence[Trial], label: str) -> Search:
        """The search with the measurements of *trials*. Raises SelectionCapError at the cap."""
        results: dict[Team, Measurement] = {}
        total = sum(self.prompts.slices[trial.slice].prompts for trial in trials)
        before = 0
        for team, number in trials:
            part = self.prompts.slices[number]
            report = stage_reporter(self.watch, label, before, total)
            results[team] = self.evaluator.measure_answers(
                self.evaluator.evaluate_team(team, part, report), part
            )
            before += part.prompts
        return search.with_results(state, results)

    @property
    def ended_early(self) -> bool:
        """Whether the cap ended it."""
        return _ENDED_EARLY in self.warnings

    def warn_ended_early(self) -> None:
        """Say once that the cap ended it."""
        if not self.ended_early:
            self.warnings.append(_ENDED_EARLY)


def budget_exceeded_error(error: BudgetExceededError, what: str) -> BudgetExceededError:
    return BudgetExceededError(f"{error} before {what}: continue with a higher --max-cost")


def _stage_label(state: Search) -> str:
    race = state.race
    assert race is not None
    stages = {
        "aggregators": "aggregators",
        "single-proposer": "several answers of one model",
        "members": f"teams of {len(race.teams[0].members)}",
        "swaps": "the best team with one member changed",
        "rewritten": "the best team, written by others",
    }
    turn = f"round {race.slice + 1} of {len(state.slices)}"
    return f"{stages[race.stage]}, {turn} ({pluralize_count(len(race.teams), 'team')})"
