"""A selection from beginning to end: answers collected, teams searched for, the winner judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mixtura.config.config import Config
from mixtura.core.errors import BudgetExceededError, ConfigError, MixturaError
from mixtura.evals import forecast
from mixtura.evals.comparison.baselines import VOTE_EXTRACTS
from mixtura.evals.judges import families
from mixtura.evals.tasks import jsonl
from mixtura.patterns.final_answer import EXTRACTORS, Extract
from mixtura.selection import outcome, search
from mixtura.selection.candidates import CandidateAnswers
from mixtura.selection.diversity import measure_diversity
from mixtura.selection.measurements import (
    Evaluator,
    SelectionCapError,
    SelectionTerms,
    list_prompts,
)
from mixtura.selection.outcome import HeldOutComparison, PromptCounts, SelectionResult
from mixtura.selection.pick import choose_team
from mixtura.selection.prompts import split_rows, write_split
from mixtura.selection.roles import model_roles
from mixtura.selection.search import Measurement, Search, Team, pool_measurements
from mixtura.selection.stage_progress import OnStageProgress, stage_reporter
from mixtura.selection.team_search import TeamSearch, budget_exceeded_error

HELD_OUT_RESERVE = 1 / 4
"""The share of a cap that is kept for the held-out prompts."""


def select_team(
    config: Config,
    names: Sequence[str],
    terms: SelectionTerms,
    *,
    watch: OnStageProgress | None = None,
) -> SelectionResult:
    """
    The best team of the candidates *names*. What an earlier run asked is not asked again.

    Raises ConfigError before anything is asked, BudgetExceededError where the cap leaves nothing
    to choose from, MixturaError where fewer than two candidates answer or no team scores.
    """
    check_selection(config, names, terms)
    # Asks nothing: a missing key is found before the other candidates are paid.
    for name in (*names, *([terms.judge] if terms.judge else [])):
        config.build_mixture(config.mixture_spec(name))
    rows = split_rows(
        terms.data, questions=list_prompts(terms), limit=terms.limit, seed=terms.seed,
        share=terms.held_out,
    )  # fmt: skip
    prompts = write_split(rows, terms.logs)
    evaluator = Evaluator(config, terms, prompts.folder, names)
    warnings = [*prompts.notes, *judge_family_warnings(config, names, terms.judge)]
    return _SelectionRun(evaluator, terms, prompts, watch, warnings).run_selection(list(names))


def judge_family_warnings(config: Config, names: Sequence[str], judge: str | None) -> Sequence[str]:
    """Warnings where the judge is of a candidate's family."""
    if judge is None:
        return ()
    ours = {
        model
        for name in names
        for model in families.plan_model_names(config, config.mixture_spec(name))
    }
    return families.find_family_overlap(
        families.plan_model_names(config, config.mixture_spec(judge)), ours, ()
    ).warnings


