"""Mixtures that only count, on tables of draws: as the patterns themselves would answer."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest

from mixtura.core.roles import Layer, Proposer
from mixtura.core.types import Completion, Message, ask
from mixtura.models.fake import Scripted
from mixtura.patterns.combine import Combine
from mixtura.patterns.mux import Mux
from mixtura.patterns.switch import Switch
from mixtura.patterns.vote import Vote
from mixtura.selection.counting import NO_ANSWER, CountingMixture, DrawTable, counting_mixtures

NAMES = ("a", "b", "c")
ACCURACY = {"a": 0.7, "b": 0.7, "c": 0.6}
DRAWS = 3
WEIGHTS = {"votes": 1.5, "accuracy": 2.0, "families": 0.7, "surest": 1.1, "length": -0.5}
FAMILIES = {"a": "x", "c": "x"}


def read_label(text):
    """The label of a draw that is written as ``2 =5``; None where it has no answer."""
    label = int(text.split("=")[1])
    return None if label == NO_ANSWER else str(label)


def texts_of(row):
    flat = row.ravel().tolist()
    return [f"{place} ={label}" for place, label in enumerate(flat)]


async def chosen_by_pattern(pattern, row):
    texts = texts_of(row)
    if pattern == "switch":
        seats = [
            Layer((Proposer(Scripted(name, texts[i * DRAWS : (i + 1) * DRAWS]), samples=DRAWS),))
            for i, name in enumerate(NAMES)
        ]
        model = Switch(layers=tuple(seats), extract=read_label, accuracy=ACCURACY)
        answer = await model.complete(ask("?"))
        return int(answer.text.split("=")[0])
    proposals = [
        Completion(Message("assistant", text), NAMES[place // DRAWS])
        for place, text in enumerate(texts)
    ]
    chooser = {
        "vote": Vote(read_label),
        "mux": Mux(read_label, ACCURACY),
        "combine": Combine(read_label, WEIGHTS, ACCURACY, FAMILIES),
    }[pattern]
    return (await chooser.choose(ask("?"), proposals, None)).which


@pytest.mark.parametrize("pattern", ["vote", "mux", "switch", "combine"])
def test_a_table_is_counted_as_the_pattern_counts_the_same_draws(pattern):
    rng = np.random.default_rng(5)
    labels = rng.choice([NO_ANSWER, 0, 1, 2, 3], size=(120, len(NAMES), DRAWS))
    # Without any answer a pattern takes the proposal closest to the others, which no table knows.
    labels = labels[(labels != NO_ANSWER).any(axis=(1, 2))]
    mixture = CountingMixture(pattern, NAMES, DRAWS, ACCURACY, weights=WEIGHTS, families=FAMILIES)
    lengths = np.array([[len(text) for text in texts_of(row)] for row in labels], float)

    ours = mixture.choose_draws(labels, lengths.reshape(labels.shape)).tolist()

    async def all_of_them():
        return [await chosen_by_pattern(pattern, row) for row in labels]

    assert ours == asyncio.run(all_of_them())


def table_of(labels, scores=None, **words):
    labels = np.array(labels)
    right = (labels == 0).astype(float) if scores is None else np.array(scores)
    return DrawTable(NAMES[: labels.shape[1]], labels, right, **words)


def test_a_mixture_of_fewer_draws_is_scored_with_each_of_them_in_turn():
    # Of three members' first draws two are right, of their second draws one.
    table = table_of([[[0, 1], [0, 0], [1, 1]]])
    vote = CountingMixture("vote", NAMES, 1, {})

    assert vote.score_prompts(table).tolist() == [0.5]
    assert vote.score_first_draws(table).tolist() == [1.0]
    assert vote.agreement(table).tolist() == pytest.approx([2 / 3])


def test_a_draw_that_failed_is_neither_counted_nor_scored():
    table = table_of(
        [[[0, NO_ANSWER]], [[NO_ANSWER, NO_ANSWER]]], [[[1, math.nan]], [[math.nan] * 2]]
    )

    assert table.solo_scores("a").tolist()[0] == 1.0
    assert math.isnan(table.solo_scores("a")[1])
    assert table.mean_scores() == {"a": 1.0}


def test_switch_is_charged_only_for_the_members_that_it_asks():
    # On the first prompt a agrees with itself, on the second b has to be asked.
    table = table_of([[[0, 0], [1, 1]], [[0, 1], [0, 0]]], dollars=(1.0, 10.0), seconds=(2.0, 4.0))
    switch = CountingMixture("switch", ("a", "b"), 2, {})
    mux = CountingMixture("mux", ("a", "b"), 2, {})

    assert switch.answer_cost(table) == (2 * (1.0 + 10.0 / 2), 2.0 + 4.0 / 2)
    assert mux.answer_cost(table) == (22.0, 4.0)
    assert mux.answer_cost(table_of([[[0, 0], [0, 0]]], dollars=(None, 1.0))) == (None, None)


def test_the_mixtures_to_try_are_the_best_few_members_under_every_rule():
    found = list(counting_mixtures(("a", "c"), ACCURACY, 4))

    assert [(one.pattern, one.members, one.draws) for one in found] == [
        ("vote", ("a",), 4), ("vote", ("a", "c"), 4), ("mux", ("a", "c"), 4),
        ("switch", ("a", "c"), 4),
    ]  # fmt: skip
