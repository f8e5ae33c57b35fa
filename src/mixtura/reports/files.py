"""Likeness, diversity and cost of answers in files: AlpacaEval's ``model_outputs.json``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixtura.errors import ConfigError
from mixtura.evals.alpaca_eval import read_outputs
from mixtura.evals.diversity import vendi
from mixtura.reports.likeness import Likeness, Vector
from mixtura.reports.rows import DIFFERENCE, SHARE, Interval, Row, interval

Question = tuple[str, int]
"""An instruction, and which one of those with the same words."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Answers(NamedTuple):
    """What one model or mixture answered."""

    name: str
    texts: Mapping[Question, str]


def read(paths: Iterable[Path]) -> list[Answers]:
    """
    Files of answers; each is called by its generator, by its file where two share one, and by
    its path where they share that, too.
    """
    found = [(path, *_read(path)) for path in paths]
    named = Counter(name for _, name, _ in found)
    stems = Counter(path.stem for path in {path for path, name, _ in found if named[name] > 1})

    def called(path: Path, name: str) -> str:
        if named[name] == 1:
            return name
        return path.stem if stems[path.stem] == 1 else str(path)

    return [Answers(called(path, name), texts) for path, name, texts in found]


def _read(path: Path) -> tuple[str, Mapping[Question, str]]:
    rows = read_outputs(path)
    if not rows:
        raise ConfigError(f"{path}: there is no answer in it")
    seen: Counter[str] = Counter()
    texts: dict[Question, str] = {}
    for row in rows:
        texts[row.instruction, seen[row.instruction]] = row.output
        seen[row.instruction] += 1
    names = {row.generator for row in rows}
    return (names.pop() if len(names) == 1 else path.stem), texts


def shared(answers: Sequence[Answers]) -> list[Question]:
    """The questions that every one of them answers, in the first one's order."""
    first, *others = answers
    found = [key for key in first.texts if all(key in one.texts for one in others)]
    if len(found) < 2:
        names = ", ".join(one.name for one in answers)
        raise ConfigError(f"an interval takes two questions, and {names} share {len(found)}")
    return found


# ---- likeness


class Alike(NamedTuple):
    """How alike an answer is to a proposal in one measure; and a control, which read none."""

    proposal: str
    measure: str
    answer: Interval
    control: Interval | None
    difference: Interval | None


def similarity(
    answers: Answers, proposals: Sequence[Answers], control: Answers | None
) -> list[Alike]:
    """Every proposal in every measure, over the questions that all of them answer."""
    every = [answers, *proposals, *([control] if control else [])]
    questions = shared(every)
    columns = [[one.texts[key] for key in questions] for one in every]
    likeness = Likeness([text for column in columns for text in column])
    found: list[Alike] = []
    for proposal, texts in zip(proposals, columns[1:], strict=False):
        ours = likeness.measured(texts, columns[0])
        theirs: Mapping[str, Vector] = {}
        if control:
            theirs = likeness.measured(texts, columns[-1])
        found += [
            _alike(proposal.name, measure, values, theirs.get(measure))
            for measure, values in ours.items()
        ]
    return found


def _alike(proposal: str, measure: str, ours: Vector, theirs: Vector | None) -> Alike:
    answer = interval(ours, SHARE)
    assert answer
    if theirs is None:
        return Alike(proposal, measure, answer, None, None)
    control, difference = interval(theirs, SHARE), interval(ours - theirs, DIFFERENCE)
    return Alike(proposal, measure, answer, control, difference)


def similarity_json(found: Sequence[Alike]) -> dict[str, dict[str, Row]]:
    """By proposal, then by measure."""
    whole: dict[str, dict[str, Row]] = {}
    for one in found:
        row = one.answer.bounds()
        if one.control and one.difference:
            row |= {"control": one.control.bounds(), "minus_control": one.difference.bounds()}
        whole.setdefault(one.proposal, {})[one.measure] = row
    return whole


# ---- diversity


class Spread(NamedTuple):
    """A mean with its interval, and how the single values lie."""

    mean: Interval
    quantiles: Mapping[float, float]

    @classmethod
    def of(cls, values: Vector, per_question: Vector, reach: tuple[float, float]) -> Spread:
        mean = interval(per_question, reach)
        assert mean
        return cls(mean, {q: float(np.quantile(values, q)) for q in QUANTILES})

    def json(self) -> Row:
        return self.mean.bounds() | {
            "median": self.quantiles[0.5],
            "quantiles": {f"{q:g}": value for q, value in self.quantiles.items()},
        }


class Diversity(NamedTuple):
    """How alike answers to the same questions are: each two, all pairs, and the Vendi score."""

    pairs: Mapping[tuple[str, str], Spread]
    pairwise: Spread
    vendi: Spread

    def json(self) -> Row:
        pairs = [{"a": a, "b": b} | spread.json() for (a, b), spread in self.pairs.items()]
        return {
            "measure": "tfidf",
            "pairwise": self.pairwise.json() | {"pairs": pairs},
            "vendi": self.vendi.json(),
        }


def diversity(answers: Sequence[Answers]) -> Diversity:
    """TF-IDF cosines of the answers to each question; words weigh by all answers given."""
    if len(answers) < 2:
        raise ConfigError("diversity is between answers: give at least two files")
    questions = shared(answers)
    rows = [[one.texts[key] for one in answers] for key in questions]
    likeness = Likeness([text for row in rows for text in row])
    tables = np.array([likeness.table(row) for row in rows])
    upper = np.triu_indices(len(answers), 1)
    cosines = tables[:, upper[0], upper[1]]
    names = combinations([one.name for one in answers], 2)
    scores = np.array([vendi(table) for table in tables])
    return Diversity(
        {pair: Spread.of(cosines[:, i], cosines[:, i], SHARE) for i, pair in enumerate(names)},
        Spread.of(cosines.ravel(), cosines.mean(axis=1), SHARE),
        Spread.of(scores, scores, (1.0, float(len(answers)))),
    )
