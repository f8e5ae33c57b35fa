"""What an evaluation would take at most, before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from inspect_ai.dataset import Sample

from mixtura.budget import LONGEST_ANSWER, Expected, priced
from mixtura.budget import forecast as calls_of
from mixtura.config import Config
from mixtura.errors import ConfigError
from mixtura.plan import Plan
from mixtura.roles import Composite
from mixtura.types import Request, ask

AROUND = 2000
"""Characters of a judge's instructions."""
_LONGEST = "x" * (2 * LONGEST_ANSWER)
"""A text that is taken for the longest answer."""


class Players(NamedTuple):
    """Who is asked in an evaluation: no candidate where its answers are there already."""

    candidate: Plan | None
    judge: Plan | None = None
    other: Plan | None = None

    @property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(plan for plan in self if plan is not None)


class Outlines(NamedTuple):
    """The same, as mixtures of mere names."""

    candidate: Composite | None
    judge: Composite | None
    other: Composite | None


class Rounds(NamedTuple):
    """Answers to a sample, and verdicts on it."""

    answers: int = 1
    verdicts: int = 0


class Forecast(NamedTuple):
    """*dollars* is None where the price of a model is *unknown*."""

    samples: int
    calls: int
    dollars: float | None
    tokens: int
    unknown: tuple[str, ...]


def unpriced(config: Config, plans: Iterable[Plan]) -> tuple[str, ...]:
    """The models whose price no one knows."""
    calls = [call for plan in plans for call in calls_of(config.outline(plan), ask("?"))]
    return priced(calls, config.price)[1]


def check_priced(config: Config, plans: Iterable[Plan]) -> None:
    """Raises ConfigError where no cap in dollars can be kept."""
    if unknown := unpriced(config, plans):
        raise ConfigError(
            f"a cap in dollars needs the price of every model, and that of {', '.join(unknown)}"
            " is unknown: give its `price` in the configuration"
        )


def forecast(
    config: Config, players: Players, samples: Sequence[Sample], count: int, rounds: Rounds
) -> Forecast:
    """The calls for *count* answered samples, as if the dearest of *samples* came first."""
    rows = sorted((question(sample) for sample in samples), key=len, reverse=True)
    asked = [rows[number % len(rows)] for number in range(count)]
    outlines = Outlines(*(plan and config.outline(plan) for plan in players))
    whole = [call for text in asked for call in _calls(outlines, text, rounds)]
    worst, unknown = priced(whole, config.price)
    dollars = None if unknown else worst.dollars
    return Forecast(count, len(whole), dollars, worst.tokens, unknown)


def _calls(players: Outlines, text: str, rounds: Rounds) -> Iterator[Expected]:
    """Every call that one sample takes; each turn reads what was said before it."""
    for turn in range(rounds.answers):
        request = ask(text + turn * _LONGEST)
        for player in (players.candidate, players.other):
            if player:
                yield from calls_of(player, request)
    if players.judge:
        yield from rounds.verdicts * calls_of(players.judge, judged(text, rounds.answers))


def judged(text: str, answers: int = 1) -> Request:
    """The most that a judge reads: a question, and on either side so many answers."""
    return ask(text + "x" * AROUND + 2 * answers * _LONGEST)


def question(sample: Sample) -> str:
    """What is asked, as a text."""
    if isinstance(sample.input, str):
        return sample.input
    return "\n".join(message.text for message in sample.input)
