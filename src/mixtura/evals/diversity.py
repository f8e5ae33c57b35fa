"""
How diverse a set of texts is, as one number: the Vendi score of a table of their likenesses.

Friedman and Dieng 2023 (arXiv 2210.02410); weighted by quality, Nguyen and Dieng 2024 (arXiv
2405.02449). The table says for each two texts how alike they are, from 0 to 1, and 1 of each and
itself; cosines make one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Kernel = NDArray[np.float64] | Sequence[Sequence[float]]


def vendi(kernel: Kernel) -> float:
    """How many texts with nothing in common would be as diverse: 1 (all the same) to n."""
    table = np.asarray(kernel, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise ValueError(f"a kernel is a square of likenesses, not {table.shape}")
    shares = np.linalg.eigvalsh(table / len(table))
    there = shares[shares > 1e-12]
    return float(np.exp(-(there * np.log(there)).sum()))


def weighted_vendi(kernel: Kernel, quality: Sequence[float]) -> float:
    """The mean *quality* times the Vendi score: a diverse set of bad texts is worth little."""
    if len(quality) != len(kernel):
        raise ValueError(f"{len(kernel)} texts need as many qualities, not {len(quality)}")
    return float(np.mean(quality)) * vendi(kernel)
