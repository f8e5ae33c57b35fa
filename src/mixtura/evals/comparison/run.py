"""Is a mixture better than what is simpler, by how much, at what price: on the same prompts.

Everyone answers the same prompts with the same seed. Scores of a task are compared as they are;
without a task a judge reads the mixture's answer beside each opponent's, in both orders.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Sequence

from mixtura.batch.call_journal import CallJournal
from mixtura.billing.price import Pricer, total_cost
from mixtura.billing.spending_caps import RunCap, Spend
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.errors import BudgetExceededError
from mixtura.core.events import CacheHit, Emit, Event
from mixtura.core.model import Model, Wrapper
from mixtura.core.types import Completion, Request
from mixtura.evals import forecast, kept_calls, log_reader, run, sample_progress
from mixtura.evals.comparison import baselines
from mixtura.evals.comparison.answers import ComparisonData, Key, Matchup
from mixtura.evals.comparison.baselines import Participant
from mixtura.evals.comparison.outcome import build_comparison
from mixtura.evals.comparison.result import Comparison
from mixtura.evals.comparison.settings import ComparisonSettings, resolve_plans
from mixtura.evals.identity import judging_identity
from mixtura.evals.judges import families, pairwise
from mixtura.evals.sample_progress import EvalProgress
from mixtura.models.wrappers.budget_queue import BudgetQueued, InFlight

JUDGE_PROGRESS_NAME = "the judge"
"""The name under which the judge's progress is reported."""
OnComparisonProgress = Callable[[str, EvalProgress], None]
"""Called with a contender's name and its progress."""


# ---- the run


def run_comparison(
    config: Config,
    names: Sequence[str],
    terms: ComparisonSettings,
    *,
    watch: OnComparisonProgress | None = None,
) -> Comparison:
    """
    Have all contenders answer, and compare them. An earlier run's answers are used again.

    Raises ConfigError before anything is asked, and what ``run.evaluate`` raises.
    """
    plans = resolve_plans(config, names)
    # All prices at once: a cap that cannot be kept is refused before the first contender is paid.
    if terms.max_cost is not None:
        judge = [config.mixture_spec(terms.judge)] if terms.judge else []
        forecast.check_priced(config, (*plans, *judge))
    runner = _ComparisonRunner(config, terms, watch, plans)
    for plan in plans:
        runner.evaluate_participant(Participant(plan, "mixture" if plan.layers else "member"))
    matches: list[Matchup] = []
    for plan in plans:
        if plan.layers:
            matches += _compare_with_baselines(config, plan, runner)
    first, *others = (plan.name for plan in plans)
    # A mixture may have met another one as its member already.
    known = {frozenset(match) for match in matches}
    others = [name for name in others if frozenset((first, name)) not in known]
    matches += runner.judge_matches(first, others)
    warnings = [*_family_warnings(config, plans, terms), *runner.notes]
    return build_comparison(
        runner.field,
        matches,
        spent=runner.spent_usd,
        capped=runner.capped_requests,
        warnings=warnings,
    )


def _family_warnings(
    config: Config, plans: Sequence[MixtureSpec], terms: ComparisonSettings
) -> Sequence[str]:
    """Warnings where the judge is of a contender's family."""
    if terms.judge is None:
        return ()
    ours = {name for plan in plans for name in families.plan_model_names(config, plan)}
    return families.find_family_overlap(
        families.plan_model_names(config, config.mixture_spec(terms.judge)), ours, ()
    ).warnings


def _compare_with_baselines(
    config: Config, plan: MixtureSpec, runner: _ComparisonRunner
) -> list[Matchup]:
    """The matches of a mixture with its members and baselines, its best member first."""
    alone = baselines.member_baselines(config, plan)
    # The members first: which of them is the best decides what the other opponents are.
    for one in alone:
        runner.evaluate_participant(one)
    matches = runner.judge_matches(plan.name, [one.name for one in alone if one.name != plan.name])
    best = runner.field.best_member(plan.name, [match.theirs for match in matches])
    times, _ = runner.field.cost_ratio(plan.name, best)
    later = [
        baselines.self_moa_baseline(plan, best),
        *baselines.choice_baselines(plan, runner.terms.vote_extract),
        baselines.equal_cost_baseline(
            plan, best, times or 0.0, runner.terms.vote_extract, runner.field.written_share(best)
        ),
    ]
    entrants = [one for one in later if one is not None]
    for one in entrants:
        runner.evaluate_participant(one)
    # The first match gives the verdict, and the best member is what a mixture has to beat.
    matches.sort(key=lambda match: match.theirs != best)
    return matches + runner.judge_matches(plan.name, [one.name for one in entrants])


