"""
What every pattern does when something fails: an answer that says so in `degraded`, or an error.

The same in the library, streamed and not, and through the server, streamed and not; and the run
that is kept tells it. `tests/web/test_pattern_failures.py` has the page.
"""

from __future__ import annotations

import json
from contextlib import suppress

import pytest

from mixtura import (
    MixturaError,
    QuorumNotMetError,
    Recorder,
    RunCompleted,
    Token,
    UnavailableError,
)
from mixtura.catalog.patterns import find_pattern
from mixtura.storage.run_record import run_outcome
from tests.conftest import run
from tests.support import pattern_failures
from tests.support.pattern_failures import (
    CASES,
    CHECKER_DOWN,
    LAST_DOWN,
    SAID,
    UNREADABLE,
    Ended,
    check_outcome,
    is_broken,
)
from tests.support.pattern_teams import (
    MEMBERS,
    NAMES,
    Cast,
    answer_whatever,
    build_team,
    question,
)

provider = pattern_failures.provider_fixture
server = pattern_failures.server_fixture


def test_every_model_of_a_last_step_has_a_declared_outcome_when_it_is_down():
    for name, spec in ((name, find_pattern(name)) for name in NAMES):
        assert not spec.final_model or (name, LAST_DOWN) in SAID, f"add {name}"
        assert not spec.model_settings or (name, CHECKER_DOWN) in SAID, f"add {name}"


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
