"""Evaluations of a small team on loopback that knows its sums."""

from __future__ import annotations

import contextlib
import json

import pytest

from mixtura.config.config import load
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.run import evaluate
from mixtura.evals.tasks import dataset
from tests.support.config_files import priced_model
from tests.support.paths import DATA
from tests.support.upstream import Script, running
from tests.support.upstream.faults import BY_NAME

REFUSED = BY_NAME["400_no_name"].play()


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    """What Inspect and we keep for a user goes into the test's folder."""
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))


def rows_of(name):
    file = DATA / name
    if not file.is_file():
        pytest.fail(f"the real data is not here: {file}")
    return dataset.load_rows(str(file))


def written(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def config_of(tmp_path, text=""):
    file = tmp_path / "mixtura.toml"
    file.write_text(text)
    return load(str(file), environ={}, folder=tmp_path, home=tmp_path)


CONFIG = (
    "".join(map(priced_model, "abc"))
    + """
[models.judge]
base_url = "{url}"
model = "judge"
retries = 0

[mixtures.team]
layers = [["a", "c"]]
aggregator = "b"
quorum = 2
"""
)
SUMS = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 16)]


def known(record):
    """Models that can add; asked of 12, one fails."""
    for row in SUMS:
        if row["question"] in record.prompt:
            bad = "12 plus" in row["question"] and record.model == "c"
            return Script(row["answer"], ever=REFUSED if bad else None)
    return Script("?")


@contextlib.contextmanager
def evaluating(tmp_path, otherwise=known):
    with running(otherwise) as upstream:
        yield upstream, config_of(tmp_path, CONFIG.format(url=upstream.base_url()))


def evaluated(tmp_path, config, name="team", task="gsm8k", rows=SUMS, how=None, **words):
    data = written(tmp_path / "rows.jsonl", rows)
    asked = EvalRequest(task=task, data=data, **words)
    return evaluate(config, config.mixture_spec(name), asked, logs=tmp_path / "logs", **(how or {}))
