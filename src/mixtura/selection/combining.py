"""The weights of a learned combiner: logistic regression over answers whose scores are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mixtura.evals.statistics import intervals
from mixtura.patterns.combine import FEATURES
from mixtura.selection.counting import (
    NO_ANSWER,
    CountingMixture,
    DrawTable,
    Labels,
    Table,
    answer_features,
    choose_highest,
)

MIN_PROMPTS = 50
"""So many prompts on which members differ are needed to learn from."""
FOLDS = 5
_PENALTY = 1.0
"""Of squared weights, on features with a standard deviation of 1."""
_STEPS = 50


class LearnedCombiner(NamedTuple):
    """A combiner, and its score on each prompt by weights that this prompt did not teach."""

    mixture: CountingMixture
    scores: Table


def learn_combiners(
    ranked: Sequence[str],
    accuracy: Mapping[str, float],
    table: DrawTable,
    families: Mapping[str, str],
) -> Iterator[LearnedCombiner]:
    """
    The combiners of the best few of *ranked*, those that are seen to be better than the best
    member (the lower bound of the 95 % interval is above 0) on prompts that did not teach them.
    """
    best = table.solo_scores(ranked[0])
    for count in range(2, len(ranked) + 1):
        found = learn_combiner(ranked[:count], accuracy, table, families)
        if found is None:
            continue
        both = ~np.isnan(found.scores) & ~np.isnan(best)
        if both.sum() > 1 and intervals.paired_difference(found.scores, best).low > 0:
            yield found


def learn_combiner(
    members: Sequence[str],
    accuracy: Mapping[str, float],
    table: DrawTable,
    families: Mapping[str, str],
) -> LearnedCombiner | None:
    """A combiner of these members; None where they differ on too few prompts to learn from."""
    there = table.pick_members(members)
    # As many digits as a file has of them: what is written must choose as what was measured.
    known = {name: round(accuracy[name], 4) for name in members}
    kin = {name: families[name] for name in members if name in families}
    features = answer_features(
        there.labels, there.lengths, members, [known[name] for name in members], kin
    )
    lesson = _Lesson.of(features, there)
    if lesson.prompts < MIN_PROMPTS:
        return None
    folds = np.arange(len(there.labels)) % FOLDS
    flat = there.scores.reshape(len(folds), -1)
    scores = np.full(len(folds), np.nan)
    for fold in range(FOLDS):
        mine = folds == fold
        weights = lesson.without_prompts(mine).fit_weights()
        chosen = choose_highest(features[mine], there.labels[mine], weights)
        scores[mine] = flat[mine][np.arange(mine.sum()), chosen]
    weights = lesson.fit_weights()
    mixture = CountingMixture(
        "combine", tuple(members), there.draws, known, weights=weights, families=kin
    )
    return LearnedCombiner(mixture, scores)


class _Lesson(NamedTuple):
    """Answers to prompts on which some were right and some were wrong, one row for each answer."""

    features: Table
    right: Table
    prompt: Labels

    @classmethod
    def of(cls, features: Table, table: DrawTable) -> _Lesson:
        labels = table.labels.reshape(len(table.labels), -1)
        scores = table.scores.reshape(labels.shape)
        rows: list[Table] = []
        right: list[float] = []
        prompt: list[int] = []
        for place, (own, known) in enumerate(zip(labels, scores, strict=True)):
            firsts = [int(np.argmax(own == one)) for one in np.unique(own[own != NO_ANSWER])]
            marks = [float(known[i] >= 0.5) for i in firsts if not np.isnan(known[i])]
            if len(marks) == len(firsts) and 0 < sum(marks) < len(marks):
                rows += [features[place, i] for i in firsts]
                right += marks
                prompt += [place] * len(firsts)
        shape = (len(rows), len(FEATURES))
        return cls(np.array(rows).reshape(shape), np.array(right), np.array(prompt, dtype=np.int64))

    @property
    def prompts(self) -> int:
        return len(set(self.prompt.tolist()))

    def without_prompts(self, prompts: np.ndarray) -> _Lesson:
        """The lesson without the prompts that are marked."""
        kept = ~prompts[self.prompt]
        return _Lesson(self.features[kept], self.right[kept], self.prompt[kept])

    def fit_weights(self) -> dict[str, float]:
        """The weights by name, by Newton's method on the penalised likelihood."""
        spread = self.features.std(axis=0)
        used = spread > 1e-9
        rows = np.column_stack([self.features[:, used] / spread[used], np.ones(len(self.features))])
        penalty = np.full(rows.shape[1], _PENALTY)
        penalty[-1] = 0.0  # the intercept is free
        weights = np.zeros(rows.shape[1])
        for _ in range(_STEPS):
            chance = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
            slope = rows.T @ (self.right - chance) - penalty * weights
            curve = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
            step = np.linalg.solve(curve + 1e-9 * np.eye(len(weights)), slope)
            weights += step
            if float(np.abs(step).max()) < 1e-8:
                break
        names = [name for name, there in zip(FEATURES, used, strict=True) if there]
        found = weights[:-1] / spread[used]
        return {name: round(float(one), 4) for name, one in zip(names, found, strict=True)}
