"""`mixtura serve`: the protocol, what a request may say, failures, who leaves, how it ends."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import threading
import time
from hashlib import sha256
from http.client import HTTPConnection

import pytest

from mixtura import ask
from mixtura.server.frontend_requests import is_frontend_request
from tests.support import chat_server, served_team
from tests.support.chat_server import QUESTION, seen
from tests.support.forked_program import run_mixtura
from tests.support.serving import serving, team
from tests.support.upstream import Script, running
from tests.support.upstream.faults import FAULTS

server = chat_server.server
upstream = chat_server.upstream


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
    command = ["runs", "--json"]
    env = dict(os.environ) | {"XDG_STATE_HOME": str(tmp_path / "state")}
    listed = run_mixtura(command, cwd=tmp_path, env=env, text=True, check=True)
    assert [run["state"] for run in json.loads(listed.stdout)["runs"]] == ["stopped"]


# ---- who may come in


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
