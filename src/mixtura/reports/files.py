"""Similarity, diversity and cost of answers in files: AlpacaEval's ``model_outputs.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixtura.core.errors import ConfigError
from mixtura.evals.alpaca_leaderboard import read_outputs
from mixtura.evals.statistics.diversity import vendi_score
from mixtura.reports.rows import DIFFERENCE_RANGE, SHARE_RANGE, Interval, Row, mean_interval
from mixtura.reports.text_similarity import TextSimilarity, Vector

Question = tuple[str, int]
"""An instruction, and which one of those with the same words."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class AnswerFile(NamedTuple):
    """What one model or mixture answered."""

    name: str
    texts: Mapping[Question, str]


def read_answer_files(paths: Iterable[Path]) -> list[AnswerFile]:
    """
    Files of answers, each named after its generator; where two share one, after its file.

    After its path where they share that, too. Raises ConfigError for a file that cannot be read
    or has no answer.
    """
    read = [(path, *_read_answer_file(path)) for path in paths]
    named = Counter(name for _, name, _ in read)
    stems = Counter(path.stem for path in {path for path, name, _ in read if named[name] > 1})

    def unique_name(path: Path, name: str) -> str:
        if named[name] == 1:
            return name
        return path.stem if stems[path.stem] == 1 else str(path)

    return [AnswerFile(unique_name(path, name), texts) for path, name, texts in read]


def _read_answer_file(path: Path) -> tuple[str, Mapping[Question, str]]:
    rows = read_outputs(path)
    if not rows:
        raise ConfigError(f"{path} has no answers")
    seen: Counter[str] = Counter()
    texts: dict[Question, str] = {}
    # AlpacaEval asks a few instructions more than once: the second is another question.
    for row in rows:
        texts[row.instruction, seen[row.instruction]] = row.output
        seen[row.instruction] += 1
    names = {row.generator for row in rows}
    return (names.pop() if len(names) == 1 else path.stem), texts


def shared_questions(answers: Sequence[AnswerFile]) -> list[Question]:
    """The questions that every one of them answers, in the first one's order.

    Raises ConfigError for fewer than two.
    """
    first, *others = answers
    shared = [key for key in first.texts if all(key in one.texts for one in others)]
    if len(shared) < 2:
        names = ", ".join(one.name for one in answers)
        raise ConfigError(
            f"an interval needs two shared questions, but {names} share {len(shared)}"
        )
    return shared


# ---- similarity


class SimilarityResult(NamedTuple):
    """How alike an answer is to a proposal in one measure; and a control, which read none."""

    proposal: str
    measure: str
    answer: Interval
    control: Interval | None
    difference: Interval | None


def proposal_similarity(
    answers: AnswerFile, proposals: Sequence[AnswerFile], control: AnswerFile | None
) -> list[SimilarityResult]:
    """Every proposal in every measure, over the questions that all of them answer.

    Raises ConfigError where these are fewer than two.
    """
    every = [answers, *proposals, *([control] if control else [])]
    questions = shared_questions(every)
    columns = [[one.texts[key] for key in questions] for one in every]
    similarity = TextSimilarity([text for column in columns for text in column])
    results: list[SimilarityResult] = []
    for proposal, texts in zip(proposals, columns[1:], strict=False):
        ours = similarity.all_measures(texts, columns[0])
        theirs: Mapping[str, Vector] = {}
        if control:
            theirs = similarity.all_measures(texts, columns[-1])
        results += [
            _similarity_result(proposal.name, measure, values, theirs.get(measure))
            for measure, values in ours.items()
        ]
    return results


def _similarity_result(
    proposal: str, measure: str, ours: Vector, theirs: Vector | None
) -> SimilarityResult:
    answer = mean_interval(ours, SHARE_RANGE)
    assert answer
    if theirs is None:
        return SimilarityResult(proposal, measure, answer, None, None)
    control, difference = (
        mean_interval(theirs, SHARE_RANGE),
        mean_interval(ours - theirs, DIFFERENCE_RANGE),
    )
    return SimilarityResult(proposal, measure, answer, control, difference)


def similarity_json(results: Sequence[SimilarityResult]) -> dict[str, dict[str, Row]]:
    """By proposal, then by measure."""
    whole: dict[str, dict[str, Row]] = {}
    for one in results:
        row = one.answer.to_json()
        if one.control and one.difference:
            row |= {"control": one.control.to_json(), "minus_control": one.difference.to_json()}
        whole.setdefault(one.proposal, {})[one.measure] = row
    return whole


# ---- diversity


class ValueSpread(NamedTuple):
    """A mean with its interval, and how the single values lie."""

    mean: Interval
    quantiles: Mapping[float, float]

    @classmethod
    def from_values(
        cls,
        values: Vector,
        per_question: Vector,
        reach: tuple[float, float],
    ) -> ValueSpread:
        # Pairs of one question are not independent: the interval is over questions, the quantiles
        # are over pairs.
        mean = mean_interval(per_question, reach)
        assert mean
        return cls(mean, {q: float(np.quantile(values, q)) for q in QUANTILES})

    def to_json(self) -> Row:
        return self.mean.to_json() | {
            "median": self.quantiles[0.5],
            "quantiles": {f"{q:g}": value for q, value in self.quantiles.items()},
        }


class DiversityResult(NamedTuple):
    """How alike answers to the same questions are: each two, all pairs, and the Vendi score."""

    pairs: Mapping[tuple[str, str], ValueSpread]
    pairwise: ValueSpread
    vendi: ValueSpread

    def to_json(self) -> Row:
        pairs = [{"a": a, "b": b} | spread.to_json() for (a, b), spread in self.pairs.items()]
        return {
            "measure": "tfidf",
            "pairwise": self.pairwise.to_json() | {"pairs": pairs},
            "vendi": self.vendi.to_json(),
        }


def answer_diversity(answers: Sequence[AnswerFile]) -> DiversityResult:
    """TF-IDF cosines of the answers to each question; words weigh by all answers given.

    Raises ConfigError for fewer than two files, or fewer than two shared questions.
    """
    if len(answers) < 2:
        raise ConfigError("diversity compares answers: give at least two files")
    questions = shared_questions(answers)
    rows = [[one.texts[key] for one in answers] for key in questions]
    similarity = TextSimilarity([text for row in rows for text in row])
    tables = np.array([similarity.cosine_matrix(row) for row in rows])
    upper = np.triu_indices(len(answers), 1)
    cosines = tables[:, upper[0], upper[1]]
    names = combinations([one.name for one in answers], 2)
    scores = np.array([vendi_score(table) for table in tables])
    return DiversityResult(
        {
            pair: ValueSpread.from_values(cosines[:, i], cosines[:, i], SHARE_RANGE)
            for i, pair in enumerate(names)
        },
        ValueSpread.from_values(cosines.ravel(), cosines.mean(axis=1), SHARE_RANGE),
        ValueSpread.from_values(scores, scores, (1.0, float(len(answers)))),
    )
