"""What evaluations leave behind: answers with what they take, also where a cache gave them."""

from __future__ import annotations

import pytest

from mixtura.config.config import load
from mixtura.evals import log_reader
from mixtura.evals.eval_request import EvalRequest
from mixtura.evals.log_reader import RecordedCall, critical_path_seconds
from mixtura.evals.run import evaluate
from tests.support.evaluations import CONFIG, SUMS, known, written
from tests.support.upstream import running

# Inspect and what it stands on warn of their own affairs.
pytestmark = pytest.mark.filterwarnings("ignore")

RANKED = CONFIG + '\n[mixtures.ranked]\npattern = "rank"\nlayers = [["a", "c"]]\njudge = "b"\n'
SOLVABLE = SUMS[:2]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    for kind in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / kind.lower()))


def evaluated(tmp_path, upstream, names, *, cache):
    """Each name evaluated, and what the logs say of it."""
    file = tmp_path / "mixtura.toml"
    file.write_text(RANKED.format(url=upstream.base_url()))
    environ = {"XDG_STATE_HOME": str(tmp_path / "state")}
    config = load(str(file), environ=environ, folder=tmp_path, home=tmp_path, cache=cache)
    asked = EvalRequest(task="gsm8k", data=written(tmp_path / "rows.jsonl", SOLVABLE))
    paid = {}
    for name in names:
        before = len(upstream.records)
        evaluate(config, config.mixture_spec(name), asked, logs=tmp_path / "logs")
        paid[name] = len(upstream.records) - before
    config.store.close()
    return paid, {one.name: one for one in log_reader.read_logs(tmp_path / "logs")}


def test_an_answer_is_read_back_with_every_call_behind_it(tmp_path):
    with running(known) as upstream:
        _, found = evaluated(tmp_path, upstream, ["team", "a"], cache=False)
    team, alone = found["team"], found["a"]

    assert (team.layers, team.aggregator, team.pattern) == ((("a", "c"),), "b", "mixture")
    assert (alone.layers, alone.aggregator, alone.pattern) == ((), None, "model")
    first = team.answers[0]
    assert (first.sample, first.score, first.target) == ("1", 1.0, "20")
    assert "10 plus 10" in first.question
    assert [(c.role, c.layer, c.index, c.model) for c in first.calls] == [
        ("proposer", 1, 0, "a"), ("proposer", 1, 1, "c"), ("aggregator", 2, 0, "b"),
    ]  # fmt: skip
    tokens = sum(c.prompt_tokens + c.completion_tokens for c in first.calls)
    assert first.total_tokens == tokens
    assert first.cost_usd == pytest.approx(sum(c.cost_usd for c in first.calls))


def test_what_a_cache_gave_has_the_cost_and_the_time_that_it_had_when_it_was_paid_for(tmp_path):
    with running(known) as upstream:
        paid, found = evaluated(tmp_path, upstream, ["team", "ranked"], cache=True)
    team, ranked = found["team"], found["ranked"]

    # the proposals are the mixture's; a judge that names none of them is asked once more
    assert (paid["team"], paid["ranked"]) == (6, 4)
    for one, other in zip(team.answers, ranked.answers, strict=True):
        ours, theirs = one.calls[:2], other.calls[:2]
        assert [c.text for c in ours] == [c.text for c in theirs]
        assert [c.cost_usd for c in ours] == [c.cost_usd for c in theirs]
        assert all(c.cost_usd and c.seconds for c in theirs)
        # the cache's own clock stands inside that of the run
        assert all(b.seconds <= a.seconds for a, b in zip(ours, theirs, strict=True))


def test_the_critical_path_has_of_every_layer_the_slowest_and_goes_into_nested_mixtures():
    def call(layer, seconds, *inner, role="proposer"):
        return RecordedCall(role, layer, 0, "m", "", 0, 0, 0.0, seconds, None, False, inner)

    nested = call(1, 99.0, call(1, 2.0), call(1, 3.0), call(2, 4.0))

    assert critical_path_seconds([call(1, 5.0), nested, call(2, 1.0)]) == 8.0
    # A judge reads what its layer wrote: it begins when that is there.
    assert critical_path_seconds([call(1, 5.0), call(1, 2.0, role="judge"), call(2, 1.0)]) == 8.0
    assert critical_path_seconds([]) == 0


def test_of_the_same_evaluation_only_the_newest_log_counts(tmp_path):
    with running(known) as upstream:
        evaluated(tmp_path, upstream, ["a"], cache=False)
        _, found = evaluated(tmp_path, upstream, ["a"], cache=False)

    assert len(found["a"].answers) == 2
    assert log_reader.read_logs(tmp_path / "nothing here") == []
