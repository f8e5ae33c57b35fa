"""AlpacaEval 2.0: its published figures again, its files, and the command that scores them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from mixtura.core.errors import ConfigError
from mixtura.evals import alpaca_leaderboard
from mixtura.evals.alpaca_leaderboard import Annotation, OutputRow
from mixtura.evals.statistics import length_control
from mixtura.evals.statistics.length_control import RegularizationSet
from tests.support import command_line, paths

desk = command_line.desk

DATA = paths.DATA / "alpaca_eval"
MODELS = (
    "FuseChat-Gemma-2-9B-Instruct",
    "Qwen-14B-Chat",
    "alpaca-7b",
    "claude-2.1",
    "gemma-2b-it",
    "gpt-3.5-turbo-1106",
    "phi-2-sft",
    "vicuna-13b-v1.5",
)


@pytest.fixture(scope="session", autouse=True)
def _data():
    """The published files, without which there is nothing to compare with: no test is skipped."""
    if not (DATA / "annotations").is_dir():
        pytest.fail(
            "AlpacaEval's published files are not here: put the data folder at ../shared/data"
            " beside the repository, or name it in MIXTURA_TEST_DATA",
            pytrace=False,
        )


def annotated(model):
    return alpaca_leaderboard.read_annotations(DATA / "annotations" / f"{model}.json")


def difficulties():
    return alpaca_leaderboard.read_difficulties(DATA / "instruction_difficulty_estimate.csv")


def weights():
    return alpaca_leaderboard.read_weights(DATA / "glm_weights.csv")


def leaderboard():
    with (DATA / "leaderboard.csv").open(newline="") as file:
        return {row[""]: row for row in csv.DictReader(file)}


def row(preference=1.5, **fields):
    usual = {
        "instruction": "Say yes.",
        "output_1": "Yes.",
        "generator_1": "base",
        "output_2": "Yes, indeed.",
        "generator_2": "ours",
    }
    return Annotation(preference=preference, **(usual | fields))


# ---------------------------------------------------------------- the leaderboard again


@pytest.mark.parametrize("model", MODELS)
def test_every_raw_figure_is_the_leaderboards(model):
    ours, published = alpaca_leaderboard.score_annotations(annotated(model)), leaderboard()[model]

    for figure in ("win_rate", "standard_error", "discrete_win_rate"):
        assert getattr(ours, figure) == pytest.approx(float(published[figure]), abs=1e-6)
    for figure in ("n_wins", "n_wins_base", "n_draws", "n_total", "avg_length"):
        assert getattr(ours, figure) == int(published[figure])


def test_the_published_weights_give_the_published_length_controlled_win_rates():
    published = leaderboard()
    ours = alpaca_leaderboard.published_rates(weights(), difficulties())

    off = {
        name: abs(found.win_rate - float(published[name]["length_controlled_winrate"]))
        for name, found in ours.items()
        if name in published
    }

    assert len(off) == 199
    assert max(off.values()) <= 0.2
    assert sum(off.values()) / len(off) <= 0.02
    assert ours["Together-MoA"].win_rate == pytest.approx(65.4, abs=0.05)
    assert ours["Together-MoA-Lite"].win_rate == pytest.approx(59.1, abs=0.05)
    assert ours["gpt4_1106_preview"].win_rate == 50


def test_the_standard_error_of_the_length_controlled_win_rate_is_the_leaderboards():
    published, ours = leaderboard(), alpaca_leaderboard.published_rates(weights(), difficulties())
    there = [name for name in ours if published.get(name, {}).get("lc_standard_error")]

    assert len(there) == 37
    for name in there:
        known = float(published[name]["lc_standard_error"])
        assert ours[name].standard_error == pytest.approx(known, abs=0.002)


def test_without_the_regularisation_set_the_fit_stays_within_a_point():
    off = []
    for model in MODELS:
        ours = alpaca_leaderboard.score_annotations(annotated(model), difficulties=difficulties())
        assert ours.lc_method == "prior-fit"
        known = float(leaderboard()[model]["length_controlled_winrate"])
        off.append(abs(ours.length_controlled_winrate - known))

    assert max(off) < 1.0
    assert np.mean(off) < 0.5


def test_annotations_alone_come_much_closer_than_the_raw_win_rate():
    off, raw = [], []
    for model in MODELS:
        ours = alpaca_leaderboard.score_annotations(annotated(model))
        assert ours.lc_method == "average-weights"
        known = float(leaderboard()[model]["length_controlled_winrate"])
        off.append(abs(ours.length_controlled_winrate - known))
        raw.append(abs(ours.win_rate - known))

    assert max(off) < 2.3
    assert np.mean(off) < 1.1
    assert np.mean(raw) > 4


def test_what_is_usual_is_taken_from_the_published_weights():
    known = [
        found
        for name, found in weights().items()
        if name in leaderboard() and name not in ("gpt4_1106_preview", "NullModel")
    ]
    length, hardness, _ = np.array(known).T

    assert len(known) == 198 - 1
    assert length.mean() == pytest.approx(length_control.USUAL_LENGTH, abs=0.001)
    assert length.std() == pytest.approx(length_control.LENGTH_SPREAD, abs=0.001)
    assert hardness.mean() == pytest.approx(length_control.USUAL_DIFFICULTY, abs=0.001)
    assert hardness.std() == pytest.approx(length_control.DIFFICULTY_SPREAD, abs=0.001)
    spread = np.std(list(difficulties().values()))
    assert spread == pytest.approx(length_control.DIFFICULTY_DEVIATION, abs=0.001)


# ---------------------------------------------------------------- the fit as published

SKLEARN = {
    "vicuna-13b-v1.5": (-1.8990564, 1.0456897, -2.8166265, 11.437838),
    "gpt-3.5-turbo-1106": (-2.3329439, 0.9984936, -1.6868893, 21.635509),
    "alpaca-7b": (-2.5016956, 0.9547911, -3.4642024, 6.697554),
    "Qwen-14B-Chat": (-2.1522474, 1.1289389, -2.6644833, 13.356812),
}
"""
φ, ψ, θ and the win rate that scikit-learn 1.9.1 finds for the same rows (LogisticRegressionCV,
liblinear, L1, GroupKFold(5)), with a tolerance of 1e-9. Its usual one, 1e-4, stops earlier and
moves the win rate by up to 0.09.
"""


def stand_in():
    """A regularisation set made of two other models' annotations: the official one is not here."""
    parts = [annotated("FuseChat-Gemma-2-9B-Instruct"), annotated("claude-2.1")]
    hardness = list(difficulties().values())
    preferences, lengths = [], []
    for part in parts:
        preferences.extend(one.preference - 1 for one in part)
        apart = np.array([len(one.output_1) - len(one.output_2) for one in part])
        lengths.extend(apart / apart.std(ddof=1))
    return RegularizationSet(np.array(preferences), np.array(lengths), np.array(hardness * 2))


