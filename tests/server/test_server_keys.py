"""Who may come in to a server, and how much a key or a request may spend."""

from __future__ import annotations

from hashlib import sha256

import pytest

from tests.support import chat_server
from tests.support.chat_server import QUESTION, seen
from tests.support.serving import serving, team

server = chat_server.server
upstream = chat_server.upstream


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


def test_one_client_does_not_see_the_runs_of_another(locked):
    locked.key = KEY
    run = locked.chat(model="team").headers["x-mixtura-run"]
    seen(lambda: locked.get(f"/api/runs/{run}").status == 200)
    locked.key = "busy"
    assert locked.get(f"/api/runs/{run}").status == 404
    assert run not in locked.get("/api/runs").body.decode()
    assert locked.post(f"/api/runs/{run}", b"", method="DELETE").status == 404
