"""HumanEval at the command line: programs that forge, read and tell, and honest ones."""

from __future__ import annotations

import json
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log

import mixtura
from mixtura.core.errors import ConfigError
from mixtura.evals.tasks import dataset, humaneval
from mixtura.programs import sandbox
from tests.evals import test_eval_command
from tests.support import command_line
from tests.support.hostile_programs import FORGED, reading, telling
from tests.support.loopback import Answer
from tests.support.paths import DATA

desk = command_line.desk
run = test_eval_command.run

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

CANARY = "canary-of-a-made-up-secret"


@pytest.fixture
def evaluated(desk, run):
    """Programs by name through `mixtura eval humaneval`: what was said, and each one's score."""

    def evaluate(programs, test):
        numbered = list(enumerate(programs.items()))
        rows = [
            {"task_id": name, "prompt": f'def one(x):\n    """Number {n}."""\n',
             "test": test, "entry_point": "one"}
            for n, (name, _) in numbered
        ]  # fmt: skip
        answers = {str(n): f"```python\n{program}\n```" for n, (_, program) in numbered}

        def answer(request):
            said = request["messages"][-1]["content"]
            return Answer((answers[re.search(r"Number (\d+)\.", said)[1]],))

        desk.server.answers["ann"] = answer
        desk.write("\n".join(map(json.dumps, rows)), "rows.jsonl")
        told = run("eval", "humaneval", "--model", "ann", "--data", "rows.jsonl", "--json")
        assert told.code == 0, told.err
        samples = read_eval_log(told.json["log"]).samples or ()
        assert len(samples) == told.json["n"] == len(rows), (told.json["missing"], told.err)
        return told, {one.id: one.scores["passing"].value for one in samples}

    return evaluate


def test_no_program_passes_but_by_being_right(evaluated):
    right = {"is right": "def one(x): return x * 7919 + 13"}
    test = "def check(f):\n    for x in range(4):\n        assert f(x) == x * 7919 + 13\n"
    told, scores = evaluated(FORGED | right, test)

    assert [name for name, score in scores.items() if score] == ["is right"]
    assert told.json["score"] == pytest.approx(1 / (len(FORGED) + 1))


def test_a_program_reads_nothing_that_its_user_can_read(evaluated, desk, monkeypatch, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    monkeypatch.setenv("MIXTURA_CANARY", CANARY)
    package = Path(mixtura.__file__)
    programs = reading(
        secret=str(secret), folder=str(tmp_path), project=str(package),
        source=str(package.parents[1]), port=int(desk.server.host.partition(":")[2]),
        process=os.getpid(),
    )  # fmt: skip
    asked = len(desk.server.requests)
    told, scores = evaluated(programs, "def check(f):\n    assert f(3) == 'refused'\n")
    secret.unlink()

    assert [name for name, score in scores.items() if score != 1.0] == []
    assert len(desk.server.requests) - asked == len(programs)
    assert where_it_stands(CANARY, told, tmp_path) == []


def test_nothing_that_a_program_says_reaches_the_result(evaluated, tmp_path):
    told, scores = evaluated(telling(CANARY), "def check(f):\n    assert f(3) == 4\n")

    assert set(scores.values()) == {0.0}
    assert where_it_stands(CANARY, told, tmp_path) == []


def where_it_stands(text, told, folder):
    """Everything written or said that holds a text: streams, and all files, unpacked."""
    found = [name for name in ("out", "err") if text in getattr(told, name)]
    for path in folder.rglob("*"):
        if path.is_file() and text.encode() in b"".join(contents(path)):
            found.append(str(path))
    log = read_eval_log(told.json["log"]).model_dump_json()
    return found + (["log"] if text in log else [])


def contents(path):
    yield path.read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (name.encode() for name in archive.namelist())


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_humanevals_own_solutions_pass_and_without_their_bodies_fail(step):
    """As a block and as a bare body by turns: every fifth, or all of them."""
    file = DATA / "humaneval" / "first120.jsonl"
    if not file.is_file():
        pytest.fail(f"the real data is not here: {file}")
    rows = dataset.load_rows(str(file))

    def outcome(number, body):
        row = rows[number]
        prompt, name = row["prompt"], row["entry_point"]
        answer = f"Here:\n```python\n{prompt}{body}```\nDone." if number % 2 else body
        written = humaneval.extract_program(answer, prompt, name)
        setup = humaneval.prompt_helpers(prompt, name)
        return row["task_id"], sandbox.check_program(written, row["test"], name, setup=setup)

    with ThreadPoolExecutor(2) as pool:
        solutions = [row["canonical_solution"] for row in rows]
        right = list(pool.map(outcome, range(0, len(rows), step), solutions[::step]))
        wrong = list(pool.map(outcome, range(0, len(rows), 10), ["    return None\n"] * 99))

    assert len(right) == 120 // step
    assert [(name, one.reason) for name, one in right if not one.passed] == []
    assert [name for name, one in wrong if one.passed] == []


def test_a_machine_that_confines_nothing_asks_no_model(desk, run, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    sandbox.ensure_available.cache_clear()
    row = {"prompt": "def one():\n", "test": "def check(f): pass", "entry_point": "one"}
    desk.write(json.dumps(row), "rows.jsonl")
    told = run("eval", "humaneval", "--model", "ann", "--data", "rows.jsonl")

    assert "this machine does not confine programs, so none was run" in " ".join(told.err.split())
    assert told.code == 2
    assert desk.server.requests == []
    with pytest.raises(ConfigError):
        humaneval.passing()


def test_a_row_whose_test_is_none_is_missing_and_no_failure(desk, run):
    rows = [
        {"task_id": f"n{n}", "prompt": "def one():\n", "test": test, "entry_point": "one"}
        for n, test in enumerate(("def check(f): assert f() == 1", "def check("))
    ]
    desk.write("\n".join(map(json.dumps, rows)), "rows.jsonl")
    desk.server.answers["ann"] = Answer(("def one():\n    return 1",))
    told = run("eval", "humaneval", "--model", "ann", "--data", "rows.jsonl", "--json")

    assert (told.json["score"], told.json["n"]) == (1.0, 1)
    assert told.json["missing"][0][0] == "n1"
    assert "the test cannot be used" in told.json["missing"][0][1]


OFFICIAL = {
    # answer: whether it passes
    "```python\nfrom __future__ import annotations\ndef one(x: No):\n    return x\n```": True,
    "```python\ndef one(x):\n    return x\nif __name__ == '__main__':\n    1 / 0\n```": True,
    "return helper(x)": True,
    "```python\ndef one(x):\n    return None\n```": False,
}


def test_a_program_runs_as_the_official_executor_runs_it():
    prompt = "from typing import Any\n\ndef helper(x):\n    return x\n\n\ndef one(x: Any):\n"
    test = "def check(candidate):\n    assert candidate(3) == helper(3)\n"
    setup = humaneval.prompt_helpers(prompt, "one")

    for answer, passes in OFFICIAL.items():
        written = humaneval.extract_program(answer, prompt, "one")
        assert sandbox.check_program(written, test, "one", setup=setup).passed is passes, answer


def test_many_empty_lines_in_an_answer_cost_no_time():
    """Reading them was quadratic: minutes for an answer of this length."""
    assert humaneval.extract_program("\n" * 10**6, "def one():\n", "one").startswith("def one():")
