"""What looking more than once at the same data costs: parts of the 5 % that all looks have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

ALPHA = 0.05
"""The probability of a false alarm that all looks together may have."""


def spent_alpha(fraction: float) -> float:
    """
    The probability of a false alarm that may be spent when *fraction* of what is planned is there:
    Lan and DeMets 1983 in the form of Pocock, α·ln(1 + (e - 1)·t). It leaves an early look
    something to say: the form of O'Brien and Fleming has a billionth for the first tenth.

    Raises ValueError for a fraction outside of 0 to 1.
    """
    if not 0 < fraction <= 1:
        raise ValueError("the fraction of a look must be above 0 and at most 1")
    return ALPHA * math.log(1 + (math.e - 1) * fraction)


def look_alphas(fractions: Sequence[float]) -> list[float]:
    """
    What each look may spend: the part that was not spent before. Their sum is at most 5 %, so that
    the chance of one false alarm in all looks together is too (Bonferroni).
    """
    spent = [0.0, *map(spent_alpha, fractions)]
    return [max(after - before, 0.0) for before, after in pairwise(spent)]
