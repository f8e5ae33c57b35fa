"""The length-controlled win rate of AlpacaEval 2.0: who would win if answers were equally long.

The model (Dubois et al. 2024, arXiv 2404.04475, section 3; `length_controlled_v1` of
tatsu-lab/alpaca_eval), with t_i = tanh of the baseline's length less the model's, in standard
deviations, and the difficulty γ_i of the instruction:

    P(the model beats the baseline | i) = σ(φ·t_i + ψ·γ_i + θ)

The length-controlled win rate is the mean of σ(ψ·γ_i + θ): the length term is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

Method = Literal["published-weights", "official-fit", "prior-fit", "average-weights", "baseline"]
"""
- published-weights: φ, ψ and θ as they stand in the leaderboard's own file.
- official-fit: fitted as the leaderboard does, with its regularisation set.
- prior-fit: fitted with known difficulties; what is usual among published weights stands in for
  the regularisation set.
- average-weights: only θ is fitted, for the average φ and ψ and an unknown difficulty.
- baseline: the baseline against itself, 50 by definition.
"""

METHOD_NOTES: Mapping[Method, str] = {
    "published-weights": "the leaderboard's own weights",
    "official-fit": "fitted as the leaderboard does",
    "prior-fit": "fitted with a prior from the published weights, not the official regularisation"
    " set: accurate to about one point",
    "average-weights": "estimated from lengths alone with average weights: accurate to about two"
    " points; --difficulty makes it more accurate",
    "baseline": "the baseline against itself",
}
"""The same for whoever reads a result."""

GAMED_WEIGHT = 0.2
"""λ: what the regularisation set weighs in the fit; each of its two models has half of it."""
FOLDS = 5
STRENGTHS = np.logspace(-4, 4, 10)
"""The inverse penalties C among which cross-validation chooses."""

USUAL_LENGTH, LENGTH_SPREAD = -1.511, 0.388
USUAL_DIFFICULTY, DIFFICULTY_SPREAD = 0.904, 0.176
"""Mean and standard deviation of φ and ψ over the 198 published models, the null model left out."""
DIFFICULTY_DEVIATION = 1.486
"""The standard deviation of γ over the 805 instructions; its mean is close to 0."""
BROAD_PRIOR_SPREAD = 10.0
"""The standard deviation of the prior of θ, which says nearly nothing of it."""


class GlmWeights(NamedTuple):
    """What the model learned of one model: φ, ψ, θ."""

    length: float
    difficulty: float
    model: float


class RegularizationSet(NamedTuple):
    """The regularisation set: answers of the baseline asked to be long, and to be short."""

    preferences: Vector
    """0 to 1; not a number where the judge gave none."""
    lengths: Vector
    """The difference of lengths in standard deviations, before the tanh."""
    difficulties: Vector


class ControlledWinRate(NamedTuple):
    """A length-controlled win rate in percent, and how it was found."""

    win_rate: float
    standard_error: float | None
    method: Method
    weights: GlmWeights


def sigmoid(x: Vector) -> Vector:
    # logaddexp, since exp overflows where a weight has grown large.
    return np.exp(-np.logaddexp(0, -x))


def length_differences(baseline: Vector, model: Vector) -> Vector:
    """Lengths in characters to differences in standard deviations (of a sample), as published."""
    delta = baseline - model
    known = delta[~np.isnan(delta)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    # Everyone equally long: no difference, rather than 0/0.
    return delta / spread if spread else delta * 0.0


def published_win_rate(weights: GlmWeights, difficulties: Vector) -> ControlledWinRate:
    """The win rate of a model whose weights are known."""
    return _predict_win_rate(weights, difficulties, "published-weights")


def official_fit(
    preferences: Vector, lengths: Vector, difficulties: Vector, gamed: RegularizationSet
) -> ControlledWinRate:
    """
    The fit that the leaderboard does: an L1 penalty whose strength is chosen by cross-validation.

    Preferences from 0 to 1; a row without a preference or a length takes no part in the fit.
    """
    guided = _feature_matrix(gamed.lengths, gamed.difficulties, 0.0)
    own = _feature_matrix(lengths, difficulties, 1.0)
    features = np.vstack([guided, own])
    wanted = np.concatenate([gamed.preferences, preferences])
    # The two models of the set together weigh λ, whichever row belongs to which.
    importance = np.where(features[:, 2] > 0, 1.0, GAMED_WEIGHT / 2)
    there = ~np.isnan(wanted) & ~np.isnan(features).any(axis=1)
    weights = cross_validate(features[there], wanted[there], importance[there])
    return _predict_win_rate(GlmWeights(*map(float, weights)), difficulties, "official-fit")


def prior_fit(preferences: Vector, lengths: Vector, difficulties: Vector) -> ControlledWinRate:
    """The most probable weights, where those of the published models say what is usual."""
    features = _feature_matrix(lengths, difficulties, 1.0)
    there = ~np.isnan(preferences) & ~np.isnan(features).any(axis=1)
    x, wanted = features[there], preferences[there]
    centre = np.array([USUAL_LENGTH, USUAL_DIFFICULTY, 0.0])
    firmness = np.array([LENGTH_SPREAD, DIFFICULTY_SPREAD, BROAD_PRIOR_SPREAD]) ** -2.0
    weights = fit_with_prior(x, wanted, np.ones(len(x)), centre, firmness)
    return _predict_win_rate(GlmWeights(*map(float, weights)), difficulties, "prior-fit")


def fit_with_prior(
    x: Vector, wanted: Vector, importance: Vector, centre: Vector, firmness: Vector
) -> Vector:
    """The most probable weights of a logistic model under a normal prior."""
    weights = centre.copy()
    for _ in range(100):  # Newton; the goal is strictly convex
        chance = sigmoid(x @ weights)
        slope = x.T @ (importance * (chance - wanted)) + firmness * (weights - centre)
        curve = importance * chance * (1 - chance)
        step = np.linalg.solve((x * curve[:, None]).T @ x + np.diag(firmness), slope)
        # Far from the optimum a whole step may overshoot: no weight moves by more than 2 at once.
        weights = weights - step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-300))
        if np.abs(step).max() < 1e-10:
            break
    return weights


def average_fit(preferences: Vector, lengths: Vector) -> ControlledWinRate:
    """θ alone, so that the mean of the predictions is the raw win rate; γ is a normal variable."""
    there = ~np.isnan(preferences) & ~np.isnan(lengths)
    # The mean over a normal γ by Gauss-Hermite quadrature: 21 points are exact to polynomials of
    # degree 41.
    points, mass = np.polynomial.hermite_e.hermegauss(21)
    mass = mass / mass.sum()
    hardness = USUAL_DIFFICULTY * DIFFICULTY_DEVIATION * points
    known = USUAL_LENGTH * np.tanh(lengths[there])[:, None] + hardness[None]
    wanted = float(preferences[there].mean())
    # The mean chance rises with θ: halving cannot miss it.
    low, high = -30.0, 30.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        reached = float((sigmoid(known + middle) @ mass).mean())
        low, high = (middle, high) if reached < wanted else (low, middle)
    chances = sigmoid(hardness + low)
    mean = float(chances @ mass)
    spread = math.sqrt(max(float((chances - mean) ** 2 @ mass), 0.0))
    count = len(preferences)
    # The spread is that of a population: n - 1 makes of it the standard error of a sample.
    error = 100 * spread / math.sqrt(count - 1) if count > 1 else None
    weights = GlmWeights(USUAL_LENGTH, USUAL_DIFFICULTY, low)
    return ControlledWinRate(100 * mean, error, "average-weights", weights)


def is_extreme_shift(raw: float, controlled: float) -> bool:
    """Whether the two differ so much that the fit, or the model, deserves a second look."""
    below = min(raw - raw / 4, raw - 10)
    above = max(raw + (100 - raw) / 4, raw + 10)
    return controlled < below or controlled > above


# ---- fitting as published


def cross_validate(x: Vector, wanted: Vector, importance: Vector) -> Vector:
    """The weights for the strength that predicts best what was left out of the fit."""
    fold = np.arange(len(wanted)) % FOLDS  # as scikit-learn's GroupKFold deals equal groups
    scores = np.zeros(len(STRENGTHS))
    for left_out in range(FOLDS):
        test = fold == left_out
        kept = ~test
        weights = np.zeros(x.shape[1])
        # Each strength begins where the one before ended, since their weights differ little.
        for number, strength in enumerate(STRENGTHS):
            weights = fit_sparse_weights(
                x[kept], wanted[kept], importance[kept], float(strength), weights
            )
            scores[number] -= (
                _log_loss(x[test] @ weights, wanted[test], importance[test]) / test.sum()
            )
    best = float(STRENGTHS[int(scores.argmax())])
    return fit_sparse_weights(x, wanted, importance, best)


def fit_sparse_weights(
    x: Vector,
    wanted: Vector,
    importance: Vector,
    strength: float,
    start: Vector | None = None,
) -> Vector:
    """
    The weights w with the least ‖w‖₁ + C · Σ importance · log loss; no intercept.

    Newton steps on the loss, the penalty exact (Yuan, Ho and Lin 2012, JMLR 13, newGLMNET).
    """
    weights = np.zeros(x.shape[1]) if start is None else start.copy()
    goal = _penalized_loss(weights, x, wanted, importance, strength)
    for _ in range(200):
        chance = sigmoid(x @ weights)
        slope = strength * (x.T @ (importance * (chance - wanted)))
        curve = importance * chance * (1 - chance)
        # A little on the diagonal: where every chance is 0 or 1, there is no curvature left.
        bend = strength * ((x * curve[:, None]).T @ x) + 1e-12 * np.eye(x.shape[1])
        step = _newton_direction(weights, slope, bend)
        size, reached = 1.0, math.inf
        # Halved until the loss falls: the quadratic is only a model of it.
        while size > 1e-12:
            reached = _penalized_loss(weights + size * step, x, wanted, importance, strength)
            if reached <= goal:
                break
            size /= 2
        if not reached < goal:
            break
        weights, done = weights + size * step, float(np.abs(size * step).max()) < 1e-11
        goal = reached
        if done:
            break
    return weights


def _newton_direction(weights: Vector, slope: Vector, bend: Vector) -> Vector:
    """The step to the least of a quadratic and the penalty, one coordinate after the other."""
    step = np.zeros(len(weights))
    for _ in range(1000):
        before = step.copy()
        for j in range(len(weights)):
            pull = float(slope[j] + bend[j] @ step - bend[j, j] * step[j])
            target = float(bend[j, j] * weights[j]) - pull
            # The penalty has a corner at zero, on which small weights come to lie: the soft
            # threshold.
            shrunk = math.copysign(max(abs(target) - 1.0, 0.0), target) / float(bend[j, j])
            step[j] = shrunk - weights[j]
        if float(np.abs(step - before).max()) < 1e-14:
            break
    return step


def _penalized_loss(
    weights: Vector, x: Vector, wanted: Vector, importance: Vector, strength: float
) -> float:
    return float(np.abs(weights).sum()) + strength * _log_loss(x @ weights, wanted, importance)


def _log_loss(scores: Vector, wanted: Vector, importance: Vector) -> float:
    """Σ importance · log loss, where what is wanted is a probability."""
    return float((importance * (np.logaddexp(0, scores) - wanted * scores)).sum())


def _feature_matrix(lengths: Vector, difficulties: Vector, own: float) -> Vector:
    return np.column_stack([np.tanh(lengths), difficulties, np.full(len(lengths), own)])


def _predict_win_rate(
    weights: GlmWeights, difficulties: Vector, method: Method
) -> ControlledWinRate:
    chances = sigmoid(weights.difficulty * difficulties + weights.model)
    count = len(chances)
    error = 100 * float(chances.std(ddof=1)) / math.sqrt(count) if count > 1 else None
    return ControlledWinRate(100 * float(chances.mean()), error, method, weights)