@pytest.mark.parametrize("model", SKLEARN)
def test_the_official_procedure_gives_what_scikit_learn_gives(model):
    found = alpaca_leaderboard.length_controlled_rate(
        annotated(model), difficulties=difficulties(), gamed=stand_in()
    )

    assert found.method == "official-fit"
    assert found.weights == pytest.approx(SKLEARN[model][:3], abs=1e-5)
    assert found.win_rate == pytest.approx(SKLEARN[model][3], abs=1e-4)


def test_the_sparse_fit_is_where_no_weight_can_move_and_gain():
    rng = np.random.default_rng(3)
    x, wanted, importance = rng.normal(size=(200, 4)), rng.random(200), rng.random(200) + 0.1

    for strength in (0.01, 0.1, 1.0, 100.0):
        found = length_control.fit_sparse_weights(x, wanted, importance, strength)
        pull = strength * (x.T @ (importance * (length_control.sigmoid(x @ found) - wanted)))
        for weight, force in zip(found, pull, strict=True):
            if weight == 0:
                assert abs(force) <= 1
            else:
                assert force == pytest.approx(-np.sign(weight), abs=1e-6)


def test_the_regularisation_set_is_read_with_its_difficulties(tmp_path):
    file = tmp_path / "df_gamed.csv"
    file.write_text(
        "model,index,preference,std_delta_len,instruction_difficulty,not_gamed_baseline\n"
        "long,0,0.9,-0.5,1.5,False\nlong,1,,-0.25,-2,False\nshort,0,0.125,2,1.5,False\n"
    )

    gamed, known = alpaca_leaderboard.read_regularization_set(file)

    assert known == {0: 1.5, 1: -2.0}
    assert gamed.lengths.tolist() == [-0.5, -0.25, 2.0]
    assert np.isnan(gamed.preferences[1])


