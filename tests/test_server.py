"""`mixtura serve`: the protocol, its errors, who may come in, who leaves, how it ends."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from hashlib import sha256
from http.client import HTTPConnection

import pytest

from mixtura import ask
from mixtura.server.background_requests import is_frontend_request
from tests import served_team
from tests.serving import serving, team
from tests.upstream import Script, running
from tests.upstream.faults import FAULTS

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]


@pytest.fixture(scope="module")
def upstream():
    with running() as found:
        found.scripts = {
            "a": Script("Because of scattering."),
            "b": Script("It is Rayleigh's doing."),
            "chief": Script("Light scatters, blue most.", pace=0.01),
        }
        yield found


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("serve"), team(upstream, "a", "b", "chief")) as found:
        yield found


def fault(name):
    return next(f for f in FAULTS if f.name == name).play(0)


def frames(answer):
    """The data of a stream's frames; [DONE] as it is."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    rows = [b for b in answer.body.decode().split("\n\n") if b.startswith("data: ")]
    return [row if row == "[DONE]" else json.loads(row) for row in (r[6:] for r in rows)]


# ---- the protocol


def test_an_answer_has_every_field_that_the_protocol_has(server):
    answer = server.chat()
    body = answer.json

    assert answer.status == 200
    assert re.fullmatch(r"chatcmpl-\w+", body["id"])
    assert body["object"] == "chat.completion"
    assert abs(body["created"] - time.time()) < 60
    assert body["model"] == "default"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant", "content": "Light scatters, blue most.", "refusal": None,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]  # fmt: skip
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens"] > 4, "the proposers' tokens are paid for, too"
    assert body["mixtura"]["run"] == answer.headers["x-mixtura-run"]
    assert body["mixtura"]["failures"] == []
    assert body["mixtura"]["degraded"] is False
    assert body["mixtura"]["cost_usd"] > 0
    assert answer.headers["x-mixtura-degraded"] == "false"


def test_a_stream_begins_with_the_role_ends_with_a_reason_and_its_last_frame_sums_up(server):
    *chunks, done = frames(server.chat(stream=True))

    assert done == "[DONE]"
    assert len({c["id"] for c in chunks}) == len({c["created"] for c in chunks}) == 1
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    first, *middle, last = (c["choices"][0] for c in chunks)
    assert first["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(c["delta"]["content"] for c in middle) == "Light scatters, blue most."
    assert len(middle) > 1, "it came word by word"
    assert {c["finish_reason"] for c in (first, *middle)} == {None}
    assert (last["delta"], last["finish_reason"]) == ({}, "stop")
    assert set(chunks[-1]["mixtura"]) >= {"run", "cost_usd", "degraded", "failures"}
    assert not any("mixtura" in c for c in chunks[:-1])
    assert not any("usage" in c for c in chunks)


def test_usage_comes_in_a_stream_that_asks_for_it(server):
    *chunks, _ = frames(server.chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] > 4
    assert "mixtura" in chunks[-1]
    assert {json.dumps(c["usage"]) for c in chunks[:-1]} == {"null"}


def test_proposals_come_as_frames_without_choices_before_the_answer(server):
    answer = server.chat(stream=True, mixtura={"proposals": True})
    *chunks, _ = frames(answer)
    asides = [c for c in chunks if "choices" not in c]
    events = [c["mixtura"] for c in asides]
    kinds = [e["event"] for e in events]

    assert kinds[0] == "run_started"
    assert events[0]["run"] == answer.headers["x-mixtura-run"]
    assert events[0]["shape"] == [["a", "b"], ["chief"]]
    proposals = {e["model"]: e for e in events if e["event"] == "proposal"}
    assert proposals["a"]["text"] == "Because of scattering."
    assert proposals["a"]["at"] == [{"layer": 1, "index": 0, "role": "proposer"}]
    assert proposals["a"]["cost_usd"] > 0
    drafts = [e for e in events if e["event"] == "token" and e["at"][0]["index"] == 1]
    assert "".join(e["text"] for e in drafts) == "It is Rayleigh's doing."
    words = (c["choices"][0]["delta"].get("content") if "choices" in c else "" for c in chunks)
    answering = next(number for number, word in enumerate(words) if word)
    before = [c["mixtura"]["event"] for c in chunks[:answering] if "choices" not in c]
    assert before.count("proposal") == 2
    assert [e["seconds"] for e in events] == sorted(e["seconds"] for e in events)


def test_n_answers_are_runs_of_their_own(server):
    body = server.chat(n=2).json
    assert [c["index"] for c in body["choices"]] == [0, 1]
    assert len(body["mixtura"]["runs"]) == 2
    *chunks, _ = frames(server.chat(n=2, stream=True))
    for index in (0, 1):
        mine = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == index]
        assert "".join(c["delta"].get("content", "") for c in mine) == "Light scatters, blue most."
        assert [c["finish_reason"] for c in mine if c["finish_reason"]] == ["stop"]


