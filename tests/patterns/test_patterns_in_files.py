"""Patterns in configuration files, and over real connections."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from mixtura import (
    Recorder,
    Sampling,
)
from mixtura.billing.forecast import forecast_calls
from mixtura.config.config import load
from mixtura.config.plan_settings import plan_settings
from mixtura.core.errors import ConfigError
from mixtura.core.roles import Composite
from mixtura.patterns import BestOf, Chosen, Ranker, Vote
from tests.conftest import run
from tests.support.loopback import Answer, loopback
from tests.support.pattern_models import ASK, read, written
from tests.support.serving import serving


def built(body, folder):
    config = read(body, folder)
    return config.build_mixture(config.mixture_spec("t"))


def test_a_file_says_which_pattern_and_its_settings_reach_it(tmp_path):
    rank = built(
        'pattern = "rank"\nlayers = [["quick*3"]]\n'
        "sampling = { temperature = 0.7, max_tokens = 99 }\n"
        'judge = { model = "steady", sampling = { max_tokens = 7 } }',
        tmp_path,
    )
    assert isinstance(rank, Chosen)
    assert isinstance(rank.chooser, Ranker)
    assert rank.chooser.name == "steady"
    assert rank.chooser.sampling == Sampling(temperature=0.0, max_tokens=7)
    assert rank.layers[0].proposers[0].sampling == Sampling(temperature=0.7, max_tokens=99)

    vote = built(
        'pattern = "vote"\nlayers = [["quick*3"]]\nextract = "choice"\nquorum = 2', tmp_path
    )
    assert vote.chooser == Vote("choice")
    assert vote.layers[0].quorum == 2

    best = built('pattern = "best-of"\nlayers = [["quick*3"]]\njudge = "steady"', tmp_path)
    assert isinstance(best.chooser, BestOf)

    sequence = built(
        'pattern = "sequential"\nlayers = [["quick*9"]]\naggregator = "steady"\n'
        'window = 4\nrepeat = 2\nfallbacks = ["quick"]',
        tmp_path,
    )
    assert (sequence.width, sequence.repeat, sequence.layer_count) == (4, 2, 5)
    assert [m.name for m in sequence.aggregator.fallbacks] == ["quick"]
    assert all(isinstance(m, Composite) for m in (rank, vote, best, sequence))


WRONG = {
    "a pattern that does not exist": (
        'layers = [["quick"]]\npattern = "ranks"  # <-\njudge = "quick"',
        ("'ranks'", "'rank'"),
    ),
    "a ranker without a judge": ('pattern = "rank"\nlayers = [["quick"]]', ("judge", "missing")),
    "best-of without a judge": ('pattern = "best-of"\nlayers = [["quick"]]', ("judge", "missing")),
    "a sequence without an aggregator": (
        'pattern = "sequential"\nlayers = [["quick"]]',
        ("aggregator", "missing"),
    ),
    "a judge of a mixture": (
        'layers = [["quick"]]\naggregator = "quick"\njudge = "quick"  # <-',
        (
            "judge",
            "it belongs to 'sparse', 'adaptive', 'guard', 'rank', 'knockout', 'best-of' or",
        ),
    ),
    "an aggregator of a ranker": (
        'pattern = "rank"\nlayers = [["quick"]]\njudge = "quick"\naggregator = "quick"  # <-',
        ("aggregator", "'rank'"),
    ),
    "an aggregator of a vote": (
        'pattern = "vote"\nlayers = [["quick"]]\naggregator = "quick"  # <-',
        ("aggregator", "'vote'"),
    ),
    "fallbacks of a ranker": (
        'pattern = "rank"\nlayers = [["quick"]]\njudge = "quick"\nfallbacks = ["steady"]  # <-',
        ("fallbacks", "'rank'"),
    ),
    "a window of a vote": (
        'pattern = "vote"\nlayers = [["quick"]]\nwindow = 3  # <-',
        ("window", "'vote'"),
    ),
    "an extract of a sequence": (
        'pattern = "sequential"\nlayers = [["quick"]]\naggregator = "quick"\nextract = "text" # <-',
        ("extract", "'vote'"),
    ),
    "an extract that does not exist": (
        'pattern = "vote"\nlayers = [["quick"]]\nextract = "numbers"  # <-',
        ("extract", "'number'"),
    ),
    "a window without room": (
        'pattern = "sequential"\nlayers = [["quick"]]\naggregator = "quick"\nwindow = 1  # <-',
        ("window", "room"),
    ),
    "copies that leave no room": (
        'pattern = "sequential"\nlayers = [["quick"]]\naggregator = "quick"\nrepeat = 6  # <-',
        ("repeat", "room"),
    ),
    "a sequence of two layers": (
        'pattern = "sequential"\naggregator = "quick"\nlayers = [["quick"], ["quick"]]  # <-',
        ("layers", "one layer"),
    ),
    "a choice of nothing": ('pattern = "vote"\nlayers = []  # <-', ("layers", "proposers")),
    "a synthesis that nothing is shown with": (
        'pattern = "vote"\nlayers = [["quick"]]\nsynthesis = "paper"  # <-',
        ("synthesis", "one layer"),
    ),
    "a misspelt judge": (
        'pattern = "rank"\nlayers = [["quick"]]\njudge = "qick"  # <-',
        ("judge", "'qick'", "'quick'"),
    ),
    "a team as a judge": (
        'pattern = "rank"\nlayers = [["quick"]]\njudge = "auto-team"  # <-',
        ("judge", "'auto'"),
    ),
    "a key of the judge": (
        'pattern = "rank"\nlayers = [["quick"]]\njudge = { model = "quick", samples = 2 }  # <-',
        ("'samples'",),
    ),
    "an accuracy of no member": (
        'pattern = "mux"\nlayers = [["quick*3"]]\naccuracy = { qick = 0.5 }  # <-',
        ("accuracy", "'qick'", "'quick'"),
    ),
    "an accuracy of no member of a switch": (
        'pattern = "switch"\nlayers = [["quick*3"]]\naccuracy = { steady = 0.5 }  # <-',
        ("accuracy", "'steady'"),
    ),
    "a switch of single draws": (
        'pattern = "switch"\nlayers = [["quick", "steady"]]  # <-',
        ("layers", "each is asked once", "'quick*3'"),
    ),
    "a mux of single draws": (
        'pattern = "mux"\nlayers = [["quick", "steady"]]  # <-',
        ("layers", "each is asked once", "'quick*3'"),
    ),
    "an analysis of nothing": (
        'pattern = "analyse"\naggregator = "quick"\nlayers = []  # <-',
        ("layers", "needs proposers"),
    ),
    "a population too large": (
        'pattern = "recursive"\nlayers = [["quick*900"]]\naggregator = "quick"\nsteps = 90  # <-',
        ("steps", "81,900 calls", "at most 10,000"),
    ),
    "a window too large": (
        'pattern = "sequential"\nlayers = [["quick"]]\naggregator = "quick"\nwindow = 5000  # <-',
        ("window", "<= 1000"),
    ),
    "a guarded member that is none": (
        'pattern = "guard"\nlayers = [["quick"]]\naggregator = "quick"\nmember = "steady"  # <-',
        ("member", "'steady' is not a proposer"),
    ),
    "a layer of modes with one call": (
        'pattern = "modes"\nlayers = [["quick", "steady"], ["quick"]]  # <-',
        ("layers: each layer needs two calls or more: one in words and one for a program",),
    ),
    "the time of a check that is none": (
        'pattern = "checked"\nlayers = [["quick"]]\nseconds = 5  # <-',
        ("seconds: has no effect without `check`",),
    ),
    "leave for a check that is none": (
        'pattern = "checked"\nlayers = [["quick"]]\noutside_sandbox = true  # <-',
        ("outside_sandbox: has no effect without `check`",),
    ),
    "a threshold beside a judge": (
        (
            'aggregator = "quick"\npattern = "adaptive"\njudge = "quick"\nthreshold = 0.5  # <-\n'
            'layers = [["quick"], ["quick"]]'
        ),
        ("threshold: has no effect beside `judge`",),
    ),
    "settings of a judge that is called by its name": (
        'pattern = "guard"\naggregator = "quick"\njudge = { model = "x" } # <-\nlayers=[["quick"]]',
        ("judge: 'guard' takes a model's name alone here, as in judge = \"NAME\"",),
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_a_pattern_is_said_with_its_line(case, tmp_path):
    body, words = WRONG[case]

    with pytest.raises(ConfigError) as caught:
        built(body, tmp_path)

    text = (tmp_path / "mixtura.toml").read_text().splitlines()
    line = next(
        (n for n, row in enumerate(text, 1) if "# <-" in row), text.index("[mixtures.t]") + 1
    )
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'mixtura.toml'}:{line}:"), said
    assert all(word in said for word in words), said


@pytest.mark.parametrize(
    ("name", "calls", "depth"),
    [("sequential", 19, 4), ("rank", 4, 2), ("vote", 6, 2), ("best-of", 8, 2)],
)
def test_the_presets_can_be_drawn_and_counted(name, calls, depth, tmp_path):
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plan = config.mixture_spec(name)

    assert (
        config.count_calls(plan)
        == calls
        == len(forecast_calls(config.builder.build_outline(plan), ASK))
    )
    assert plan.layer_count == depth == config.builder.build_outline(plan).layer_count


def test_the_aggregator_of_a_vote_cannot_be_changed(tmp_path):
    config = read('pattern = "vote"\nlayers = [["quick*3"]]', tmp_path)
    plan = replace(config.mixture_spec("t"), aggregator="steady")

    with pytest.raises(ConfigError, match="vote has no aggregator: it votes on the drafts"):
        config.build_mixture(plan)


def ranks_b(body):
    shown = body["messages"][-1]["content"]
    slot = re.search(r'"slot": (\d+), "complete": true, "text": "from b', shown)
    return Answer.text(f'Slot 1 is tempting.\n{{"best": {slot[1]}}}')


@pytest.fixture
def upstream():
    with loopback() as server:
        server.answers |= {name: Answer.text(f"from {name}: 7") for name in "abc"}
        server.answers["judge"] = ranks_b
        yield server


def test_a_ranked_run_over_http_is_answered_kept_and_billed(upstream, tmp_path):
    (tmp_path / "mixtura.toml").write_text(
        written(upstream, 'pattern = "rank"\nlayers = [["a", "b", "c"]]\njudge = "judge"')
    )
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    recorder = Recorder()

    answer = run(
        config.build_runnable(config.mixture_spec("t"), max_cost=1.0).complete(ASK, recorder)
    )

    assert answer.text == "from b: 7"
    assert len(upstream.requests) == 4
    assert answer.usage.prompt_tokens == 40
    assert upstream.asked("judge")[0]["temperature"] == 0.0
    assert answer.degraded == ()


def test_log_probabilities_are_asked_for_over_http_and_without_them_the_judge_is(
    upstream, tmp_path
):
    upstream.answers["judge"] = lambda body: Answer.text(str(int("from b" in str(body))))
    body = 'pattern = "weighted"\nlayers = [["a", "b", "c"]]\njudge = "judge"\nconfidence = '
    (tmp_path / "mixtura.toml").write_text(written(upstream, f'{body}"tokens"'))
    config = load(None, environ={}, folder=tmp_path, home=tmp_path)
    plan = config.mixture_spec("t")

    answer = run(config.build_mixture(plan).complete(ASK))

    assert plan.pattern.stops_early
    (asked,) = upstream.asked("b")
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 5)
    assert answer.text == "from b: 7"
    assert answer.degraded == (
        "3 proposals without log-probabilities: judge was asked about each one instead",
    )


def test_evaluations_from_before_a_setting_go_on_as_long_as_it_is_not_used(tmp_path):
    body = 'pattern = "weighted"\nlayers = [["quick"]]\njudge = "quick"'
    before, after = read(body, tmp_path), read(f'{body}\nconfidence = "tokens"', tmp_path)

    assert "confidence" not in plan_settings(before, before.mixture_spec("t"))["pattern"]
    assert plan_settings(after, after.mixture_spec("t"))["pattern"]["confidence"] == "tokens"


def test_the_server_streams_a_choice_as_it_streams_a_mixture(upstream, tmp_path):
    configuration = written(
        upstream, 'pattern = "rank"\nlayers = [["a", "b", "c"]]\njudge = "judge"'
    )
    with serving(tmp_path / "served", configuration) as server:
        whole = server.chat(model="t")
        pieces = server.chat(model="t", stream=True)

    assert whole.json["choices"][0]["message"]["content"] == "from b: 7"
    assert whole.json["usage"]["prompt_tokens"] == 40
    chunks = [json.loads(line[6:]) for line in pieces.body.decode().splitlines()
              if line.startswith("data: {")]  # fmt: skip
    text = "".join(
        c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices")
    )
    assert text == "from b: 7"
