"""How well support tells right answers from wrong ones, and the curve that makes it a probability.

Isotonic regression by pool-adjacent-violators (Ayer et al. 1955), Platt's sigmoid (Platt 1999, in
the form of Lin, Lin and Weng 2007), area under the receiver operating curve as Mann and Whitney's
statistic, expected calibration error over bins of equal size (Naeini et al. 2015).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixtura.core.calibration import CalibrationCurve, CalibrationMethod

Vector = NDArray[np.float64]
BINS = 10
FOLDS = 5
RESAMPLES = 2000
RIGHT_SCORE = 0.5
"""The least score of an answer that counts as right."""
MIN_BIN_ANSWERS = 10
"""Answers of the smallest bin: the share of right ones among fewer says little."""


class RecordedOutcome(NamedTuple):
    """The support of an answer, and whether it was right; *prompt* is what it answers."""

    prompt: str
    support: float
    right: bool


class BoundedFigure(NamedTuple):
    """A figure, and between which bounds it lies with 95 %; None where nothing says so."""

    value: float | None
    low: float | None = None
    high: float | None = None


class CalibrationBin(NamedTuple):
    """Answers of about the same confidence: their mean, and the share of them that was right."""

    confidence: float
    right: float
    low: float
    high: float
    answers: int


# ---- curves


def fit_curve(
    outcomes: Sequence[RecordedOutcome], method: CalibrationMethod = "isotonic"
) -> CalibrationCurve:
    """The curve of recorded outcomes. Raises ValueError where all are right, or all wrong."""
    values = np.array([one.support for one in outcomes])
    right = np.array([float(one.right) for one in outcomes])
    if not 0 < right.sum() < len(right):
        raise ValueError("a calibration needs both right and wrong answers")
    answers, total = len(outcomes), float(right.sum())
    if method == "isotonic":
        return CalibrationCurve("isotonic", answers, total, fit_isotonic(values, right))
    slope, intercept = fit_platt(values, right)
    return CalibrationCurve("platt", answers, total, slope=slope, intercept=intercept)


def fit_isotonic(values: Vector, right: Vector) -> tuple[tuple[float, float], ...]:
    """
    The rising curve with the least squared error: its points, first and last of each block.

    Equal values are one point from the beginning, with their mean.
    """
    places, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, weights=right)
    blocks: list[tuple[float, float, float, float]] = []  # first, last, sum, count
    for place, total, count in zip(places, sums, counts, strict=True):
        blocks.append((float(place), float(place), float(total), float(count)))
        while len(blocks) > 1 and blocks[-2][2] / blocks[-2][3] >= blocks[-1][2] / blocks[-1][3]:
            (first, _, a, m), (_, last, b, n) = blocks[-2:]
            blocks[-2:] = [(first, last, a + b, m + n)]
    points = [(at, total / n) for first, last, total, n in blocks for at in (first, last)]
    return tuple(dict.fromkeys(points))


def fit_platt(values: Vector, right: Vector) -> tuple[float, float]:
    """Slope and intercept of the log-odds, by Newton's method on Platt's smoothed targets."""
    positive, negative = right.sum(), len(right) - right.sum()
    high, low = float((positive + 1) / (positive + 2)), float(1 / (negative + 2))
    targets = low + (high - low) * (right > 0.5).astype(np.float64)
    design: Vector = np.stack([values, np.ones(len(values))], axis=1)
    weights: Vector = np.array([0.0, float(np.log((positive + 1) / (negative + 1)))], np.float64)
    for _ in range(100):
        shown = _sigmoid(design @ weights)
        gradient = design.T @ (shown - targets)
        curvature = (design * (shown * (1 - shown))[:, None]).T @ design
        step = np.asarray(np.linalg.solve(curvature + 1e-9 * np.eye(2), gradient), np.float64)
        # Half a step where a whole one goes too far: far out the curve is flat.
        scale = 1.0
        before = _log_loss(design @ weights, targets)
        while scale > 1e-10 and _log_loss(design @ (weights - scale * step), targets) > before:
            scale /= 2
        weights = weights - scale * step
        if np.abs(scale * step).max() < 1e-10:
            break
    return float(weights[0]), float(weights[1])


def _sigmoid(odds: Vector) -> Vector:
    return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))


def _log_loss(odds: Vector, targets: Vector) -> float:
    return float(np.sum(np.logaddexp(0, odds) - targets * odds))


def cross_fit(
    outcomes: Sequence[RecordedOutcome], method: CalibrationMethod = "isotonic"
) -> list[float | None]:
    """
    The confidence of each answer by a curve that was fitted without its prompt, in five parts;
    None where the other parts are all right, or all wrong.
    """
    parts = [zlib.crc32(one.prompt.encode()) % FOLDS for one in outcomes]
    found: list[float | None] = [None] * len(outcomes)
    for part in range(FOLDS):
        others = [one for one, own in zip(outcomes, parts, strict=True) if own != part]
        try:
            curve = fit_curve(others, method)
        except ValueError:
            continue
        for i, one in enumerate(outcomes):
            if parts[i] == part:
                found[i] = curve.find_probability(one.support)
    return found


# ---- how good


def auroc(values: Vector, right: Vector) -> float | None:
    """
    The chance that a right answer has more support than a wrong one, ties counted as half; None
    where all are right, or all wrong.
    """
    positive = int((right > 0.5).sum())
    negative = len(right) - positive
    if not positive or not negative:
        return None
    _, place, times = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(times)
    ranks = (last - (times - 1) / 2)[place]
    above = ranks[right > 0.5].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def reliability_bins(confidences: Vector, right: Vector, bins: int = BINS) -> list[CalibrationBin]:
    """
    Bins of about equally many answers, by rising confidence; equal confidences stay together.

    The bounds of a share are Wilson's (1927).
    """
    order = np.argsort(confidences, kind="stable")
    size = max(MIN_BIN_ANSWERS, -(-len(order) // bins))
    groups: list[list[int]] = []
    for i in order:
        full = groups and len(groups[-1]) >= size
        if not groups or (full and confidences[i] != confidences[groups[-1][-1]]):
            groups.append([])
        groups[-1].append(int(i))
    if len(groups) > 1 and len(groups[-1]) < MIN_BIN_ANSWERS:
        groups[-2:] = [[*groups[-2], *groups[-1]]]
    return [_make_bin(confidences[group], right[group]) for group in groups]


def _make_bin(confidences: Vector, right: Vector) -> CalibrationBin:
    n, share, z = len(right), float(right.mean()), 1.959964
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return CalibrationBin(
        float(confidences.mean()), share, max(0.0, centre - half), min(1.0, centre + half), n
    )


def calibration_error(confidences: Vector, right: Vector) -> float:
    """The mean distance of confidence and share of right answers, over bins, by their answers."""
    bins = reliability_bins(confidences, right)
    return sum(abs(one.confidence - one.right) * one.answers for one in bins) / len(right)


def with_bounds(
    figure: Callable[[Vector, Vector], float | None],
    prompts: Sequence[str],
    values: Vector,
    right: Vector,
    *,
    grows_with_chance: bool = False,
) -> BoundedFigure:
    """
    *figure* of all answers, with the bounds of a bootstrap over prompts (of several answers to
    one prompt all or none are drawn). Without bounds below ten prompts.

    *grows_with_chance*: a distance, 0 or more, that chance makes larger; a resample has more chance
    in it than the answers have, so that its percentiles would lie above the figure. There they are
    reflected about it (the basic bootstrap of Davison and Hinkley 1997, section 5.2).
    """
    whole = figure(values, right)
    names, inverse = np.unique(np.array(prompts), return_inverse=True)
    if whole is None or len(names) < 10:
        return BoundedFigure(whole)
    rows: list[NDArray[np.int64]] = [
        np.flatnonzero(inverse == number).astype(np.int64) for number in range(len(names))
    ]
    chance = np.random.default_rng(0)
    drawn: list[float] = []
    for _ in range(RESAMPLES):
        places: list[int] = chance.integers(len(rows), size=len(rows)).tolist()
        taken: NDArray[np.int64] = np.concatenate([rows[i] for i in places])
        if (one := figure(values[taken], right[taken])) is not None:
            drawn.append(one)
    low, high = map(float, np.quantile(drawn, [0.025, 0.975]))
    if grows_with_chance:
        low, high = max(0.0, min(whole, 2 * whole - high)), max(whole, 2 * whole - low)
    return BoundedFigure(whole, low, high)
