"""A comparison's outcome: who scored what, each pair with its interval, and a verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, cast

import msgspec
import numpy as np

from mixtura.evals import glm, judges, pairwise, stats
from mixtura.evals.answers import Answer, Contender, cut_note
from mixtura.evals.opponents import Entrant, Kind
from mixtura.text import one_line, plural

SHOWN = 5
"""Prompts that were won, and lost, by most: so many are told."""
LEAST_FOR_LENGTH = 30
"""Prompts below which no length-controlled win rate is worth its name."""

Key = tuple[str, int]
"""A sample's id, and which of its epochs."""
Measure = Literal["score", "win rate"]
Unit = Literal["price", "tokens"]


class Match(NamedTuple):
    """Two contenders that are compared: a mixture, and one that it has to beat."""

    ours: str
    theirs: str


@dataclass(frozen=True, slots=True)
class Row:
    """
    One contender. *score* is the mean over prompts: of the task, or the share of prompts on which
    the judge preferred it to the mixture. Dollars, seconds and tokens are those of one answer,
    as if none had come from a cache; seconds are its critical path.
    """

    name: str
    kind: Kind
    against: str
    score: float | None
    low: float | None
    high: float | None
    n: int
    missing: int
    cost_usd: float | None
    seconds: float | None
    tokens: float | None
    calls: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """
    A mixture and one opponent on the prompts that both have a score for.

    *difference* is the mixture's score less the other's. *times*: what the mixture's answers take
    over what the other's take, in dollars, or in tokens where dollars are unknown or nothing.
    """

    ours: str
    theirs: str
    kind: Kind
    difference: float
    low: float
    high: float
    n: int
    wins: int
    losses: int
    draws: int
    times: float | None
    times_the: Unit
    lc_win_rate: float | None
    """The win rate were answers equally long, where a judge said which is better."""
    verdict: str


@dataclass(frozen=True, slots=True)
class Told:
    """A prompt that was won or lost: both answers, and by how much."""

    ours: str
    theirs: str
    sample: str
    question: str
    target: str
    by: float
    our_answer: str
    their_answer: str


@dataclass(frozen=True, slots=True)
class Bias:
    """How far the judge is to be trusted, on all the pairs that it read."""

    position_shift: float
    consistent: float
    first: float
    second: float
    length_correlation: float | None
    length_slope: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it, the mixture first."""

    task: str
    measure: Measure
    judge: str | None
    prompts: int
    contenders: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    told: tuple[Told, ...]
    verdict: str
    bias: Bias | None
    warnings: tuple[str, ...]
    spent_usd: float | None
    """Really paid, by earlier runs, too: what several contenders share is in it once."""

    def json(self) -> dict[str, Any]:
        """The same as plain data."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


# ---- what is known of everyone


@dataclass(slots=True)
class Field:
    """Who takes part, what they answered, and how a judge found their answers."""

    task: str
    judge: str | None = None
    entrants: dict[str, Entrant] = field(default_factory=dict[str, Entrant])
    answers: dict[str, dict[Key, Answer]] = field(default_factory=dict[str, dict[Key, Answer]])
    judged: dict[tuple[str, str], dict[Key, pairwise.Judged]] = field(
        default_factory=dict[tuple[str, str], dict[Key, pairwise.Judged]]
    )
    """By mixture and opponent: the preference for the mixture's answers."""

    def enter(self, entrant: Entrant, found: Contender) -> None:
        self.entrants[entrant.name] = entrant
        self.answers[entrant.name] = {(one.sample, one.epoch): one for one in found.answers}

    def scores(self, mixture: str, name: str) -> dict[Key, float]:
        """The scores of *name*; where a judge says them, against *mixture*."""
        if self.judge is None:
            rows = self.answers[name]
            return {key: one.score for key, one in rows.items() if one.score is not None}
        if name == mixture:
            return {key: 0.5 for key, one in self.answers[name].items() if one.answered}
        said = {key: one.preference for key, one in self.judged[mixture, name].items()}
        return {key: 1 - value for key, value in said.items() if value is not None}

    def best(self, mixture: str, names: Sequence[str]) -> str:
        """
        The member with the highest mean score; of equals the cheapest, then the first. Whoever
        has a score for less than half of the prompts comes after those who have more.
        """

        def rank(name: str) -> tuple[bool, float, float]:
            values = self.scores(mixture, name).values()
            mean = sum(values) / len(values) if values else -1.0
            dollars = self.dollars(name)
            there = 2 * len(values) >= len(self.answers[name])
            return there, mean, -math.inf if dollars is None else -dollars

        return max(names, key=rank)

    def there(self, name: str) -> list[Answer]:
        """The answers that *name* gave, without the calls that failed."""
        return [one for one in self.answers[name].values() if one.answered]

    def dollars(self, name: str) -> float | None:
        """Of one answer, as if none had come from a cache."""
        return _mean([one.cost_usd for one in self.there(name)])

    def tokens(self, name: str) -> float | None:
        return _mean([float(one.tokens) for one in self.there(name)])

    def written(self, name: str) -> float:
        """The share of its tokens that an answer of *name* wrote; the rest it read."""
        calls = [call for one in self.there(name) for call in one.leaves()]
        wrote = sum(call.completion_tokens for call in calls)
        return wrote / (sum(call.prompt_tokens for call in calls) + wrote or 1)

    def times(self, ours: str, theirs: str) -> tuple[float | None, Unit]:
        """What one answer of *ours* takes over one of *theirs*: dollars, or tokens without any."""
        mine, other = self.dollars(ours), self.dollars(theirs)
        if mine and other:
            return mine / other, "price"
        mine, other = self.tokens(ours), self.tokens(theirs)
        return (mine / other if mine and other else None), "tokens"


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one of them is unknown, or there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


