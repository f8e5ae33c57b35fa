"""How alike texts are: in their words, in their order, and which sentence stands in which."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

# Scripts that put no space between words (Chinese, Japanese, Thai, Lao, Burmese, Khmer): there
# every letter counts as a word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# Signs above and below letters, which Python does not take for parts of a word.
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:[^\W_{_UNSPACED}]|[{_MARKS}])+")

MAX_COMPARED_WORDS = 8000
"""Edits are counted between so many words at the beginning of two texts: the work is a square."""


def split_words(text: str) -> list[str]:
    """The words of a text in any script, casefolded, without punctuation."""
    return _WORD.findall(text.casefold())


# ---- words, whatever their order


def count_words(text: str) -> Counter[str]:
    """How often each word stands in a text."""
    return Counter(split_words(text))


def tfidf_vectors(texts: Sequence[str]) -> list[Mapping[str, float]]:
    """
    TF-IDF vectors of unit length over the words of *texts*, smoothed as scikit-learn's
    (``smooth_idf=True``): ln((1 + n) / (1 + df)) + 1.
    """
    counts = [count_words(text) for text in texts]
    corpus = TfidfCorpus(counts)
    return [corpus.build_vector(count) for count in counts]


class TfidfCorpus:
    """Texts by the counts of their words, which come and go: none of them is read again."""

    def __init__(self, counts: Iterable[Counter[str]] = ()) -> None:
        self._size = 0
        self._seen: Counter[str] = Counter()
        self._weights: dict[str, float] = {}
        """By word, those that were asked for since a text came or went."""
        for count in counts:
            self.add(count)

    def add(self, count: Counter[str]) -> None:
        self._size += 1
        self._seen.update(count.keys())
        self._weights = {}

    def remove(self, count: Counter[str]) -> None:
        self._size -= 1
        self._seen.subtract(count.keys())
        self._weights = {}

    def build_vector(self, count: Counter[str]) -> Mapping[str, float]:
        """The vector that `tfidf_vectors` gives a text of this corpus."""
        row = {word: n * self._word_weight(word) for word, n in count.items()}
        norm = math.sqrt(sum(value * value for value in row.values())) or 1.0
        return {word: value / norm for word, value in row.items()}

    def compare(self, vector: Mapping[str, float], count: Counter[str]) -> float:
        """The cosine of *vector*, one of this corpus, and that of another text of it."""
        if vector.keys().isdisjoint(count):
            return 0.0
        product = square = 0.0
        weights = self._weights
        for word, n in count.items():
            value = n * (weights.get(word) or self._word_weight(word))
            square += value * value
            if word in vector:
                product += value * vector[word]
        return product / math.sqrt(square)

    def _word_weight(self, word: str) -> float:
        weight = self._weights.get(word)
        if weight is None:
            weight = math.log((1 + self._size) / (1 + self._seen[word])) + 1
            self._weights[word] = weight
        return weight


def cosine_similarity(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Of two vectors of unit length: 0 nothing in common, 1 the same words."""
    shorter, longer = (a, b) if len(a) <= len(b) else (b, a)
    return sum(value * longer.get(word, 0.0) for word, value in shorter.items())


def medoid_index(texts: Sequence[str]) -> int:
    """The position of the text that is closest to all the others; the first of equals."""
    rows = tfidf_vectors(texts)
    closeness = [
        sum(cosine_similarity(row, other) for other in rows if other is not row) for row in rows
    ]
    return closeness.index(max(closeness))


# ---- words in their order


def levenshtein_similarity(a: str, b: str) -> float:
    """
    One less the words to insert, delete or replace, over the words of the longer text: 1 the same
    words in the same order, 0 none of them.

    Whole words are compared, not letters: the work grows with the square of the length, and a
    change of a word's ending is one edit, like that of the word.
    """
    left, right = split_words(a)[:MAX_COMPARED_WORDS], split_words(b)[:MAX_COMPARED_WORDS]
    longest = max(len(left), len(right))
    return 1 - _edit_distance(left, right) / longest if longest else 1.0


def _edit_distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Levenshtein's distance; a column of its table is two integers (Myers 1999, as Hyyrö 2003)."""
    if len(a) < len(b):
        a, b = b, a
    if not b:
        return len(a)
    places: dict[str, int] = {}
    for i, word in enumerate(b):
        places[word] = places.get(word, 0) | 1 << i
    every = (1 << len(b)) - 1
    last = 1 << (len(b) - 1)
    up, down, edits = every, 0, len(b)  # where a step down the column adds one, takes one
    for word in a:
        here = places.get(word, 0) | down
        same = (((here & up) + up) ^ up) | here
        right = down | (every & ~(same | up))
        left = up & same
        edits += bool(right & last) - bool(left & last)
        right = right << 1 | 1
        up = (left << 1 | ~(same | right)) & every
        down = right & same & every
    return edits


class NgramCounts(NamedTuple):
    """A text's runs of words, counted, the single words first: what BLEU compares."""

    length: int
    counts: tuple[Counter[tuple[str, ...]], ...]

    @classmethod
    def from_tokens(cls, tokens: Sequence[str], longest: int) -> NgramCounts:
        counts = (Counter(_word_ngrams(tokens, size)) for size in range(1, longest + 1))
        return cls(len(tokens), tuple(counts))


