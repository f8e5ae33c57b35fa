"""How sure a share is that was counted: Wilson's interval."""

from __future__ import annotations

import math

Z_95 = 1.959964
"""Standard deviations of 95 %."""


def wilson_interval(share: float, count: int, z: float = Z_95) -> tuple[float, float]:
    """
    The bounds of a *share*, 0 to 1, that was found in *count* cases (Wilson 1927).

    Raises ValueError without a case.
    """
    if count < 1:
        raise ValueError("a share of nothing has no bounds")
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