# ---- the outcome


def outcome(
    field: Field, matches: Sequence[Match], *, spent: float | None, warnings: Sequence[str] = ()
) -> Comparison:
    """What came of *matches*, in their order; the first says the verdict."""
    pairs = [pair for match in matches if (pair := _pair(field, match))]
    told = [one for match in matches for one in _told(field, match)]
    against = {theirs: ours for ours, theirs in reversed(matches)}
    return Comparison(
        task=field.task,
        measure="win rate" if field.judge else "score",
        judge=field.judge,
        prompts=len({sample for rows in field.answers.values() for sample, _ in rows}),
        contenders=tuple(
            _row(field, one, against.get(one.name, one.name)) for one in field.entrants.values()
        ),
        pairs=tuple(pairs),
        told=tuple(told),
        verdict=_verdict(pairs, matches),
        bias=_bias(field),
        warnings=(*warnings, *_silent(field), *_cut(field), *_doubts(field)),
        spent_usd=spent,
    )


def _cut(field: Field) -> list[str]:
    """Whose answers the limit of tokens cut off."""
    found = {name: sum(one.cut for one in field.answers[name].values()) for name in field.entrants}
    return [
        cut_note(cut, len(field.answers[name]), one_line(name))
        for name, cut in found.items()
        if cut
    ]


def _doubts(field: Field) -> list[str]:
    """Where no answer of anyone scored, it may be the file's fault."""
    if field.judge:
        return []
    scores = [score for name in field.entrants for score in field.scores(name, name).values()]
    if len(scores) < 2 or any(scores):
        return []
    said = (
        "No answer of anyone scored at all: is that the models, or do the targets, the scoring or"
    )
    return [f"{said} the prompts not fit? Look at an answer (inspect view) before you believe it."]


def _row(field: Field, entrant: Entrant, mixture: str) -> Row:
    scores = field.scores(mixture, entrant.name)
    low, value, high = stats.interval(_prompts(scores, list(scores)))
    if field.judge and entrant.name == mixture:
        low = high = value  # against itself: half, by definition
    there = field.there(entrant.name)
    return Row(
        name=entrant.name,
        kind=entrant.kind,
        against=entrant.against,
        score=value,
        low=low,
        high=high,
        n=len(scores),
        missing=len(field.answers[entrant.name]) - len(scores),
        cost_usd=field.dollars(entrant.name),
        seconds=_mean([one.seconds for one in there]),
        tokens=field.tokens(entrant.name),
        calls=_mean([float(len(list(one.leaves()))) for one in there]),
    )


def _pair(field: Field, match: Match) -> Pair | None:
    """None where fewer than two prompts have a score on both sides."""
    ours, theirs = (field.scores(match.ours, name) for name in match)
    keys = [key for key in ours if key in theirs]
    if len({sample for sample, _ in keys}) < 2:
        return None
    reach = (-0.5, 0.5) if field.judge else (-1.0, 1.0)  # a win rate is held against one half
    found = stats.difference(_prompts(ours, keys), _prompts(theirs, keys), reach=reach)
    by = [ours[key] - theirs[key] for key in keys]
    times, unit = field.times(*match)
    return Pair(
        ours=match.ours,
        theirs=match.theirs,
        kind=field.entrants[match.theirs].kind,
        difference=found.value,
        low=found.low,
        high=found.high,
        n=found.prompts,
        wins=sum(one > 0 for one in by),
        losses=sum(one < 0 for one in by),
        draws=sum(one == 0 for one in by),
        times=times,
        times_the=unit,
        lc_win_rate=_controlled(field, match),
        verdict=stats.verdict(found, price=times, unit=unit),
    )


