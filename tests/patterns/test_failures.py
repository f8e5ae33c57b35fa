"""
What every pattern does when something fails: an answer that says so in `degraded`, or an error.

The same in the library, streamed and not, and through the server, streamed and not; and the run
that is kept tells it. A pattern that is added is held to what holds for all; what its last step
says stands in `SAID`.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import NamedTuple

import pytest

from mixtura import (
    MixturaError,
    QuorumNotMetError,
    Recorder,
    RunCompleted,
    Token,
    UnavailableError,
    ask,
)
from mixtura.catalog.patterns import find_pattern
from mixtura.storage.run_record import run_outcome
from tests.conftest import run
from tests.support.loopback import Answer, loopback
from tests.support.pattern_teams import (
    MEMBERS,
    NAMES,
    Cast,
    answer_whatever,
    build_team,
    model_names,
    question,
    team_table,
)
from tests.support.serving import serving

LOST, ALL_LOST = "a proposer is lost", "all proposers are lost"
LAST_DOWN, UNREADABLE = "the last step's model is down", "no verdict can be read"
CHECKER_DOWN = "the checker is down"

SAID = {
    ("mixture", LAST_DOWN): "the aggregator aggregator failed: .*the closest to the others",
    ("sequential", LAST_DOWN): "layer 2: aggregator failed: .*stands in for it.*the aggregator",
    ("tree", LAST_DOWN): "layer 2: aggregator failed: .*stands in for it.*the closest to",
    ("sparse", LAST_DOWN): "the aggregator aggregator failed: .*the closest to the others",
    ("sparse", CHECKER_DOWN): "the judge judge failed: .*most different from each other are passed",
    ("sparse", UNREADABLE): "the judge judge made no choice: the proposals most different",
    ("adaptive", LAST_DOWN): "the aggregator aggregator failed: .*the closest to the others",
    ("adaptive", CHECKER_DOWN): "layer 2: the judge judge failed: .*it goes on",
    ("adaptive", UNREADABLE): "layer 2: the judge judge gave no verdict: it goes on",
    ("residual", LAST_DOWN): "of its changes failed: .*the drafts alone.*the closest to the others",
    ("residual", UNREADABLE): "of its changes cannot be read: the drafts alone are read",
    ("robust", LAST_DOWN): "the aggregator aggregator failed: .*agrees most with the others",
    ("recursive", LAST_DOWN): "step 1: aggregator failed: .*the vote is over the texts before it",
    ("analyse", LAST_DOWN): "the analysis of aggregator failed: .*the closest to the others",
    ("analyse", UNREADABLE): "the analysis of aggregator cannot be read: the drafts alone",
    ("gate", LAST_DOWN): "no verdict on 3 of 3 pairs of drafts: .*failed alone: .*the closest to",
    ("gate", UNREADABLE): "aggregator gave no verdict on 3 of 3 pairs of drafts",
    ("guard", LAST_DOWN): "aggregator failed: ",
    ("guard", CHECKER_DOWN): "the judge judge gave no verdict in 2 of 2 comparisons: ",
    ("guard", UNREADABLE): "the judge judge gave no verdict in 2 of 2 comparisons",
    ("rank", LAST_DOWN): "the ranker judge failed: .*the closest to the others",
    ("rank", UNREADABLE): "named none of the 3 proposals.*the closest to the others",
    ("knockout", LAST_DOWN): "the judge judge gave no verdict in 4 of 4 comparisons: ",
    ("knockout", UNREADABLE): "the judge judge gave no verdict in 4 of 4 comparisons",
    ("best-of", LAST_DOWN): "no proposal has a score: the judge judge failed: ",
    ("best-of", UNREADABLE): "no proposal has a score: the judge judge gave none from 0 to 10",
    ("weighted", LAST_DOWN): "judge gave no verdict on 3 proposals: .*the closest to the others",
    ("weighted", UNREADABLE): "judge gave no verdict on 3 proposals.*the closest to the others",
    ("checked", CHECKER_DOWN): "the tester tester failed: ",
    ("checked", UNREADABLE): "the tester tester wrote no test that can be used",
}
"""What `degraded` says of a failure of the last step."""

CHECKED_PROPOSALS = ("guard", "checked")
"""Patterns that answer with a proposal where their checker is down; others write all the same."""


def is_broken(pattern, failure, name, said):
    """Whether model *name* fails when it would have said *said*."""
    spec = find_pattern(pattern)
    last = spec.final_model.key if spec.final_model else None
    return {
        LOST: name == "b",
        ALL_LOST: name in MEMBERS,
        LAST_DOWN: name == last,
        UNREADABLE: not said.startswith("Text "),
        CHECKER_DOWN: name in spec.model_settings,
    }[failure]


CASES = [(name, failure) for name in NAMES for failure in (LOST, ALL_LOST)] + [
    case for case in SAID if case[0] in NAMES
]


def test_every_model_of_a_last_step_has_a_declared_outcome_when_it_is_down():
    for name, spec in ((name, find_pattern(name)) for name in NAMES):
        assert not spec.final_model or (name, LAST_DOWN) in SAID, f"add {name}"
        assert not spec.model_settings or (name, CHECKER_DOWN) in SAID, f"add {name}"


class Ended(NamedTuple):
    """How a run ended: its answer, or its error."""

    text: str | None
    degraded: str
    error: str | None = None


def check_outcome(pattern, failure, ended):
    """What holds for a failure of every pattern, and what is declared for this one."""
    if failure == ALL_LOST:
        assert (ended.text, ended.error) == (None, "QuorumNotMetError")
        return
    assert ended.error is None
    assert ended.text
    said = r"\bb failed: " if failure == LOST else SAID[pattern, failure]
    assert re.search(said, ended.degraded), ended.degraded
    if failure == LAST_DOWN or (failure == CHECKER_DOWN and pattern in CHECKED_PROPOSALS):
        assert re.match(r"Text \d of [abc]\b", ended.text)


# ---- in the library


def play(pattern, failure, folder, emit=None):
    def answer(name, number, request):
        said = answer_whatever(name, number, request)
        if not is_broken(pattern, failure, name, said):
            return said
        return "Hm." if failure == UNREADABLE else UnavailableError("down")

    return run(build_team(pattern, folder, Cast(answer)).complete(question(pattern), emit))


def ended(play_it):
    try:
        answer = play_it()
    except MixturaError as error:
        return Ended(None, "", type(error).__name__), error
    return Ended(answer.text, "; ".join(answer.degraded)), None


@pytest.mark.parametrize(("pattern", "failure"), CASES)
def test_a_failure_is_told_in_the_answer_or_is_the_error(pattern, failure, tmp_path):
    found, _ = ended(lambda: play(pattern, failure, tmp_path))

    check_outcome(pattern, failure, found)


@pytest.mark.parametrize(("pattern", "failure"), CASES)
def test_a_streamed_run_tells_the_same_and_its_record_too(pattern, failure, tmp_path):
    events, recorder = [], Recorder()

    def emit(event):
        events.append(event)
        recorder(event)

    found, error = ended(lambda: play(pattern, failure, tmp_path, emit))
    trace = recorder.build_trace()

    check_outcome(pattern, failure, found)
    state, why = run_outcome(trace, error)
    if error is not None:
        assert (state, isinstance(error, QuorumNotMetError), why) == ("failed", True, str(error))
        return
    assert state == "degraded"
    (whole,) = (event.completion for event in events if isinstance(event, RunCompleted))
    assert (whole.text, "; ".join(whole.degraded)) == (found.text, found.degraded)
    tokens = [event for event in events if isinstance(event, Token)]
    shown = [e.text for e in tokens if [seat.role for seat in e.at] == ["aggregator"]]
    assert "".join(shown) == found.text
    if failure != UNREADABLE:
        assert any(call.error for call in trace.leaf_calls())


# ---- through the server


class Provider:
    """A provider whose models fail as the case says."""

    def __init__(self, loopback):
        self.loopback = loopback
        self.case = (NAMES[0], LOST)
        self.asked = {}

    def answer(self, body):
        pattern, failure = self.case
        name = body["model"]
        self.asked[name] = self.asked.get(name, 0) + 1
        said = answer_whatever(name, self.asked[name], ask(body["messages"][-1]["content"]))
        if failure is None or not is_broken(pattern, failure, name, said):
            return Answer.text(said)
        return Answer.text("Hm.") if failure == UNREADABLE else Answer.refused(503, "down")

    def begin(self, pattern, failure, server):
        """Play that case, after an answer of every model: several failures rest a model."""
        self.case = (pattern, None)
        for name in model_names(pattern):
            assert server.chat("Well?", model=name).status == 200
        self.case, self.asked = (pattern, failure), {}


@pytest.fixture(scope="module")
def provider():
    with loopback() as server:
        provider = Provider(server)
        names = {name for pattern in NAMES for name in model_names(pattern)}
        server.answers |= dict.fromkeys(names, provider.answer)
        yield provider


@pytest.fixture(scope="module")
def server(provider, tmp_path_factory):
    models = "".join(
        f'[models.{name}]\nbase_url = "{provider.loopback.base_url}"\nmodel = "{name}"\n'
        "retries = 0\n"
        for name in provider.loopback.answers
    )
    teams = "".join(f"[mixtures.t-{name}]\n{team_table(name)}" for name in NAMES)
    file = f"cache = {{ use = false }}\n{models}{teams}"
    with serving(tmp_path_factory.mktemp("failures"), file) as found:
        yield found


def check_reply(server, pattern, failure, reply, text, error):
    """What a client of the server got, and the run that was kept."""
    record = server.get(f"/api/runs/{reply.headers['x-mixtura-run']}").json
    kept = Ended(text, "; ".join(record["left_out"] or ()), error and "QuorumNotMetError")
    check_outcome(pattern, failure, kept)
    assert record["state"] == ("failed" if error else "degraded")
    if error:
        assert "down" in record["error"]


@pytest.mark.parametrize(("pattern", "failure"), CASES)
def test_the_server_answers_so_and_keeps_it(pattern, failure, provider, server):
    provider.begin(pattern, failure, server)
    reply = server.chat(question(pattern).messages[-1].text, model=f"t-{pattern}")

    error = reply.json.get("error")
    text = None if error else reply.json["choices"][0]["message"]["content"]
    check_reply(server, pattern, failure, reply, text, error)
    assert (reply.status == 200) == (error is None)
    if not error:
        assert reply.headers["x-mixtura-degraded"] == "true"


@pytest.mark.parametrize(("pattern", "failure"), CASES)
def test_the_server_streams_it_so_and_keeps_it(pattern, failure, provider, server):
    provider.begin(pattern, failure, server)
    asked = question(pattern).messages[-1].text
    reply = server.chat(asked, model=f"t-{pattern}", stream=True)

    body = reply.body.decode()
    lines = [line.removeprefix("data: ") for line in body.splitlines() if "{" in line]
    frames = [json.loads(line) for line in lines]
    error = next((frame["error"] for frame in frames if "error" in frame), None)
    pieces = [f["choices"][0]["delta"].get("content") for f in frames if f.get("choices")]
    text = None if error else "".join(filter(None, pieces))
    check_reply(server, pattern, failure, reply, text, error)


DEEP = "The answer is " + "(" * 390 + "1"
HOSTILE = (
    DEEP, "The answer is ((((9^64)^64)^64)^64)^64", '{"best": [' + "9" * 5000 + ", 2]}",
    '{"score": NaN}', "Score: " + "9" * 5000, '{"same": [' * 2000, "\\boxed{(" * 2000, "\ud800",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("who", ["members", "others"])
def test_no_text_of_a_member_or_a_judge_ends_a_run_but_in_words(name, who, tmp_path):
    for text in HOSTILE if name not in ("checked", "modes") else HOSTILE[:2]:  # they run programs

        def answer(model, number, request, text=text):
            hostile = (who == "members") == (model in MEMBERS)
            return text if hostile else answer_whatever(model, number, request)

        team = build_team(name, tmp_path, Cast(answer))
        with suppress(MixturaError):
            run(team.complete(question(name)))
