"""Confidence: curves with known values, how good they are, and the files that keep them."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from mixtura.cli import group
from mixtura.config.calibrations import write_calibration
from mixtura.config.config import load
from mixtura.core.agreement import Support
from mixtura.core.calibration import CalibrationCurve
from mixtura.core.errors import ConfigError
from mixtura.core.roles import Layer, Proposer
from mixtura.evals.log_reader import (
    LoggedEvaluation,
    RecordedCall,
    SampleAnswer,
    describe_plan,
)
from mixtura.evals.statistics.calibration import (
    RecordedOutcome,
    auroc,
    calibration_error,
    cross_fit,
    fit_curve,
    fit_isotonic,
    fit_platt,
    reliability_bins,
    with_bounds,
)
from mixtura.reports import confidence, runs
from mixtura.reports.calibrations import fit_calibrations
from mixtura.reports.sections import build_sections
from tests.conftest import run
from tests.support.pattern_models import ASK, team


def vector(*values):
    return np.array(values, dtype=float)


# ---- curves


def test_neighbours_that_fall_are_pooled_into_their_mean():
    # By hand: 1, 0 | 0, 1, 1 -> the first three pool to 1/3.
    points = fit_isotonic(vector(0.1, 0.2, 0.3, 0.4, 0.5), vector(1, 0, 0, 1, 1))

    assert points == ((0.1, 1 / 3), (0.3, 1 / 3), (0.4, 1.0), (0.5, 1.0))


def test_equal_supports_are_one_point():
    points = fit_isotonic(vector(0.5, 0.5, 0.5, 1, 1), vector(1, 0, 0, 1, 0))

    assert points == ((0.5, 1 / 3), (1.0, 0.5))


def test_a_curve_of_ties_that_fall_is_flat():
    assert fit_isotonic(vector(0.5, 1), vector(1, 0)) == ((0.5, 0.5), (1.0, 0.5))


def test_platts_sigmoid_finds_the_shares_of_two_groups_smoothed_as_he_does():
    # Two supports have two parameters: the curve goes through each group's mean target.
    values, right = vector(*[0.0] * 10, *[1.0] * 10), vector(*[1] * 2, *[0] * 8, *[1] * 8, *[0] * 2)
    slope, intercept = fit_platt(values, right)

    at = [1 / (1 + np.exp(-(slope * x + intercept))) for x in (0.0, 1.0)]
    high, low = 11 / 12, 1 / 12
    assert at == pytest.approx([0.2 * high + 0.8 * low, 0.8 * high + 0.2 * low], abs=1e-6)


def test_platts_sigmoid_stays_finite_where_support_parts_right_from_wrong():
    slope, intercept = fit_platt(vector(0, 0.1, 0.9, 1), vector(0, 0, 1, 1))

    assert np.isfinite([slope, intercept]).all()
    assert slope > 0


@pytest.mark.parametrize("right", [True, False])
def test_no_curve_is_made_of_one_kind_of_outcome(right):
    with pytest.raises(ValueError, match="both right and wrong answers"):
        fit_curve([RecordedOutcome(str(i), i / 9, right) for i in range(9)])


def test_a_curve_is_read_between_its_points_and_never_says_certain():
    curve = CalibrationCurve("isotonic", 8, 5, ((0.2, 0.0), (0.6, 0.5), (1.0, 1.0)))
    sigmoid = CalibrationCurve("platt", 98, 50, slope=1e6, intercept=-1e5)

    read = [curve.find_probability(x) for x in (0.0, 0.2, 0.4, 0.6, 1.0, 2.0)]
    assert read == pytest.approx([0.1, 0.1, 0.25, 0.5, 0.9, 0.9])
    assert sigmoid.find_probability(1.0) == 0.99
    assert sigmoid.find_probability(0.0) == 0.01


# ---- how good


def test_auroc_is_the_share_of_pairs_in_the_right_order_with_ties_as_half():
    assert auroc(vector(0.9, 0.8, 0.7, 0.1), vector(1, 0, 1, 0)) == 0.75
    assert auroc(vector(0.5, 0.5), vector(1, 0)) == 0.5
    assert auroc(vector(1, 2), vector(1, 1)) is None


def test_bins_hold_about_as_many_answers_and_keep_equal_confidences_together():
    confidences = vector(*[0.2] * 15, *[0.6] * 5, *[0.8] * 20)
    right = vector(*[1] * 3, *[0] * 12, *[1] * 5, *[1] * 16, *[0] * 4)

    bins = reliability_bins(confidences, right, bins=4)

    assert [(b.answers, b.confidence) for b in bins] == [
        (15, pytest.approx(0.2)), (25, pytest.approx(0.76)),
    ]  # fmt: skip
    assert bins[0].right == pytest.approx(0.2)
    # Wilson's interval of 3 in 15.
    assert (bins[0].low, bins[0].high) == pytest.approx((0.0705, 0.4519), abs=1e-4)
    assert calibration_error(confidences, right) == pytest.approx(25 * abs(0.76 - 0.84) / 40)


def outcomes(count=400, seed=1):
    """Answers that are right as often as their support, squared, says."""
    chance = random.Random(seed)
    found = []
    for i in range(count):
        support = chance.choice([0.25, 0.5, 0.75, 1.0])
        found.append(RecordedOutcome(f"q{i}", support, chance.random() < support**2))
    return found


@pytest.mark.parametrize("method", ["isotonic", "platt"])
def test_confidences_fitted_without_their_own_prompt_come_near_the_truth(method):
    made = outcomes()
    fitted = vector(*cross_fit(made, method))
    right = vector(*(one.right for one in made))
    raw = vector(*(one.support for one in made))

    assert calibration_error(fitted, right) < 0.08 < calibration_error(raw, right)
    bounds = with_bounds(auroc, [one.prompt for one in made], raw, right)
    assert bounds.low < bounds.value < bounds.high
    assert bounds.low > 0.6


def test_the_interval_of_the_calibration_error_is_not_lifted_by_chance():
    """Of confidences that are true: what error there is comes of chance alone."""
    rng = np.random.default_rng(3)
    confidences = rng.random(60)
    right = (rng.random(60) < confidences).astype(float)
    prompts = [str(number) for number in range(60)]

    lifted = with_bounds(calibration_error, prompts, confidences, right)
    found = with_bounds(calibration_error, prompts, confidences, right, grows_with_chance=True)

    assert lifted.low > 0.9 * lifted.value
    assert found.value == lifted.value
    assert found.low < 0.01 < found.value <= found.high < lifted.high


def test_answers_to_one_prompt_are_fitted_apart_from_each_other():
    same = [RecordedOutcome("q", 0.5, i % 2 == 0) for i in range(40)]

    assert cross_fit(same) == [None] * 40


# ---- in the report


CALL = RecordedCall("proposer", 1, 0, "a", "a", 10, 5, 0.1, 1.0, None, failed=False)


def evaluation(made, name="vote", pattern="vote"):
    answers = tuple(
        SampleAnswer(
            one.prompt, 1, "?", "", "a", float(one.right), "", (CALL,),
            support=Support("votes", one.support),
        )
        for one in made
    )  # fmt: skip
    return LoggedEvaluation(name, "gsm8k", (("a", "a", "b"),), None, pattern, answers, "x.eval")


def test_the_report_has_auroc_calibration_error_and_a_reliability_diagram():
    task = runs.group_by_task([evaluation(outcomes(120))])[0]

    section = next(one for one in build_sections(task) if one.key == "confidence")

    (row,) = section.rows
    assert (row["source"], row["answers"]) == ("votes", 120)
    assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
    assert row["error_low"] <= row["error_high"]
    assert sum(row["answers"] for row in section.more["reliability"]) == 120
    assert "AUROC" in section.figures["reliability"].title
    assert "<svg" in section.figures["reliability"].svg


def test_an_agreement_that_was_asked_for_stands_in_the_report_beside_what_the_pattern_counts():
    counted = evaluation(outcomes(120))
    answers = tuple(replace(one, agreement=one.score) for one in counted.answers)
    asked = replace(counted, answers=answers)

    # Of two evaluations of the same team the one that knows more, whichever is the newer.
    for both in ([counted, asked], [asked, counted]):
        rows = confidence.confidence_rows(runs.group_by_task(both)[0])
        assert {row["source"]: row["answers"] for row in rows} == {"agreement": 120, "votes": 120}
        assert next(row["auroc"] for row in rows if row["source"] == "agreement") == 1.0
    # A confidence is that of what the pattern counts: the curve is fitted on nothing else.
    assert list(confidence.recorded_outcomes(asked)) == ["votes"]


def test_too_few_counted_answers_are_no_analysis():
    task = runs.group_by_task([evaluation(outcomes(20))])[0]

    assert confidence.confidence_rows(task) == []


# ---- the command


CONFIG = """
[models.a]
base_url = "http://127.0.0.1:9/v1"
model = "a"
[models.b]
base_url = "http://127.0.0.1:9/v1"
model = "b"
[mixtures.vote]
pattern = "vote"
extract = "number"
layers = [["a*2", "b"]]
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Reads the configuration of a folder anew."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "mixtura.toml").write_text(CONFIG)
    return lambda: load(None, environ=os.environ, folder=tmp_path)


