"""A changed team, saved as a mixture of the server: offered at once, and after a restart."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support import page_world
from tests.support.page_world import configured
from tests.support.serving import serving

upstream = page_world.upstream

TEAM = {
    "name": "my team",
    "model": "team",
    "mixtura": {
        "proposers": [{"model": "ann", "samples": 2, "persona": "Doubt\n\"it\"."}, "ben*2"],
        "aggregator": {"model": "cleo", "persona": "One table.", "sampling": {"top_p": 0.5}},
        "layers": 3,
    },
}  # fmt: skip


def offered(server) -> dict:
    return {one["name"]: one for one in server.get("/api/setup").json["mixtures"]}


def test_a_saved_team_is_asked_at_once_and_after_a_restart_with_all_that_was_changed(
    upstream, tmp_path
):
    own = "# my own words\n" + configured(upstream, '[mixtures.few]\nlayers = [["ann"]]\n'
        'aggregator = "ben"\nquorum = 1\nsynthesis = "paper"\n')  # fmt: skip
    for _ in range(2):
        with serving(tmp_path / "served", own) as server:
            if "my team" not in offered(server):
                saved = server.post("/api/mixtures", TEAM)
                assert saved.status == 200, saved.body
            found = offered(server)["my team"]
            assert [len(row) for row in found["layers"]] == [2, 2]
            assert found["layers"][0][0]["persona"] == 'Doubt\n"it".'
            assert found["last"]["sampling"] == {"top_p": 0.5}
            assert found["calls"] == 9
            before = len(upstream.of("cleo"))
            assert server.chat(model="my team").status == 200
            assert "One table." in str(upstream.of("cleo")[before].body["messages"][0])

            again = server.post("/api/mixtures", TEAM)
            assert (again.status, again.json["error"]["code"]) == (409, "saved_before")
    with serving(tmp_path / "served", own) as server:
        other = TEAM | {"model": "few", "mixtura": {"aggregator": "chief"}, "replace": True}
        file = server.post("/api/mixtures", other).json["file"]
        asked = len(upstream.records)
        assert server.chat(model="my team").status == 200
        assert [one.model for one in upstream.records[asked:]] == ["ann", "chief"]
        assert 'synthesis = "paper"' in Path(file).read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        ({"name": "deep"}, 409, "something else here"),
        ({"name": "ann"}, 409, "something else here"),
        ({"name": "self"}, 409, "something else here"),
        ({"name": "openai/gpt-5.4"}, 409, "something else here"),
        ({"name": "a,b"}, 400, "cannot contain"),
        ({"name": "two\nlines"}, 400, "in one line"),
        ({"name": " "}, 400, "1 to 80"),
        ({"mixtura": {"proposers": ["nobody-here"]}}, 404, "nobody-here"),
        ({"mixtura": {"proposers": [{"model": "ann", "persona": "sk-ant-" + "k3Y9" * 20}]}},
         400, "a key or a login"),
    ],
)  # fmt: skip
def test_what_cannot_be_saved_is_refused_and_nothing_is_written(
    upstream, tmp_path, change, status, said
):
    with serving(tmp_path / "served", configured(upstream)) as server:
        answer = server.post("/api/mixtures", TEAM | change)
        assert (answer.status, said in answer.json["error"]["message"]) == (status, True), answer
    assert not list(tmp_path.rglob("*.saved.toml"))


def test_teams_are_saved_from_the_servers_own_page_only(upstream, tmp_path):
    with serving(tmp_path / "one", configured(upstream)) as server:
        for headers in ({"X_Forwarded_For": "192.0.2.7"}, {"Origin": "http://elsewhere.example"}):
            assert server.post("/api/mixtures", TEAM, **headers).status == 403
    digest = hashlib.sha256(b"mx-a-client").hexdigest()
    keys = f'[serve.keys.me]\nsha256 = "{digest}"\n'
    with serving(tmp_path / "two", configured(upstream, keys)) as server:
        server.key = "mx-a-client"
        assert server.post("/api/mixtures", TEAM).status == 403
        assert not server.get("/api/setup").json["saves"]
    assert not list(tmp_path.rglob("*.saved.toml"))
