"""Plain rows, and intervals for what stands in them: what every analysis is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixtura.evals.statistics import intervals

Row = dict[str, Any]
Vector = NDArray[np.float64]

SHARE_RANGE = (0.0, 1.0)
DIFFERENCE_RANGE = (-1.0, 1.0)


class Interval(NamedTuple):
    """A mean over prompts, between which bounds it lies with 95 %, and on how many it rests."""

    mean: float
    low: float | None
    high: float | None
    prompts: int

    def to_columns(self, name: str) -> Row:
        """As columns of a row."""
        return {name: self.mean, f"{name}_low": self.low, f"{name}_high": self.high}

    def to_json(self) -> Row:
        """As the documented JSON."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def mean_interval(
    values: Iterable[float | None] | Vector, reach: tuple[float, float] | None = None
) -> Interval | None:
    """
    The mean of what is known; None of nothing. Two prompts are the least that have bounds.

    *reach*: between what the values can lie; without it (dollars, seconds), what was seen.
    """
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        return None
    mean = float(known.mean())
    # One value has a mean, but nothing says how far the next one would lie from it.
    if len(known) < 2:
        return Interval(mean, None, None, 1)
    # Dollars and seconds have no upper end of their own.
    within = reach or (float(known.min()), float(known.max()))
    low, high = intervals.bootstrap_intervals(known[None], reach=within)
    return Interval(mean, float(low[0]), float(high[0]), len(known))


def paired_difference(
    ours: Mapping[str, float],
    theirs: Mapping[str, float],
    *,
    reach: tuple[float, float] = DIFFERENCE_RANGE,
) -> Interval | None:
    """How much more *ours* is than *theirs*, on the prompts that both have."""
    shared = [key for key in ours if key in theirs]
    return mean_interval([ours[key] - theirs[key] for key in shared], reach)


def interval_columns(name: str, interval: Interval | None) -> Row:
    """The columns of an interval; empty ones where nothing is known."""
    empty: Row = dict.fromkeys((name, f"{name}_low", f"{name}_high"))
    return empty if interval is None else interval.to_columns(name)


# ---- ranks


def spearman_correlation(a: Sequence[float] | Vector, b: Sequence[float] | Vector) -> float | None:
    """Spearman's rank correlation, -1 to 1; None where one side is all the same."""
    left, right = _average_ranks(a), _average_ranks(b)
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    return float(np.corrcoef(left, right)[0, 1])


def _average_ranks(values: Sequence[float] | Vector) -> Vector:
    """Ranks from 1; ties share the mean of theirs, as Spearman's correlation has it."""
    _, place, times = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(times)
    return (last - (times - 1) / 2)[place]
