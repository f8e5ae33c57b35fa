"""A search for the best team that performs no call, on numbers and on candidates of known worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bench.simulated_search import (
    PromptSample,
    SimulatedWorld,
    most_accurate,
    most_diverse,
    run_search,
)

from mixtura.selection import search
from mixtura.selection.diversity import clopper_pearson, measure_diversity
from mixtura.selection.pick import TradeoffPoint, choose_team, member_gains, pareto_front
from mixtura.selection.roles import model_roles
from mixtura.selection.search import Bounds, Measurement, Search, Team, leading_teams, slice_sizes

MODELS = ("a", "b", "c", "d", "e")


def told(score, *, size=3, prompts=40, aggregator="a", models=MODELS, asked=None, **words):
    """A whole search, where *score* says what a team is worth: a number, or a Measurement."""
    slices = slice_sizes(prompts)
    state = search.begin_search(
        Search(models=models, size=size, slices=slices, aggregator=aggregator, **words)
    )
    while trials := search.next_trials(state):
        if asked is not None:
            asked += trials
        results = {}
        for team, number in trials:
            found = score(team)
            count = slices[number]
            results[team] = (
                found._replace(scores=(found.scores[0],) * count)
                if isinstance(found, Measurement)
                else Measurement((found,) * count)
            )
        state = search.with_results(state, results)
    return state


def additive(**worth):
    return lambda team: sum(worth.get(name, 0.0) for name in set(team.members))


# ---- the search


def test_a_team_grows_by_whoever_adds_most():
    state = told(additive(a=0.3, c=0.2, e=0.1))

    assert leading_teams(state)[0] == Team(("a", "c", "e"), "a")


def test_draws_of_one_model_are_always_among_the_candidates_and_may_win():
    def score(team):
        return 0.9 if team.members == ("b", "b", "b") else additive(a=0.3, c=0.2)(team)

    asked = []
    state = told(score, asked=asked)

    assert leading_teams(state)[0] == Team(("b", "b", "b"), "a")
    assert {t.team.members for t in asked if t.team.is_single_proposer} == {
        (m, m, m) for m in MODELS
    }


def test_bad_teams_are_dropped_after_few_prompts():
    asked = []
    state = told(additive(a=0.3, c=0.2, e=0.1), prompts=80, asked=asked)

    worst = Team(("d", "d", "d"), "a")
    assert not state.is_fully_measured(worst)
    assert len(state.measurement_of(worst).scores) < 80 / 2
    assert len({(t.team, t.slice) for t in asked}) == len(asked)


def test_who_aggregates_is_found_out_first_over_the_same_drafts():
    def score(team):
        return 0.1 * MODELS.index(team.aggregator) + 0.01 * len(set(team.members))

    asked = []
    state = told(score, aggregator=None, asked=asked)

    first = [t.team for t in asked if t.slice == 0][: len(MODELS)]
    assert {team.members for team in first} == {MODELS}
    assert [team.aggregator for team in first] == list(MODELS)
    assert leading_teams(state)[0].aggregator == "e"
    assert len(leading_teams(state)[0].members) <= 3


def test_the_best_team_is_tried_again_under_the_aggregators_that_did_well():
    """Over all drafts b writes best; for the best team a does."""

    def score(team):
        drafts = additive(c=0.3, d=0.2, e=0.1)(team)
        return drafts + (0.05 if (team.aggregator == "b") == (len(team.members) > 3) else 0.0)

    state = told(score, aggregator=None, size=2)

    assert leading_teams(state)[0].aggregator != "b"


def test_a_wrong_turn_is_mended_by_changing_one_member():
    """The best pair, which alone is kept, is no part of the best three."""

    def score(team):
        if team.members == ("b", "c", "d"):
            return 0.9
        return 0.6 if {"a", "b"} <= set(team.members) else 0.1 + 0.1 * ("a" in team.members)

    assert leading_teams(told(score, beam=1))[0].members == ("b", "c", "d")


def test_a_team_beyond_a_bound_leaves_the_race():
    def score(team):
        dear = 0.01 * len(set(team.members))
        return Measurement((additive(a=0.3, c=0.2, e=0.1)(team),), dear, 1.0)

    state = told(score, bounds=Bounds(dollars=0.025))

    assert len(leading_teams(state)[0].members) == 2 or leading_teams(state)[0].is_single_proposer
    assert leading_teams(told(score, bounds=Bounds(seconds=0.5))) == []


def test_a_team_without_a_score_is_out_and_a_missing_score_is_no_zero():
    def score(team):
        return Measurement((None if "a" in team.members else 0.1 * len(set(team.members)),))

    best = leading_teams(told(score))[0]

    assert "a" not in best.members
    assert Measurement((None, 1.0, 0.0)).score == 0.5
    assert Measurement((None,)).score is None


def test_a_team_that_mostly_fails_does_not_win_by_the_few_prompts_that_it_answered():
    team, other = Team(("a",), "a"), Team(("b",), "a")
    found = {team: (Measurement((1.0, None, None)),), other: (Measurement((0.5, 0.5, 0.5)),)}
    state = Search(models=("a", "b"), size=1, slices=(3,), measured=found)

    assert leading_teams(state) == [other]


def test_one_candidate_more_than_the_size_and_a_size_of_one_come_to_an_end():
    for models, size in ((("a", "b"), 3), (("a", "b"), 1), (("a",), 2)):
        state = told(additive(a=0.3, b=0.2), size=size, models=models, aggregator=None)
        assert state.race is None
        assert len(leading_teams(state)[0].members) <= size


def test_the_slices_add_up_and_each_is_as_large_as_all_before_it():
    for prompts in (1, 2, 19, 20, 21, 40, 1000):
        assert sum(slice_sizes(prompts)) == prompts
    assert slice_sizes(80) == (10, 10, 20, 40)
    assert slice_sizes(19) == (19,)


# ---- the choice


def measured(team):
    """Four prompts; more members are a little better and cost more."""
    size = len(set(team.members))
    return Measurement((0.5 + 0.01 * size,), 0.01 * size, 3.0 - size)


def test_the_goal_decides_among_teams_that_are_as_good():
    state = told(lambda team: measured(team)._replace(scores=(0.5,)))

    assert len(set(choose_team(state, "quality").members)) == 1
    assert choose_team(state, "cost").members in {(m,) * 3 for m in MODELS}
    assert len(set(choose_team(state, "latency").members)) == 3


def test_a_cheaper_team_that_is_seen_to_be_worse_is_not_taken():
    state = told(
        lambda team: Measurement((0.3 * len(set(team.members)),), 0.01 * len(team.members))
    )

    assert len(set(choose_team(state, "cost").members)) == 3


def test_the_front_has_what_nothing_else_beats():
    points = {
        "good": TradeoffPoint(0.9, 0.10, 2.0),
        "cheap": TradeoffPoint(0.5, 0.01, 2.0),
        "fast": TradeoffPoint(0.5, 0.10, 1.0),
        "beaten": TradeoffPoint(0.5, 0.10, 2.0),
        "nothing": TradeoffPoint(None, 0.0, 0.0),
    }

    assert pareto_front(points) == {"good", "cheap", "fast"}
    # A price that no one knows is not nothing: it beats no price, and no price beats it.
    unknown = {"unpriced": TradeoffPoint(0.5, None, 2.0), "less": TradeoffPoint(0.4, None, 2.0)}
    assert pareto_front(points | unknown) == {"good", "cheap", "fast", "unpriced"}


def test_what_a_member_adds_is_the_team_less_the_team_without_it():
    state = told(additive(a=0.3, c=0.2, e=0.1))
    best = leading_teams(state)[0]
    while trials := search.ablation_trials(state, best):
        state = search.with_results(
            state,
            {
                t.team: Measurement(
                    (additive(a=0.3, c=0.2, e=0.1)(t.team),) * state.slices[t.slice]
                )
                for t in trials
            },
        )

    assert {name: round(found.value, 6) for name, found in member_gains(state, best).items()} == {
        "a": 0.3, "c": 0.2, "e": 0.1,
    }  # fmt: skip


def test_roles_are_those_of_the_papers_table():
    def score(team):
        return 0.1 * MODELS.index(team.members[0]) + 0.01 * MODELS.index(team.aggregator)

    state = told(score, aggregator=None)
    alone = {name: Measurement((0.5, 1.0)) for name in MODELS}
    table = {row.model: row for row in model_roles(state, alone)}

    assert table["a"].alone.score == 0.75
    assert table["e"].as_proposer.score == pytest.approx(0.4 + 0.04)
    assert table["e"].as_aggregator.score == pytest.approx(0.04)
    assert table["a"].as_aggregator.prompts < table["e"].as_aggregator.prompts == 40


# ---- candidates of known worth

LEADING = (1, 3, 13, 40, 57, 67, 77, 100, 103, 105)
"""Worlds whose best team of three truly leads by two points: bench/selection.py has 200."""


def test_the_true_best_team_is_found_with_a_third_of_the_calls_and_rules_of_thumb_miss_it():
    hits = {"ours": 0, "accurate": 0, "diverse": 0}
    for seed in LEADING:
        world = SimulatedWorld.random_world(seed)
        worth = {team: world.team_accuracy(team) for team in world.all_teams(3, 0)}
        best = max(worth, key=worth.__getitem__)
        sample = PromptSample.draw_sample(world, 1000, 3, seed)
        state = run_search(sample, 3, best.aggregator)
        names = world.candidate_names()
        drafts = 3 * 12 * 1000
        assert drafts + state.answer_count <= (drafts + len(worth) * 1000) / 3
        hits["ours"] += tuple(sorted(leading_teams(state, 3)[0].members)) == best.members
        for way, few in (("accurate", most_accurate), ("diverse", most_diverse)):
            hits[way] += tuple(names[i] for i in few(sample.rights, 3)) == best.members

    assert hits["ours"] >= 9
    assert hits["accurate"] <= 2
    assert hits["diverse"] <= 2


def test_what_a_simulated_team_is_measured_at_comes_to_what_it_is_worth():
    world = SimulatedWorld.random_world(0)
    team = Team(("m01", "m02", "m02"), "m03")
    sample = PromptSample.draw_sample(world, 40_000, 2, 0)

    assert sample.measure_team(team, 0, 40_000).score == pytest.approx(
        world.team_accuracy(team), abs=0.01
    )
    assert sample.rights.mean(axis=(0, 1)) == pytest.approx(world.solo_accuracies(), abs=0.01)
    assert sample.measure_team(team, 0, 100) == sample.measure_team(team, 0, 100)


# ---- diversity


def test_errors_that_go_together_and_the_ceiling_of_any_choice():
    scores = {"a": [1, 1, 0, 0, 0], "b": [1, 1, 0, 0, 0], "c": [0, 0, 1, 1, 0]}
    found = measure_diversity({name: ["x"] * 5 for name in scores}, scores)

    errors = {(pair.a, pair.b): pair.errors for pair in found.pairs}
    assert errors["a", "b"] == pytest.approx(1)
    assert errors["a", "c"] == pytest.approx(np.corrcoef(scores["a"], scores["c"])[0, 1])
    assert (found.ceiling.value, found.oracle) == (0.8, 0.8)
    low, high = clopper_pearson(1, 5)
    assert (found.ceiling.low, found.ceiling.high) == (1 - high, 1 - low)


def test_texts_are_as_different_as_they_have_words_apart():
    same = measure_diversity({"a": ["one two"], "b": ["one two"]}, {})
    apart = measure_diversity({"a": ["one two"], "b": ["three four"]}, {"a": [1], "b": [0.5]})

    assert same.vendi == pytest.approx(1)
    assert same.pairs[0].cosine == pytest.approx(1)
    assert (same.oracle, same.ceiling, same.weighted_vendi) == (None, None, None)
    assert apart.vendi == pytest.approx(2)
    assert apart.weighted_vendi == pytest.approx(1.5)


def test_final_answers_that_all_agree_have_no_entropy():
    texts = {"a": ["so 4", "so 1"], "b": ["it is 4", "2"], "c": ["4", None]}

    found = measure_diversity(texts, {}, lambda text: text[-1])

    assert found.entropy == pytest.approx((0 + 1) / 2)
    assert found.agreement == pytest.approx((1 + 1 / 2) / 2)
    assert measure_diversity({"a": ["?"], "b": ["?"]}, {}, lambda _: None).entropy is None


def test_the_bounds_of_a_share_are_clopper_and_pearsons():
    assert clopper_pearson(0, 20) == pytest.approx((0, 1 - 0.025 ** (1 / 20)))
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1))
    assert clopper_pearson(3, 20) == pytest.approx((0.03207, 0.37893), abs=1e-5)
    low, high = clopper_pearson(500, 1000)
    assert math.isclose(low + high, 1, abs_tol=1e-9)
    with pytest.raises(ValueError, match="not 3 of 2"):
        clopper_pearson(3, 2)
