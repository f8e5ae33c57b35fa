"""The report on recorded evaluations: analyses, figures, the page, and the runs it takes."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from mixtura.cli import group
from mixtura.config.config import load
from mixtura.core.errors import ConfigError
from mixtura.evals import log_reader as answers
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.log_reader import LoggedEvaluation, RecordedCall, SampleAnswer
from mixtura.reports import aggregator_influence, label_spacing, quality, run_costs, runs
from mixtura.reports.experiments import experiment_mixtures, run_experiments
from mixtura.reports.headlines import (
    best_model_headline,
    latency_headline,
    layers_headline,
    roles_headline,
)
from mixtura.reports.page import format_value, report_html, write_report
from mixtura.reports.sections import build_sections, load_section_words
from tests.support.report_world import QUALITY, World
from tests.support.upstream import Script, running

pytestmark = pytest.mark.filterwarnings("ignore")


def of(*contenders):
    return runs.group_by_task(contenders)[0]


def call(model, text="", layer=1, index=0, *, seconds=1.0, read=10, wrote=5, cost=0.0):
    role = "proposer"
    return RecordedCall(
        role, layer, index, model, text, read, wrote, cost, seconds, None, failed=False
    )


def contender(
    name, rows, aggregator, scores, calls=(), pattern="mixture", task="gsm8k", texts=None
):
    answers = tuple(
        SampleAnswer(f"q{i}", 1, "?", "", (texts or {}).get(i, "out"), score, "", tuple(calls))
        for i, score in enumerate(scores)
    )
    return LoggedEvaluation(name, task, tuple(map(tuple, rows)), aggregator, pattern, answers)


def alone(name, scores, texts=None):
    return contender(name, (), None, scores, [call(name, "out")], "model", texts=texts)


# ---- the analyses, on scores that are known


def test_every_mixture_is_compared_with_the_best_model_alone_the_largest_gain_first():
    best, other = alone("b", [1, 1, 0, 0]), alone("a", [1, 0, 0, 0])
    good = contender("good", [["a", "b"]], "a", [1, 1, 1, 0], [call("a"), call("b", index=1)])
    bad = contender("bad", [["a", "b"]], "b", [0, 0, 0, None], pattern="rank")

    first, last, own = quality.best_model_rows(of(bad, other, best, good))

    assert [row["who"] for row in (first, last, own)] == ["a, b → a", "a, b → rank by b", "b"]
    assert (first["best"], first["gain"], first["score"], first["calls"]) == ("b", 0.25, 0.75, 2)
    assert first["gain_low"] <= 0.25 <= first["gain_high"]
    # (1.960 + 0.842)·s/√n with the differences 0, 0, 1, 0
    assert first["detectable"] == pytest.approx(2.8016 * 0.5 / 2, abs=1e-3)
    assert (last["prompts"], last["gain"]) == (3, pytest.approx(-2 / 3))
    assert "gain" not in own
    assert own["score"] == 0.5


def test_without_a_mixture_or_a_model_alone_nothing_is_compared_with_the_best_model():
    assert quality.best_model_rows(of(alone("a", [1, 0]))) == []
    assert quality.best_model_rows(of(contender("t", [["a"]], "a", [1, 0]))) == []


def test_a_model_with_few_prompts_is_not_taken_for_the_best():
    few, other = alone("few", [1, 1]), alone("other", [1, 0, 0, 0, 1])
    team = contender("t", [["few"]], "other", [1, 1, 0, 0, 1])

    assert [row["best"] for row in quality.best_model_rows(of(few, other, team))] == ["other"] * 2


def test_one_prompt_in_common_has_a_gain_and_no_interval():
    (row, _) = quality.best_model_rows(of(alone("a", [0]), contender("t", [["a"]], "a", [1])))

    assert (row["gain"], row["gain_low"], row["detectable"]) == (1, None, None)


def test_the_headline_counts_who_is_better_worse_and_neither():
    rows = [
        {"best": "b", "gain_low": low, "gain_high": high}
        for low, high in ((0.1, 0.2), (-0.1, 0.2), (-0.3, -0.1), (None, None))
    ]

    assert best_model_headline(rows) == (
        "Shown to be better than b alone: 1 of 4 mixtures; worse: 1; undecided: 2"
    )


def test_one_pattern_with_two_settings_is_two_mixtures_and_their_labels_tell_them_apart():
    low, high = (
        replace(contender("t", [["a"]], "a", [1, 0], pattern="gate"), settings={"threshold": at})
        for at in (0.5, 0.9)
    )

    found = of(low, high, low)

    assert [runs.contender_label(one) for one in found.contenders] == [
        "a → gate by a (threshold 0.5)", "a → gate by a (threshold 0.9)",
    ]  # fmt: skip


def test_a_models_gain_is_paired_by_prompt_and_the_others_are_weighed_alone():
    a, b = alone("a", [1, 0, 0, 1]), alone("b", [0, 0, 0, 1])
    helped = contender("a,b>a", [["a", "b"]], "a", [1, 1, 0, 1])

    (row,) = quality.collaborativeness_rows(of(a, b, helped))

    assert (row["model"], row["others"], row["others_are"]) == ("a", "b", "all worse")
    assert (row["alone"], row["with_others"], row["gain"]) == (0.5, 0.75, 0.25)
    assert row["gain_low"] <= 0.25 <= row["gain_high"]
    assert row["prompts"] == 4


@pytest.mark.parametrize(
    ("others", "standing"),
    [
        ({"b": 0.1, "c": 0.4}, "all worse"), ({"b": 0.6}, "all better"), ({"b": 0.5}, "mixed"),
        ({"b": 0.1, "c": 0.6}, "mixed"), ({"b": 0.1, "c": None}, "unknown"),
    ],
)  # fmt: skip
def test_others_are_worse_only_where_each_of_them_is(others, standing):
    def of_ten(share):
        return (
            [None] * 10 if share is None else [1] * round(10 * share) + [0] * round(10 - 10 * share)
        )

    models = [alone(name, of_ten(share)) for name, share in {"a": 0.5, **others}.items()]
    helped = contender("t", [list(others)], "a", [1] * 10)

    assert quality.collaborativeness_rows(of(*models, helped))[0]["others_are"] == standing


def test_a_prompt_without_a_score_on_one_side_is_no_part_of_a_gain():
    a, b = alone("a", [1, None, 0]), alone("b", [0, 0, 0])
    helped = contender("b>a", [["b"]], "a", [1, 1, 1])

    (row,) = quality.collaborativeness_rows(of(a, b, helped))

    assert (row["prompts"], row["gain"]) == (2, 0.5)


def test_layers_are_those_of_one_team_and_the_ranker_stands_beside():
    team = ["a", "b"]
    rows = quality.layer_rows(
        of(
            alone("a", [0, 0]), alone("b", [0, 1]),
            contender("2", [team], "a", [0, 1]), contender("3", [team, team], "a", [1, 1]),
            contender("r", [team], "b", [0, 1], pattern="rank"),
            contender("other", [["c", "d"]], "a", [0, 0]),
        )
    )  # fmt: skip

    seen = [(row["aggregator"], row["layer"], row["score"], row["picks"]) for row in rows]
    assert seen == [
        ("a", 1, 0, False), ("a", 2, 0.5, False), ("a", 3, 1, False),
        ("ranker (b picks)", 2, 0.5, True),
    ]  # fmt: skip


def test_one_proposal_is_both_of_one_model_and_of_several():
    rows = quality.proposer_rows(
        of(
            contender("1", [["a"]], "a", [0, 0]), contender("2s", [["a", "a"]], "a", [0, 1]),
            contender("2m", [["a", "b"]], "a", [1, 1]), contender("x", [["b", "b"]], "a", [0, 0]),
            contender("uneven", [["a", "a", "b"]], "a", [0, 0]),
        )
    )  # fmt: skip

    seen = [(row["kind"], row["proposals"], row["score"]) for row in rows]
    several, one = "several models", "one model"
    assert seen == [(several, 1, 0), (several, 2, 1), (one, 1, 0), (one, 2, 0.5)]


def test_roles_are_under_one_aggregator_and_over_one_team():
    rows = quality.role_rows(
        of(
            alone("a", [0, 0]), alone("b", [0, 1]),
            contender("pa", [["a"] * 2], "b", [1, 1]), contender("pb", [["b"] * 2], "b", [0, 1]),
            contender("wa", [["a", "b"]], "a", [0, 0]), contender("wb", [["a", "b"]], "b", [1, 1]),
        )
    )  # fmt: skip

    seen = {row["model"]: (row["alone"], row["as_proposer"], row["as_aggregator"]) for row in rows}
    assert seen == {"b": (0.5, 0.5, 1), "a": (0, 1, 0)}
    assert list(seen) == ["b", "a"]  # who writes best stands first
    assert {row["fixed_aggregator"] for row in rows} == {"b"}


def test_an_answer_that_copies_the_right_proposal_follows_it_and_the_control_does_not():
    right, wrong = "the sum is four in all", "no one can say what it might be"
    other = "a text of its own about the weather"
    texts = {"a": {0: right, 1: wrong}, "b": {0: wrong, 1: right}}
    scores = {"a": [1, 0], "b": [0, 1]}
    models = [alone(name, scores[name], texts[name]) for name in texts]
    control = alone("c", [0, 0], {0: other, 1: other})
    team = contender("t", [["a", "b"]], "c", [1, 1], texts={0: right, 1: right})
    asked = [
        replace(answer, calls=(call("a", texts["a"][i]), call("b", texts["b"][i], index=1)))
        for i, answer in enumerate(team.answers)
    ]

    rows = aggregator_influence.influence_rows(
        of(*models, control, replace(team, answers=tuple(asked)))
    )

    assert {row["measure"]: row["rho"] for row in rows}["tfidf"] == pytest.approx(1)
    assert {row["control"] for row in rows} == {"c"}
    levenshtein = next(row for row in rows if row["measure"] == "levenshtein")
    assert levenshtein["rho"] - levenshtein["control_rho"] == pytest.approx(
        levenshtein["difference"]
    )


def test_prompts_on_which_all_proposals_are_as_good_say_nothing():
    models = [alone(name, [1, 1]) for name in ("a", "b", "c")]
    team = contender("t", [["a", "b"]], "c", [1, 1], [call("a", "x"), call("b", "y", index=1)])

    assert aggregator_influence.influence_rows(of(*models, team)) == []


def test_the_front_is_what_nothing_as_cheap_beats():
    rows = [
        {"who": name, "cost_usd": dollars, "score": score}
        for name, dollars, score in [("a", 1, 0.5), ("b", 2, 0.4), ("c", 2, 0.7), ("d", 3, 0.7)]
    ]

    assert [row["who"] for row in run_costs.pareto_front(rows, "cost_usd")] == ["a", "c"]


def test_without_prices_quality_is_set_against_tokens_and_an_unknown_price_is_no_zero():
    paid = contender(
        "p", [["a-1b"]], "a-1b", [1, 0], [call("a-1b"), call("a-1b", layer=2, cost=1.0)]
    )
    free = contender("f", [["a-1b", "b"]], "a-1b", [1, 0], [call("a-1b", cost=None), call("b")])

    rows = {row["who"]: row for row in run_costs.cost_rows(of(paid, free))}

    assert rows["a-1b → a-1b"]["cost_usd"] == 1.0
    assert rows["a-1b, b → a-1b"]["cost_usd"] is None
    assert run_costs.price_axis(list(rows.values())) == "tokens"
    assert rows["a-1b → a-1b"]["tflops_paper"] == pytest.approx(2 * 1 * (5 + 5) / 1000)
    assert rows["a-1b, b → a-1b"]["tflops_paper"] is None  # b's size is unknown


def test_a_layer_lasts_as_long_as_its_slowest_and_the_straggler_is_what_it_took_longer():
    calls = [
        call("a", seconds=1), call("b", index=1, seconds=4), call("c", index=2, seconds=2),
        call("a", layer=2, seconds=3),
    ]  # fmt: skip
    rows = run_costs.latency_rows(of(contender("t", [["a", "b", "c"]], "a", [1, 1], calls)))

    assert [(row["layer"], row["seconds"], row["straggler"]) for row in rows] == [
        (1, 4, 2), (2, 3, 0)
    ]  # fmt: skip
    assert (rows[0]["slowest"], rows[0]["slowest_share"]) == ("b", 1)
    assert latency_headline(rows) == (
        "a, b, c → a takes longest, 7.0 s; 29\u00a0% of it is waiting, mostly for b"
    )


def test_a_headline_names_everyone_who_leads_and_nobody_where_all_are_the_same():
    def said(a, b):
        rows = [
            {"model": name, "as_aggregator": value, "as_proposer": None}
            for name, value in (("a", a), ("b", b), ("c", 0.1))
        ]
        return roles_headline(rows)

    assert said(0.2, 0.1) == "Best aggregator: a (20\u00a0%)"
    assert said(0.2, 0.2) == "Best aggregators: a and b (20\u00a0%)"
    assert said(0.1, 0.1) == "All aggregators are equally good (10\u00a0%)"

    rows = [
        {"aggregator": name, "layer": layer, "score": score, "picks": False}
        for name, alone in (("a", 0.2), ("b", 0.3))
        for layer, score in ((1, alone), (2, 0.5))
    ]
    assert layers_headline(rows) == "All aggregators are equally good: 50\u00a0% at 2 layers"


def test_skills_are_the_means_of_what_the_judge_gave_and_what_does_not_apply_is_left_out():
    one = contender("t", [["a"]], "a", [0.8, 0.6], task="flask")
    given = [{"Factuality": 4.0, "Readability": None}, {"Factuality": 2.0}]
    graded = [
        replace(answer, graded={"skills": points})
        for answer, points in zip(one.answers, given, strict=True)
    ]

    (row,) = run_costs.skill_rows(of(replace(one, answers=tuple(graded))))

    assert (row["skill"], row["score"], row["answers"]) == ("Factuality", 3.0, 2)


def test_of_the_same_evaluation_twice_the_one_with_more_scores_counts():
    found = of(alone("a", [1, 0]), alone("a", [1, 1, 1, None]))

    assert [len(one.answers) for one in found.contenders] == [4]


def test_two_files_of_one_task_are_never_taken_for_one_another():
    other = alone("a", [0, 0])
    answers = [replace(answer, question="another") for answer in other.answers]

    found = runs.group_by_task(
        [alone("a", [1, 1, 1]), alone("b", [1]), replace(other, answers=answers)]
    )

    assert [(one.task, len(one.contenders)) for one in found] == [("gsm8k", 2), ("gsm8k 2", 1)]
    contents, _ = report_html([(one, build_sections(one)) for one in found]).split("</nav>", 1)
    assert all(f"<b>Task {one.task}</b><a href" in contents for one in found)


def test_who_has_no_score_is_named_and_no_zero():
    (found,) = runs.group_by_task([alone("a", [1, 0]), alone("b", [None, None]), alone("c", [])])

    assert list(found.single_models) == ["a"]
    assert found.unscored == ("b",)
    assert "Without any score: b." in report_html([(found, build_sections(found))])


def test_one_prompt_makes_a_report_without_intervals():
    (found,) = runs.group_by_task(World(prompts=1).everything())

    made = {section.key: section for section in build_sections(found)}

    assert made["layers"].rows[0]["score_low"] is None
    assert "<svg" in report_html([(found, list(made.values()))])


# ---- the figures


def test_labels_at_the_ends_of_lines_are_moved_apart_and_keep_their_order():
    assert label_spacing.space_apart([0.0, 5.0], 1.0) == [0.0, 5.0]
    assert label_spacing.space_apart([1.0, 1.0, 1.0], 1.0) == [0.0, 1.0, 2.0]
    moved = label_spacing.space_apart([0.0, 0.2, 0.9, 3.0], 1.0)
    assert moved == sorted(moved)
    assert all(b - a >= 1 - 1e-9 for a, b in pairwise(moved))


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The whole report on the made-up world, drawn once."""
    folder = tmp_path_factory.mktemp("report")
    return write_report(runs.group_by_task(World(prompts=12).everything()), folder)


