"""What a comparison costs at most and what it could show, before a model is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import NamedTuple

from mixtura.billing.forecast import ExpectedCall, worst_case_spend
from mixtura.billing.forecast import forecast_calls as calls_for
from mixtura.billing.spending_caps import Spend
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.types import ask
from mixtura.evals import forecast, prepare
from mixtura.evals.comparison import baselines
from mixtura.evals.comparison.settings import ComparisonSettings, resolve_plans
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.judges import pairwise
from mixtura.evals.statistics import intervals
from mixtura.patterns.final_answer import Extract

DERIVED_BASELINES = 4
"""Opponents of a mixture besides its members: Self-MoA, ranker, vote, equal cost."""
USUAL_SPREAD = 0.5
"""
The assumed standard deviation of paired differences, before any were measured: that of two
models of which only one is right on every fourth prompt.
"""


class ComparisonForecast(NamedTuple):
    """The size and highest cost of a comparison, and the differences that it can detect."""

    prompts: int
    calls: int
    max_cost_usd: float | None
    unknown_prices: tuple[str, ...]
    shows: float
    """The smallest true difference that is detected with a power of 80 %."""
    for_two_points: int
    """Prompts needed to detect a difference of two points."""


def forecast_comparison(
    config: Config, names: Sequence[str], terms: ComparisonSettings
) -> ComparisonForecast:
    """
    What ``compare`` would take at most, and what it could show. Asks no model.

    Raises ConfigError for what cannot be compared.
    """
    plans = resolve_plans(config, names)
    questions = _list_questions(config, plans[0], terms.asked)
    calls = [
        call
        for question in questions
        for plan in plans
        for call in _expected_calls(config, plan, question, terms)
    ]
    amount, unknown = worst_case_spend(calls, config.usage_cost)
    return ComparisonForecast(
        len(questions),
        len(calls),
        None if unknown else amount.dollars,
        unknown,
        intervals.detectable_difference(USUAL_SPREAD, len(questions)),
        intervals.prompts_for_difference(USUAL_SPREAD, intervals.TARGET_DIFFERENCE),
    )


def _list_questions(config: Config, plan: MixtureSpec, request: EvalRequest) -> list[str]:
    """The samples' prompts, one for each answer. Raises ConfigError."""
    samples = (
        list(prepare.prepare_eval(config, plan, request).task.dataset)[: request.limit]
        * request.epochs
    )
    return [forecast.sample_question(one) for one in samples]


def _expected_calls(
    config: Config, plan: MixtureSpec, question: str, terms: ComparisonSettings
) -> list[ExpectedCall]:
    """The calls for one prompt; the proposals that several contenders share are made once."""

    def plan_calls(one: MixtureSpec) -> list[ExpectedCall]:
        return calls_for(config.builder.build_outline(one), ask(question))

    rows = plan_calls(plan)
    matches = 1
    if plan.layers:
        rows += _opponent_calls(config, plan, plan_calls, terms.vote_extract)
        matches += len(baselines.member_baselines(config, plan)) + DERIVED_BASELINES
    if terms.judge:
        judge = config.builder.build_outline(config.mixture_spec(terms.judge))
        verdicts = matches * len(pairwise.BOTH_ORDERS)
        rows += calls_for(judge, forecast.largest_judge_request(question)) * verdicts
    return rows


def _opponent_calls(
    config: Config,
    plan: MixtureSpec,
    calls_of: Callable[[MixtureSpec], list[ExpectedCall]],
    extract: Extract,
) -> list[ExpectedCall]:
    """The calls of a mixture's opponents, whichever of its members is the best one."""

    def calls_price(calls: list[ExpectedCall]) -> Spend:
        return worst_case_spend(calls, config.usage_cost)[0]

    shared = sum(seat.samples for layer in plan.layers for seat in layer)
    # The proposals come from the cache: only the choice is paid for.
    choosers = [calls_of(one.plan)[shared:] for one in baselines.choice_baselines(plan, extract)]
    whole = calls_price(calls_of(plan))
    alone = {one.name: calls_of(one.plan) for one in baselines.member_baselines(config, plan)}
    none: list[ExpectedCall] = []
    drawn = [baselines.self_moa_baseline(plan, name) for name in alone]
    bought = [
        baselines.equal_cost_baseline(
            # How much of its tokens a model writes is not known yet: 0 gives the most draws, and so
            # the most cost.
            plan,
            name,
            _cost_ratio(whole, calls_price(calls)),
            extract,
            0.0,
        )
        for name, calls in alone.items()
    ]
    # Which member is the best is not known yet either: the dearest stands for it.
    draws = max((calls_of(one.plan) for one in drawn if one), key=calls_price, default=none)
    money = max((calls_of(one.plan) for one in bought if one), key=len, default=none)
    return list(chain(*alone.values(), *choosers, draws, money))


def _cost_ratio(ours: Spend, theirs: Spend) -> float:
    """The ratio of two costs, in tokens where there are no dollars."""
    if ours.dollars and theirs.dollars:
        return ours.dollars / theirs.dollars
    return ours.tokens / theirs.tokens
