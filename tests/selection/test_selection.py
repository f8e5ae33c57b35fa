"""Who should be in: a search whose true answer is known, and whole selections on loopback."""

from __future__ import annotations

import json
import re
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixtura.config.config import load
from mixtura.core.errors import BudgetExceededError, ConfigError, MixturaError
from mixtura.evals.inspect_provider import DEFAULT_CONNECTIONS
from mixtura.selection import preset
from mixtura.selection.measurements import SelectionTerms
from mixtura.selection.run import select_team
from mixtura.selection.search import NO_BOUNDS
from tests.support import shell
from tests.support.evaluations import REFUSED, written
from tests.support.forked_program import MixturaProcess
from tests.support.upstream import Script, running

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")


# ---- whole selections

NAMES = ("a", "other", "writer")
CONFIG = "".join(
    f'[models.{name}]\nbase_url = "{{url}}"\nmodel = "{name}"\nretries = 0\n'
    "price = {{ input = 1.0, output = 2.0 }}\n"
    for name in (*NAMES, "twin", "judge")
)
CONFIG += '[models.unpriced]\nbase_url = "{url}"\nmodel = "unpriced"\n'
SUMS = [{"question": f"What is {n} plus {n}?", "answer": f"#### {2 * n}"} for n in range(10, 22)]
OPEN = [{"question": f"What is {n} plus {n}?"} for n in range(12, 21)]
KNOWS = {"a": (0, 1), "twin": (0, 1), "other": (2,), "writer": ()}
"""Who is right on which numbers, by their rest when divided by four."""


