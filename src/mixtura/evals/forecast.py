"""What an evaluation would take at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from inspect_ai.dataset import Sample

from mixtura.billing.forecast import ExpectedCall, worst_case_spend
from mixtura.billing.forecast import forecast_calls as calls_of
from mixtura.billing.run_budget import unknown_price_error
from mixtura.config.config import Config
from mixtura.config.plan import MixtureSpec
from mixtura.core.roles import Composite
from mixtura.core.token_estimate import DEFAULT_ANSWER_TOKENS, text_of_tokens
from mixtura.core.types import Request, ask

INSTRUCTIONS_LENGTH = 2000
"""Characters of a judge's instructions."""
_LONGEST = text_of_tokens(DEFAULT_ANSWER_TOKENS)
"""A text that is taken for the longest answer."""


class EvalModels(NamedTuple):
    """The plans of an evaluation's models; no candidate where its answers are there already."""

    candidate: MixtureSpec | None
    judge: MixtureSpec | None = None
    other: MixtureSpec | None = None
    reporter: MixtureSpec | None = None
    """Who reports where the candidate's proposals agree, where that is asked for."""

    @property
    def all_plans(self) -> tuple[MixtureSpec, ...]:
        return tuple(plan for plan in self if plan is not None)


class ModelOutlines(NamedTuple):
    """The same, as mixtures of mere names."""

    candidate: Composite | None
    judge: Composite | None
    other: Composite | None


class CallsPerSample(NamedTuple):
    """Answers to a sample, and verdicts on it."""

    answers: int = 1
    verdicts: int = 0


class CostForecast(NamedTuple):
    """*dollars* is None where the price of a model is *unknown*."""

    samples: int
    calls: int
    dollars: float | None
    tokens: int
    unknown: tuple[str, ...]


def unpriced_models(config: Config, plans: Iterable[MixtureSpec]) -> tuple[str, ...]:
    """The models whose price no one knows."""
    # Any question will do: a price is that of a model, not of what it is asked.
    calls = [
        call for plan in plans for call in calls_of(config.builder.build_outline(plan), ask("?"))
    ]
    return worst_case_spend(calls, config.usage_cost)[1]


def check_priced(config: Config, plans: Iterable[MixtureSpec]) -> None:
    """Check that a cap in dollars can be kept. Raises ConfigError where a price is unknown."""
    if unknown := unpriced_models(config, plans):
        raise unknown_price_error(unknown)


def forecast_cost(
    config: Config,
    players: EvalModels,
    samples: Sequence[Sample],
    count: int,
    rounds: CallsPerSample,
) -> CostForecast:
    """The calls for *count* answered samples, as if the dearest of *samples* came first."""
    rows = sorted((sample_question(sample) for sample in samples), key=len, reverse=True)
    questions = [rows[number % len(rows)] for number in range(count)]
    candidate = players.candidate and config.build_outline(
        players.candidate, agreement=players.reporter is not None
    )
    others = (plan and config.build_outline(plan) for plan in (players.judge, players.other))
    outlines = ModelOutlines(candidate, *others)
    whole = [call for text in questions for call in _sample_calls(outlines, text, rounds)]
    worst, unknown = worst_case_spend(whole, config.usage_cost)
    dollars = None if unknown else worst.dollars
    return CostForecast(count, len(whole), dollars, worst.tokens, unknown)


def _sample_calls(
    players: ModelOutlines, text: str, rounds: CallsPerSample
) -> Iterator[ExpectedCall]:
    """Every call that one sample takes; each turn reads what was said before it."""
    for turn in range(rounds.answers):
        request = ask(text + turn * _LONGEST)
        for player in (players.candidate, players.other):
            if player:
                yield from calls_of(player, request)
    if players.judge:
        yield from rounds.verdicts * calls_of(
            players.judge, largest_judge_request(text, rounds.answers)
        )


def largest_judge_request(text: str, answers: int = 1) -> Request:
    """The most that a judge reads: a question, and on either side so many answers."""
    return ask(text + "x" * INSTRUCTIONS_LENGTH + 2 * answers * _LONGEST)


def sample_question(sample: Sample) -> str:
    """What is asked, as a text."""
    if isinstance(sample.input, str):
        return sample.input
    return "\n".join(message.text for message in sample.input)
