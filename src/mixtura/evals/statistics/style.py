"""Who would win if answers were as long and as adorned as each other, by a Bradley-Terry model.

Style has weights of its own in it (Arena-Hard-Auto v2; Li et al. 2024, arXiv 2406.11939).

    P(the model wins | i) = σ(θ + β · s_i)

with s_i the differences of length, headings, lists and bold type between the two answers to prompt
i, in standard deviations. The style-controlled win rate is σ(θ). The published leaderboard fits
many models at once and centres s over all of them; for one model, s = 0 is equal style.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixtura.evals.statistics.intervals import CONFIDENCE, percentile_bounds, resample_weights
from mixtura.evals.statistics.length_control import BROAD_PRIOR_SPREAD, fit_with_prior, sigmoid

Vector = NDArray[np.float64]

RESAMPLES = 1000
"""Fewer than for a mean: each of them is a fit."""
_BLOCK = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_HEADING = re.compile(r"^#{1,6}\s", re.MULTILINE)
_LISTED = re.compile(r"^\s*(?:[-*+]|\d+\.)\s", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")


class AnswerStyle(NamedTuple):
    """What a reader sees of an answer before its content; code is left out but for its length."""

    length: int
    headings: int
    lists: int
    bold: int


class WinRate(NamedTuple):
    """A win rate from 0 to 1 and its 95 % interval over prompts; none below two prompts."""

    value: float
    low: float | None
    high: float | None


class Battles(NamedTuple):
    """Games of one model, each with its prompt, its outcome (0 to 1), its weight and its style."""

    prompts: NDArray[np.int64]
    outcomes: Vector
    weights: Vector
    styles: Vector


def measure_style(text: str) -> AnswerStyle:
    """The style of a Markdown text, in characters and counts."""
    bare = _BLOCK.sub("", text)
    counts = (len(pattern.findall(bare)) for pattern in (_HEADING, _LISTED, _BOLD))
    return AnswerStyle(len(text), *counts)


def style_difference(ours: AnswerStyle, theirs: AnswerStyle) -> list[float]:
    """The differences of two styles, each between -1 and 1: of length, and of density."""
    whole = ours.length + theirs.length
    row = [(ours.length - theirs.length) / whole if whole else 0.0]
    for mine, other in zip(ours[1:], theirs[1:], strict=True):
        a, b = mine / max(ours.length, 1), other / max(theirs.length, 1)
        # One more below: where neither has any, there is nothing to divide by.
        row.append((a - b) / (a + b + 1))
    return row


def raw_win_rate(battles: Battles) -> WinRate:
    """The share of games won, each counted by its weight."""

    def weighted_share(drawn: Vector) -> float:
        weight = battles.weights * drawn[battles.prompts]
        return float(weight @ battles.outcomes / weight.sum())

    return _rate_with_interval(battles, weighted_share)


def style_controlled_rate(battles: Battles) -> WinRate:
    """The win rate at equal style."""
    spread = battles.styles.std(axis=0)
    # A style in which no two answers differ has no weight to be found.
    known = battles.styles[:, spread > 0] / spread[spread > 0]
    x = np.column_stack([np.ones(len(known)), known])
    # Nearly flat: it only keeps the fit finite where one side won every game.
    nothing, barely = np.zeros(x.shape[1]), np.full(x.shape[1], BROAD_PRIOR_SPREAD**-2)

    def rate_at_equal_style(drawn: Vector) -> float:
        weight = battles.weights * drawn[battles.prompts]
        fitted = fit_with_prior(x, battles.outcomes, weight, nothing, barely)
        return float(sigmoid(fitted[:1])[0])

    return _rate_with_interval(battles, rate_at_equal_style)


def _rate_with_interval(battles: Battles, figure: Callable[[Vector], float]) -> WinRate:
    count = int(battles.prompts.max()) + 1
    value = figure(np.ones(count))
    if count < 2:
        return WinRate(value, None, None)
    # Prompts are drawn, with all their games: two games of one prompt are not independent.
    drawn = np.concatenate(list(resample_weights(count, RESAMPLES, seed=0))) * count
    figures = np.array([[figure(row) for row in drawn]])
    low, high = percentile_bounds(figures, count, CONFIDENCE)
    return WinRate(value, float(low[0]), float(high[0]))


def build_battles(
    rows: Sequence[tuple[int, float, float, Sequence[float]]],
) -> Battles:
    """Games as rows: the prompt's number from 0, the outcome, the weight, the style apart."""
    prompts, outcomes, weights, styles = zip(*rows, strict=True)
    return Battles(np.array(prompts), np.array(outcomes), np.array(weights), np.array(styles))
