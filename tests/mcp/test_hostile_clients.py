"""`mixtura mcp --http` among clients that mean harm: each has what its key says, and no more."""

from __future__ import annotations

import json
import socket
import sqlite3
from contextlib import closing, contextmanager
from hashlib import sha256
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.support import command_line
from tests.support.canaries import found
from tests.support.loopback import Answer

desk = command_line.desk
KEY = "mx-clientCanaryOfMcp0123456789abcd"
OTHER = "mx-clientCanaryTwoOfMcp0123456789"
NAMES = (
    "team", "default", "ben", "chief", "review", "BEN", " ben", "ben ", "ben*2", "ann>ben",
    "ann*2>ben", "ann,ben", "ann,ben>ann", "ann>ann>ben", "ann, ben > ann", "ben>ann", "team>ann",
    "ann,team", "(ann>ben)", "ann>(ann,ben)", "ann>default", "openai/gpt-5", "openai:gpt-5",
    "ollama/x", "ollama/x>ann", "local", "embedded", "auto", "self", "paper", "lite", "guard",
    "/etc/passwd", "./x.gguf", "../x.gguf", "~/x.gguf", "file:///x.gguf", "C:\\x.gguf", "ann\n>ben",
    "ann\u200b", "ａｎｎ", "ann/../ben", "ann?ben", "ann#ben", "ann;ben", "ann|ben", "[ann,ben]",
    '["ben"]', '{"model":"ben"}', "models.ben", "mixtures.team", "claude-code", "codex/x", "*", "",
)  # fmt: skip
WRONG_COSTS = ("NaN", "Infinity", "-Infinity", "-1", "1e999", "1" + "0" * 400, '"1"', "true", "[]")


OPEN: list[RawClient] = []


@pytest.fixture(autouse=True)
def _closes_clients():
    yield
    while OPEN:
        OPEN.pop().http.close()