class _ComparisonRunner:
    """Collects answers and judgements, within the cap that all share."""

    def __init__(
        self,
        config: Config,
        terms: ComparisonSettings,
        watch: OnComparisonProgress | None,
        plans: Sequence[MixtureSpec],
    ) -> None:
        self.terms = terms
        judge = config.mixture_spec(terms.judge) if terms.judge else None
        identity = judging_identity(config, plans, judge, terms.asked)
        path = kept_calls.journal_path(terms.logs, f"judge-{identity}")
        self._verdict_calls = kept_calls.JournaledCalls(path, config, fresh=terms.fresh)
        self._priced = judge is None or not forecast.unpriced_models(config, (judge,))
        self.field = ComparisonData(terms.asked.task, terms.judge)
        self._config = config
        self._watch = watch
        self._bills: list[float | None] = []
        self._capped_answers = 0
        self._judgements: dict[pairwise.AnswerPair, pairwise.PairJudgement] = {}

    @property
    def spent_usd(self) -> float | None:
        """Dollars paid; None where a price is unknown."""
        judged = self._verdict_calls.tally
        # No call of the judge's at all is known to cost nothing, whatever its price.
        if None in self._bills or not (self._priced or judged == kept_calls.RequestTally()):
            return None
        return self._known_dollars

    @property
    def _known_dollars(self) -> float:
        """The known costs in dollars, the judge's calls of earlier runs included."""
        return math.fsum((*(b for b in self._bills if b), self._verdict_calls.tally.cost_usd))

    @property
    def capped_requests(self) -> int:
        """Answers and verdicts that were not asked for because of the cap."""
        verdicts = (call for one in self._judgements.values() for call in one.calls)
        refused = sum(isinstance(call.error, BudgetExceededError) for call in verdicts)
        return self._capped_answers + refused

    @property
    def notes(self) -> list[str]:
        """Notes on the judge's calls that were not finished."""
        return kept_calls.unfinished_notes(self._verdict_calls.tally)

    @property
    def _remaining_usd(self) -> float | None:
        """Dollars left under the cap; None without one."""
        most = self.terms.max_cost
        return None if most is None else max(most - self._known_dollars, 0.0)

    def evaluate_participant(self, entrant: Participant) -> None:
        """Have a participant answer every prompt; does nothing if it has."""
        if entrant.name in self.field.entrants:
            return
        terms = self.terms
        result = run.evaluate(
            self._config,
            entrant.plan,
            terms.asked,
            logs=terms.logs,
            max_cost=self._remaining_usd,
            deadline=terms.deadline,
            connections=terms.connections,
            fresh=terms.fresh,
            watch=self._progress_callback(entrant.name),
        )
        self._bills.append(result.cost_usd)
        self._capped_answers += result.capped
        self.field.add_participant(entrant, log_reader.load_evaluation(result.log))

    def judge_matches(self, ours: str, others: Iterable[str]) -> list[Matchup]:
        """The matches of *ours* against *others*, read by the judge where there is one."""
        matches = [Matchup(ours, other) for other in others]
        if self.terms.judge is None:
            return matches
        rows = [
            (match, key, pair)
            for match in matches
            if match not in self.field.judgements
            for key, pair in self._answer_pairs(match)
        ]
        for match in matches:
            self.field.judgements.setdefault(match, {})
        # Opponents that answered alike make the same pair: it is judged and paid once.
        pairs = list(dict.fromkeys(pair for _, _, pair in rows if pair not in self._judgements))
        self._judgements.update(zip(pairs, self._judge_pairs(pairs) if pairs else [], strict=True))
        for match, key, pair in rows:
            self.field.judgements[match][key] = self._judgements[pair]
        return matches

    def _answer_pairs(self, match: Matchup) -> Iterable[tuple[Key, pairwise.AnswerPair]]:
        """The pairs of answers to the prompts that both answered."""
        ours, theirs = (self.field.answers[name] for name in match)
        for key, mine in ours.items():
            other = theirs.get(key)
            if other and mine.has_answer and other.has_answer:
                yield key, pairwise.AnswerPair(mine.question, mine.text, other.text, mine.target)

    def _judge_pairs(self, pairs: Sequence[pairwise.AnswerPair]) -> list[pairwise.PairJudgement]:
        terms = self.terms
        cap = RunCap("this comparison", self._remaining_usd)
        plan = self._config.mixture_spec(terms.judge or "")
        runnable = self._config.build_runnable(plan, deadline=terms.deadline, caps=[cap])
        waiting = BudgetQueued(runnable, InFlight())
        watch = self._progress_callback(JUDGE_PROGRESS_NAME)

        def report_done(count: int) -> None:
            if watch:
                watch(EvalProgress(count, len(pairs), 0))

        at_once = terms.connections
        with self._verdict_calls.keep_verdicts() as calls:
            # Without a journal of an earlier run only the cache knows what its verdicts cost.
            recounted = _EarlierCostCounter(waiting, cap, self._config.usage_cost, calls)
            judge = waiting if self._verdict_calls.begun else recounted
            return asyncio.run(
                pairwise.judge_pairs(judge, pairs, at_once=at_once, watch=report_done)
            )

    def _progress_callback(self, name: str) -> sample_progress.OnProgress | None:
        watch = self._watch
        return (lambda progress: watch(name, progress)) if watch else None


class _EarlierCostCounter(Wrapper):
    """
    Counts an earlier run's cost of a cached verdict where no journal has it: the cap is for all
    runs together.
    """

    def __init__(self, model: Model, cap: RunCap, pricer: Pricer, calls: CallJournal) -> None:
        super().__init__(model)
        self._calls = calls
        self._cap = cap
        self._pricer = pricer

    async def complete(self, request: Request, emit: Emit | None = None) -> Completion:
        """The model's answer. Raises what it raises, and StoreError where the journal does."""

        def record_event(event: Event) -> None:
            if type(event) is CacheHit:
                paid = total_cost(event.charges, self._pricer) or 0.0
                self._cap.spent = self._cap.spent.sum_with(Spend(paid))
                usage = [charge.usage for charge in event.charges]
                tally = kept_calls.RequestTally(
                    paid,
                    sum(one.prompt_tokens for one in usage),
                    sum(one.completion_tokens for one in usage),
                    len(usage),
                )
                self._calls.record_earlier(kept_calls.earlier_amount(tally))
            if emit:
                emit(event)

        return await self._model.complete(request, record_event)