def test_what_is_asked_of_the_answer_reaches_the_aggregator_and_only_it(server, upstream):
    wishes = {
        "temperature": 0.1, "max_tokens": 77, "stop": ["X"], "seed": 5, "presence_penalty": 0.5,
        "reasoning_effort": "low", "response_format": {"type": "json_object"},
    }  # fmt: skip
    before = len(upstream.records)
    assert server.chat(**wishes).status == 200
    records = {r.model: r.body for r in upstream.records[before:]}
    assert {k: records["chief"][k] for k in wishes} == wishes
    for name in ("a", "b"):
        assert not {"stop", "presence_penalty", "response_format", "max_tokens"} & set(
            records[name]
        )


def test_models_are_listed_by_name_and_default_is_always_there(server):
    names = [row["id"] for row in server.get("/v1/models").json["data"]]
    assert {"default", "team", "a", "b", "chief"} <= set(names)
    assert len(names) == len(set(names))
    assert server.get("/v1/models/team").json["owned_by"] == "mixtura"
    missing = server.get("/v1/models/nope")
    assert (missing.status, missing.json["error"]["code"]) == (404, "model_not_found")


def test_the_page_comes_packed_to_who_can_unpack_it_and_once(server):
    plain, packed = server.get("/"), server.get("/", **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["content-security-policy"].startswith("default-src 'none'")
    again = server.get("/", **{"If-None-Match": plain.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_it_says_that_it_lives(server, path):
    assert server.get(path).status == 200


def test_metrics_count_requests_runs_tokens_and_dollars(server):
    server.chat()
    text = server.get("/metrics").body.decode()
    for line in (
        r'mixtura_requests_total{path="/v1/chat/completions",status="200"} \d',
        r'mixtura_runs_total{model="team",outcome="answered"} \d',
        r'mixtura_tokens_total{kind="completion",model="chief"} \d',
        r'mixtura_cost_usd_total{model="a"} \d',
        r"mixtura_runs_in_flight 0",
        r'mixtura_first_token_seconds_count{model="team"} \d',
    ):
        assert re.search(line.replace("{", "[{]").replace("}", "[}]"), text), line


# ---- what a request may say


@pytest.mark.parametrize(
    ("wrong", "status", "param"),
    [
        ({"messages": []}, 400, "messages"),
        ({"messages": "hello"}, 400, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "?"}]}, 400,
         "messages[0].tool_call_id"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url",
          "image_url": {"url": "file:///etc/passwd"}}]}]}, 400,
         "messages[0].content[0].image_url.url"),
        ({"model": "nope"}, 404, "model"),
        ({"model": ""}, 400, "model"),
        ({"model": "/tmp/any.gguf"}, 404, "model"),
        ({"temperature": 3}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"n": 0}, 400, "n"),
        ({"n": 1000}, 400, "n"),
        ({"tools": [{"type": ""}]}, 400, "tools[0].type"),
        ({"functions": [{}]}, 400, "functions[0].name"),
        ({"modalities": ["audio"]}, 400, "modalities"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, 400, "tool_choice"),
        ({"top_logprobs": 3}, 400, "top_logprobs"),
        ({"mixtura": {"propsals": True}}, 400, "mixtura"),
        ({"mixtura": {"mixture": "nope"}}, 404, "mixtura.mixture"),
        ({"mixtura": {"proposers": ["nope"]}}, 404, "mixtura.proposers"),
        ({"mixtura": {"proposers": []}}, 400, "mixtura.proposers"),
        ({"mixtura": {"aggregator": "nope"}}, 404, "mixtura.aggregator"),
        ({"mixtura": {"max_cost": "much"}}, 400, "mixtura.max_cost"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_an_error_of_the_official_form_that_names_it(server, wrong, status, param):
    body = {"model": "default", "messages": QUESTION} | wrong
    answer = server.post("/v1/chat/completions", body)
    error = answer.json["error"]
    assert (answer.status, error["param"]) == (status, param), error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]


def test_a_body_that_is_no_json_is_an_error(server):
    for body in (b"", b"{", b"[]", b"\xff\xfe", b'"x"'):
        assert server.post("/v1/chat/completions", body).status == 400


def test_parameters_that_no_one_knows_are_passed_over(server):
    more = {
        "chat_id": "x",
        "user": "me",
        "store": True,
        "metadata": {"a": "b"},
        "tool_choice": None,
    }
    assert server.chat(**more).status == 200


def test_log_probabilities_that_the_aggregator_does_not_give_are_an_error(server):
    error = server.chat(logprobs=True)
    assert (error.status, error.json["error"]["param"]) == (400, "logprobs")


def test_log_probabilities_that_cannot_be_had_are_an_error_before_anything_is_paid(tmp_path):
    question = {"messages": [{"role": "user", "content": "Why?"}], "logprobs": True}
    with served_team.team(tmp_path) as found:
        for stream in (False, True):
            asked = question | {"stream": stream}
            error = found.ask("chat", asked, "team-c")  # Anthropic's API has none
            assert (error.status, error.json["error"]["param"]) == (400, "logprobs")
            assert found.upstream.records == []
        first = found.ask("chat", question, "team-o")
        paid = len(found.upstream.records)
        second = found.ask("chat", question, "team-o")  # which is known by now

        assert (first.status, second.status) == (400, 400)
        assert (paid, found.upstream.records) == (2, [])


