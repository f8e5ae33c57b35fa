"""How sure a figure is: intervals that hold what they promise, by simulation; judges' biases."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from mixtura.evals.judges import bias
from mixtura.evals.statistics import intervals
from mixtura.evals.statistics.intervals import IntervalEstimate

COMPARISONS = 2_000
NORMAL = NormalDist()


def correlated(rng, size, correlation):
    """Two normal scores for each prompt of every comparison."""
    both = rng.normal(size=(2, *size))
    other = correlation * both[0] + math.sqrt(1 - correlation**2) * both[1]
    return both[0], other


def binary(rng, count, ours, theirs, correlation, comparisons=COMPARISONS):
    """Differences of right (1) and wrong (0), and the true one."""
    a, b = correlated(rng, (comparisons, count), correlation)
    right = (a < NORMAL.inv_cdf(ours)).astype(float)
    return right - (b < NORMAL.inv_cdf(theirs)), ours - theirs


def graded(rng, count, ours, theirs, correlation, comparisons=COMPARISONS):
    """Differences of scores from 0 to 1 that pile up at the upper end, and the true one."""
    a, b = correlated(rng, (comparisons, count), correlation)
    grade = [_chance(z) ** power for z, power in ((a, 1 / ours - 1), (b, 1 / theirs - 1))]
    return grade[0] - grade[1], ours - theirs


def _chance(z):
    """Φ, to four digits and more: uniform where *z* is normal."""
    grid = np.linspace(-8, 8, 4001)
    return np.interp(z, grid, [NORMAL.cdf(float(at)) for at in grid])


def covered(rows, truth, seed=0):
    low, high = intervals.bootstrap_intervals(rows, resamples=1_000, seed=seed)
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


# ---------------------------------------------------------------- what an interval promises


FEW = [(binary, 0.8, 0.7, 0.8, 30), (binary, 0.9, 0.85, 0.5, 30), (binary, 0.9, 0.9, 0.8, 50)]
"""Where five pairs or so differ, an interval can only jump: no method keeps to two points there."""


LEVELS = [(binary, 0.6, 0.5), (binary, 0.8, 0.7), (graded, 0.6, 0.5), (graded, 0.85, 0.7)]
CASES = [
    case
    for level in LEVELS
    for correlation in (0.0, 0.5, 0.8)
    for count in (30, 50, 100, 300)
    if (case := (*level, correlation, count)) not in FEW
]


@pytest.mark.parametrize(("kind", "ours", "theirs", "correlation", "count"), CASES)
def test_the_95_percent_interval_holds_the_truth_95_times_in_100(
    kind, ours, theirs, correlation, count
):
    rng = np.random.default_rng(count)
    rows, truth = kind(rng, count, ours, theirs, correlation)

    assert 0.93 <= covered(rows, truth) <= 0.97


@pytest.mark.parametrize(("kind", "ours", "theirs", "correlation", "count"), FEW)
def test_where_few_pairs_differ_the_interval_still_holds_the_truth(
    kind, ours, theirs, correlation, count
):
    rows, truth = kind(np.random.default_rng(count), count, ours, theirs, correlation)

    assert 0.92 <= covered(rows, truth) <= 0.98


def test_over_comparisons_of_every_size_the_interval_holds_the_truth_95_times_in_100():
    """Two thousand, of 30 to 300 prompts, of both kinds, however alike the two sides are."""
    rng = np.random.default_rng(11)
    held = []
    for count in rng.integers(30, 301, 100):
        kind = (binary, graded)[count % 2]
        ours, theirs, correlation = (*rng.uniform(0.3, 0.9, 2).tolist(), rng.uniform(0, 0.9))
        rows, truth = kind(rng, int(count), ours, theirs, correlation, comparisons=20)
        held.append(covered(rows, truth, seed=int(count)))

    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("count", [30, 100, 300])
@pytest.mark.parametrize(("kind", "level"), [(binary, 0.5), (binary, 0.8), (graded, 0.7)])
def test_equals_are_called_different_at_most_6_times_in_100(kind, level, correlation, count):
    rng = np.random.default_rng(count + 1)
    rows, truth = kind(rng, count, level, level, correlation)

    assert truth == 0
    assert 1 - covered(rows, 0.0) <= 0.06


@pytest.mark.parametrize("count", [30, 100, 300])
def test_the_interval_of_a_single_accuracy_holds_the_truth(count):
    rng = np.random.default_rng(count)
    rows = (rng.random((COMPARISONS, count)) < 0.7).astype(float)

    assert 0.93 <= covered(rows, 0.7) <= 0.97


def test_a_difference_that_is_there_is_seen_as_often_as_was_planned():
    rng = np.random.default_rng(5)
    rows, truth = graded(rng, 400, 0.6, 0.55, 0.5)
    spread = float(rows.std())
    count = intervals.prompts_for_difference(spread, truth)
    assert count < 400

    low, _ = intervals.bootstrap_intervals(rows[:, :count], resamples=1_000)

    assert float((low > 0).mean()) == pytest.approx(0.8, abs=0.03)


# ---------------------------------------------------------------- estimates


def test_a_difference_is_that_of_pairs_and_narrower_than_that_of_strangers():
    rng = np.random.default_rng(1)
    hard = rng.random(200)
    ours, theirs = np.clip(hard + 0.05, 0, 1), hard

    paired = intervals.paired_difference(ours, theirs)
    strangers = intervals.paired_difference(ours, rng.permutation(theirs))

    assert paired.excludes_zero
    assert not strangers.excludes_zero
    assert paired.margin < strangers.margin / 10


def test_swapping_sides_mirrors_the_interval():
    rng = np.random.default_rng(2)
    a, b = rng.random(60), rng.random(60)
    there, back = intervals.paired_difference(a, b), intervals.paired_difference(b, a)

    assert back.value == pytest.approx(-there.value)
    assert back.low == pytest.approx(-there.high)
    assert back.high == pytest.approx(-there.low)


def test_a_missing_score_takes_its_pair_out_and_is_counted():
    found = intervals.paired_difference([1.0, None, 0.0, 1.0], [0.0, 1.0, math.nan, 1.0])

    assert (found.value, found.prompts, found.missing) == (0.5, 2, 2)


def test_several_answers_to_a_prompt_count_as_one_prompt():
    once = intervals.estimate_mean([0.5, 1.0, 0.0])
    often = intervals.estimate_mean([[0.0, 1.0], [1.0, None], [0.0, 0.0]])

    assert once == often


def test_the_same_seed_gives_the_same_interval():
    scores = [0.0, 1.0, 1.0, 0.5, 0.25] * 6

    assert intervals.estimate_mean(scores, seed=7) == intervals.estimate_mean(scores, seed=7)
    assert intervals.estimate_mean(scores, seed=7) != intervals.estimate_mean(scores, seed=8)


def test_scores_that_are_all_alike_are_not_a_proof():
    few = intervals.paired_difference([1.0] * 5, [0.0] * 5)
    many = intervals.paired_difference([1.0] * 50, [0.0] * 50)

    assert few.value == 1
    assert not few.excludes_zero
    assert many.excludes_zero
    assert intervals.estimate_mean([1.0] * 50).low == pytest.approx(0.025 ** (1 / 50))
    assert intervals.estimate_mean([1.0] * 50).high == 1


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: intervals.estimate_mean([1.0]), "two prompts"),
        (lambda: intervals.estimate_mean([]), "two prompts"),
        (lambda: intervals.estimate_mean([0.5, 7.0]), "from 0 to 1"),
        (lambda: intervals.paired_difference([1.0, 0.0], [1.0]), "2 and 1"),
        (lambda: intervals.prompts_for_difference(0.0, 0.02), "above zero"),
    ],
)
def test_what_has_no_answer_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.30265), (5, 2.57058), (29, 2.04523), (30, 2.04227), (804, 1.96293)],
)
def test_students_t_is_the_tabled_one(freedom, quantile):
    assert intervals.student_t_quantile(0.975, freedom) == pytest.approx(quantile, abs=5e-5)


# ---------------------------------------------------------------- in words


def estimate(value, margin, prompts=50, spread=0.2):
    return IntervalEstimate(value, value - margin, value + margin, prompts, 0, spread)


@pytest.mark.parametrize(
    ("found", "price", "said"),
    [
        (estimate(0.06, 0.03), 4.1, "better by 6 ± 3 points at 4.1 times the price"),
        (estimate(-0.06, 0.03), None, "worse by 6 ± 3 points"),
        (estimate(0.006, 0.0042), 1.0, "better by 0.6 ± 0.4 points at the same price"),
        (estimate(0.06, 0.03), 0.25, "better by 6 ± 3 points at 0.25 times the price"),
        (estimate(0.06, 0.03), 13.4, "better by 6 ± 3 points at 13 times the price"),
        (estimate(0.01, 0.06), None, "no difference seen with 50 prompts; 790 would show 2 points"),
        (
            estimate(0.0, 0.06),
            3.0,
            "no difference seen with 50 prompts, at 3 times the price; 790 would show 2 points",
        ),
        (
            estimate(0.0, 0.01, prompts=1200),
            None,
            "no difference seen with 1,200 prompts; they would have shown one of 2 points",
        ),
        (
            estimate(0.0, 0.07, spread=0.0),
            None,
            "no difference seen with 50 prompts: each was scored the same on both sides",
        ),
    ],
)
def test_a_verdict_is_one_plain_sentence(found, price, said):
    assert intervals.describe_difference(found, price=price) == said


def test_a_verdict_names_the_difference_that_is_wanted():
    said = intervals.describe_difference(estimate(0.0, 0.06), wanted=0.01)

    assert said == "no difference seen with 50 prompts; 3,200 would show 1 point"


# ---------------------------------------------------------------- judges


def test_a_judge_that_favours_the_first_answer_is_found_out():
    first = [1.0] * 40 + [1.0] * 30 + [0.0] * 30
    second = [0.0] * 40 + [1.0] * 30 + [0.0] * 30

    found = bias.position_bias(first, second)

    assert found.shift.value == pytest.approx(0.4)
    assert found.shift.excludes_zero
    assert (found.consistent, found.first, found.second) == (0.6, 0.4, 0.0)


def test_a_win_that_turns_into_a_draw_leans_and_a_missing_verdict_does_not_count():
    found = bias.position_bias([0.5, 0.9, 0.8, None], [0.5, 0.5, 0.9, 0.1])

    assert found.consistent == pytest.approx(2 / 3)
    assert found.first == pytest.approx(1 / 3)
    assert found.shift.missing == 1


def test_self_preference_is_what_a_judge_says_beyond_what_others_say():
    rng = np.random.default_rng(4)
    others = rng.random(300) * 0.8
    own = others + 0.1

    assert bias.self_preference(own, others).value == pytest.approx(0.1)
    assert bias.self_preference(own).value == pytest.approx(float(own.mean()) - 0.5)
    assert not bias.self_preference(others, others).excludes_zero


def test_a_judge_that_likes_long_answers_is_found_out_and_a_fair_one_is_not():
    rng = np.random.default_rng(8)
    lengths, others = rng.integers(200, 3000, 400), rng.integers(200, 3000, 400)
    apart = lengths - others
    people = rng.random(400) * 0.5 + 0.25
    fond = people + 0.2 * np.tanh(apart / apart.std(ddof=1))

    biased = bias.length_bias(fond, lengths, others)
    beyond = bias.length_bias(fond, lengths, others, people)
    fair = bias.length_bias(people, lengths, others)

    assert biased.slope.low < 0.2 < biased.slope.high
    assert biased.correlation > 0.5
    assert beyond.slope.value == pytest.approx(0.2)
    assert beyond.correlation == pytest.approx(1.0)
    assert not fair.slope.excludes_zero
    assert abs(fair.correlation) < 0.15


def test_lengths_that_are_all_alike_say_nothing_of_a_judge():
    assert bias.length_bias([0.1, 0.9, 0.5], [9, 9, 9], [5, 5, 5]) == (None, None)


def test_agreement_with_people_is_the_textbooks():
    """Cohen's kappa of 20 yes/yes, 15 no/no, 5 and 10 mixed: (0.7 - 0.5) / (1 - 0.5)."""
    judge = ["yes"] * 20 + ["yes"] * 5 + ["no"] * 10 + ["no"] * 15 + ["yes", None]
    people = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15 + [None, "no"]

    found = bias.rate_agreement(judge, people)

    assert found.accuracy.value == pytest.approx(0.7)
    assert found.kappa.value == pytest.approx(0.4)
    assert found.kappa.low < 0.4 < found.kappa.high
    assert (found.accuracy.prompts, found.accuracy.missing) == (50, 2)


def test_agreement_by_chance_is_no_agreement():
    rng = np.random.default_rng(9)
    judge, people = rng.integers(0, 2, 500).tolist(), rng.integers(0, 2, 500).tolist()

    assert not bias.rate_agreement(judge, people).kappa.excludes_zero


def test_one_label_alone_has_no_kappa():
    found = bias.rate_agreement(["A"] * 10, ["A"] * 10)

    assert found.accuracy.value == 1
    assert found.accuracy.low < 0.75
    assert found.kappa is None


def test_the_interval_of_kappa_holds_the_truth():
    """A judge that is right 8 times in 10 about labels that are even: kappa is 0.6."""
    rng = np.random.default_rng(10)
    hits = 0
    for _ in range(500):
        people = rng.integers(0, 2, 100)
        judge = np.where(rng.random(100) < 0.8, people, 1 - people)
        kappa = bias.rate_agreement(judge.tolist(), people.tolist(), resamples=1_000).kappa
        hits += kappa.low <= 0.6 <= kappa.high

    assert 0.93 <= hits / 500 <= 0.97