# ---------------------------------------------------------------- what the figures mean


def test_zero_is_a_draw_and_a_missing_verdict_counts_nowhere():
    ours = alpaca_leaderboard.score_annotations([row(0), row(1.5), row(2.0), row(None), row(1.0)])

    assert (ours.n_wins, ours.n_draws, ours.n_wins_base, ours.n_total) == (1, 2, 1, 4)
    assert ours.win_rate == 50
    assert ours.discrete_win_rate == 50


def test_the_baseline_against_itself_has_fifty_percent():
    ours = alpaca_leaderboard.score_annotations(
        [row(1.2, generator_2="base"), row(1.9, generator_2="base")]
    )

    assert (ours.length_controlled_winrate, ours.lc_method) == (50, "baseline")


def test_answers_of_one_length_are_controlled_without_a_division_by_nothing():
    rows = [row(p, output_2="same", output_1="size") for p in (1.1, 1.9, 1.6)]
    ours = alpaca_leaderboard.score_annotations(rows)

    assert ours.length_controlled_winrate == pytest.approx(ours.win_rate, abs=0.01)


def test_rows_find_their_difficulty_by_index_where_only_a_part_was_judged():
    some = annotated("claude-2.1")[5:8]
    named = [Annotation(**{**_fields(one), "index": 5 + i}) for i, one in enumerate(some)]

    assert (
        alpaca_leaderboard.score_annotations(named, difficulties=difficulties()).lc_method
        == "prior-fit"
    )
    with pytest.raises(ConfigError, match="give each row its `index`"):
        alpaca_leaderboard.score_annotations(some, difficulties=difficulties())
    far = [Annotation(**{**_fields(some[0]), "index": 900})]
    with pytest.raises(ConfigError, match="no difficulty has the index 900"):
        alpaca_leaderboard.score_annotations(far, difficulties=difficulties())


def _fields(one):
    return {name: getattr(one, name) for name in one.__struct_fields__}


@pytest.mark.parametrize(
    ("raw", "controlled", "far"),
    [(20, 12, False), (20, 9, True), (50, 62, False), (50, 63, True), (90, 99.9, False)],
)
def test_a_length_controlled_win_rate_far_from_the_raw_one_is_called_extreme(raw, controlled, far):
    assert length_control.is_extreme_shift(raw, controlled) is far


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("name", ["Together-MoA", "gpt4_1106_preview", "MoA-Qwen72B-round-1"])
def test_published_outputs_are_read_and_written_back(name, tmp_path):
    outputs = alpaca_leaderboard.read_outputs(DATA / "model_outputs" / f"{name}.json")
    alpaca_leaderboard.write_outputs(tmp_path / "model_outputs.json", outputs)

    published = json.loads((DATA / "model_outputs" / f"{name}.json").read_text())
    assert json.loads((tmp_path / "model_outputs.json").read_text()) == published
    assert len(outputs) == 805


def test_published_annotations_are_read_and_written_back(tmp_path):
    rows = annotated("gemma-2b-it")
    alpaca_leaderboard.write_annotations(tmp_path / "annotations.json", rows)

    published = json.loads((DATA / "annotations" / "gemma-2b-it.json").read_text())
    assert json.loads((tmp_path / "annotations.json").read_text()) == published
    assert [p.name for p in tmp_path.iterdir()] == ["annotations.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "line 1: not JSON"),
        ("[]", "has no rows"),
        ("{}", "line 1: Object missing required field `instruction`"),
        ('[{"instruction": "a", "output": "b", "generator": "c"}, {"instruction": "a"}]',
         "line 1: Object missing required field `output`"),
        ('[{"instruction": "a", "output": 3, "generator": "c"}]',
         "line 1: output: Expected `str`, got `int`"),
    ],
)  # fmt: skip
def test_a_bad_row_of_outputs_is_named_with_its_file(text, said, tmp_path):
    file = tmp_path / "model_outputs.json"
    file.write_text(text)

    with pytest.raises(ConfigError) as raised:
        alpaca_leaderboard.read_outputs(file)
    assert str(raised.value).startswith(str(file))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(), row(2.5)], "row 2: preference is 2.5, but must be"),
        ([row(-1)], "row 1: preference is -1"),
        (
            [row(), row(), row(generator_2="other")],
            "row 3: generator_2 is 'other', but 'ours' in row 1",
        ),
        ([row(), row(generator_1="other")], "row 2: generator_1 is 'other'"),
        ([], "has no rows"),
    ],
)
def test_annotations_that_no_one_could_read_are_not_written(rows, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        alpaca_leaderboard.write_annotations(tmp_path / "annotations.json", rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index,instruction_difficulty\n0,1.5\n1,hard\n", "line 3: instruction_difficulty: 'hard'"),
        ("index,hardness\n0,1.5\n", "has no column 'instruction_difficulty'"),
        ("index,instruction_difficulty\n0.5,1.5\n", "line 2: '0.5' is not an index"),
        ("", "has no rows"),
    ],
)
def test_a_bad_table_of_difficulties_is_named_with_its_line(text, said, tmp_path):
    file = tmp_path / "difficulty.csv"
    file.write_text(text)

    with pytest.raises(ConfigError, match=said):
        alpaca_leaderboard.read_difficulties(file)