def calibrate(config, *evaluations):
    found, _ = fit_calibrations(config(), evaluations)
    for one, _ in found:
        write_calibration(config().calibration_folder, one)


def answer_by_vote(config):
    """A vote of three, of whom two agree, under the configuration in the folder."""
    one = config()
    model = one.build_runnable(one.mixture_spec("vote"))
    members = Layer(tuple(map(Proposer, team("4", "4", "5"))))
    return run(replace(model, layers=(members,)).complete(ASK))


def test_a_calibrated_mixture_gives_its_answers_a_confidence(config):
    assert answer_by_vote(config).confidence is None

    calibrate(config, evaluation(outcomes(120)))

    answer = answer_by_vote(config)
    assert answer.support == Support("votes", 2 / 3)
    assert 0.1 < answer.confidence < 0.7
    listed = json.loads(CliRunner().invoke(group, ["calibrate", "--json"]).output)["calibrations"]
    assert [(one["mixture"], one["curves"]["votes"]["answers"]) for one in listed] == [
        ("vote", 120)
    ]
    assert "vote" in CliRunner().invoke(group, ["calibrate"]).output


def test_answers_that_two_evaluations_share_count_once(config):
    plain = evaluation(outcomes(120))
    asked = replace(plain, answers=tuple(replace(one, agreement=0.5) for one in plain.answers))

    ((found, _),), _ = fit_calibrations(config(), [plain, asked])
    assert found.curves["votes"].answers == 120


