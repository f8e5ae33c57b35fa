"""Scores that are doubtful are questioned in words: cut off answers, and 0 for everyone."""

from __future__ import annotations

import json
import os

import pytest

from tests.support.forked_program import run_mixtura
from tests.support.upstream import Script, running

CUT, NOTHING = "were cut off at the token limit", "No answer scored a point"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with rows and two models: one answers, one is cut off and says nothing of use."""
    folder = tmp_path_factory.mktemp("doubts")
    rows = [{"input": f"Say {n}", "target": "right"} for n in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with running() as upstream:
        upstream.scripts = {
            "good": Script("right"), "short": Script("wrong", finish="length"),
        }  # fmt: skip
        models = "".join(
            f'[models.{name}]\nbase_url = "{upstream.base_url("openai")}"\nmodel = "{name}"\n'
            for name in upstream.scripts
        )
        mixture = "[mixtures.{}]\nlayers = [[{}]]\naggregator = {}\n"
        teams = mixture.format("cut", '"short"', '"short"')
        (folder / "mixtura.toml").write_text(models + teams)
        yield folder


def mixtura(folder, *words):
    environ = os.environ | {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    done = run_mixtura(words, cwd=folder, env=environ, text=True)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_an_evaluation_says_that_answers_were_cut_off(place):
    code, said = mixtura(place, "eval", "jsonl", "--model", "short", "--data", "rows.jsonl")

    assert code == 0, said
    assert f"6 of 6 answers {CUT}" in said


def test_a_comparison_questions_cut_off_answers_and_a_score_of_nothing(place):
    code, said = mixtura(place, "compare", "cut", "--on", "rows.jsonl")

    assert code == 0, said
    assert f"6 of 6 answers of cut {CUT}" in said
    assert NOTHING in said


def test_a_selection_says_whose_answers_were_cut_off(place):
    out = ("--out", "chosen.toml")
    code, said = mixtura(place, "select", "--models", "good", "short", "--on", "rows.jsonl", *out)

    assert code == 0, said
    assert f"answers of short {CUT}" in said
