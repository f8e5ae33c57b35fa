"""Requests that are odd, too large, too slow or too many, and pages of other origins."""

from __future__ import annotations

import json
import socket
import threading
import time
from hashlib import sha256

import pytest

from tests.support import chat_server
from tests.support.chat_server import QUESTION, seen
from tests.support.serving import serving, team
from tests.support.upstream import Script, running

server = chat_server.server
upstream = chat_server.upstream


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


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/plan"])
def test_a_functions_result_that_also_calls_a_tool_is_no_error_of_the_server(server, path):
    called = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    tool = {"id": "1", "type": "custom", "custom": {"name": "c", "input": "x"}, "function": None}
    result = {"role": "function", "name": "f", "content": "3", "tool_calls": [tool]}

    answer = server.post(path, {"model": "team", "messages": [*QUESTION, called, result]})

    assert answer.status == 200, answer.json