def test_logs_of_the_same_team_under_another_name_count_where_the_mixture_is_named(config):
    recorded = describe_plan(config().mixture_spec("vote"))["settings"]
    tried = replace(evaluation(outcomes(120), name="vote of a*2, b"), settings=recorded)
    own = evaluation(outcomes(60))

    ((found, _),), _ = fit_calibrations(config(), iter([tried]), ["vote"])
    ((both, _),), _ = fit_calibrations(config(), [own, tried], ["vote"])

    assert (found.mixture, found.curves["votes"].answers) == ("vote", 120)
    assert both.curves["votes"].answers == 180
    for other in (replace(tried, settings={}), replace(tried, settings=None)):
        with pytest.raises(ConfigError, match="contain no evaluation of vote"):
            fit_calibrations(config(), [other], ["vote"])


def test_a_calibration_of_other_members_does_not_count(config, tmp_path):
    calibrate(config, evaluation(outcomes(120)))
    (tmp_path / "mixtura.toml").write_text(CONFIG.replace('"a*2", "b"', '"a*2", "b*2"'))

    assert answer_by_vote(config).confidence is None
    assert "was made for other members" in config().missing_calibration_reason("vote")


def test_a_calibration_of_other_settings_does_not_count(config, tmp_path):
    """A share of equal numbers and a share of equal letters are not right equally often."""
    recorded = describe_plan(config().mixture_spec("vote"))["settings"]
    calibrate(config, replace(evaluation(outcomes(120)), settings=recorded))
    assert answer_by_vote(config).confidence is not None
    (tmp_path / "mixtura.toml").write_text(CONFIG.replace('"number"', '"last-line"'))

    assert recorded == {"extract": "number"}
    assert answer_by_vote(config).confidence is None
    assert "other members or settings" in config().missing_calibration_reason("vote")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([], "the logs contain no evaluation of your mixtures"),
        # What `compare` and `select` make up, and a model alone, are no one's mixtures.
        (
            [evaluation(outcomes(120), name="vote/self")],
            "the logs contain no evaluation of your mixtures",
        ),
        (
            [evaluation(outcomes(120), "a", "model")],
            "the logs contain no evaluation of your mixtures",
        ),
        ([evaluation(outcomes(20))], "only 20 answers with a score, but 50 are needed"),
        ([evaluation(outcomes(120), pattern="mux")], "with other members or settings than it has"),
        (
            [replace(evaluation(outcomes(120)), settings={"extract": "boxed"})],
            "with other members or settings than it has",
        ),
        (
            [evaluation([o._replace(right=True) for o in outcomes(60)])],
            "both right and wrong answers",
        ),
    ],
)
def test_what_cannot_be_calibrated_is_refused_with_its_reason(made, said, config):
    with pytest.raises(ConfigError, match=said):
        fit_calibrations(config(), made)


def test_a_folder_without_evaluations_is_refused(config):
    ran = CliRunner().invoke(group, ["calibrate", "--from", "nowhere"])

    assert "there is no folder nowhere" in str(ran.exception)


def test_a_damaged_calibration_is_an_error_that_says_what_to_do(config, tmp_path):
    calibrate(config, evaluation(outcomes(120)))
    (file,) = (tmp_path / "state").rglob("vote.json")
    file.write_text("{")

    with pytest.raises(ConfigError, match="delete it, or fit it again with `mixtura calibrate`"):
        answer_by_vote(config)
