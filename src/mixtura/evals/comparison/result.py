"""What a comparison came to, as plain data: contenders, pairs, prompts, the judge's bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec

from mixtura.evals.comparison.baselines import ParticipantKind

Measure = Literal["score", "win rate"]
Unit = Literal["price", "tokens"]


@dataclass(frozen=True, slots=True)
class ContenderRow:
    """
    One contender. *score* is the mean over prompts: of the task, or the share of prompts on which
    the judge preferred it to the mixture. Dollars, seconds and tokens are those of one answer,
    as if none had come from a cache; seconds are its critical path.
    """

    name: str
    kind: ParticipantKind
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
class PairedResult:
    """
    A mixture and one opponent on the prompts that both have a score for.

    *difference* is the mixture's score less the other's. *times*: what the mixture's answers take
    over what the other's take, in dollars, or in tokens where dollars are unknown or nothing.
    """

    ours: str
    theirs: str
    kind: ParticipantKind
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
    """The length-controlled win rate, where a judge decides which answer is better."""
    verdict: str


@dataclass(frozen=True, slots=True)
class DecidedPrompt:
    """A prompt that was won or lost: both answers and the difference of their scores."""

    ours: str
    theirs: str
    sample: str
    question: str
    target: str
    by: float
    our_answer: str
    their_answer: str


@dataclass(frozen=True, slots=True)
class PairwiseBias:
    """The judge's position and length bias over all the pairs that it read."""

    position_shift: float
    consistent: float
    first: float
    second: float
    length_correlation: float | None
    length_slope: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole comparison, the mixture first."""

    task: str
    measure: Measure
    judge: str | None
    prompts: int
    contenders: tuple[ContenderRow, ...]
    pairs: tuple[PairedResult, ...]
    told: tuple[DecidedPrompt, ...]
    verdict: str
    bias: PairwiseBias | None
    warnings: tuple[str, ...]
    spent_usd: float | None
    """Dollars paid, earlier runs included; calls that several contenders share count once."""
    capped: int = 0
    """Answers and verdicts that were not asked for because of the cap."""

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON data."""
        return cast(dict[str, Any], msgspec.to_builtins(self))