def test_log_probabilities_reach_the_client_from_an_aggregator_that_gives_them(tmp_path):
    row = {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}

    async def gives(wire):
        wanted = wire.record.body["logprobs"], wire.record.body["top_logprobs"]
        assert wanted == (True, 2)
        await wire.head()
        for delta, logprobs, finish in (
            ({"content": "Hi"}, {"content": [row]}, None),
            ({}, None, "stop"),
        ):
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            await wire.send(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        await wire.send(b"data: [DONE]\n\n")
        await wire.end()

    with running() as found:
        found.scripts = {"a": Script("x"), "chief": Script("Hi", ever=gives)}
        with serving(tmp_path, team(found, "a", "chief")) as server:
            body = server.chat(logprobs=True, top_logprobs=2).json
    assert body["choices"][0]["logprobs"] == {"content": [row], "refusal": None}


def test_a_request_may_choose_another_mixture_other_members_or_write_one_as_a_name(
    server, upstream
):
    def asked(**more):
        before = len(upstream.records)
        answer = server.chat(**more)
        assert answer.status == 200, answer.json
        return [r.model for r in upstream.records[before:]]

    assert asked(model="chief") == ["chief"]
    assert sorted(asked(model="a*2,b>a")) == ["a", "a", "a", "b"]
    assert asked(mixtura={"mixture": "b"}) == ["b"]
    assert sorted(asked(mixtura={"proposers": ["b*3"], "aggregator": "a"})) == ["a", "b", "b", "b"]
    assert asked(mixtura={"aggregator": "a"})[-1] == "a"
    assert len(asked(mixtura={"layers": 3})) == 5


def test_a_request_may_cap_its_own_money_and_time(server, upstream):
    before = len(upstream.records)
    dear = server.chat(mixtura={"max_cost": 0.0000001})
    assert (dear.status, dear.json["error"]["code"]) == (402, "budget_exceeded")
    assert len(upstream.records) == before, "nothing was asked"
    upstream.scripts["slow"] = Script("late", delay=5)
    late = server.post("/v1/chat/completions", {
        "model": "team", "messages": QUESTION, "mixtura": {"deadline": 0.000001}})  # fmt: skip
    assert late.status == 504


# ---- failures


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("500", 503, "upstream_unavailable"),
        ("429_seconds", 429, "rate_limit_exceeded"),
        ("401", 502, "upstream_refused"),
        ("empty", 502, "upstream_malformed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_model_that_fails_alone_is_an_http_error_also_for_a_stream(
    server, upstream, name, status, code, stream
):
    upstream.scripts["b"] = Script("x", ever=fault(name))
    try:
        answer = server.chat(model="b", stream=stream)
    finally:
        upstream.scripts["b"] = Script("It is Rayleigh's doing.")
    assert (answer.status, answer.json["error"]["code"]) == (status, code)
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1


def test_several_answers_that_fail_in_a_stream_leave_the_connection_and_the_log_clean(
    upstream, tmp_path
):
    upstream.scripts["dead"] = Script("x", ever=fault("500"))
    with serving(tmp_path, team(upstream, "a", "b", "dead")) as held:
        line = HTTPConnection(held.url.removeprefix("http://"), timeout=20)
        body = {"model": "dead", "messages": QUESTION, "n": 2, "stream": True}
        found: list[tuple[int, object]] = []
        for _ in range(2):
            line.request(
                "POST",
                "/v1/chat/completions",
                json.dumps(body),
                {"Content-Type": "application/json"},
            )
            answer = line.getresponse()
            answer.read()
            found.append((answer.status, line.sock.getsockname()))
        line.close()

    assert found == [(503, found[0][1])] * 2
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_layer_that_must_wait_as_a_whole_is_unavailable_until_the_first_may_be_asked(
    upstream, tmp_path
):
    for name in "uv":
        upstream.scripts[name] = Script("x", ever=fault("429_seconds"))
    with serving(tmp_path, team(upstream, "u", "v", "chief")) as held:
        answer = held.chat()

    assert (answer.status, answer.json["error"]["code"]) == (503, "upstream_rate_limited")
    assert answer.headers["retry-after"] == "1"


def test_a_proposer_that_fails_is_told_in_the_summary(server, upstream):
    upstream.scripts["b"] = Script("x", ever=fault("500"))
    try:
        body = server.chat().json
    finally:
        upstream.scripts["b"] = Script("It is Rayleigh's doing.")
    assert body["mixtura"]["degraded"] is True
    assert [(f["model"], f["layer"]) for f in body["mixtura"]["failures"]] == [("b", 1)]


def test_a_stream_that_breaks_off_ends_with_an_error_and_without_done(server, upstream):
    cut = next(f for f in FAULTS if f.name == "end_unfinished").play(2)
    upstream.scripts["chief"] = Script("one two three four", ever=cut)
    try:
        *chunks, last = frames(server.chat(stream=True, model="chief"))
    finally:
        upstream.scripts["chief"] = Script("Light scatters, blue most.")
    assert any(c["choices"][0]["delta"].get("content") for c in chunks)
    assert last["error"]["code"] == "upstream_unavailable"


def test_a_sign_of_life_comes_while_the_proposers_work(upstream, tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("late", delay=0.6), "chief": Script("done")}
        more = "[serve]\nkeep_alive_seconds = 0.1"
        with serving(tmp_path, team(slow, "a", "chief", more=more)) as server:
            body = server.chat(stream=True).body.decode()
    assert body.index(": keep-alive") < body.index('"content":"done"')


# ---- leaving


def test_a_client_that_leaves_ends_every_call(tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("x", delay=30), "b": Script("word " * 500, pace=0.05),
                        "chief": Script("done")}  # fmt: skip
        with serving(tmp_path, team(slow, "a", "b", "chief")) as server:
            for stream in (True, False):
                body = {"model": "team", "messages": QUESTION, "stream": stream}
                raw = json.dumps(body).encode()
                head = (
                    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
                )
                port = int(server.url.rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", port)) as line:
                    line.sendall(head.encode() + raw)
                    seen(lambda: len(slow.open()) == 2)
                slow.wait_until_quiet()
                assert {r.status for r in slow.records} == {"left"}
            assert server.get("/metrics").body.decode().count('outcome="stopped"') >= 1


def seen(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def test_a_server_that_is_told_to_end_finishes_what_it_has_begun(tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("a"), "chief": Script("one two three four five", pace=0.2)}
        with serving(tmp_path, team(slow, "a", "chief")) as server:
            answers = []
            thread = threading.Thread(target=lambda: answers.append(server.chat(stream=True)))
            thread.start()
            seen(lambda: any(r.model == "chief" and r.sends for r in slow.records))
            assert server.ended(signal.SIGTERM) == 0
            thread.join(10)
    assert frames(answers[0])[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_a_run_that_does_not_end_is_told_so_when_the_drain_is_over_and_kept(tmp_path, stream):
    with running() as slow:
        slow.scripts = {"a": Script("a"), "chief": Script("word " * 400, pace=0.1)}
        more = "[serve]\ndrain_seconds = 0.5"
        with serving(tmp_path, team(slow, "a", "chief", more=more)) as server:
            answers = []
            wish = {"stream": stream}
            thread = threading.Thread(target=lambda: answers.append(server.chat(**wish)))
            thread.start()
            seen(lambda: any(r.model == "chief" and r.sends for r in slow.records))
            assert server.ended(signal.SIGTERM) == 0
            thread.join(10)
        slow.wait_until_quiet()
        log = (tmp_path / "log").read_text()
    (answer,) = answers
    error = frames(answer)[-1]["error"] if stream else answer.json["error"]
    assert error["code"] == "server_ending"
    assert answer.status == (200 if stream else 503)
    assert "Waiting for 1 answer" in log
    assert "Traceback" not in log
    command = [sys.executable, "-m", "mixtura", "runs", "--json"]
    env = dict(os.environ) | {"XDG_STATE_HOME": str(tmp_path / "state")}
    listed = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert [run["state"] for run in json.loads(listed.stdout)["runs"]] == ["stopped"]


# ---- who may come in


KEY = "mx-secret"
LOCKED = f"""
[serve]
at_once = 8
[serve.keys.friend]
sha256 = "{sha256(KEY.encode()).hexdigest()}"
models = ["team", "a"]
[serve.keys.busy]
sha256 = "{sha256(b"busy").hexdigest()}"
requests_per_minute = 2
[serve.keys.talker]
sha256 = "{sha256(b"talker").hexdigest()}"
tokens_per_minute = 10
[serve.keys.poor]
sha256 = "{sha256(b"poor").hexdigest()}"
day_usd = 0.0
"""


@pytest.fixture(scope="module")
def locked(upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("locked")
    configuration = team(upstream, "a", "b", "chief", more=LOCKED)
    with serving(folder, configuration, "--host", "0.0.0.0") as found:
        found.url = found.url.replace("0.0.0.0", "127.0.0.1")
        yield found


def test_without_the_key_nothing_is_told(locked):
    for path in ("/v1/models", "/metrics", "/api/setup", "/api/runs"):
        locked.key = None
        answer = locked.get(path)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        locked.key = "wrong"
        assert locked.get(path).json["error"]["code"] == "invalid_api_key"
    locked.key = None
    assert locked.chat().status == 401
    assert locked.get("/healthz").status == 200


def test_a_key_may_use_its_models_and_no_others_members_included(locked):
    locked.key = KEY
    assert [row["id"] for row in locked.get("/v1/models").json["data"]] == ["team", "a"]
    assert locked.chat(model="team").status == 200
    assert locked.chat(model="default").status == 200, "that is the team"
    for more in (
        {"model": "b"},
        {"model": "a>b"},
        {"model": "team", "mixtura": {"proposers": ["a", "b"]}},
        {"model": "team", "mixtura": {"aggregator": "b"}},
        {"model": "a", "mixtura": {"mixture": "chief"}},
    ):
        answer = locked.chat(**more)
        assert (answer.status, answer.json["error"]["code"]) == (403, "model_not_allowed"), more
    assert (
        locked.chat(model="team", mixtura={"proposers": ["a*2"], "aggregator": "a"}).status == 200
    )


def test_anthropics_header_brings_a_key_too(locked):
    locked.key = None
    assert locked.get("/v1/models", **{"X-Api-Key": KEY}).status == 200


def test_a_key_has_so_many_requests_a_minute(locked):
    locked.key = "busy"
    assert [locked.chat(model="a").status for _ in range(3)] == [200, 200, 429]
    assert int(locked.chat(model="a").headers["retry-after"]) >= 1


def test_a_key_has_so_many_tokens_a_minute(locked):
    locked.key = "talker"
    assert locked.chat(model="team").status == 200
    assert locked.chat(model="team").status == 429


def test_a_key_has_so_much_money_a_day(locked):
    locked.key = "poor"
    answer = locked.chat(model="a")
    assert (answer.status, answer.json["error"]["code"]) == (402, "budget_exceeded")


DEFAULT_ONLY = f"""
[serve.keys.guest]
sha256 = "{sha256(b"guest").hexdigest()}"
models = ["default"]
[budget]
run_usd = 10
"""


@pytest.fixture(scope="module")
def guest(upstream, tmp_path_factory):
    configuration = team(upstream, "a", "b", "chief", more=DEFAULT_ONLY)
    rich = {"OPENROUTER_API_KEY": "sk-or-some-key"}
    with serving(tmp_path_factory.mktemp("guest"), configuration, environ=rich) as found:
        found.key = "guest"
        yield found


def test_a_key_for_the_default_opens_it_wherever_it_stands_and_nothing_else(guest, upstream):
    def models(**more):
        before = len(upstream.records)
        answer = guest.chat(**more)
        return answer.status, sorted({r.model for r in upstream.records[before:]})

    small = {"max_tokens": 5}
    assert models(model="default", **small)[1] == ["a", "b", "chief"]
    assert models(model="default>default", **small)[1] == ["a", "b", "chief"]
    inside = {"proposers": ["default"], "aggregator": "default"}
    assert models(model="default", mixtura=inside, **small)[1] == ["a", "b", "chief"]
    for name in ("team", "a", "default>a", "openrouter/openai/gpt-5.4", "auto", "nothing"):
        assert models(model=name) == (403, []), name
    assert [row["id"] for row in guest.get("/v1/models").json["data"]] == ["default"]
    assert guest.get("/api/setup").json["mixtures"][0]["aggregator"] == "chief"


def test_no_request_raises_the_operators_cap(upstream, tmp_path):
    more = "[budget]\nrun_usd = 0.0000001"
    with serving(tmp_path, team(upstream, "a", "chief", more=more)) as server:
        assert server.chat().status == 402
        assert server.chat(mixtura={"max_cost": 5}).status == 402


def test_no_request_passes_the_caps_that_the_server_was_started_with(upstream, tmp_path):
    setup = team(upstream, "a", "chief").replace("use = false", "use = true")
    with serving(tmp_path / "poor", setup, "--max-cost", "0.0000001") as server:
        assert server.chat(mixtura={"max_cost": 5}).status == 402
    with serving(tmp_path / "hasty", setup, "--deadline", "0.000001") as server:
        assert server.chat(mixtura={"deadline": 60}).status == 504
    with serving(tmp_path / "anew", setup, "--no-cache") as server:
        before = len(upstream.records)
        assert [server.chat(model="a").status for _ in range(2)] == [200, 200]
        assert len(upstream.records) == before + 2


def test_a_request_has_one_purse_for_all_its_answers(server):
    one = server.post("/api/plan", {"model": "team", "messages": QUESTION}).json["max_cost_usd"]
    enough = {"mixtura": {"max_cost": one * 1.5}}
    assert server.chat(**enough).status == 200
    assert server.chat(n=8, **enough).status == 402


def test_a_request_makes_only_so_many_calls(server):
    for more in (
        {"mixtura": {"proposers": ["a*5000"]}},
        {"model": "a*100>a", "n": 16},
        {"model": "a," * 5000 + "a>a"},
    ):
        answer = server.chat(**more)
        assert answer.status == 400, more
    planned = server.post("/api/plan", {"model": "a*1000,a*1000>a"})
    assert planned.json["error"]["code"] == "too_many_calls"


def test_other_proposers_leave_all_else_in_a_mixture_as_it_was(upstream, tmp_path):
    more = """
    [mixtures.careful]
    layers = [[{ model = "a", persona = "You doubt." }, "b"]]
    aggregator = "chief"
    sampling = { max_tokens = 77 }
    [mixtures.ranked]
    pattern = "rank"
    layers = [["a", "b"]]
    judge = "chief"
    """
    with serving(tmp_path, team(upstream, "a", "b", "chief", more=more)) as server:
        before = len(upstream.records)
        answer = server.chat(model="careful", mixtura={"proposers": ["a*2"]})
        assert answer.status == 200, answer.json
        records = upstream.records[before:]
        assert [r.model for r in records] == ["a", "a", "chief"]
        assert {r.body["max_tokens"] for r in records} == {77}
        assert all("You doubt." in r.prompt for r in records[:2])
        plan = {"model": "ranked", "mixtura": {"proposers": ["b*3"]}}
        assert server.post("/api/plan", plan).json["pattern"] == "rank"


def test_a_clients_words_never_become_labels(server):
    server.chat(model="ollama/words-of-mine")
    server.chat(model="ollama/words-of-mine>a")
    assert "words-of-mine" not in server.get("/metrics").body.decode()


def test_a_failure_says_which_run_it_was(server, upstream):
    upstream.scripts["b"] = Script("x", ever=fault("500"))
    try:
        for stream in (False, True):
            answer = server.chat(model="b", stream=stream)
            assert answer.status == 503
            assert answer.headers["x-request-id"] == answer.headers["x-mixtura-run"]
    finally:
        upstream.scripts["b"] = Script("It is Rayleigh's doing.")


def test_the_time_that_a_request_has_counts_while_it_waits(tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("x"), "chief": Script("done", delay=2)}
        more = "[serve]\nat_once = 1"
        with serving(tmp_path, team(slow, "a", "chief", more=more)) as server:
            thread = threading.Thread(target=server.chat, kwargs={"model": "chief"})
            thread.start()
            seen(lambda: slow.open())
            late = server.chat(model="a", mixtura={"deadline": 0.2})
            thread.join(10)
    assert (late.status, late.json["error"]["code"]) == (504, "timeout")
    assert [r.model for r in slow.records] == ["chief"]


def test_one_client_does_not_see_the_runs_of_another(locked):
    locked.key = KEY
    run = locked.chat(model="team").headers["x-mixtura-run"]
    seen(lambda: locked.get(f"/api/runs/{run}").status == 200)
    locked.key = "busy"
    assert locked.get(f"/api/runs/{run}").status == 404
    assert run not in locked.get("/api/runs").body.decode()
    assert locked.post(f"/api/runs/{run}", b"", method="DELETE").status == 404


def test_it_does_not_begin_on_an_open_address_without_keys(tmp_path):
    command = [sys.executable, "-m", "mixtura", "serve", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "keys" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_new_key_is_shown_once_and_its_hash_is_what_the_file_gets(tmp_path):
    command = [sys.executable, "-m", "mixtura", "serve", "--new-key", "my phone"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    key = re.search(r"mx-[\w-]{40,}", done.stderr)[0]
    assert done.stdout == (
        f'[serve.keys."my phone"]\nsha256 = "{sha256(key.encode()).hexdigest()}"\n'
    )


def test_a_name_that_is_not_ours_is_refused(server):
    answer = server.get("/v1/models", Host="evil.example")
    assert (answer.status, answer.json["error"]["code"]) == (421, "unknown_host")
    assert server.get("/v1/models", Host="localhost:1").status == 200
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as caller:
        caller.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert caller.recv(4096).startswith(b"HTTP/1.1 400 ")


def test_only_json_is_taken_so_that_no_form_of_another_page_gets_in(server):
    body = json.dumps({"model": "default", "messages": QUESTION}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert server.post("/v1/chat/completions", body, Content_Type=kind).status == 415
    preflight = server.post("/v1/chat/completions", b"", method="OPTIONS", Origin="https://x.org")
    assert preflight.status == 405
    assert "access-control-allow-origin" not in preflight.headers


def test_another_origin_may_ask_where_it_is_configured(upstream, tmp_path):
    more = '[serve]\ncors = ["https://chat.example"]'
    with serving(tmp_path, team(upstream, "a", "chief", more=more)) as server:
        asked = {"Origin": "https://chat.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "content-type,authorization"}  # fmt: skip
        allowed = server.post("/v1/chat/completions", b"", method="OPTIONS", **{
            k.replace("-", "_"): v for k, v in asked.items()})  # fmt: skip
        assert allowed.headers["access-control-allow-origin"] == "https://chat.example"
        other = server.get("/v1/models", Origin="https://evil.example")
        assert "access-control-allow-origin" not in other.headers


def test_a_body_that_is_too_large_or_never_comes_is_refused(upstream, tmp_path):
    more = "[serve]\nlargest_megabytes = 0.01\nreceive_seconds = 0.3"
    with serving(tmp_path, team(upstream, "a", "chief", more=more)) as server:
        assert server.chat("x" * 20_000).status == 413
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n{"
            )
            assert line.recv(100).startswith(b"HTTP/1.1 408")


def test_a_head_that_never_ends_is_not_waited_for(upstream, tmp_path):
    more = "[serve]\nreceive_seconds = 0.3"
    with serving(tmp_path, team(upstream, "a", "chief", more=more)) as server:
        port = int(server.url.rpartition(":")[2])
        begun = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
        for sent in (b"", begun, begun + b"X: " + b"a" * 100_000):
            with socket.create_connection(("127.0.0.1", port), 10) as line:
                line.sendall(sent)
                said = line.recv(100)
                assert said.startswith(b"HTTP/1.1 400") if sent else said == b""
        with socket.create_connection(("127.0.0.1", port), 10) as line:
            for _ in range(2):  # the next request of a connection is heard as the first
                line.sendall(begun + b"\r\n")
                said = b""
                while not said.endswith(b"}"):
                    said += line.recv(1000)
                assert said.startswith(b"HTTP/1.1 200")
                time.sleep(0.4)


def test_a_head_that_comes_with_the_body_before_it_is_not_too_large(server):
    body = json.dumps({"model": "a", "messages": QUESTION, "user": "x" * 100_000}).encode()
    asked = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        line.sendall(asked + b"GET /healthz HTTP/1.1\r\n")
        said = line.recv(100_000)
        line.sendall(b"Host: localhost\r\n\r\n")
        while not said.endswith(b'{"status":"ok"}') and (more := line.recv(100_000)):
            said += more
    assert said.count(b"HTTP/1.1 200 OK") == 2


@pytest.mark.parametrize("more", [b"\r\n", b"x"])
def test_what_is_no_request_does_not_keep_a_line_open(more, upstream, tmp_path):
    table = "[serve]\nreceive_seconds = 0.3"
    asked = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with serving(tmp_path, team(upstream, "a", "chief", more=table)) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as line:
            line.sendall(asked % (1000 if more == b"x" else 0))  # a body that no one reads
            said = b""
            while not said.endswith(b"}"):
                said += line.recv(1000)
            line.sendall(more)
            assert line.recv(100) == b""


def test_more_than_may_run_wait_and_more_than_may_wait_are_sent_away(tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("x"), "chief": Script("done", delay=0.5)}
        more = "[serve]\nat_once = 1\nwaiting = 1"
        with serving(tmp_path, team(slow, "a", "chief", more=more)) as server:
            answers = []

            def ask():
                answers.append(server.chat(model="chief"))

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
    statuses = sorted(answer.status for answer in answers)
    assert statuses == [200, 200, 503, 503]
    assert all(int(a.headers["retry-after"]) >= 1 for a in answers if a.status == 503)


def test_a_request_that_was_sent_away_uses_none_of_its_keys_tokens(tmp_path):
    with running() as slow:
        slow.scripts = {"a": Script("done", delay=1)}
        keys = "".join(
            f'[serve.keys.{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\n{rest}\n'
            for name, rest in (("first", ""), ("second", "tokens_per_minute = 2"))
        )
        more = f"[serve]\nat_once = 1\nwaiting = 0\n{keys}"
        with serving(tmp_path, team(slow, "a", "chief", more=more)) as server:
            body = {"model": "a", "messages": QUESTION}
            first = threading.Thread(target=server.post, args=("/v1/chat/completions", body),
                                     kwargs={"authorization": "Bearer first"})  # fmt: skip
            first.start()
            seen(lambda: slow.open())
            server.key = "second"
            assert [server.chat(model="a").status for _ in range(2)] == [503, 503]
            first.join(20)


WEBUI = (
    "### Task:\nGenerate a concise, 3-5 word title with an emoji.\n### Guidelines:\n- Be short.\n"
    "### Output:\nJSON\n### Chat History:\n<chat_history>\nUSER: hi\n</chat_history>"
)
LIBRE = (
    "Please generate a concise, 5-word-or-less title for the conversation, using its same"
    " language, with no punctuation. Apply title case conventions."
)


def test_small_requests_of_front_ends_go_to_the_cheap_model_and_it_is_said(upstream, tmp_path):
    lock = f'[serve.keys.one]\nsha256 = "{sha256(b"one").hexdigest()}"\nmodels = ["team"]'
    more = f'[serve]\nside = "b"\n{lock}'
    with serving(tmp_path, team(upstream, "a", "b", "chief", more=more)) as server:
        server.key = "one"  # which may not use that model otherwise
        for title in (WEBUI, LIBRE):
            before = len(upstream.records)
            answer = server.chat(title)
            assert [r.model for r in upstream.records[before:]] == ["b"]
            assert answer.json["mixtura"]["routed_to"] == "b"


@pytest.mark.parametrize(
    "asked",
    [
        "Suggest a short, catchy title for my essay of 2000 words on bees.",
        "Write a title for the chapter about chat bots in my book.",
        "Please summarize this conversation in 100 words or less.",
        "### Task:\nProve Fermat's little theorem.",
        "What is a good title for a talk?",
    ],
)
def test_a_persons_own_question_is_not_taken_for_one(asked):
    assert not is_frontend_request(ask(asked))


def test_a_port_that_is_taken_is_said(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "mixtura", "serve", "--port", port]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--port" in done.stderr


def test_with_nothing_configured_it_serves_the_embedded_model(tmp_path, embedded):
    with serving(tmp_path, "") as server:
        body = server.chat("Say hello.", max_tokens=8).json
        assert body["choices"][0]["message"]["content"]
        assert server.ready.startswith("Mixtura is at http://127.0.0.1:")
        assert "default" in [row["id"] for row in server.get("/v1/models").json["data"]]


def refused_start(folder, configuration="", *, code="", options=("--port", "0")):
    """What `mixtura serve` says when it does not begin; *code* runs before it."""
    (folder / "mixtura.toml").write_text(configuration, encoding="utf-8")
    begin = f"import sys\n{code}\nfrom mixtura.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", begin, "serve", *options],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stderr


def test_a_wrong_setting_of_the_server_ends_it_with_the_line(tmp_path):
    status, said = refused_start(tmp_path, "[serve]\ndrain_seconds = inf")
    assert status == 2
    assert "mixtura.toml, line 2: serve.drain_seconds" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "prometheus_client"])
def test_a_package_that_the_server_lacks_is_named_with_what_brings_it(package, tmp_path):
    status, said = refused_start(tmp_path, code=f"sys.modules[{package!r}] = None")
    assert status == 2
    assert package.replace("_", "-") in said
    assert 'pip install "mixtura[serve]"' in said
    assert "Traceback" not in said


def test_another_package_that_is_missing_is_not_taken_for_the_servers(tmp_path):
    status, said = refused_start(tmp_path, code="sys.modules['anyio'] = None")
    assert status != 2
    assert "anyio" in said
    assert "mixtura[serve]" not in said


def test_official_browser_clients_of_a_configured_origin_may_send_their_headers(tmp_path, upstream):
    more = '[serve]\ncors = ["https://chat.example"]'
    wanted = "anthropic-dangerous-direct-browser-access,x-api-key,x-stainless-retry-count"
    with serving(tmp_path, team(upstream, "a", "chief", more=more)) as server:
        for method in ("GET", "POST", "DELETE"):
            for origin, status in (("https://chat.example", 200), ("https://else.example", 400)):
                answer = server.post(
                    "/v1/messages", b"", method="OPTIONS", Origin=origin,
                    Access_Control_Request_Method=method, Access_Control_Request_Headers=wanted,
                )  # fmt: skip
                assert answer.status == status
                allowed = answer.headers["access-control-allow-origin"]
                assert allowed == (origin if status == 200 else None)
                if status == 200:
                    assert answer.headers["access-control-allow-headers"] == wanted


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": "required", "tools": []}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ],
)
def test_what_a_chat_cannot_be_asked_is_refused_with_its_parameter(body, param, server):
    answer = server.chat(**body)
    assert answer.status == 400
    assert answer.json["error"]["param"] == param
    assert f"`{param}`" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"stop": None},
        {"stop": ["a", "b", "c", "d"]},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"service_tier": None},
        {"service_tier": "auto"},
        {"service_tier": "default"},
        {"service_tier": "flex"},
    ],
)
def test_what_official_clients_send_without_meaning_anything_by_it_is_taken(body, server):
    assert server.chat(**body).status == 200


def test_a_schema_that_is_nested_too_deeply_is_refused_not_a_fault(server):
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    answer = server.post(
        "/v1/messages",
        b'{"model":"default","max_tokens":9,"messages":[{"role":"user","content":"hi"}],'
        b'"output_config":{"format":{"type":"json_schema","schema":' + deep + b"}}}",
    )
    assert answer.status == 400
    assert "nested too deeply" in answer.json["error"]["message"]


def test_a_default_that_cannot_answer_is_said_at_the_start_and_by_readyz(tmp_path, upstream):
    text = team(upstream, "a", "b", "chief").replace('default = "team"', 'default = "openai/gpt"')
    with serving(tmp_path, text) as server:
        said = (tmp_path / "log").read_text()
        ready = server.get("/readyz")
        assert "openai/gpt cannot answer yet" in said
        assert "OPENAI_API_KEY" in said
        assert ready.status == 503
        assert "OPENAI_API_KEY" in ready.json["error"]["message"]
        assert server.get("/healthz").status == 200
        assert server.chat(model="team").status == 200


def test_readyz_tells_what_is_wrong_only_to_whoever_has_a_key(tmp_path):
    lock = f'[serve.keys.one]\nsha256 = "{sha256(b"one").hexdigest()}"'
    with serving(tmp_path, f'default = "openai/gpt"\n{lock}') as server:
        ready = server.get("/readyz")
        assert ready.status == 503
        assert "OPENAI_API_KEY" not in ready.json["error"]["message"]
        server.key = "one"
        assert "OPENAI_API_KEY" in server.get("/readyz").json["error"]["message"]