def test_the_report_is_a_page_and_beside_it_figures_and_numbers(report):
    files = {path.name for path in report.file.parent.iterdir()}

    assert {"report.html", "layers.svg", "layers.png", "layers.csv", "tokens.csv"} <= files
    assert "skills.csv" not in files  # no FLASK, no empty file
    with (report.file.parent / "roles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["model"] for row in rows} == set(QUALITY)
    assert {"alone", "alone_low", "alone_high"} <= set(rows[0])


class Page(HTMLParser):
    """What a browser would fetch, and every tag that was opened."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.fetched, self.ids = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += [given["id"]] if given.get("id") and tag == "section" else []
        found = (given.get(name) or "" for name in ("src", "href", "xlink:href"))
        self.fetched += [address for address in found if address and not address.startswith("#")]


def test_the_page_needs_nothing_else_and_runs_nothing(report):
    text = report.file.read_text()
    page = Page(text)

    assert page.fetched == []
    assert "script" not in page.tags
    assert "default-src 'none'" in text
    assert page.tags.count("figure") == page.tags.count("svg") == 10
    assert not re.search(r'<svg[^>]*style="|url\(https?:', text)
    assert page.ids == [f"gsm8k-{key}" for key in load_section_words()]


def test_what_is_missing_says_which_command_brings_it_and_draws_nothing(report):
    (made,) = report.tasks.values()
    missing = {section.key: section for section in made if not section.rows}

    assert list(missing) == ["skills", "confidence"]
    assert all(section.figures == {} for section in missing.values())
    assert "mixtura eval flask --model NAME --judge NAME" in report.file.read_text()


def test_a_single_model_makes_a_page_without_figures_of_what_it_cannot_show():
    only = of(alone("a", [1, 0, 1]))

    made = {section.key: section for section in build_sections(only)}

    assert [key for key, section in made.items() if section.rows] == ["budget", "latency"]
    assert "This command makes the runs" in report_html([(only, list(made.values()))])


def test_names_that_are_markup_stay_text_on_the_page():
    evil = "<img src=x onerror=alert(1)>"
    found = of(alone(evil, [1, 0]), alone("b", [0, 1]), contender("t", [[evil, "b"]], "b", [1, 1]))

    page = report_html([(found, build_sections(found))])

    assert "<img" not in page
    assert "&lt;img src=x" in page


@pytest.mark.parametrize(
    ("value", "manner", "said"),
    [
        (0.625, "percent", "62 %"), (0.6253, "percent_tenths", "62.5 %"), (-0.05, "points", "-5"),
        (-0.0512, "points_tenths", "-5.1"), (0.0412, "margin", "±4.1"),
        (0.00012, "dollars", "0.00012"),
        (1234.5, "number", "1,234"), (0.5, "number", "0.5"), (True, "yes", "yes"),
        ("a\nb", "text", "a b"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_people_read_them(value, manner, said):
    assert format_value(value, manner) == said


# ---- the runs that it takes


def test_the_grid_has_every_comparison_once_and_the_cheap_ones_first():
    plans = experiment_mixtures(["a", "b", "c"])
    names = [plan.name for plan in plans]

    assert names[:3] == ["a", "b", "c"]
    assert len(set(names)) == len(names) == 19
    assert {"a,b,c>b", "a,b,c>a,b,c>c", "a,b,c>rank:a", "b*3>a", "a*6>a", "a,b>a"} <= set(names)
    assert {plan.sampling.temperature for plan in plans} == {0.7}
    many = [plan for plan in plans if plan.name == "a*2,b*2,c*2>a"]
    assert [len(plan.layers[0]) for plan in many] == [3]


def test_a_grid_of_one_model_or_of_one_twice_is_refused():
    for models in (["a"], ["a", "a"]):
        with pytest.raises(ConfigError, match="at least two, and each only once"):
            experiment_mixtures(models)


def test_every_plan_of_the_grid_is_a_mixture_that_can_be_made(tmp_path):
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plans = experiment_mixtures(["smollm2-135m", "qwen3-0.6b"])

    assert all(config.count_calls(plan) >= 1 for plan in plans)


def test_a_folder_without_evaluations_and_no_folder_at_all_are_told(tmp_path):
    run = CliRunner().invoke

    done = run(group, ["report", "--from", str(tmp_path)], standalone_mode=False)
    assert isinstance(done.exception, ConfigError)
    assert "mixtura report collect" in str(done.exception)
    assert "--from RUNS" in run(group, ["report"]).output


def test_a_log_that_was_cut_off_is_named(tmp_path):
    (tmp_path / "2026-01-01T00-00-00-00-00_gsm8k_x.eval").write_bytes(b"PK\x03\x04")

    with pytest.raises(ConfigError, match=r"gsm8k_x\.eval is not a complete log"):
        answers.read_logs(tmp_path)


def test_a_missing_library_is_one_line_that_names_the_extra(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("mixtura.reports")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "vl_convert", None)

    done = CliRunner().invoke(group, ["report", "--from", str(tmp_path)], standalone_mode=False)

    assert isinstance(done.exception, ConfigError)
    said = str(done.exception)
    assert said.startswith("the report needs vl_convert, which is not installed. To install it: ")
    assert "-m pip install 'altair<" in said


@pytest.fixture
def adding(tmp_path, monkeypatch):
    """A folder with two sums and two models on loopback, of which one can add."""
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))
    monkeypatch.chdir(tmp_path)
    rows = [{"input": f"{n} + 1?", "target": str(n + 1)} for n in range(2)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    def says(record):
        sums = next(n for n in range(2) if f"{n} + 1?" in record.prompt)
        return Script(str(sums + 1) if record.model == "a" else "0")

    with running(says) as upstream:
        where = f'base_url = "{upstream.base_url()}"\nprice = {{ input = 1.0, output = 1.0 }}\n'
        models = [f'[models."{n}-1b"]\nmodel = "{n}"\n{where}' for n in "ab"]
        (tmp_path / "mixtura.toml").write_text("\n".join(models))
        yield upstream


def test_collecting_shares_drafts_among_mixtures_and_the_report_reads_what_it_left(adding):
    config = load(None, environ=os.environ, folder=Path.cwd(), cache=True)
    wanted = ("a-1b", "b-1b", "a-1b,b-1b>a-1b", "b-1b*3>a-1b")
    plans = [plan for plan in experiment_mixtures(["a-1b", "b-1b"]) if plan.name in wanted]
    seen = {}

    results = run_experiments(
        config, plans, EvalRequest(task="jsonl", data="rows.jsonl"),
        logs=Path("logs"), max_cost=1.0,
        watch=lambda name, progress: seen.update({name: progress.done}),
    )  # fmt: skip
    done = CliRunner().invoke(group, ["report", "--from", "logs"], catch_exceptions=False)

    assert seen == dict.fromkeys(wanted, 2)
    assert len(results) == 4
    drafts = Counter(record.model for record in adding.records if len(record.prompt) < 10)
    assert drafts == {"a": 2, "b": 2 * 3}  # alone, in the team and drawn again: each asked once
    assert "Best aggregator: a-1b" in done.stdout
    assert "better? Not included. These runs contain no evaluation of the task flask" in done.stdout
    with Path("report", "roles.csv").open(newline="") as file:
        found = {row["model"]: row["alone"] for row in csv.DictReader(file)}
    assert found == {"a-1b": "1.0", "b-1b": "0.0"}