def bleu_scores(hypothesis: NgramCounts, reference: NgramCounts) -> list[float]:
    """
    How much of *hypothesis* stands in *reference*, in runs of up to 1, 2, … words; 0 to 1 each.

    Papineni et al. 2002; a length without a match counts as half of a match, the next one as a
    quarter (Chen and Cherry 2014, their third smoothing), one longer than the text not at all.
    """
    scores: list[float] = []
    logs: list[float] = []
    unmatched = 1.0
    short = min(0.0, 1 - reference.length / hypothesis.length) if hypothesis.length else 0.0
    for ours, theirs in zip(hypothesis.counts, reference.counts, strict=True):
        matched = sum(min(n, theirs[gram]) for gram, n in ours.items() if gram in theirs)
        if not (matched or logs):
            return [0.0] * len(hypothesis.counts)
        if ours:
            unmatched /= 1 if matched else 2
            logs.append(math.log((matched or unmatched) / ours.total()))
        scores.append(math.exp(short + math.fsum(logs) / len(logs)))
    return scores


# ---- whose sentence it is


class SentenceSource(NamedTuple):
    """A text that a sentence stands in, more or less: its position, and 0 to 1."""

    text: int
    score: float


_MARK = "[.!?…؟۔।॥]"
_CLOSED = "[\"'”’»›)\\]*_`~]*"
# A run of marks is tried from its first one only: from each, a line of them would take for ever.
_SENTENCE_END = re.compile(
    rf"(?<=\S)(?:(?<!{_MARK})|(?<=\s{_MARK})|(?<=^{_MARK})){_MARK}+{_CLOSED}(?=\s)|[。！？｡]+[”’」』）】]*"
)
_FENCE = re.compile(r"\s*(```|~~~)")
_ABBREVIATION = re.compile(
    r"(?i)(?:^[\s>#*+-]*\d+|\b(?:e\.g|i\.e|z\.b|cf|vs|etc|al|ca|approx|nr|fig|eq|sec|vol|pp?|dr|mr|mrs"
    r"|ms|prof|st|bzw|usw)|\b[a-z])$"
)


_LETTER = re.compile(r"\S")
SENTENCE_END_CONTEXT = 80
"""Characters before a full stop that decide whether it ends a sentence."""


def split_sentences(text: str) -> list[str]:
    """
    The text cut behind its sentences and its lines; joined together they are the text again.

    A line of code is a sentence. What has no word in it (a rule, a brace, a fence) belongs
    to the sentence before it.
    """
    cut: list[list[str]] = []
    code, says = False, False
    for line in text.splitlines(keepends=True):
        fence = bool(_FENCE.match(line))
        code ^= fence
        for piece in [line] if code or fence else _split_line(line):
            worded = not fence and bool(_WORD.search(piece))
            if cut and not (worded and says):
                cut[-1].append(piece)
                says |= worded
            else:
                cut.append([piece])
                says = worded
    return ["".join(pieces) for pieces in cut]


def _split_line(line: str) -> list[str]:
    pieces: list[str] = []
    begun = 0
    for end in _SENTENCE_END.finditer(line):
        stop = len(line) if (letter := _LETTER.search(line, end.end())) is None else letter.start()
        behind = line[stop : stop + 1]
        # Only a few letters: from the line's beginning on, each stop would cost the whole line.
        near = max(begun, end.start() - SENTENCE_END_CONTEXT)
        before = line[near : end.start()] if near == begun else f"…{line[near : end.start()]}"
        full_stop = end[0].startswith(".") and not end[0].startswith("..")
        if not behind or behind.islower() or (full_stop and _ABBREVIATION.search(before)):
            continue
        pieces.append(line[begun:stop])
        begun = stop
    return [*pieces, line[begun:]]


MIN_SOURCE_SCORE = 0.5
"""A sentence that stands in a text by less than this is not said to come from it."""


def find_sources(sentence: str, texts: Sequence[ReferenceText]) -> list[SentenceSource]:
    """The texts that *sentence* comes from, the closest first, with scores from 0 to 1."""
    words = _sentence_words(sentence)
    scores = [
        SentenceSource(i, round(known.containment_score(words), 3)) for i, known in enumerate(texts)
    ]
    return sorted((s for s in scores if s.score >= MIN_SOURCE_SCORE), key=lambda s: -s.score)


class ReferenceText:
    """A text that sentences are looked for in."""

    def __init__(self, text: str) -> None:
        words = split_words(text)
        self._grams = {size: set(_word_ngrams(words, size)) for size in (1, 2, 3, 4)}
        self._sentences = {tuple(_sentence_words(piece)) for piece in split_sentences(text)}

    def containment_score(self, words: Sequence[str]) -> float:
        """
        How much of a sentence stands here: the shares of its words that stand here alone, in
        pairs and in threes (of letters, where they are the words: in twos to fours),
        the longer ones weighing more. One or two words count only as a sentence of their own.
        """
        if tuple(words) in self._sentences:
            return 1.0 if words else 0.0
        # "Yes, of course" stands in any text.
        if len(words) < 3:
            return 0.0
        # In scripts without spaces a letter counts as a word, and two of them meet by chance.
        single = sum(len(word) == 1 and word >= "\u0e00" for word in words) * 2 > len(words)
        sizes = (2, 3, 4) if single else (1, 2, 3)
        weights = {size: weight for weight, size in enumerate(sizes, 1) if size <= len(words)}
        shares = (weight * self._covered_share(words, size) for size, weight in weights.items())
        return sum(shares) / sum(weights.values())

    def _covered_share(self, words: Sequence[str], size: int) -> float:
        """The share of the words that are in a run of *size* words that stands here, too."""
        grams = self._grams[size]
        covered = [False] * len(words)
        for i, gram in enumerate(_word_ngrams(words, size)):
            if gram in grams:
                covered[i : i + size] = [True] * size
        return sum(covered) / len(words)


_NUMBER = re.compile(r"[\s>#*+-]*\d+[.)]\s+")


def _sentence_words(sentence: str) -> list[str]:
    """Its words, without the number that it has in a list."""
    return split_words(_NUMBER.sub("", sentence, count=1) if _NUMBER.match(sentence) else sentence)


def _word_ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(size)), strict=False))
