"""Bodies whose objects and lists stand in each other without end: refused by every route."""

from __future__ import annotations

import json
import sqlite3
import zlib
from contextlib import closing

import pytest

from tests.support.serving import serving, team
from tests.support.upstream import Script, running

LISTS = b"[" * 100_000 + b"]" * 100_000
OBJECTS = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
FIELDS = (
    b'"title": "x", "model": "team", "action": "answer_now", "messages": [], "prompt": "x",'
    b' "input": "x", "max_tokens": 5, "endpoint": "/v1/chat/completions"'
)
BODIES = (
    LISTS, OBJECTS, b"[" * 100_000, b'{"a":' * 100_000,
    b"{" + FIELDS + b', "more": ' + LISTS + b"}",
    b"{" + FIELDS + b', "messages": ' + LISTS + b"}",
    b"{" + FIELDS + b', "mixtura": ' + OBJECTS + b"}",
    b"\xff\xfe", b'{"title": "\\ud800"}', b"9" * 5_000, b'{"title": ' + b"9" * 5_000 + b"}",
)  # fmt: skip
ROUTES = (
    ("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("POST", "/v1/responses"),
    ("POST", "/v1/messages"), ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses/input_tokens"), ("POST", "/v1/batches"), ("POST", "/api/plan"),
    ("POST", "/api/runs"), ("POST", "/api/runs/RUN/control"), ("PATCH", "/api/conversations/RUN"),
    ("POST", "/api/keys"), ("POST", "/api/runs/RUN/again"), ("POST", "/api/runs/RUN/agreement"),
    ("POST", "/api/choices"),
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nested")
    with running() as upstream:
        upstream.scripts = {"a": Script("Well."), "chief": Script("Because.")}
        with serving(folder, team(upstream, "a", "chief")) as found:
            found.folder = folder
            yield found


def test_no_route_fails_at_a_body_that_is_nested_without_end(server):
    begun = {"model": "team", "messages": [{"role": "user", "content": "Why?"}]}
    run = server.post("/api/runs", begun).json["run"]
    for method, path in ROUTES:
        for body in BODIES:
            answer = server.post(path.replace("RUN", run), body, method=method)
            assert 400 <= answer.status < 500, (path, body[:50], answer.body)
            assert "log has the details" not in answer.body.decode()
    assert "Traceback" not in (server.folder / "log").read_text()


def test_a_conversation_is_exported_run_by_run_and_a_damaged_one_hides_no_other(server):
    asked = {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
    runs = [server.post("/api/runs", asked).json["run"]]
    for _ in range(2):
        server.get(f"/api/runs/{runs[-1]}/events")
        runs.append(server.post(f"/api/runs?previous={runs[-1]}", asked).json["run"])
    server.get(f"/api/runs/{runs[-1]}/events")
    whole = server.get(f"/api/conversations/{runs[0]}/json").json
    assert [turn["id"] for turn in whole["turns"]] == runs
    assert all(turn["calls"][0]["request"] for turn in whole["turns"])
    (path,) = (server.folder / "state").rglob("*.sqlite")
    with closing(sqlite3.connect(path, timeout=30)) as db, db:
        db.execute("UPDATE runs SET body = ? WHERE id = ?", (zlib.compress(b"{"), runs[1]))
    db.close()
    again = json.loads(server.get(f"/api/conversations/{runs[0]}/json").body)
    assert [turn["id"] for turn in again["turns"]] == runs
    assert again["turns"][2] == whole["turns"][2]
