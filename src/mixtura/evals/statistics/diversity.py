"""How diverse a set of texts is, as one number: the Vendi score of a table of their similarities.

Friedman and Dieng 2023 (arXiv 2210.02410); weighted by quality, Nguyen and Dieng 2024 (arXiv
2405.02449). The table says for each two texts how alike they are, from 0 to 1, and 1 of each and
itself; cosines make one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixtura.core.similarity import cosine_similarity

Kernel = NDArray[np.float64] | Sequence[Sequence[float]]


def cosine_kernel(vectors: Sequence[Mapping[str, float]]) -> NDArray[np.float64]:
    """The cosine of each two of *vectors*, which are of unit length; 1 of each and itself."""
    table = np.eye(len(vectors))
    for i, j in combinations(range(len(vectors)), 2):
        # Rounding may lift a cosine above 1, which no kernel has.
        table[i, j] = table[j, i] = min(1.0, cosine_similarity(vectors[i], vectors[j]))
    return table


def vendi_score(kernel: Kernel) -> float:
    """How many texts with nothing in common would be as diverse: 1 (all the same) to n.

    exp(-Σ λ ln λ) over the eigenvalues λ of the kernel divided by n. Raises ValueError for a table
    that is not square, or empty.
    """
    table = np.asarray(kernel, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not len(table):
        raise ValueError(f"a kernel must be a square matrix of similarities, not {table.shape}")
    shares = np.linalg.eigvalsh(table / len(table))
    # 0 ln 0 is 0, and rounding makes small negatives of zeros.
    there = shares[shares > 1e-12]
    return float(np.exp(-(there * np.log(there)).sum()))


def weighted_vendi_score(kernel: Kernel, quality: Sequence[float]) -> float:
    """The mean *quality* times the Vendi score: a diverse set of bad texts is worth little.

    Raises ValueError for another number of qualities than of texts, and as `vendi_score` does.
    """
    if len(quality) != len(kernel):
        raise ValueError(f"there are {len(kernel)} texts and {len(quality)} qualities")
    return float(np.mean(quality)) * vendi_score(kernel)
