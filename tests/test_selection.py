"""Who should be in: a search whose true answer is known, and whole selections on loopback."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import pytest

from mixtura import cli
from mixtura.config import load
from mixtura.errors import BudgetExceededError, ConfigError, MixturaError
from mixtura.selection.measuring import Terms
from mixtura.selection.run import select
from tests.test_evals import REFUSED, written
from tests.upstream import Script, running

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))


# ---- whole selections

NAMES = ("a", "twin", "other", "writer")
CONFIG = "".join(
    f'[models.{name}]\nbase_url = "{{url}}"\nmodel = "{name}"\nretries = 0\n'
    "price = {{ input = 1.0, output = 2.0 }}\n"
    for name in (*NAMES, "judge")
)
SUMS = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 34)]
OPEN = [{"question": f"What is {n} plus {n}?"} for n in range(10, 22)]
KNOWS = {"a": (0, 1), "twin": (0, 1), "other": (2,), "writer": ()}
"""Who is right on which numbers, by their rest when divided by four."""


def answered(record):
    """
    a and its twin are right most often, and on the same prompts; other on others. Only writer
    takes what is right out of drafts: the true team of two is a and other, written by writer.
    """
    number = int(re.findall(r"What is (\d+) plus", record.prompt)[0])
    if record.model == "judge":
        ours = re.search(r'"A": "#### (\d+)', record.prompt)
        theirs = re.search(r'"B": "#### (\d+)', record.prompt)
        right = [int(found[1]) == 2 * number for found in (ours, theirs)]
        return Script(f"Verdict: {'tie' if right[0] == right[1] else 'A' if right[0] else 'B'}")
    right = number % 4 in KNOWS[record.model]
    if record.model == "writer":
        right = f"#### {2 * number}" in record.prompt
    return Script(f"#### {2 * number if right else 1}")


@contextmanager
def selecting(tmp_path, otherwise=answered):
    """An upstream, and a function that selects on it."""
    with running(otherwise) as upstream:
        file = tmp_path / "mixtura.toml"
        file.write_text(CONFIG.format(url=upstream.base_url()))

        def selected(*names, rows=SUMS, watch=None, **words):
            environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
            config = load(str(file), environ=environ, folder=tmp_path, home=tmp_path, cache=True)
            data = written(tmp_path / "rows.jsonl", rows)
            usual = {"size": 2, "logs": tmp_path / "logs"}
            usual |= {} if "judge" in words else {"task": "gsm8k"}
            try:
                return select(
                    config, names or NAMES, Terms(data=data, **(usual | words)), watch=watch
                )
            finally:
                config.store.close()

        yield upstream, selected


def test_the_team_that_is_right_most_often_is_found_with_its_aggregator(tmp_path):
    with selecting(tmp_path) as (upstream, selected):
        found = selected()

    print(json.dumps(found.json(), indent=1)[:6000])
    assert set(found.best.members) in ({"a", "other"}, {"twin", "other"})
    assert found.best.aggregator == "writer"
    assert found.best.n == 8
    assert found.calls == len(upstream.records)