class RawClient:
    """Speaks the protocol as bytes, so that it can say what no library would."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        OPEN.append(self)
        self.http = httpx2.Client(
            timeout=60,
            headers={
                "Authorization": f"Bearer {key}",
                "Accept": "application/json, text/event-stream",
                "Content-Type": "application/json",
            },
        )
        hello = {"protocolVersion": "2025-06-18", "capabilities": {},
                 "clientInfo": {"name": "x", "version": "1"}}  # fmt: skip
        begun = self.send("initialize", json.dumps(hello))
        self.http.headers["mcp-session-id"] = begun.headers["mcp-session-id"]
        self.http.post(
            address, content=b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
        )

    def send(self, method: str, params: str) -> httpx2.Response:
        body = f'{{"jsonrpc": "2.0", "id": 1, "method": "{method}", "params": {params}}}'
        return self.http.post(self.address, content=body.encode())

    def call(self, tool: str, arguments: str) -> str:
        """All that comes back of a call of a tool."""
        return self.send("tools/call", f'{{"name": "{tool}", "arguments": {arguments}}}').text


@contextmanager
def served(desk, more: str = ""):
    text = (desk.folder / "mixtura.toml").read_text()
    keys = "".join(
        f'[serve.keys.{name}]\nsha256 = "{sha256(key.encode()).hexdigest()}"\nmodels = ["ann"]\n'
        for name, key in (("ida", KEY), ("eve", OTHER))
    )
    desk.write(f"{text}\n{more}\n{keys}")
    process = desk.start("mcp", "--http", "0")
    try:
        yield process.stdout.readline().decode().split()[-1].rstrip(".")
    finally:
        process.terminate()
        process.wait(20)


def test_no_way_of_naming_reaches_what_a_key_may_not_use(desk):
    tried = 0
    with served(desk) as address:
        client = RawClient(address, KEY)
        for name in NAMES:
            for tool, given in (
                ("ask", {"question": "Why?", "mixture": name or "ann>ben"}),
                ("review", {"text": "x", "mixture": name or "ann>ben"}),
                ("compare", {"question": "Why?", "mixtures": ["ann", name or "ann>ben"]}),
            ):
                said = client.call(tool, json.dumps(given))
                assert '"isError":true' in said.replace(" ", ""), (tool, name, said)
                assert "Traceback" not in said
                assert "has the details" not in said
                tried += 1
        models = client.call("models", "{}")
    assert tried > 150
    assert desk.server.requests == []
    assert "ben" not in models
    assert "team" not in models


def test_a_cap_that_is_no_amount_is_refused_and_nothing_is_asked(desk):
    with served(desk) as address:
        client = RawClient(address, KEY)
        for cost in WRONG_COSTS:
            given = f'{{"question": "Why?", "mixture": "ann", "max_cost_usd": {cost}}}'
            said = client.call("ask", given)
            assert "error" in said.lower(), (cost, said)
            assert "has the details" not in said
        assert desk.server.requests == []
        given = '{"question": "Why?", "mixture": "ann", "max_cost_usd": 1}'
        assert "scatters" in client.call("ask", given)


def test_a_call_makes_no_more_calls_than_a_request_of_the_server_may(desk):
    text = (desk.folder / "mixtura.toml").read_text()
    desk.write(f"{text}\n[serve]\nmost_calls = 5\n")
    process = desk.start("mcp", "--http", "0")
    address = process.stdout.readline().decode().split()[-1].rstrip(".")
    client = RawClient(address, "none")
    for name in ("ann*5>ben", "ann*99>ann*99>ben"):
        said = client.call("ask", json.dumps({"question": "Why?", "mixture": name}))
        assert "one request may make 5" in said, said
    process.terminate()
    assert desk.server.requests == []


def test_another_host_or_page_is_refused_however_it_is_named(desk):
    with served(desk) as address:
        place = urlsplit(address)
        heads = (
            f"POST http://evil.example/mcp HTTP/1.1\r\nHost: {place.netloc}\r\n",
            f"GET http://{place.netloc}.evil.example/mcp HTTP/1.1\r\nHost: {place.netloc}\r\n",
            f"POST /mcp HTTP/1.1\r\nHost: {place.hostname}:evil.com\r\n",
            f"POST /mcp HTTP/1.1\r\nHost: {place.netloc}\r\nSec-Fetch-Site: cross-site\r\n",
            f"DELETE /mcp HTTP/1.1\r\nHost: {place.netloc}\r\nOrigin: null\r\n",
        )
        statuses = [_status(place, head) for head in heads]
    assert statuses == [421, 400, 400, 403, 403]


def _status(place, head: str) -> int:
    key = f"Authorization: Bearer {KEY}\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection((place.hostname, place.port), timeout=30) as connection:
        connection.sendall((head + key).encode())
        return int(connection.recv(4096).split()[1])


def test_a_session_answers_to_the_key_that_began_it_alone(desk):
    with served(desk) as address:
        ida, eve = RawClient(address, KEY), RawClient(address, OTHER)
        eve.http.headers["mcp-session-id"] = ida.http.headers["mcp-session-id"]
        assert eve.send("ping", "{}").status_code == 404
        assert eve.http.delete(address).status_code == 404
        assert ida.send("ping", "{}").status_code == 200


def test_a_client_that_opens_sessions_without_end_leaves_room_for_others(monkeypatch):
    from mixtura.mcp import http_app
    from mixtura.server.apis.base import ApiError

    monkeypatch.setattr(http_app, "MAX_OPENED", 3)
    sessions = http_app.OpenedSessions()
    for _ in range(3):
        sessions.admit_session("ida")
    with pytest.raises(ApiError, match="sessions were opened"):
        sessions.admit_session("ida")
    sessions.admit_session("eve")


def test_a_clients_own_key_is_not_repeated_to_it_nor_kept(desk):
    desk.server.answers["ann"] = Answer((f"You said {KEY[:9]}", KEY[9:]))
    with served(desk) as address:
        RawClient(address, OTHER)  # its session's secrets are others
        client = RawClient(address, KEY)
        said = client.call("ask", json.dumps({"question": f"Say {KEY}", "mixture": "ann"}))
        refused = client.call("ask", json.dumps({"question": "Why?", "mixture": KEY}))
        listed = client.send("resources/list", "{}").text
        uri = listed.partition('"uri":"')[2].partition('"')[0]
        read = client.send("resources/read", json.dumps({"uri": uri})).text
    assert "***" in said
    for text in (said, refused, listed, read):
        assert not found(text, (KEY,)), text


def test_a_damaged_store_is_told_in_words(desk):
    with served(desk) as address:
        client = RawClient(address, KEY)
        client.call("ask", '{"question": "Why?", "mixture": "ann"}')
        uri = client.send("resources/list", "{}").text.partition('"uri":"')[2].partition('"')[0]
        (path,) = desk.folder.parent.rglob("mixtura.sqlite")
        with closing(sqlite3.connect(path, timeout=30)) as db, db:
            db.execute("UPDATE runs SET body = ?", (b"\xff\xfe damaged",))
        db.close()
        for method, params in (("resources/list", "{}"), ("resources/read", f'{{"uri": "{uri}"}}')):
            said = client.send(method, params).text
            assert "Traceback" not in said
            assert "UnicodeDecodeError" not in said
        assert "damaged" in said
