"""What a selection or a tuning takes at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from mixtura.billing.forecast import ExpectedCall, forecast_calls, worst_case_spend
from mixtura.config.config import Config
from mixtura.core.types import ask
from mixtura.evals import prepare
from mixtura.evals.forecast import sample_question
from mixtura.evals.judges import pairwise
from mixtura.selection import search
from mixtura.selection.measurements import SelectionTerms, list_prompts, team_name
from mixtura.selection.prompts import SplitSizes, split_sizes
from mixtura.selection.run import check_selection
from mixtura.selection.search import AGGREGATOR_RACE_DRAFTS, Measurement, Search, Team, slice_sizes
from mixtura.selection.tuning import MIN_PROOF_PROMPTS, check_tuning


class SelectionForecast(NamedTuple):
    """About how many calls, and the most dollars; None where a price is unknown."""

    prompts: int
    held_out: int
    calls: int
    max_cost_usd: float | None
    unknown_prices: tuple[str, ...]


class _AnswerCounts(NamedTuple):
    """How many answers of each candidate and of teams, and how many pairs before a judge."""

    each: float
    teams: int
    pairs: int


class _Counter(Protocol):
    """Counts the answers that a kind of search takes."""

    def __call__(
        self, names: Sequence[str], terms: SelectionTerms, prompts: SplitSizes, *, judged: bool
    ) -> _AnswerCounts: ...


def forecast_selection(
    config: Config, names: Sequence[str], terms: SelectionTerms
) -> SelectionForecast:
    """About how many calls it takes, and the most dollars; asks no model.

    Raises ConfigError for what cannot be selected from.
    """
    check_selection(config, names, terms)
    return _forecast(config, names, terms, _count_answers)


def forecast_tuning(
    config: Config, names: Sequence[str], terms: SelectionTerms, patterns: Sequence[str]
) -> SelectionForecast:
    """The same of a tuning among *patterns*. Raises ConfigError for what cannot be tuned from."""
    check_tuning(config, names, terms, patterns)

    def count(
        names: Sequence[str], terms: SelectionTerms, prompts: SplitSizes, *, judged: bool
    ) -> _AnswerCounts:
        searched, held = prompts
        teams = _count_search_answers(names, terms, searched) if "mixture" in patterns else 0
        # Where scouts differ the strong member answers twice.
        teams += 2 * searched if "gate" in patterns else 0
        teams += 2 * held if {"gate", "mixture"} & set(patterns) else 0
        each = float(terms.draws_per_candidate * (searched + held))
        return _AnswerCounts(each, teams, teams + len(names) * (searched + held) if judged else 0)

    return _forecast(config, names, terms, count, least=MIN_PROOF_PROMPTS)


def _forecast(
    config: Config,
    names: Sequence[str],
    terms: SelectionTerms,
    count_answers: _Counter,
    *,
    least: int = 1,
) -> SelectionForecast:
    scoring_mode = terms.scoring_mode
    request = terms.eval_request(terms.data, scoring_mode)
    ready = prepare.prepare_eval(config, config.mixture_spec(names[0]), request, fresh=True)
    whole = [sample_question(sample) for sample in ready.task.dataset]
    different = list(dict.fromkeys(list_prompts(terms)))[: terms.limit]
    prompts = split_sizes(terms.data, len(different), terms.held_out, least=least)
    count = count_answers(names, terms, prompts, judged=scoring_mode == "win rate")
    # The longest question stands for all of them: what is promised is a maximum.
    dollars, missing = 0.0, dict[str, None]()
    for expected, times in _expected_calls(config, names, terms, count, max(whole, key=len)):
        amount, unknown = worst_case_spend(expected, config.usage_cost)
        dollars += amount.dollars * times
        missing |= dict.fromkeys(unknown)
    calls = round(count.each * len(names)) + count.teams + len(pairwise.BOTH_ORDERS) * count.pairs
    return SelectionForecast(*prompts, calls, None if missing else dollars, tuple(missing))


def _count_answers(
    names: Sequence[str], terms: SelectionTerms, prompts: SplitSizes, *, judged: bool
) -> _AnswerCounts:
    searched, held = prompts
    own = terms.size * searched + 2 * held  # without each member; the winner and its rival
    teams = _count_search_answers(names, terms, searched) + own
    # Of the held-out prompts the best candidate alone and the members of one team draw; which these
    # will be is not known yet, so that share is spread over all candidates.
    each = terms.draws_per_candidate * (searched + (1 + terms.size) * held / len(names))
    return _AnswerCounts(each, teams, teams + len(names) * searched if judged else 0)


def _count_search_answers(names: Sequence[str], terms: SelectionTerms, prompts: int) -> int:
    """The answers of teams that a search takes when all are as good as each other."""
    slices = slice_sizes(prompts)
    # A search performs no call, so the estimate runs it: what it counts is what will be measured.
    state = search.begin_search(
        Search(
            models=tuple(names),
            size=terms.size,
            slices=slices,
            aggregator=terms.aggregator,
            beam=terms.beam,
        )
    )
    while trials := search.next_trials(state):
        # Equal scores, no price, no time: no team falls out for breaking a bound or lacking a
        # score, which is when a search asks most.
        state = search.with_results(
            state, {t.team: Measurement((0.0,) * slices[t.slice]) for t in trials}
        )
    return state.answer_count


def _expected_calls(
    config: Config, names: Sequence[str], terms: SelectionTerms, count: _AnswerCounts, question: str
) -> Iterator[tuple[list[ExpectedCall], float]]:
    """Calls, and how often each is made; answers of teams as if the dearest always wrote them."""

    def calls_of(name: str) -> list[ExpectedCall]:
        return forecast_calls(
            config.builder.build_outline(config.mixture_spec(name)), ask(question)
        )

    for name in names:
        yield calls_of(name), count.each
    # The race for the aggregator has the longest prompts: its teams have the most drafts.
    drafts = tuple(names[: max(AGGREGATOR_RACE_DRAFTS, terms.size)])
    writers = [terms.aggregator] if terms.aggregator else names
    last = [calls_of(team_name(Team(drafts, name)))[-1:] for name in writers]
    yield max(last, key=lambda calls: worst_case_spend(calls, config.usage_cost)[0]), count.teams
    if terms.judge and terms.scoring_mode == "win rate":
        yield calls_of(terms.judge), len(pairwise.BOTH_ORDERS) * count.pairs
