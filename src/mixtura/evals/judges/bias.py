"""How far a judge can be trusted: its biases, and how often it says what people say."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixtura.evals.statistics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    IntervalEstimate,
    OptionalScore,
    Vector,
    estimate_mean,
    paired_difference,
    percentile_bounds,
    prompt_scores,
    resample_weights,
)


class PositionBias(NamedTuple):
    """Pairs judged in both orders (Zheng et al. 2023, arXiv 2306.05685, section 3.3, table 2)."""

    shift: IntervalEstimate
    """What standing first adds to a preference."""
    consistent: float
    """The share of pairs with the same verdict in both orders."""
    first: float
    """The share whose verdict leans to whichever answer stands first."""
    second: float


class LengthBias(NamedTuple):
    """How preferences go with length: of a fair judge, only as far as longer is better."""

    correlation: float | None
    """Spearman's, of the preference and the difference in length; None where one is constant."""
    slope: IntervalEstimate | None
    """What a far longer answer gains over one of equal length, on a scale of 0 to 1."""


class JudgeAgreement(NamedTuple):
    """Two judges, or a judge and people, on the same items."""

    accuracy: IntervalEstimate
    kappa: IntervalEstimate | None
    """Cohen's; None where only one label occurs, and chance explains everything."""


def position_bias(
    first: Sequence[OptionalScore], second: Sequence[OptionalScore], *, seed: int = 0
) -> PositionBias:
    """The preferences for one side's answers, 0 to 1, where they stood *first* and *second*.

    Raises ValueError for fewer than two pairs with both, or lists of different lengths.
    """
    shift = paired_difference(first, second, seed=seed)
    a, b = prompt_scores(first), prompt_scores(second)
    there = ~np.isnan(a - b)
    lean = np.sign(a[there] - 0.5) - np.sign(b[there] - 0.5)
    count = int(there.sum())
    shares = [int(part.sum()) / count for part in (lean == 0, lean > 0, lean < 0)]
    return PositionBias(shift, *shares)


def self_preference(
    own: Sequence[OptionalScore], others: Sequence[OptionalScore] | None = None, *, seed: int = 0
) -> IntervalEstimate:
    """
    How much a judge favours answers of its own family, against what *others* prefer.

    *own*: its preferences for them, 0 to 1; *others*: those of people or of foreign judges for
    the same pairs (Zheng et al. 2023, arXiv 2306.05685, section 3.3). Without others, answers
    are taken for equally good, and 0.5 for neutral (Panickssery et al. 2024, arXiv 2404.13076).
    Raises ValueError for fewer than two pairs, or lists of different lengths.
    """
    return paired_difference(own, [0.5] * len(own) if others is None else others, seed=seed)


def length_bias(
    preferences: Sequence[OptionalScore],
    lengths: Sequence[float],
    other_lengths: Sequence[float],
    reference: Sequence[OptionalScore] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> LengthBias:
    """
    How the preference for one side's answers goes with how much longer they are.

    With a *reference*, people's preferences for the same pairs, only what the judge says beyond
    it counts. Length is the tanh of the difference in standard deviations, as in the
    length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475, section 3). Raises ValueError
    for lists of different lengths.
    """
    preference = prompt_scores(preferences)
    if reference is not None:
        preference = preference - prompt_scores(reference)
    longer = np.array(lengths, dtype=np.float64) - np.array(other_lengths, dtype=np.float64)
    if len(longer) != len(preference):
        raise ValueError(f"there are {len(preference)} preferences and {len(longer)} lengths")
    there = ~np.isnan(preference) & ~np.isnan(longer)
    y, apart = preference[there], longer[there]
    # Two points have a line through them whatever they are.
    if len(y) < 3 or np.ptp(apart) == 0:
        return LengthBias(None, None)
    x = np.tanh(apart / apart.std(ddof=1))
    rank = None if np.ptp(y) == 0 else _pearson_correlation(_mean_ranks(apart), _mean_ranks(y))
    figures = np.concatenate(
        [_slope_values(w, x, y) for w in resample_weights(len(y), resamples, seed)]
    )
    whole = np.full((1, len(y)), 1 / len(y))
    slope = _resampled_estimate(
        float(_slope_values(whole, x, y)[0]), figures, len(y), len(preference) - len(y), y
    )
    return LengthBias(rank, slope)


def rate_agreement(
    judge: Sequence[Hashable | None],
    people: Sequence[Hashable | None],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> JudgeAgreement:
    """
    How often a judge gives the label that people give, and beyond chance (Cohen 1960).

    An item without a label on one side is left out. Raises ValueError for lists of different
    lengths, and for fewer than two items with both labels.
    """
    if len(judge) != len(people):
        raise ValueError(f"there are {len(judge)} labels of the judge and {len(people)} of people")
    pairs = [(a, b) for a, b in zip(judge, people, strict=True) if a is not None and b is not None]
    missing = len(judge) - len(pairs)
    same = np.array([float(a == b) for a, b in pairs])
    accuracy = estimate_mean(same, resamples=resamples, seed=seed)._replace(missing=missing)
    labels = list(dict.fromkeys(label for pair in pairs for label in pair))
    ours = _one_hot([a for a, _ in pairs], labels)
    theirs = _one_hot([b for _, b in pairs], labels)
    whole = np.full((1, len(pairs)), 1 / len(pairs))
    value = float(_kappa_values(whole, same, ours, theirs)[0])
    if math.isnan(value):
        return JudgeAgreement(accuracy, None)
    figures = np.concatenate(
        [
            _kappa_values(w, same, ours, theirs)
            for w in resample_weights(len(pairs), resamples, seed)
        ]
    )
    # A resample in which one label is all there is has no kappa: it takes that of the whole.
    figures = np.where(np.isnan(figures), value, figures)
    return JudgeAgreement(accuracy, _resampled_estimate(value, figures, len(pairs), missing, same))


# ---- figures of every resample at once


def _kappa_values(weights: Vector, same: Vector, ours: Vector, theirs: Vector) -> Vector:
    """(observed - expected) / (1 - expected) agreement; not a number where nothing is expected."""
    observed = weights @ same
    expected = ((weights @ ours) * (weights @ theirs)).sum(axis=1)
    left = 1 - expected
    left = np.where(left < 1e-12, math.nan, left)
    return (observed - expected) / left


def _slope_values(weights: Vector, x: Vector, y: Vector) -> Vector:
    """Of the line through the points, by least squares; 0 where every x is the same."""
    mean_x, mean_y = weights @ x, weights @ y
    across = weights @ (x * y) - mean_x * mean_y
    along = weights @ (x * x) - mean_x**2
    return np.where(along > 1e-12, across / np.where(along > 1e-12, along, 1.0), 0.0)


def _resampled_estimate(
    value: float, figures: Vector, count: int, missing: int, y: Vector
) -> IntervalEstimate:
    low, high = percentile_bounds(figures[None], count, CONFIDENCE)
    spread = float(y.std(ddof=1))
    return IntervalEstimate(value, float(low[0]), min(float(high[0]), 1.0), count, missing, spread)


def _one_hot(labels: Sequence[Hashable], known: Sequence[Hashable]) -> Vector:
    place = {label: column for column, label in enumerate(known)}
    table = np.zeros((len(labels), len(known)))
    table[np.arange(len(labels)), [place[label] for label in labels]] = 1.0
    return table


def _mean_ranks(values: Vector) -> Vector:
    """Ranks from 1; equals share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last: NDArray[np.int64] = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def _pearson_correlation(a: Vector, b: Vector) -> float:
    return float(np.corrcoef(a, b)[0, 1])
