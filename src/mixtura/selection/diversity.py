"""How different candidates are: in what they write, and in what they get wrong.

Only the second says what a team can gain: whatever is chosen from drafts is right no more often
than some draft is (1 - β, β the share of prompts on which all are wrong; arXiv 2606.27288, June
2026). An aggregator that writes anew may do better, and seldom does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mixtura.core.similarity import tfidf_vectors
from mixtura.evals.statistics.diversity import cosine_kernel, vendi_score, weighted_vendi_score

Table = NDArray[np.float64]
Texts = Mapping[str, Sequence[str | None]]
"""By candidate, its answer to each prompt; None where there is none."""
Scores = Mapping[str, Sequence[float | None]]

CONFIDENCE = 0.95
RIGHT_THRESHOLD = 0.5
"""A score above this counts as right where only right and wrong are counted."""


@dataclass(frozen=True, slots=True)
class PairSimilarity:
    """Two candidates: TF-IDF cosine of their answers, correlation of their errors."""

    a: str
    b: str
    cosine: float | None
    errors: float | None
    """None where one of them is never, or always, wrong."""


@dataclass(frozen=True, slots=True)
class ChoiceCeiling:
    """What the best choice among the drafts could reach, 1 - β, and between which bounds."""

    value: float
    low: float
    high: float
    prompts: int


@dataclass(frozen=True, slots=True)
class CandidateDiversity:
    """A set of candidates on the prompts that they all answered."""

    pairs: tuple[PairSimilarity, ...]
    vendi: float | None
    """As many answers as if they had nothing in common: 1 to the number of candidates."""
    weighted_vendi: float | None
    """The mean score times that."""
    oracle: float | None
    """The mean of the best score of each prompt."""
    ceiling: ChoiceCeiling | None
    entropy: float | None
    """Bits, of the final answers to a prompt; 0 where all agree."""
    agreement: float | None
    """The share of the most frequent final answer."""


def measure_diversity(
    texts: Texts, scores: Scores, final: Callable[[str], str | None] | None = None
) -> CandidateDiversity:
    """
    How different the candidates of *texts* are. *final* takes the final answer out of a text,
    where there is one; *scores* are empty where nothing is scored.
    """
    names = list(texts)
    kernels = _similarity_kernels(texts)
    mean = np.mean(kernels, axis=0) if kernels else None
    pairs = [
        PairSimilarity(
            a,
            b,
            None if mean is None else float(mean[i, j]),
            _error_correlation(scores.get(a), scores.get(b)),
        )
        for (i, a), (j, b) in combinations(enumerate(names), 2)
    ]
    spread = [vendi_score(one) for one in kernels]
    table = _score_table([scores[name] for name in names if name in scores])
    known = table.shape[0] == len(names) and table.shape[1] > 0
    best = table.max(axis=0) if known else np.zeros(0)
    counts = _final_answer_counts(texts, final) if final else []
    return CandidateDiversity(
        tuple(pairs),
        _mean_or_none(spread),
        _mean_or_none(
            [weighted_vendi_score(k, table.mean(axis=1).tolist()) for k in kernels] if known else []
        ),
        _mean_or_none(best.tolist()),
        _choice_ceiling(best) if known else None,
        _mean_or_none([_answer_entropy(count) for count in counts]),
        _mean_or_none([max(count.values()) / count.total() for count in counts]),
    )


def _similarity_kernels(texts: Texts) -> list[Table]:
    """For each prompt that all answered: the cosine of each two answers."""
    # A Vendi score grows with the number of texts, so only kernels of one size can be averaged.
    rows = [row for row in zip(*texts.values(), strict=True) if None not in row]
    # All at once: a word's weight is how rare it is among all the answers, not among one prompt's.
    flat = tfidf_vectors([text for row in rows for text in row if text is not None])
    size = len(texts)
    return [cosine_kernel(flat[start : start + size]) for start in range(0, len(flat), size)]


def _score_table(rows: Sequence[Sequence[float | None]]) -> Table:
    """Scores by candidate and prompt, of the prompts that all have a score for."""
    whole = np.array([[math.nan if s is None else s for s in row] for row in rows], dtype=float)
    return whole[:, ~np.isnan(whole).any(axis=0)] if whole.size else np.zeros((len(rows), 0))


def _error_correlation(
    a: Sequence[float | None] | None, b: Sequence[float | None] | None
) -> float | None:
    """Pearson's correlation of what two miss of a full score."""
    if a is None or b is None:
        return None
    table = _score_table([a, b])
    # Who is always right, or always wrong, varies with nothing: 0/0 is not a correlation of 0.
    if table.shape[1] < 2 or (table.min(axis=1) == table.max(axis=1)).any():
        return None
    centred = table - table.mean(axis=1, keepdims=True)
    a_part, b_part = centred / np.sqrt((centred**2).sum(axis=1, keepdims=True))
    return float(a_part @ b_part)


def _choice_ceiling(best: Table) -> ChoiceCeiling:
    wrong = int((best <= RIGHT_THRESHOLD).sum())
    low, high = clopper_pearson(wrong, len(best))
    return ChoiceCeiling(1 - wrong / len(best), 1 - high, 1 - low, len(best))


def _final_answer_counts(texts: Texts, final: Callable[[str], str | None]) -> list[Counter[str]]:
    """The final answers to each prompt, where any can be read."""
    rows = zip(*texts.values(), strict=True)
    counts = [
        Counter(answer for text in row if text is not None and (answer := final(text)))
        for row in rows
    ]
    return [count for count in counts if count]


def _answer_entropy(count: Counter[str]) -> float:
    shares = [n / count.total() for n in count.values()]
    # A sum of nothing but zeros comes out as -0.0, which prints as such.
    return max(0.0, -math.fsum(share * math.log2(share) for share in shares))


def _mean_or_none(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def clopper_pearson(
    hits: int, count: int, *, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """The bounds of a share of which *hits* of *count* were seen (Clopper and Pearson 1934).

    Raises ValueError where *hits* is no number from 0 to *count*, or *count* is 0.
    """
    if not 0 <= hits <= count or not count:
        raise ValueError(f"a share needs 0 to n of n, not {hits} of {count}")
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _bisect_share(lambda p: _binomial_tail(hits, count, p) < tail)
    high = (
        1.0
        if hits == count
        else _bisect_share(lambda p: 1 - _binomial_tail(hits + 1, count, p) > tail)
    )
    return low, high


def _bisect_share(below: Callable[[float], bool]) -> float:
    """The share, between 0 and 1, up to which *below* holds, by halving."""
    low, high = 0.0, 1.0
    # Sixty halvings go beyond the 53 bits of a double: no tolerance has to be chosen.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if below(middle) else (low, middle)
    return (low + high) / 2


def _binomial_tail(hits: int, count: int, share: float) -> float:
    """The chance of *hits* or more of *count*."""
    if share in (0.0, 1.0):
        return float(share == 1.0 or hits == 0)
    # In logarithms: from about a thousand prompts on, a binomial coefficient overflows a double.
    logs = [
        math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        + k * math.log(share) + (count - k) * math.log1p(-share)
        for k in range(hits, count + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, logs)))
