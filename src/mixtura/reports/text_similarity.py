"""How alike an answer and a proposal are, in the paper's measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from mixtura.core.similarity import NgramCounts, bleu_scores, cosine_similarity, tfidf_vectors
from mixtura.evals.statistics.diversity import cosine_kernel

Vector = NDArray[np.float64]

MEASURES = {
    "bleu3": "BLEU, up to 3 words",
    "bleu4": "BLEU, up to 4 words",
    "bleu5": "BLEU, up to 5 words",
    "tfidf": "TF-IDF cosine",
    "levenshtein": "Levenshtein, letters",
}
"""The measures, and what they are called in front of people."""

_MAX_NGRAM = 5
_tokenize = Tokenizer13a()


class TextSimilarity:
    """
    The measures between any two of *texts*. Words weigh by their rarity in all of them.

    BLEU takes sacrebleu's tokens, the proposal as its hypothesis; TF-IDF is smoothed as
    scikit-learn's, idf = ln((1 + N) / (1 + df)) + 1; Levenshtein is 1 - d / max over letters,
    as in the paper.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        # By text: a draft that several models wrote alike has one vector.
        self._vectors = dict(zip(texts, tfidf_vectors(texts), strict=True))

    def all_measures(
        self, proposals: Sequence[str], answers: Sequence[str]
    ) -> Mapping[str, Vector]:
        """Every measure of each proposal and the answer beside it, from 0 to 1."""
        pairs = list(zip(proposals, answers, strict=True))
        runs = np.array(
            [bleu_scores(_text_ngrams(ours), _text_ngrams(theirs)) for ours, theirs in pairs]
        )
        return {
            **{f"bleu{order}": runs[:, order - 1] for order in (3, 4, 5)},
            "tfidf": np.array([self.cosine_similarity(ours, theirs) for ours, theirs in pairs]),
            "levenshtein": np.array([Levenshtein.normalized_similarity(*pair) for pair in pairs]),
        }

    def cosine_similarity(self, a: str, b: str) -> float:
        # Rounding can lift the cosine of a text with itself above 1.
        return min(1.0, cosine_similarity(self._vectors[a], self._vectors[b]))

    def cosine_matrix(self, texts: Sequence[str]) -> Vector:
        """The cosine of each two of *texts*; 1 of each and itself."""
        return cosine_kernel([self._vectors[text] for text in texts])


# A proposal is compared in every measure, and once more with the control's answer.
@lru_cache(4096)
def _text_ngrams(text: str) -> NgramCounts:
    return NgramCounts.from_tokens(_tokenize(text).split(), _MAX_NGRAM)
