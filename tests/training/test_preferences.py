"""mixtura export --format preferences: two answers, where someone has said which is better."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from mixtura.cli.common import read_config
from mixtura.programs.sandbox import SandboxError, ensure_available
from tests.support.command_line import last_message
from tests.support.loopback import Answer
from tests.support.paths import CLIENTS
from tests.support.requirements import leave_out
from tests.support.shell import desk, shell  # noqa: F401 - fixtures
from tests.training.test_export import check_messages

# Before a fixture empties the environment: a Python with TRL, where this one has none.
TRL_PYTHON = sys.executable if find_spec("trl") else os.environ.get("MIXTURA_TRL_PYTHON")
AIR, RAYLEIGH = "Air scatters blue light.", "It is Rayleigh scattering."


@pytest.fixture
def judged(shell):  # noqa: F811
    """A way to ask a mixture of ann and ben that is made with a table, and to export its runs."""
    file = shell.desk.folder / "mixtura.toml"
    models = file.read_text()

    def ask(table: str, question: str = "Why?") -> list[dict]:
        file.write_text(f'{models}\n[mixtures.judged]\nlayers = [["ann", "ben"]]\n{table}\n')
        asked = shell.run("ask", "--quiet", "-m", "judged", question)
        assert asked.code == 0, asked.err
        done = shell.run("export", "-", "--format", "preferences", "--degraded")
        assert done.code == 0, done.err
        rows = [json.loads(line) for line in done.out.splitlines()]
        for row in rows:
            check_preference(row)
        return rows

    ask.answers = shell.desk.server.answers
    return ask


def check_preference(row: dict) -> None:
    """TRL's "preference" type with an explicit prompt, each of its parts conversational."""
    assert set(row) == {"prompt", "chosen", "rejected", "provenance"}
    assert row["prompt"][-1]["role"] == "user"
    for side in ("chosen", "rejected"):
        check_messages([*row["prompt"], *row[side]])
        assert [one["role"] for one in row[side]] == ["assistant"]
    assert row["chosen"] != row["rejected"]


def texts(row: dict) -> tuple[str, str]:
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


def test_what_a_ranker_names_the_best_is_preferred_to_the_others(judged):
    judged.answers["chief"] = Answer.text("Best: 1")

    (row,) = judged('pattern = "rank"\njudge = "chief"')

    assert set(texts(row)) == {AIR, RAYLEIGH}
    assert row["provenance"]["decided_by"]["kind"] == "ranker"
    assert row["provenance"]["decided_by"]["model"] == "chief"


def test_a_judges_scores_say_which_is_better_and_equal_scores_say_nothing(judged):
    def score(request):
        return Answer.text("Score: 8" if RAYLEIGH in last_message(request) else "Score: 3")

    judged.answers["chief"] = score
    (row,) = judged('pattern = "best-of"\njudge = "chief"')

    assert texts(row) == (RAYLEIGH, AIR)
    decided = row["provenance"]["decided_by"]
    assert (decided["chosen_score"], decided["rejected_score"]) == (8, 3)

    judged.answers["chief"] = Answer.text("Score: 5")
    assert judged('pattern = "best-of"\njudge = "chief"') == [row]


def test_checks_that_are_run_say_which_program_is_better(judged):
    try:
        ensure_available()
    except SandboxError as error:
        leave_out("sandbox", str(error))
    wrong, right = (f"```python\ndef double(n):\n    return {body}\n```" for body in ("n", "2 * n"))
    judged.answers |= {"ann": Answer.text(wrong), "ben": Answer.text(right)}
    question = 'Write this:\n\ndef double(n):\n    """Twice n.\n    >>> double(2)\n    4\n    """\n'

    (row,) = judged('pattern = "checked"', question)

    assert texts(row) == (right, wrong)
    assert row["provenance"]["decided_by"] == {
        "kind": "checks", "model": None, "chosen_score": 1, "rejected_score": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "table",
    ['pattern = "vote"', 'aggregator = "chief"', 'pattern = "rank"\njudge = "chief"'],
    ids=["a vote", "a synthesis", "a ranker that names none"],
)
def test_without_a_verdict_there_is_no_preference(judged, table):
    judged.answers["chief"] = Answer.text("I cannot say.")

    assert judged(table) == []


def test_equal_proposals_are_no_pair(judged):
    judged.answers["ben"] = Answer.text(AIR)
    judged.answers["chief"] = Answer.text("Best: 1")

    assert judged('pattern = "rank"\njudge = "chief"') == []


@pytest.mark.parametrize(
    ("choice", "better"), [("mixture", AIR), ("model", RAYLEIGH), ("tie", None)]
)
def test_what_a_person_chose_without_knowing_whose_it_was_is_a_pair(shell, choice, better):  # noqa: F811
    shell.run("ask", "--quiet", "-m", "ann", "Why?")
    shell.run("ask", "--quiet", "-m", "ben", "Why?")
    runs = read_config(None).runs
    beside, run = (runs.get_run(one["id"]) for one in runs.list_runs(2))
    runs.choices.keep_choice(run, beside, choice)

    done = shell.run("export", "-", "--format", "preferences")

    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [texts(row)[0] for row in rows] == ([better] if better else [])
    for row in rows:
        check_preference(row)
        assert row["provenance"]["decided_by"]["kind"] == "person"
        assert row["provenance"]["models"] == ["ann", "ben"]


def test_pairs_load_as_a_data_set(judged, shell):  # noqa: F811
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    judged.answers["chief"] = Answer.text("Best: 1")
    judged('pattern = "rank"\njudge = "chief"')
    shell.run("export", "pairs.jsonl", "--format", "preferences")

    rows = datasets.load_dataset(
        "json", data_files=str(shell.desk.folder / "pairs.jsonl"), split="train",
        cache_dir=str(shell.desk.folder / "cache"),
    )  # fmt: skip

    check_preference(rows[0])


@pytest.mark.soak
@pytest.mark.skipif(not TRL_PYTHON, reason="no Python with TRL: name one in MIXTURA_TRL_PYTHON")
def test_a_tiny_model_is_trained_for_a_step_on_each_exported_file(judged, shell):  # noqa: F811
    judged.answers["chief"] = Answer.text("Best: 1")
    for number in range(4):
        judged('pattern = "rank"\njudge = "chief"', f"Why {number}?")
    for name, form in (("train.jsonl", "sft"), ("pairs.jsonl", "preferences")):
        assert shell.run("export", name, "--format", form).code == 0

    trained = subprocess.run(
        [TRL_PYTHON, CLIENTS / "trl_steps.py", "train.jsonl", "pairs.jsonl", "out"],
        cwd=shell.desk.folder, capture_output=True, text=True, timeout=900,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(shell.desk.folder / "hub"), "PATH": os.defpath},
    )  # fmt: skip

    assert trained.returncode == 0, trained.stderr[-3000:]
    done = json.loads(trained.stdout.splitlines()[-1])
    print(done)
    assert {name: (one["rows"], one["steps"]) for name, one in done.items()} == {
        "sft": (4, 1), "dpo": (4, 1),
    }  # fmt: skip
    assert done["dpo"]["loss"] == pytest.approx(0.6931, abs=1e-3), "ln 2: both models are the same"
