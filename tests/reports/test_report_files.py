"""The report on files of answers: likeness, diversity, cost, held against other libraries."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura.billing.price import CallWork, estimate_tflops
from mixtura.catalog import providers
from mixtura.cli import group
from mixtura.cli.list_options import expand_list_options
from mixtura.core.similarity import NgramCounts, bleu_scores, split_words
from mixtura.evals.statistics.diversity import vendi_score
from mixtura.reports import files, rows
from mixtura.reports.text_similarity import TextSimilarity
from tests.support.paths import DATA

OUTPUTS = DATA / "alpaca_eval" / "model_outputs"
PROPOSERS = (
    "Qwen1.5-110B-Chat",
    "Qwen1.5-72B-Chat",
    "Meta-Llama-3-70B-Instruct",
    "Mixtral-8x22B-Instruct-v0.1",
    "dbrx-instruct",
)
published = pytest.mark.skipif(
    not OUTPUTS.is_dir(), reason=f"the published answers are not here: {OUTPUTS}"
)
TEXTS = (
    "The sky is blue because the air scatters blue light more than red.",
    "Blue light is scattered by the air more than red light is: so the sky is blue.",
    "Ask again, in other words!",
    "蓝色的光散射得更多。",
    "a",
    "",
)


def report(*words_):
    return ran(*words_).stdout


def ran(*words_):
    done = CliRunner().invoke(group, ["report", *map(str, words_)], standalone_mode=False)
    if done.exception:
        raise done.exception
    return done


def answers(path, texts, name):
    rows_ = [{"instruction": f"q{i}", "output": t, "generator": name} for i, t in enumerate(texts)]
    path.write_text(json.dumps(rows_))
    return path


# ---- the measures, held against the libraries


def test_bleu_is_sacrebleus_sentence_score_for_every_order():
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    cut = Tokenizer13a()
    for ours in TEXTS:
        for theirs in TEXTS:
            found = bleu_scores(
                NgramCounts.from_tokens(cut(ours).split(), 5),
                NgramCounts.from_tokens(cut(theirs).split(), 5),
            )
            for order, score in enumerate(found, 1):
                metric = BLEU(max_ngram_order=order, effective_order=True)
                theirs_ = metric.sentence_score(ours, [theirs]).score / 100
                assert score == pytest.approx(theirs_, abs=1e-9), (ours, theirs, order)


def test_tfidf_is_scikit_learns_and_levenshtein_rapidfuzzs_over_letters():
    from rapidfuzz.distance import Levenshtein
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(analyzer=split_words).fit_transform(TEXTS)
    likeness = TextSimilarity(TEXTS)

    for i, ours in enumerate(TEXTS):
        found = likeness.all_measures([ours] * len(TEXTS), TEXTS)
        assert found["tfidf"] == pytest.approx((made @ made[i].T).toarray().ravel())
        letters = [
            1 - Levenshtein.distance(ours, theirs) / max(len(ours), len(theirs), 1)
            for theirs in TEXTS
        ]
        assert found["levenshtein"] == pytest.approx(letters)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=9))
def test_spearman_is_scipys_and_nothing_where_one_side_is_all_the_same(pairs):
    from scipy.stats import spearmanr

    a, b = zip(*pairs, strict=True)
    found = rows.spearman_correlation(a, b)

    if len(set(a)) == 1 or len(set(b)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(a, b).statistic)


def test_work_is_the_largest_member_of_each_layer_and_prefill_is_counted_when_asked():
    layers = [[CallWork(70, 10, 100), CallWork(8, 10, 400)], [CallWork(8, 1000, 100)]]

    assert estimate_tflops(layers, prefill=False) == pytest.approx(2 * (70 * 100 + 8 * 100) / 1000)
    assert estimate_tflops(layers, prefill=True) == pytest.approx(2 * (70 * 110 + 8 * 1100) / 1000)


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        ("together/meta-llama/Llama-3-70b-chat-hf", 70),
        ("together/Qwen/Qwen3.8-2.4T-A95B", 95),
        ("smollm2-135m", 0.135),
        ("qwen2.5-coder-1.5b", 1.5),
        ("openai/gpt-oss-120b", 5.1),
        ("gpt-4o", 440),
        ("mixtral-8x30b", None),
        ("claude-opus-5", None),
    ],
)
def test_how_much_of_a_model_works_on_a_token_is_read_from_its_name(model, billions):
    assert providers.active_parameters(model) == billions


# ---- the commands


def test_an_option_that_repeats_takes_everything_up_to_the_next_option():
    many = {"--models"}

    assert expand_list_options(["--models", "a", "b", "--json"], many) == [
        "--models", "a", "--models", "b", "--json"
    ]  # fmt: skip
    assert expand_list_options(["--models=a", "b"], many) == ["--models=a", "--models", "b"]
    assert expand_list_options(["--on", "a", "b", "--", "-x"], many) == [
        "--on",
        "a",
        "b",
        "--",
        "-x",
    ]


def test_likeness_is_told_by_proposal_and_measure_with_the_control_beside_it(tmp_path):
    ours = answers(tmp_path / "a.json", ["one two three four", "five six"], "team")
    same = answers(tmp_path / "b.json", ["one two three four", "five six"], "b")
    other = answers(tmp_path / "c.json", ["other words here now", "none of them"], "c")

    said = ("similarity", "--answers", ours, "--proposals", same, other)
    found = json.loads(report(*said, "--control", other, "--json"))

    assert list(found) == ["b", "c"]
    assert list(found["b"]) == ["bleu3", "bleu4", "bleu5", "tfidf", "levenshtein"]
    one = found["b"]["tfidf"]
    assert one["mean"] == pytest.approx(1)
    assert one["low"] <= one["mean"] <= one["high"]
    assert one["minus_control"]["mean"] == pytest.approx(one["mean"] - one["control"]["mean"])
    assert found["c"]["bleu4"]["mean"] == 0
    assert "control" not in json.loads(report(*said, "--json"))["b"]["tfidf"]
    assert "Levenshtein" in report(*said)


def test_what_two_files_share_is_compared_and_one_answer_is_too_few(tmp_path):
    ours = answers(tmp_path / "a.json", ["x", "y", "z"], "a")
    fewer = answers(tmp_path / "b.json", ["x", "w"], "b")
    single = answers(tmp_path / "c.json", ["x"], "c")

    done = ran("diversity", "--answers", ours, fewer, "--json")
    found = json.loads(done.stdout)
    assert "Only 2 of 3 questions" in done.stderr
    assert found["vendi"]["mean"] == pytest.approx(1.5)
    assert found["pairwise"]["median"] == pytest.approx(0.5)
    with pytest.raises(Exception, match="a, c share 1"):
        report("diversity", "--answers", ours, single)
    with pytest.raises(Exception, match="at least two files"):
        report("diversity", "--answers", ours)


def test_files_of_one_name_from_one_model_stay_apart(tmp_path):
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    first, second = (answers(f / "out.json", ["x y", "y z"], "a") for f in folders)

    done = ran("similarity", "--answers", first, "--proposals", first, second, "--json")

    assert list(json.loads(done.stdout)) == [str(first), str(second)]
    assert done.stderr == ""


def test_answers_of_a_model_that_proposes_nowhere_are_named(tmp_path):
    file = answers(tmp_path / "a.json", ["x", "y"], "a")

    given = f"dbrx-instruct={file}", f"drbx={file}"
    said = ran("budget", "--outputs", f"lite={file}", "--proposals", *given, "--json")

    assert "has a proposer drbx." in said.stderr
    assert list(json.loads(said.stdout)) == ["lite"]


def test_a_mixture_without_proposals_and_a_name_no_one_knows_are_refused(tmp_path):
    file = answers(tmp_path / "a.json", ["x", "y"], "a")

    with pytest.raises(Exception, match="--proposals MODEL=FILE"):
        report("budget", "--outputs", f"lite={file}")
    with pytest.raises(Exception, match="what-is-that"):
        report("budget", "--outputs", f"what-is-that={file}")
    with pytest.raises(Exception, match="NAME=FILE"):
        report("budget", "--outputs", file)
    with pytest.raises(Exception, match="is not a mixture that writes"):
        report("budget", "--outputs", f"vote={file}")


# ---- the published answers


@published
def test_the_five_proposers_are_as_diverse_as_was_published():
    found = json.loads(report("diversity", "--answers", *map(file, PROPOSERS), "--json"))

    assert found["pairwise"]["median"] == pytest.approx(0.63, abs=0.02)
    assert found["vendi"]["mean"] == pytest.approx(2.8, abs=0.1)
    family = next(p for p in found["pairwise"]["pairs"] if (p["a"], p["b"]) == PROPOSERS[:2])
    assert family["median"] == pytest.approx(0.67, abs=0.02)


def file(name):
    return OUTPUTS / f"{name}.json"


@published
def test_the_papers_costs_and_work_come_back_within_a_fifth():
    names = {"paper": "Together-MoA", "lite": "Together-MoA-Lite", "gpt-4o": "gpt-4o-2024-05-13"}
    outputs = [f"{name}={file(stem)}" for name, stem in names.items()]
    proposals = [f"{name}={file(name)}" for name in PROPOSERS]

    found = json.loads(report("budget", "--outputs", *outputs, "--proposals", *proposals, "--json"))

    for name, dollars, work in [
        ("paper", 0.031, 245),
        ("lite", 0.006, 137),
        ("gpt-4o", 0.007, 340),
    ]:
        assert found[name]["cost_usd"] == pytest.approx(dollars, rel=0.2), name
        assert found[name]["tflops_paper"] == pytest.approx(work, rel=0.2), name
    # What the paper leaves out: the aggregator alone reads more than GPT-4o does in all.
    assert found["lite"]["tflops_with_prefill"] > found["gpt-4o"]["tflops_with_prefill"]


@published
def test_a_model_that_read_nothing_is_as_like_the_proposals_as_the_mixture_is():
    answered, *proposals, control = [
        one._replace(texts=dict(list(one.texts.items())[:80]))
        for one in files.read_answer_files(
            map(file, ("Together-MoA", *PROPOSERS, "gpt-4o-2024-05-13"))
        )
    ]

    found = files.proposal_similarity(answered, proposals, control)

    alike = {(one.proposal, one.measure): one for one in found}
    own = alike["Qwen1.5-110B-Chat", "tfidf"]
    assert own.answer.mean == max(a.answer.mean for a in found if a.measure == "tfidf")
    assert abs(own.difference.mean) < 0.05
    # By how like they are to it, the proposers stand in the order of their win rates: beside both.
    with (DATA / "alpaca_eval" / "leaderboard.csv").open(newline="") as board:
        rates = {row[""]: float(row["length_controlled_winrate"]) for row in csv.DictReader(board)}
    for side in ("answer", "control"):
        order = [getattr(alike[name, "bleu4"], side).mean for name in PROPOSERS]
        assert rows.spearman_correlation(
            order, [rates[name] for name in PROPOSERS]
        ) == pytest.approx(1)


def test_the_vendi_score_of_answers_is_that_of_their_table():
    table = TextSimilarity(TEXTS).cosine_matrix(TEXTS[:3])

    assert np.all(np.diag(table) == 1)
    assert 1 <= vendi_score(table) <= 3