def check_selection(config: Config, names: Sequence[str], terms: SelectionTerms) -> None:
    """Raises ConfigError for candidates or settings that no selection can use."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"--models: {twice} is listed twice; the search draws several answers itself"
        )
    if len(names) < 2:
        raise ConfigError("at least two models are needed: --models A B …")
    for name in (*names, *([terms.judge] if terms.judge else [])):
        # These three letters make teams out of names: whatever a race composed would be read
        # otherwise.
        if any(letter in name for letter in ",>*"):
            raise ConfigError(
                f"--models: '{name}' is not the name of one model (, > and * make teams)"
            )
        config.mixture_spec(name)  # raises for an unknown one
    if terms.aggregator is not None and terms.aggregator not in names:
        raise ConfigError(f"--aggregator: {terms.aggregator} is not one of the candidates")
    if terms.bounds.dollars < math.inf:
        unknown = forecast.unpriced_models(config, [config.mixture_spec(name) for name in names])
        if unknown:
            raise ConfigError(
                f"--answer-cost: the price of {', '.join(unknown)} is unknown: give its `price` in"
                " the configuration"
            )
    if terms.judge in names:
        raise ConfigError(f"--judge: {terms.judge} is one of --models: name another judge")
    if terms.judge and terms.scoring:
        raise ConfigError(
            "--scoring is for answers that are checked, --judge for those that are not"
        )
    if terms.scoring == jsonl.UNSCORED:
        raise ConfigError(
            f"--scoring {terms.scoring}: without a score nobody can be chosen: name another one, or"
            " a --judge"
        )


def answer_kind(terms: SelectionTerms) -> Extract | None:
    """The kind of final answer by which answers can be counted; None where there is none."""
    if terms.scoring_mode != "score":
        return None
    return VOTE_EXTRACTS.get(terms.task or jsonl.default_scoring(terms.data, terms.scoring))


class _SelectionRun(TeamSearch):
    """One selection under way."""

    __slots__ = ()

    def run_selection(self, names: list[str]) -> SelectionResult:
        # The search would spend the whole cap and leave nothing to judge its winner with.
        candidates = self.collect_answers(
            names,
            kept_share=HELD_OUT_RESERVE,
            before="every candidate had answered every prompt",
        )
        state = self.search_teams(candidates.alone)
        team = choose_team(state, self.terms.goal)
        # Without one of its members a team may turn out better: then that one is chosen, and its
        # own members are to be explained.
        while team is not None and (trials := search.ablation_trials(state, team)):
            try:
                state = self.measure_trials(state, trials, "what each member adds")
            # Only the explanation is cut short: the team itself was measured on every slice.
            except SelectionCapError:
                self.warn_ended_early()
                break
            team = choose_team(state, self.terms.goal)
        if team is None:
            raise self._no_team_error(state)
        # Zero for everyone chooses no one, and it may be the scoring that is wrong, not the models.
        if not state.measurement_of(team).score:
            raise MixturaError(
                "no team scored a point, so there is none to choose: check the targets, --scoring"
                f" and the prompts (inspect view --log-dir {self.prompts.folder} shows the answers)"
                f"{_join_notes(self.evaluator.cut_answer_notes())}"
            )
        self.evaluator.reserve = 0.0
        try:
            return self._judge_winner(state, team, candidates)
        except SelectionCapError as error:
            raise budget_exceeded_error(
                error, "the held-out prompts had judged the winner"
            ) from None

    def _no_team_error(self, state: Search) -> MixturaError:
        if self.ended_early:
            error = BudgetExceededError("the cap is used up")
            return budget_exceeded_error(error, "any team was measured on all the prompts")
        if any(search.pool_measurements(parts).known_scores for parts in state.measured.values()):
            return ConfigError("no team meets --answer-cost and --answer-seconds: raise them")
        return MixturaError("no team has a score: see the logs in " + str(self.prompts.folder))

    # ---- the winner

    def _judge_winner(
        self,
        state: Search,
        team: Team,
        candidates: CandidateAnswers,
    ) -> SelectionResult:
        terms, evaluator = self.terms, self.evaluator
        whole = {name: pool_measurements(parts) for name, parts in candidates.alone.items()}
        different = measure_diversity(
            candidates.texts,
            {n: m.scores for n, m in whole.items() if m.known_scores},
            EXTRACTORS.get(answer_kind(terms) or ""),
        )
        held = self._measure_held_out(team)
        best = outcome.describe_best(state, team, held, whole, different)
        against = self._compare_held_out(state, team, held)
        return SelectionResult(
            task=terms.task or "jsonl",
            measure=evaluator.scoring_mode,
            judge=terms.judge,
            reference=evaluator.reference,
            goal=terms.goal,
            prompts=PromptCounts(self.prompts.searched_count, self.prompts.held_out.prompts),
            best=best,
            against=against,
            overfit=outcome.is_overfit(best),
            tried=outcome.tried_teams(state, whole),
            roles=model_roles(state, whole),
            diversity=different,
            calls=evaluator.calls,
            exhaustive_calls=self._exhaustive_calls(len(candidates.alone)),
            spent_usd=evaluator.spent_usd,
            capped=self.ended_early,
            warnings=(
                *self.warnings,
                *evaluator.cut_answer_notes(),
                *evaluator.notes,
                *_doubtful_comparisons(against),
            ),
        )

    def _measure_held_out(self, team: Team) -> Measurement:
        part = self.prompts.held_out
        report = stage_reporter(self.watch, "the winner, on the held-out prompts")
        return self.evaluator.measure_answers(
            self.evaluator.evaluate_team(team, part, report), part
        )

    def _compare_held_out(
        self, state: Search, team: Team, held: Measurement
    ) -> tuple[HeldOutComparison, ...]:
        """The best model alone, and the best single-proposer team, on the held-out prompts."""
        part = self.prompts.held_out
        single = state.models[0]
        report = stage_reporter(self.watch, "the best model alone, on the held-out prompts")
        theirs = self.evaluator.measure_answers(
            self.evaluator.evaluate_alone(single, part, report), part
        )
        rows = [outcome.compare_held_out(single, "alone", held, theirs)]
        ranked = [
            one
            for one in search.leading_teams(state)
            if one.is_single_proposer and len(one.members) > 1
            # Draws of one model are the rival that many mixed teams lose to (Li et al. 2025, arXiv
            # 2502.00674).
        ]
        if ranked and ranked[0] != team:
            report = stage_reporter(
                self.watch, "the best single-proposer team, on the held-out prompts"
            )
            drawn = self.evaluator.evaluate_team(ranked[0], part, report)
            theirs = self.evaluator.measure_answers(drawn, part)
            name = outcome.team_name(ranked[0])
            rows.append(outcome.compare_held_out(name, "single-proposer", held, theirs))
        return tuple(rows)

    def _exhaustive_calls(self, count: int) -> int:
        """Calls of an exhaustive search: every team of the full size under every aggregator."""
        # The single-proposer teams, one for each candidate, come on top of the mixed ones.
        teams = math.comb(count, self.terms.size) + count
        aggregators = 1 if self.terms.aggregator else count
        drafts = count * self.terms.draws_per_candidate
        return self.prompts.searched_count * (drafts + teams * aggregators)


def _join_notes(notes: Sequence[str]) -> str:
    return "".join(f"; {one}" for one in notes)


def _doubtful_comparisons(rows: Sequence[HeldOutComparison]) -> list[str]:
    """Warnings where a simpler choice is not seen to be worse."""
    return [
        f"{row.name} ({row.kind}) may be just as good: {row.verdict}"
        for row in rows
        if row.low is None or row.low <= 0
    ]
