"""Calibration: from the support of an answer to the probability that it is right."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from mixtura.core.agreement import Support, SupportSource

CalibrationMethod = Literal["isotonic", "platt"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class CalibrationCurve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often answers with so much support were right, on *answers* recorded ones."""

    method: CalibrationMethod
    answers: Annotated[int, msgspec.Meta(ge=1)]
    right: Annotated[float, msgspec.Meta(ge=0)]
    """The sum of their scores: with scores of 0 and 1, how many were right."""
    points: tuple[tuple[Share, Share], ...] = ()
    """Of isotonic regression: support and probability, both rising."""
    slope: float = 0.0
    intercept: float = 0.0
    """Of Platt's: the log-odds are slope · support + intercept."""

    def find_probability(self, value: float) -> float:
        """
        The probability at this support; outside of what was seen, that of the nearest end.

        From n answers none is surer than 1 - 1 / (n + 2) (Laplace's rule of succession).
        """
        at = self._interpolate(value) if self.method == "isotonic" else self._logistic(value)
        least = 1 / (self.answers + 2)
        return min(max(at, least), 1 - least)

    def _interpolate(self, value: float) -> float:
        places = [place for place, _ in self.points]
        after = bisect_right(places, value)
        if after == 0:
            return self.points[0][1]
        x0, y0 = self.points[after - 1]
        if after == len(places):
            return y0
        x1, y1 = self.points[after]
        return y0 + (y1 - y0) * (value - x0) / (x1 - x0)

    def _logistic(self, value: float) -> float:
        odds = self.slope * value + self.intercept
        return 1 / (1 + math.exp(-max(-500.0, min(500.0, odds))))


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """The curves of one mixture, by what its support is a share of."""

    curves: Mapping[SupportSource, CalibrationCurve]

    def find_confidence(self, support: Support | None) -> float | None:
        """The probability that an answer so supported is right; None where no curve is known."""
        if support is None or (curve := self.curves.get(support.source)) is None:
            return None
        return curve.find_probability(support.value)


NOT_CALIBRATED = Calibration({})
"""Knows nothing: support stays support."""
