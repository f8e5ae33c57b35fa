"""Files and batches of a client that means harm: none of it reaches a model or a neighbour."""

from __future__ import annotations

import http.client
import json
import sqlite3
from contextlib import closing

import openai
import pytest

from tests.server.test_batches import begun, client_of, content, key, lines, row, waited
from tests.support.serving import serving, team
from tests.support.upstream import Script, upstream_fixture

LIMITS = "[serve]\nlargest_megabytes = 0.2\n[serve.batches]\nfile_megabytes = 1\nmegabytes = 3\n"
DEEP = json.loads("[" * 900 + "]" * 900)
HOSTILE = {
    "other models": {"models": ["dear"]},
    "a route": {"route": "fallback"},
    "plugins": {"plugins": [{"id": "web"}]},
    "tools that are a number": {"tools": 5},
    "tools that are texts": {"tools": ["x"]},
    "a tool of the provider": {"tools": [{"type": "web_search"}]},
    "a search": {"web_search_options": {}},
    "a tool of free text": {"tools": [{"type": "custom", "custom": {"name": "x"}}]},
    "a tool with a long name": {"tools": [{"type": "function", "function": {"name": "x" * 99}}]},
    "old functions": {"functions": [{"name": "f"}]},
    "a stop that is a number": {"stop": 5},
    "stops without end": {"stop": ["a"] * 99},
    "a temperature of 1000": {"temperature": 1000},
    "a temperature that is a text": {"temperature": "hot"},
    "2^62 tokens": {"max_tokens": 2**62},
    "a negative length": {"max_completion_tokens": -1},
    "a seed of 80 bits": {"seed": 2**80},
    "three answers": {"n": 3},
    "options of ours": {"mixtura": {"aggregator": "dear"}},
    "a file of this machine": {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}],
            }
        ]
    },
    "a role that there is not": {"messages": [{"role": "root", "content": "x"}]},
    "messages of texts": {"messages": ["x"]},
    "no messages": {"messages": []},
    "a content that is a number": {"messages": [{"role": "user", "content": 7}]},
    "a call without a name": {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
    "lists in lists": {"metadata": {"x": DEEP}},
    "a model that is a list": {"model": ["team"]},
    "a name of a million letters": {"model": "x" * 150_000},
}


upstream = upstream_fixture({name: Script("So.") for name in ("a", "chief", "dear")})


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    table = team(upstream, "a", "chief", more=LIMITS + key("ann", 'models = ["team"]') + key("bob"))
    with serving(tmp_path_factory.mktemp("hostile"), table) as found:
        yield found


def test_no_row_says_what_a_live_request_may_not_say(server, upstream):
    client = client_of(server)
    passed = []
    for name, more in HOSTILE.items():
        bad = row(1)
        bad["body"] |= more
        batch = waited(client, begun(client, lines(bad)))
        if batch.status != "failed" or batch.errors.data[0].line != 1:
            passed.append((name, batch.status))
        assert len(batch.errors.data[0].message) <= 500
    for custom_id in (5, ["x"], {"x": 1}, True):
        batch = waited(client, begun(client, lines(row(1, custom_id=custom_id))))
        if batch.status != "failed":
            passed.append(("custom_id", custom_id))
    assert passed == []
    assert upstream.records == []


def test_a_field_that_live_requests_ignore_reaches_no_model_in_a_batch_either(server, upstream):
    client = client_of(server)
    odd = row(1)
    odd["body"] |= {
        "base_url": "http://evil.example",
        "extra_headers": {"X": "y"},
        "temperature": 0.5,
    }
    batch = waited(client, begun(client, lines(odd)))
    assert batch.status == "completed", batch
    assert content(client, batch.output_file_id)[0]["response"]["status_code"] == 200
    for record in upstream.records:
        assert not {"base_url", "extra_headers"} & set(record.body)
    assert any(record.body.get("temperature") == 0.5 for record in upstream.records)


def test_a_row_that_names_a_field_twice_is_a_mistake_and_no_batch_that_never_ends(server):
    client = client_of(server)
    twice = json.dumps(row(1)).replace('{"custom_id"', '{"custom_id": "other", "custom_id"', 1)
    batch = waited(client, begun(client, lines(twice)))
    assert [(one.line, one.code) for one in batch.errors.data] == [(1, "invalid_json_line")]
    assert "the key 'custom_id' appears twice" in batch.errors.data[0].message