def _prompts(scores: dict[Key, float], keys: Sequence[Key]) -> list[list[float]]:
    """Scores by prompt, its epochs together; where one is missing, not a number."""
    epochs = max((epoch for _, epoch in keys), default=0)
    there = set(keys)
    return [
        [
            scores[key] if key in there else math.nan
            for key in ((sample, e + 1) for e in range(epochs))
        ]
        for sample in dict.fromkeys(sample for sample, _ in keys)
    ]


def _controlled(field: Field, match: Match) -> float | None:
    """How often a judge would prefer ours if answers were equally long."""
    if field.judge is None:
        return None
    theirs = field.scores(*match)
    if len(theirs) < LEAST_FOR_LENGTH:
        return None
    mine, other = (field.answers[name] for name in match)
    lengths = glm.scaled(
        np.array([float(len(other[key].text)) for key in theirs]),
        np.array([float(len(mine[key].text)) for key in theirs]),
    )
    wins = np.array([1 - value for value in theirs.values()])
    return glm.average_fit(wins, lengths).win_rate / 100


def _told(field: Field, match: Match) -> list[Told]:
    """The prompts that were won by most, and those that were lost by most."""
    ours, theirs = (field.scores(match.ours, name) for name in match)
    by = {key: ours[key] - theirs[key] for key in ours if key in theirs}
    won = sorted((key for key in by if by[key] > 0), key=lambda key: -by[key])
    lost = sorted((key for key in by if by[key] < 0), key=lambda key: by[key])
    return [_one_told(field, match, key, by[key]) for key in won[:SHOWN] + lost[:SHOWN]]


def _one_told(field: Field, match: Match, key: Key, by: float) -> Told:
    mine, other = (field.answers[name][key] for name in match)
    return Told(
        ours=match.ours,
        theirs=match.theirs,
        sample=key[0],
        question=mine.question,
        target=mine.target,
        by=by,
        our_answer=mine.text,
        their_answer=other.text,
    )


def _verdict(pairs: Sequence[Pair], matches: Sequence[Match]) -> str:
    """One sentence on the first pair: a mixture against its best member, where it has members."""
    if not pairs or not matches or (pairs[0].ours, pairs[0].theirs) != matches[0]:
        return "nothing can be said: fewer than two prompts have a score on both sides"
    first = pairs[0]
    role = ", its best member" if first.kind == "member" else ""
    return f"{first.ours} against {first.theirs}{role}: {first.verdict}"


def _bias(field: Field) -> Bias | None:
    """Of the judge, over every pair that it read in both orders."""
    read = [
        (one, len(field.answers[ours][key].text), len(field.answers[theirs][key].text))
        for (ours, theirs), said in field.judged.items()
        for key, one in said.items()
    ]
    first, second = pairwise.by_place([one for one, _, _ in read])
    if sum(a is not None and b is not None for a, b in zip(first, second, strict=True)) < 2:
        return None
    position = judges.position_bias(first, second)
    length = judges.length_bias(
        [one.preference for one, _, _ in read],
        [float(mine) for _, mine, _ in read],
        [float(other) for _, _, other in read],
    )
    return Bias(
        position_shift=position.shift.value,
        consistent=position.consistent,
        first=position.first,
        second=position.second,
        length_correlation=length.correlation,
        length_slope=length.slope.value if length.slope else None,
    )


def _silent(field: Field) -> list[str]:
    """Who has no score, how often, and why the first time."""
    said: list[str] = []
    for name, rows in field.answers.items():
        lost = [one.missing for one in rows.values() if not one.answered or _unscored(field, one)]
        if lost:
            why = one_line(lost[0]) or "no reason was given"
            said.append(f"{name}: {len(lost)} of {plural(len(rows), 'answer')} missing: {why}")
    for (ours, theirs), found in field.judged.items():
        lost = [one.problem for one in found.values() if one.preference is None]
        if lost:
            said.append(f"{ours} and {theirs}: {len(lost)} of {len(found)} unjudged: {lost[0]}")
    return said


def _unscored(field: Field, one: Answer) -> bool:
    return field.judge is None and one.score is None
