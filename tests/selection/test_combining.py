"""A learned combiner: its weights, the prompts that teach it, and when it is used."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mixtura.patterns.combine import FEATURES, measure_answers
from mixtura.selection.combining import learn_combiner, learn_combiners
from mixtura.selection.counting import NO_ANSWER, DrawTable, answer_features

NAMES = ("a", "b", "copy", "echo")
FAMILIES = {"b": "one", "copy": "one", "echo": "one"}
ACCURACY = {"a": 0.7, "b": 0.6, "copy": 0.6, "echo": 0.6}


def world(prompts, seed=0, copied=0.9):
    """Three members of one family share their errors; the fourth errs alone."""
    rng = np.random.default_rng(seed)
    alone = rng.random(prompts) < 0.7
    together = rng.random(prompts) < 0.6
    rows = [np.where(alone, 0, 1)]
    for _ in range(3):
        own = np.where(rng.random(prompts) < copied, together, rng.random(prompts) < 0.6)
        rows.append(np.where(own, 0, 2))
    labels = np.stack(rows, axis=1)[:, :, None]
    return DrawTable(NAMES, labels, (labels == 0).astype(float))


def test_features_of_a_table_are_those_of_the_pattern():
    rng = np.random.default_rng(3)
    labels = rng.choice([NO_ANSWER, 0, 1, 2], size=(60, len(NAMES), 3))
    lengths = rng.integers(1, 400, labels.shape).astype(float)
    models = [name for name in NAMES for _ in range(3)]

    ours = answer_features(labels, lengths, NAMES, [ACCURACY[n] for n in NAMES], FAMILIES)

    for place, row in enumerate(labels.reshape(60, -1)):
        for label in set(row.tolist()) - {NO_ANSWER}:
            positions = [int(i) for i in np.flatnonzero(row == label)]
            flat = lengths[place].ravel().tolist()
            (alone,) = measure_answers([positions], models, flat, ACCURACY, FAMILIES)
            for position in positions:
                seen = dict(zip(FEATURES, ours[place, position], strict=True))
                assert seen == pytest.approx(alone)


def test_it_learns_that_a_family_errs_together_and_beats_the_vote_on_prompts_it_never_saw():
    choosing, proving = world(400, 1), world(4000, 2)

    found = learn_combiner(NAMES, ACCURACY, choosing, FAMILIES)

    assert found is not None
    ours = found.mixture.score_prompts(proving).mean()
    vote = (np.sort(proving.labels[:, :, 0], axis=1)[:, 1:3] == 0).all(axis=1).mean()
    assert ours > vote + 0.05
    assert ours >= proving.solo_scores("a").mean() - 0.01
    # What the choosing prompts say of it was not learned from the same prompts.
    assert found.scores.mean() == pytest.approx(ours, abs=0.06)


def test_it_is_no_contender_where_it_is_not_seen_to_be_better_than_the_best_member():
    rng = np.random.default_rng(4)
    labels = rng.choice([0, 1], size=(300, 4, 1), p=[0.5, 0.5])
    noise = DrawTable(NAMES, labels, (labels == 0).astype(float))

    assert list(learn_combiners(NAMES, ACCURACY, noise, {})) == []
    # Four that err apart: there all is to be had.
    apart = rng.random((300, 4, 1)) < 0.7
    table = DrawTable(NAMES, np.where(apart, 0, 1), apart.astype(float))
    assert [len(one.mixture.members) for one in learn_combiners(NAMES, ACCURACY, table, {})]


def test_too_few_prompts_on_which_members_differ_teach_nothing():
    assert learn_combiner(NAMES, ACCURACY, world(40), FAMILIES) is None
    same = DrawTable(NAMES, np.zeros((200, 4, 1), int), np.ones((200, 4, 1)))
    assert learn_combiner(NAMES, ACCURACY, same, FAMILIES) is None


def test_what_has_no_score_teaches_nothing_and_breaks_nothing():
    table = world(300)
    table.scores[::3] = math.nan

    found = learn_combiner(NAMES, ACCURACY, table, FAMILIES)

    assert found is not None
    assert np.isnan(found.scores[::3]).all()
    assert not np.isnan(found.scores[1::3]).any()
    assert all(math.isfinite(weight) for weight in found.mixture.weights.values())