@pytest.mark.parametrize("encoding", ["undefined", "idna", "punycode", "\0", "unicode_escape"])
def test_a_file_may_have_a_name_that_no_one_can_decode(server, encoding):
    head = f"Content-Disposition: form-data; name=file; filename*={encoding}''%ff%5cud800"
    form = '--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    answer = server.post(
        "/v1/files",
        f"{form}--x\r\n{head}\r\n\r\nwords\r\n--x--\r\n".encode(),
        Content_Type="multipart/form-data; boundary=x",
        Authorization="Bearer bob",
    )
    assert (answer.status, answer.json.get("bytes")) == (200, 5), answer.body
    assert client_of(server, "bob").files.content(answer.json["id"]).text == "words"


def test_a_row_larger_than_a_request_may_be_is_refused_and_the_server_goes_on(server):
    client = client_of(server)
    big = row(2)
    big["body"]["messages"] = [{"role": "user", "content": "x" * 300_000}]
    batch = waited(client, begun(client, lines(row(1), big, row(3))))
    assert [(one.line, one.code) for one in batch.errors.data] == [(2, "request_too_large")]
    batch = waited(client, begun(client, b'{"custom_id": "x", "body": ' + b"[" * 100_000))
    assert batch.errors.data[0].code == "invalid_json_line"


def test_an_upload_that_says_it_is_too_large_is_refused_before_it_is_sent(server):
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/files")
    for name, value in (
        ("Authorization", "Bearer bob"),
        ("Content-Type", "multipart/form-data; boundary=x"),
        ("Content-Length", str(200 * 1024**2)),
    ):
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.loads(answer.read())["error"]["code"] == "request_too_large"
    connection.close()


def test_the_uploads_of_one_key_that_are_under_way_have_a_bound_and_others_have_theirs(server):
    waiting = [_begin_upload(server, "ann") for _ in range(3)]
    try:
        with pytest.raises(openai.RateLimitError, match="under way"):
            _upload_until_refused(client_of(server))
        file = client_of(server, "bob").files.create(file=b"x" * 900_000, purpose="batch")
        client_of(server, "bob").files.delete(file.id)
    finally:
        for connection in waiting:
            connection.close()


def _upload_until_refused(client) -> None:
    """Upload until the server has read the heads of those that wait."""
    while True:
        client.files.delete(client.files.create(file=b"x" * 900_000, purpose="batch").id)


def _begin_upload(server, name: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Authorization", f"Bearer {name}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(1024**2))
    connection.endheaders(b"--x\r\n")
    return connection


def test_damaged_batches_and_files_are_told_in_words_and_hold_up_no_other(upstream, tmp_path):
    table = team(upstream, "a", "chief")
    with serving(tmp_path, table) as server:
        client = client_of(server)
        file = client.files.create(file=("in.jsonl", lines(row(1))), purpose="batch")
        batch = waited(client, begun(client, lines(row(1))))
        (path,) = (tmp_path / "state").rglob("*.sqlite")
        (path.parent / "batches" / "batch_x").mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=30)) as db, db:
            for number, body in enumerate((b"\xff\xfe", "{", "[]", '{"id": 1}', "null", "9" * 99)):
                db.execute(
                    "INSERT INTO batches (id, who, created, status, body) VALUES (?, ?, ?, ?, ?)",
                    (f"batch_{number or 'x'}", "", number, "validating", body),
                )
            db.execute("UPDATE batches SET body = '{' WHERE id = ?", (batch.id,))
            db.execute("UPDATE files SET created = 'soon' WHERE id = ?", (file.id,))
        db.close()
        for path in (f"/v1/batches/{batch.id}", "/v1/batches/batch_1", f"/v1/files/{file.id}"):
            answer = server.get(path)
            assert answer.status == 503
            assert "damaged" in answer.json["error"]["message"]
        assert server.get("/v1/files").status == server.get("/v1/batches").status == 200
        assert waited(client, begun(client, lines(row(2)))).status == "completed"
    assert "Traceback" not in (tmp_path / "log").read_text()