def test_a_file_that_is_not_there_is_named(tmp_path):
    for read in (
        alpaca_leaderboard.read_outputs,
        alpaca_leaderboard.read_annotations,
        alpaca_leaderboard.read_weights,
        alpaca_leaderboard.read_regularization_set,
    ):
        with pytest.raises(ConfigError, match=r"nowhere( cannot be read)?: No such file"):
            read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="No such file"):
        alpaca_leaderboard.write_outputs(
            tmp_path / "no" / "where",
            [OutputRow(instruction="a", output="b", generator="c")],
        )


# ---------------------------------------------------------------- the command

FILES = {
    "difficulty": str(DATA / "instruction_difficulty_estimate.csv"),
    "weights": str(DATA / "glm_weights.csv"),
    "annotations": str(DATA / "annotations" / "claude-2.1.json"),
}


def options(*names):
    return [word for name in names for word in (f"--{name}", FILES[name])]


def test_the_command_prints_one_row_of_the_leaderboard(desk):
    said = desk.run(
        "eval", "alpaca-eval", *options("annotations", "weights", "difficulty"), "--json"
    )

    assert said.code == 0
    assert list(said.json) == [
        "win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total",
        "discrete_win_rate", "avg_length", "length_controlled_winrate", "lc_standard_error",
        "lc_method",
    ]  # fmt: skip
    assert said.json["lc_method"] == "published-weights"
    assert said.json["length_controlled_winrate"] == pytest.approx(25.25, abs=0.01)


def test_the_command_shows_a_person_the_figures_and_how_they_were_found(desk):
    said = desk.run("eval", "alpaca-eval", *options("annotations"))

    assert "claude-2.1 against gpt4_1106_preview, 805 prompts" in said.out
    assert "15.7   ± 1.1 (standard error)" in said.out
    assert "estimated from lengths alone" in said.out


def test_weights_alone_list_every_model(desk):
    said = desk.run("eval", "alpaca-eval", *options("weights", "difficulty"), "--json")

    assert len(said.json["models"]) == 200
    moa = said.json["models"]["Together-MoA"]["length_controlled_winrate"]
    assert moa == pytest.approx(65.4, abs=0.05)
    shown = desk.run("eval", "alpaca-eval", *options("weights", "difficulty"))
    assert "Together-MoA-Lite" in shown.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["chess"], "no task is called 'chess'; the tasks are gsm8k, math,"),
        (["alpaca-eval"], "alpaca-eval needs --annotations FILE, or --model NAME"),
        (["alpaca-eval", *options("annotations", "weights")], "--weights goes with --difficulty."),
        (
            ["alpaca-eval", "--annotations", "nowhere.json"],
            "nowhere.json cannot be read: No such file",
        ),
    ],
)
def test_wrong_use_is_said_in_a_line(desk, words, said):
    assert said in " ".join(desk.run("eval", *words).complaint.split())


def test_a_model_without_weights_is_named(desk):
    desk.write(json.dumps([{
        "instruction": "a", "output_1": "b", "generator_1": "base", "output_2": "c",
        "generator_2": "mine", "preference": 2.0,
    }]), "mine.json")  # fmt: skip
    said = desk.run(
        "eval", "alpaca-eval", "--annotations", "mine.json", *options("weights", "difficulty")
    )

    assert "mine.json: there are no weights for mine" in said.complaint
