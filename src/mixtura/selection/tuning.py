"""A mixture tuned from beginning to end: members admitted, a mixture chosen, and proved once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mixtura.config.config import Config
from mixtura.config.plan import MemberSpec, MixtureSpec, PatternChoice
from mixtura.core.errors import ConfigError, MixturaError
from mixtura.core.text import pluralize_count, to_one_line
from mixtura.evals.judges.families import model_families
from mixtura.evals.log_reader import LoggedEvaluation
from mixtura.selection.candidates import CandidateAnswers
from mixtura.selection.combining import MIN_PROMPTS, learn_combiners
from mixtura.selection.counting import CountingMixture, DrawTable, Table, counting_mixtures
from mixtura.selection.draws import build_draw_table
from mixtura.selection.measurements import (
    Evaluator,
    SelectionCapError,
    SelectionTerms,
    list_prompts,
    team_name,
)
from mixtura.selection.pick import choose_team
from mixtura.selection.preset import PROPOSER_SAMPLING
from mixtura.selection.prompts import PromptPart, SplitRows, split_rows, write_split
from mixtura.selection.proof import (
    Proof,
    admit_members,
    choose_mixture,
    gate_threshold,
    prove_gain,
)
from mixtura.selection.proof_looks import LookTerms, next_look, read_looks, record_look
from mixtura.selection.run import answer_kind, check_selection, judge_family_warnings
from mixtura.selection.search import Measurement, Team, pool_measurements
from mixtura.selection.stage_progress import OnStageProgress, stage_reporter
from mixtura.selection.team_search import TeamSearch, budget_exceeded_error
from mixtura.selection.tuned import Contender, TuneResult, describe_result

PATTERNS = ("vote", "mux", "switch", "combine", "gate", "mixture")
"""What a mixture may be: those that only count need no call besides the members' own answers."""
MIN_PROOF_PROMPTS = 2
"""A difference of one prompt has no interval."""
MAX_SCOUTS = 3


def tune_mixture(
    config: Config,
    names: Sequence[str],
    terms: SelectionTerms,
    *,
    patterns: Sequence[str] = PATTERNS,
    watch: OnStageProgress | None = None,
) -> TuneResult:
    """
    The mixture of *names* that is proved not to be worse than the best of them, else that one.

    What an earlier run asked is not asked again. Raises ConfigError before anything is asked,
    BudgetExceededError where the cap ends it before the proof, MixturaError where fewer than two
    members answer or none scores a point.
    """
    check_tuning(config, names, terms, patterns)
    prompts = write_split(_split_for_proof(terms), terms.logs)
    evaluator = Evaluator(config, terms, prompts.folder, names)
    warnings = [*prompts.notes, *judge_family_warnings(config, names, terms.judge)]
    return _Tuning(evaluator, terms, prompts, watch, warnings, tuple(patterns)).run(list(names))


def check_tuning(
    config: Config, names: Sequence[str], terms: SelectionTerms, patterns: Sequence[str]
) -> None:
    """Raises ConfigError for members or settings that nothing can be tuned from."""
    check_selection(config, names, terms)
    for pattern in patterns:
        if pattern not in PATTERNS:
            raise ConfigError(f"--patterns: '{pattern}' is not one of {', '.join(PATTERNS)}")
    if "mixture" not in patterns and answer_kind(terms) is None:
        raise ConfigError(
            f"--patterns: {', '.join(patterns)} need final answers that can be checked: use --task,"
            " or --scoring number or exact, or add mixture"
        )
    draws = terms.draws_per_candidate
    if not _have_mixtures(patterns, names, draws):
        there = f"{pluralize_count(len(names), 'member')}, {pluralize_count(draws, 'answer')} each"
        raise ConfigError(f"--patterns: no {' or '.join(patterns)} of {there}: {_NEEDS}")


_NEEDS = (
    "vote needs three answers, mux and switch two members with two answers each (--draws), gate"
    f" three members, combine two, {MIN_PROMPTS} prompts on which they differ and weights that beat"
    " the best member on prompts that did not teach them"
)


def _have_mixtures(patterns: Sequence[str], names: Sequence[str], draws: int) -> bool:
    """Whether there is anything to try of *patterns*, with so many answers of each member."""
    counting = counting_mixtures(names, dict.fromkeys(names, 0.0), draws)
    return (
        "mixture" in patterns
        or any(mixture.pattern in patterns for mixture in counting)
        or ("combine" in patterns and len(names) > 1)
        or ("gate" in patterns and len(names) > 2)
    )


