"""An evaluation task of another package, named by its entry point, is run like ours."""

from __future__ import annotations

import json

import pytest

from tests.support.loopback import Answer, loopback
from tests.support.other_packages import install_package, program

pytestmark = pytest.mark.filterwarnings("ignore")

CODE = """
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import Score, accuracy, scorer
from inspect_ai.solver import generate

from mixtura.evals.registry import TaskSpec
from mixtura.evals.tasks.dataset import load_samples


@scorer(metrics=[accuracy()])
def named():
    async def score(state, target):
        return Score(value=float(target.text in state.output.completion))

    return score


@task
def capitals(data=None, seed=None):
    rows = load_samples("capitals", data, lambda row: Sample(row["q"], target=row["a"]), seed=seed)
    return Task(dataset=rows, solver=generate(), scorer=named())


TASK = TaskSpec(create_task=capitals)
JUDGED = TaskSpec(create_task=capitals, needs_judge=True)
"""


def test_a_task_of_another_package_is_run_from_the_command_line_and_scored(tmp_path):
    site = install_package(
        tmp_path / "site", "capital_task", CODE, "mixtura.tasks", capitals="capital_task:TASK"
    )
    rows = [{"q": "Of France?", "a": "Paris"}, {"q": "Of Spain?", "a": "Madrid"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with loopback() as server:
        server.answers["a"] = Answer.text("It is Paris.")
        (tmp_path / "mixtura.toml").write_text(
            f'[models.a]\nbase_url = "{server.base_url}"\nmodel = "a"\n'
        )
        words = ("--model", "a", "--data", "rows.jsonl", "--json")
        done = program(tmp_path, site, "eval", "capitals", *words)
        again = program(tmp_path, site, "eval", "capitals", *words)
        wrong = program(tmp_path, site, "eval", "capital", *words)

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["score"], result["n"]) == (0.5, 2)
    assert json.loads(again.stdout)["score"] == 0.5
    assert len(server.requests) == 2  # the second time nothing is asked
    assert "arena-hard, capitals" in wrong.stderr


def test_compare_sends_a_judged_task_of_another_package_to_eval_as_it_does_ours(tmp_path):
    names = {"praise": "capital_task:JUDGED"}
    site = install_package(tmp_path / "site", "capital_task", CODE, "mixtura.tasks", **names)

    for task in ("praise", "flask"):
        refused = program(tmp_path, site, "compare", "a", "--task", task, "--on", "rows.jsonl")

        assert refused.returncode == 2
        assert f"{task} is for mixtura eval: --judge NAME compares open answers" in refused.stderr