def answered(record):
    """
    a, and twin as well, is right most often, other where they are not; only writer takes what
    is right out of drafts. So the true team of two is a and other, written by writer.
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
                return select_team(
                    config,
                    names or NAMES,
                    SelectionTerms(data=data, **(usual | words)),
                    watch=watch,
                )
            finally:
                config.store.close()

        yield upstream, selected


def test_the_best_team_is_found_its_calls_are_counted_and_a_second_run_asks_no_one(tmp_path):
    with selecting(tmp_path) as (upstream, selected):
        found = selected()
        calls = len(upstream.records)
        again = selected()

        assert len(upstream.records) == calls == found.calls
        assert again.to_json() == found.to_json()
    best = found.best
    assert (best.members, best.aggregator) == (("a", "other"), "writer")
    assert (found.prompts.search, best.n) == (8, 4)
    assert best.low <= best.score <= best.high
    assert found.spent_usd == pytest.approx(
        (upstream.ledger().prompt + 2 * upstream.ledger().completion) / 1e6
    )
    by_name = {row.name: row for row in found.tried}
    assert by_name[best.name].front
    assert by_name[best.name].cost_usd > 2 * by_name["a"].cost_usd
    assert {row.model: row.as_aggregator is not None for row in found.roles} == dict.fromkeys(
        NAMES, True
    )
    assert all(one.gain > 0 for one in best.why)
    assert {row.kind for row in found.against} == {"alone", "single-proposer"}
    (pair,) = [pair for pair in found.diversity.pairs if (pair.a, pair.b) == ("a", "other")]
    assert pair.errors < 0


def test_a_judge_finds_the_same_team_by_win_rates_against_the_best_candidates_answers(tmp_path):
    with selecting(tmp_path) as (upstream, selected):
        found = selected("other", "a", "writer", rows=OPEN, judge="judge", aggregator="writer")

        assert found.calls == len(upstream.records)
    assert (found.measure, found.reference) == ("win rate", "a")
    assert found.best.members == ("a", "other")
    assert found.best.search_score > 0.5
    alone = {row.name: row.score for row in found.tried if row.aggregator is None}
    assert alone["a"] == 0.5
    assert alone["other"] < 0.5


def test_the_cap_holds_and_a_higher_one_goes_on(tmp_path):
    with selecting(tmp_path) as (upstream, selected):
        terms = {"rows": SUMS[:6], "aggregator": "writer"}
        with pytest.raises(BudgetExceededError, match="before every candidate had answered"):
            selected("a", "other", "writer", max_cost=0.001, **terms)
        calls = len(upstream.records)
        spent = upstream.ledger()
        assert (spent.prompt + 2 * spent.completion) / 1e6 <= 0.001

        found = selected("a", "other", "writer", max_cost=100, **terms)
        assert len(upstream.records) == found.calls > calls


def test_who_answers_nothing_is_left_out_and_named(tmp_path):
    def partly(record):
        return Script(ever=REFUSED) if record.model == "twin" else answered(record)

    with selecting(tmp_path, partly) as (_, selected):
        found = selected("a", "twin", "writer", rows=SUMS[:4], size=1)
        with pytest.raises(MixturaError, match=r"fewer than two candidates.*twin is left out"):
            selected("a", "twin", rows=SUMS[:4])

    assert {row.model for row in found.roles} == {"a", "writer"}
    assert any("twin is left out" in said and "400" in said for said in found.warnings)


@pytest.mark.parametrize(
    ("names", "words", "said"),
    [
        (["a"], {}, "at least two models are needed"),
        (["a", "b"], {}, "unknown model or mixture 'b'"),
        (["a", "twin", "a"], {}, "a is listed twice"),
        (["a*2", "twin"], {}, "not the name of one model"),
        (["a", "twin"], {"rows": SUMS[:2]}, "has 2 different prompts, but at least 3"),
        (["a", "twin"], {"rows": [{"x": 1}] * 4}, "line 1: `question` is missing"),
        (["a", "twin"], {"task": "gsm9k"}, "no task is called 'gsm9k'"),
        (["a", "twin"], {"aggregator": "writer"}, "not one of the candidates"),
        (["a", "judge"], {"judge": "judge", "rows": OPEN}, "name another judge"),
        (["a", "twin"], {"judge": "judge", "scoring": "exact"}, "--scoring is for"),
        (["a", "twin"], {"task": None, "scoring": "none"}, "without a score nobody can be chosen"),
        (
            ["a", "unpriced"],
            {"bounds": NO_BOUNDS._replace(dollars=0.1)},
            "--answer-cost: the price of unpriced is unknown",
        ),
    ],
)
def test_what_cannot_be_selected_from_is_said_before_anything_is_asked(
    tmp_path, names, words, said
):
    with selecting(tmp_path) as (upstream, selected):
        with pytest.raises(ConfigError, match=re.escape(said)):
            selected(*names, **words)
        assert upstream.records == []


# ---- the command


typed = shell.typed_command


@pytest.mark.soak
def test_a_killed_command_goes_on_and_writes_the_team_into_the_configuration(tmp_path, typed):
    asked = "--models a other writer --on rows.jsonl --task gsm8k --size 2 --aggregator writer"
    command = ["select", *asked.split(), "--json", "--out", "mixtura.toml"]
    written(tmp_path / "rows.jsonl", SUMS[:9])
    with running(answered) as upstream:
        text = "# mine\n" + CONFIG.format(url=upstream.base_url())
        (tmp_path / "mixtura.toml").write_text(text)
        process = MixturaProcess(command, cwd=tmp_path)
        while len(upstream.records) < 20 and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        process.wait()
        before = len(upstream.records)

        code, out, err = typed(*command)

        found = json.loads(out)
        assert (code, found["best"]["members"]) == (0, ["a", "other"])
        assert before >= 20
        assert len(upstream.records) <= found["calls"] + DEFAULT_CONNECTIONS
        keys = {"score", "low", "high", "search_score", "aggregator", "why"}
        assert keys <= set(found["best"])
        assert {"name", "score", "cost_usd", "seconds"} <= set(found["tried"][0])
        assert "6 prompts to search with, 3 held out" in err
        after = (tmp_path / "mixtura.toml").read_text()
        assert after.startswith(text)
        assert "[mixtures.selected]" in after
        assert typed("show", "selected")[0] == 0
        calls = len(upstream.records)
        assert typed(*command[:-2])[0] == 0
        assert len(upstream.records) == calls


def test_without_a_cache_every_team_has_drafts_of_its_own(tmp_path, typed):
    command = "select --models a writer --on rows.jsonl --task gsm8k --size 1 --aggregator writer"
    written(tmp_path / "rows.jsonl", SUMS[:3])
    with running(answered) as upstream:
        (tmp_path / "mixtura.toml").write_text(CONFIG.format(url=upstream.base_url()))
        counts: list[int] = []
        for word in ("--cache", "--no-cache"):
            before = len(upstream.records)
            assert typed(*command.split(), word, "--logs", word[2:])[0] == 0
            counts.append(len(upstream.records) - before)

    assert counts[0] < counts[1]


def test_a_dry_run_says_what_it_takes_and_a_wrong_out_file_is_said_before_anything_is_asked(
    tmp_path, typed
):
    command = ["select", "--models", "a", "twin", "--on", "rows.jsonl", "--task", "gsm8k"]
    written(tmp_path / "rows.jsonl", SUMS)
    with running(answered) as upstream:
        (tmp_path / "mixtura.toml").write_text(CONFIG.format(url=upstream.base_url()))
        code, out, _ = typed(*command, "--dry-run", "--json")
        assert code == 0
        told = json.loads(out)
        assert (told["prompts"], told["held_out"]) == (8, 4)
        assert told["calls"] > 50
        assert told["max_cost_usd"] > 0

        (tmp_path / "other.toml").write_text('[mixtures.selected]\nlayers = []\naggregator = "x"\n')
        code, _, err = typed(*command, "--out", "other.toml")
        assert (code, "was not written by select" in err) == (2, True)
        code, _, err = typed(*command, "--out", "new.toml", "--name", "a,b")
        assert (code, "a name cannot contain ','" in err) == (2, True)
        assert not (tmp_path / "new.toml").exists()
        command[2] = "selected"
        with (tmp_path / "mixtura.toml").open("a") as file:
            file.write('[mixtures.selected]\nlayers = [["a"]]\naggregator = "a"\n')
        code, _, err = typed(*command, "--out", "new.toml")
        assert (code, "cannot be a member of itself" in err) == (2, True)
        assert typed("select", "--on", "rows.jsonl")[0] == 2
        assert typed("select", "--models", "a", "twin")[0] == 2
        assert upstream.records == []


# ---- the file

MODELS = {"a": {"base_url": "http://x/v1", "model": "a", "limits": {"concurrency": 2}}}


def put(before, members=("a", "a"), name="selected"):
    text = preset.mixture_table(name, members, "a", "why")
    return preset.merge_table(before, "my.toml", name, text, MODELS)


def test_a_file_gets_the_table_and_the_models_that_it_lacks():
    made = tomllib.loads(put(""))

    assert made["models"] == MODELS
    assert made["mixtures"]["selected"]["layers"] == [["a*2"]]


def test_the_same_table_is_put_in_the_place_of_its_earlier_one_and_nothing_else_changes():
    first = put('default = "a"  # mine\n\n[models.a]\nmodel = "own"\n')
    whole = first + '\n[mixtures.mine]  # mine, too\nlayers = [\n  ["a"],\n]\naggregator = "a"\n'

    second = put(whole, members=("a",))

    assert second.count("[mixtures.selected]") == 1
    assert tomllib.loads(second)["mixtures"]["selected"]["layers"] == [["a"]]
    assert tomllib.loads(second)["models"]["a"] == {"model": "own"}
    for line in ('default = "a"  # mine', "[mixtures.mine]  # mine, too", '  ["a"],'):
        assert line in second


def test_a_comment_above_the_next_table_outlives_the_table_before_it():
    below = "# the one that we use\n[mixtures.mine]\nlayers = [['a']]\naggregator = 'a'\n"

    again = put(put("") + "\n\n# kept since May\n\n" + below)

    assert "# kept since May\n\n" + below in again
    assert put(again) == again
    assert put(put("") + "# last words\n").count("# last words") == 1


def test_a_file_keeps_its_line_ends_and_stays_unread_by_others(tmp_path):
    file = tmp_path / "my.toml"
    file.write_bytes(b'default = "a"\r\n')
    file.chmod(0o600)

    preset.write_preset(
        file, "selected", preset.mixture_table("selected", ["a"], "a"), MODELS, Path.read_text
    )

    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().count(b"\n") == file.read_bytes().count(b"\r\n")
    assert tomllib.loads(file.read_text())["default"] == "a"
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ('[mixtures.selected]\nlayers = [["a"]]\naggregator = "a"\n', "was not written by select"),
        ('[models.selected]\nmodel = "a"\n', "is a model here"),
        (
            "[[mixtures]]\nname = 1\n",
            r"mixtures must be tables with names, such as \[mixtures.NAME\]",
        ),
        ("[mixtures.selected\n", "not valid TOML"),
        (
            '[mixtures.selected]\n# chosen by mixtura select\nlayers = [\n["a"],\n[ "b" ]]\n',
            "TOML",
        ),
    ],
)
def test_what_is_not_ours_is_not_overwritten(before, said):
    with pytest.raises(ConfigError, match=said):
        put(before)