@dataclass(frozen=True, slots=True)
class _Tuning(TeamSearch):
    """One tuning under way."""

    patterns: tuple[str, ...]

    def run(self, names: list[str]) -> TuneResult:
        # What is chosen has to be proved: as much is kept for that as there are prompts for it.
        found = self.collect_answers(
            names,
            kept_share=self.terms.held_out,
            before="every member had answered every prompt",
        )
        alone = {name: pool_measurements(parts) for name, parts in found.alone.items()}
        scores = {name: one.score for name, one in alone.items() if one.score is not None}
        if not scores or not max(scores.values()):
            raise MixturaError(
                "no member scored a point, so nothing can be chosen: check the targets, --scoring"
                f" and the prompts (inspect view --log-dir {self.prompts.folder} shows the answers)"
            )
        roles = admit_members(scores)
        best = next(iter(roles))
        table = self._draw_table(list(scores), self.prompts.slices)
        contenders = self._find_contenders(found, table, scores, roles)
        self.evaluator.reserve = 0.0
        solo = _member_scores(best, alone[best], table)
        chosen = self._choose(contenders, solo)
        try:
            return self._prove(chosen, best, roles, contenders, alone)
        except SelectionCapError as error:
            raise budget_exceeded_error(error, "the proof was complete") from None

    # ---- what there is to choose from

    def _find_contenders(
        self,
        found: CandidateAnswers,
        table: DrawTable | None,
        scores: Mapping[str, float],
        roles: Mapping[str, str],
    ) -> list[Contender]:
        contenders: list[Contender] = []
        if table is not None:
            contenders += [
                self._count_contender(mixture, table)
                for mixture in counting_mixtures(list(roles), scores, table.draws)
                if mixture.pattern in self.patterns
            ]
            if "combine" in self.patterns:
                families = model_families(self.evaluator.config, list(roles))
                contenders += [
                    replace(self._count_contender(found.mixture, table), scores=found.scores)
                    for found in learn_combiners(list(roles), scores, table, families)
                ]
        try:
            if table is not None and "gate" in self.patterns and len(roles) > 2:
                contenders.append(self._measure_gate(table, roles))
            if "mixture" in self.patterns:
                contenders += self._search_teams(found, roles)
        except SelectionCapError:
            self.warn_ended_early()
        if contenders:
            return contenders
        if self.ended_early:
            raise budget_exceeded_error(
                SelectionCapError("the cap is used up"), "any mixture was measured"
            )
        raise MixturaError(
            f"these answers give no {' or '.join(self.patterns)} to test: {_NEEDS}. The best member"
            f" so far is {to_one_line(next(iter(roles)))}; other --patterns use the same answers"
        )

    def _draw_table(self, names: Sequence[str], parts: Sequence[PromptPart]) -> DrawTable | None:
        """The draws of these members; None where answers cannot be counted."""
        kind = answer_kind(self.terms)
        if kind is None:
            return None
        return build_draw_table(
            {name: self._answers_of(name, parts) for name in names},
            kind,
            self.terms.draws_per_candidate,
        )

    def _answers_of(self, name: str, parts: Sequence[PromptPart]) -> list[LoggedEvaluation]:
        report = stage_reporter(self.watch, f"{name}, alone")
        return [self.evaluator.evaluate_alone(name, part, report) for part in parts]

    def _count_contender(self, mixture: CountingMixture, table: DrawTable) -> Contender:
        kind = answer_kind(self.terms)
        assert kind is not None
        settings: dict[str, object] = {"extract": kind}
        if mixture.accuracy:
            settings["accuracy"] = dict(mixture.accuracy)
        if mixture.weights:
            settings |= {"weights": dict(mixture.weights), "families": dict(mixture.families)}
        seats = tuple(MemberSpec(name, mixture.draws) for name in mixture.members)
        plan = MixtureSpec(
            mixture.name, (seats,), mixture.pattern, sampling=PROPOSER_SAMPLING,
            pattern=PatternChoice.of(mixture.pattern, **settings),
        )  # fmt: skip
        dollars, seconds = mixture.answer_cost(table)
        return Contender(plan, mixture.score_prompts(table), dollars, seconds, mixture)

    def _measure_gate(self, table: DrawTable, roles: Mapping[str, str]) -> Contender:
        """The best member behind a gate of cheaper ones: it writes only where they differ."""
        strong, *others = roles
        prices = dict(zip(table.names, table.dollars, strict=True))
        # Where a price is unknown no one is seen to be the cheapest; of equal ones, too, the better
        # come first.
        all_known = all(prices[name] is not None for name in others)
        ranked = sorted(others, key=lambda name: prices[name] or 0.0) if all_known else others
        cheapest = ranked[:MAX_SCOUTS]
        scouts = [name for name in others if name in cheapest]
        kind = answer_kind(self.terms)
        vote = CountingMixture("vote", tuple(scouts), 1, {})
        threshold = gate_threshold(
            vote.agreement(table), vote.score_first_draws(table), 1 - table.mean_scores()[strong]
        )
        plan = MixtureSpec(
            f"gate of {', '.join(scouts)}, then {strong}",
            (tuple(MemberSpec(name) for name in scouts),), strong, sampling=PROPOSER_SAMPLING,
            pattern=PatternChoice.of("gate", threshold=threshold, extract=kind),
        )  # fmt: skip
        return self._measure_plan(plan, self.prompts.slices)

    def _measure_plan(self, plan: MixtureSpec, parts: Sequence[PromptPart]) -> Contender:
        report = stage_reporter(self.watch, plan.name)
        whole = pool_measurements(
            [
                self.evaluator.measure_answers(
                    self.evaluator.evaluate_plan(plan, part, report), part
                )
                for part in parts
            ]
        )
        return _build_contender(plan, whole)

    def _search_teams(self, found: CandidateAnswers, roles: Mapping[str, str]) -> list[Contender]:
        """The best team whose aggregator reads drafts, of members that are no scouts."""
        able = {name: parts for name, parts in found.alone.items() if roles.get(name) != "scout"}
        state = self.search_teams(able)
        team = choose_team(state, self.terms.goal)
        if team is None:
            return []
        return [_build_contender(self._team_plan(team), state.measurement_of(team), team)]

    def _team_plan(self, team: Team) -> MixtureSpec:
        return self.evaluator.config.mixture_spec(team_name(team))

    def _choose(self, contenders: Sequence[Contender], solo: Table) -> Contender:
        scores = {one.name: one.scores for one in contenders}
        chosen = choose_mixture(scores, solo)
        return next(one for one in contenders if one.name == chosen)

    # ---- the proof

    def _prove(
        self,
        chosen: Contender,
        best: str,
        roles: Mapping[str, str],
        contenders: Sequence[Contender],
        alone: Mapping[str, Measurement],
    ) -> TuneResult:
        part = self.prompts.held_out
        asked = [name for name in roles if name == best or name in chosen.members]
        evaluations = {name: self._answers_of(name, [part]) for name in asked}
        measured = {
            name: self.evaluator.measure_answers(rows[0], part)
            for name, rows in evaluations.items()
        }
        table = self._draw_table(asked, [part])
        if table is not None and chosen.counting is not None:
            proved = self._count_contender(chosen.counting, table)
        else:
            proved = self._measure_plan(chosen.plan, [part])
        # The best member is the best on all prompts, which favours it.
        best = max(asked, key=lambda n: pool_measurements([alone[n], measured[n]]).score or 0.0)
        theirs = _member_scores(best, measured[best], table)
        both = ~np.isnan(proved.scores) & ~np.isnan(theirs)
        if both.sum() < 2:
            raise MixturaError("fewer than two prompts of the proof have a score on both sides")
        proof: Proof = prove_gain(
            proved.scores, theirs, partial(self._record_look, chosen.name, best, list(roles))
        )
        warnings = (
            *self.warnings,
            *self.evaluator.cut_answer_notes(),
            *self.evaluator.notes,
        )
        return describe_result(
            chosen=replace(chosen, dollars=proved.dollars, seconds=proved.seconds),
            best=best,
            best_alone=measured[best],
            proof=proof,
            roles=roles,
            alone=alone,
            contenders=contenders,
            counts=(self.prompts.searched_count, part.prompts),
            calls=self.evaluator.calls,
            spent_usd=self.evaluator.spent_usd,
            capped=self.ended_early,
            warnings=warnings,
        )

    def _record_look(
        self, mixture: str, best: str, members: list[str], difference: float
    ) -> LookTerms:
        terms = self.terms
        asked = list_prompts(terms, str(self.prompts.held_out.file))
        return record_look(
            terms.logs, members, asked, mixture=mixture, against=best, difference=difference,
            planned=terms.looks,
        )  # fmt: skip


def _split_for_proof(terms: SelectionTerms) -> SplitRows:
    return split_rows(
        terms.data, questions=list_prompts(terms), limit=terms.limit, seed=terms.seed,
        share=terms.held_out, least=MIN_PROOF_PROMPTS,
    )  # fmt: skip


def find_next_look(names: Sequence[str], terms: SelectionTerms) -> LookTerms:
    """
    Which look at the proof's prompts a tuning would be, and what it may spend, before anything is
    asked. Raises ConfigError as `split_rows` and `read_looks` do.
    """
    rows = _split_for_proof(terms)
    return next_look(read_looks(terms.logs, names, rows.held_out_questions), terms.looks)


def _build_contender(
    plan: MixtureSpec, measured: Measurement, team: Team | None = None
) -> Contender:
    scores = np.array([np.nan if one is None else one for one in measured.scores])
    return Contender(plan, scores, measured.dollars, measured.seconds, team=team)


def _member_scores(name: str, measured: Measurement, table: DrawTable | None) -> Table:
    if table is not None:
        return table.solo_scores(name)
    return np.array([np.nan if one is None else one for one in measured.scores])
