"""A key that is entered on the page: used at once, never shown, kept only if that was asked."""

from __future__ import annotations

import hashlib
import stat

import pytest

from mixtura.server.first_run import entry_refusal
from tests.support.serving import serving
from tests.support.upstream import Script, upstream_fixture

KEY = "sk-entered-0123456789abcdef"


upstream = upstream_fixture({"locked": Script("Opened.")})


def configuration(upstream, more: str = "") -> str:
    return (
        'default = "locked"\ncache = { use = false }\n[models.locked]\n'
        f'base_url = "{upstream.base_url()}"\nmodel = "locked"\n'
        f'api_key_env = "SOME_TEAM_KEY"\n{more}'
    )


def test_a_key_is_used_at_once_hidden_everywhere_and_kept_for_its_owner_alone(upstream, tmp_path):
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    file = tmp_path / "config" / "mixtura" / "keys.env"
    body = {"variable": "SOME_TEAM_KEY", "key": KEY}
    with serving(tmp_path / "one", configuration(upstream), environ=home) as server:
        asked = {"model": "locked"}
        assert server.post("/api/plan", asked).json["problem"] == "needs SOME_TEAM_KEY"
        assert server.post("/api/keys", body).json == {"variable": "SOME_TEAM_KEY", "saved": False}
        assert server.post("/api/plan", asked).json["problem"] is None
        assert not file.exists()
        assert server.chat(f"Is it {KEY}?", model="locked").status == 200
        assert upstream.of("locked")[-1].headers["authorization"] == f"Bearer {KEY}"
        run = server.get("/api/runs").json["runs"][0]["id"]
        for path in ("/api/start", "/api/setup", f"/api/runs/{run}", f"/api/runs/{run}/html"):
            assert KEY not in server.get(path).body.decode(), path
        rows = {row["variable"]: row["set"] for row in server.get("/api/start").json["keys"]}
        assert rows["SOME_TEAM_KEY"]
        assert not rows["OPENAI_API_KEY"]

        assert server.post("/api/keys", body | {"save": True}).json["saved"]
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in (tmp_path / "one" / "log").read_text()

    with serving(tmp_path / "two", configuration(upstream), environ=home) as server:
        assert server.chat("Again?", model="locked").status == 200
    assert upstream.of("locked")[-1].headers["authorization"] == f"Bearer {KEY}"


def test_wrong_keys_and_connections_that_others_read_are_refused(upstream, tmp_path):
    body = {"variable": "SOME_TEAM_KEY", "key": KEY}
    with serving(tmp_path / "one", configuration(upstream)) as server:
        assert server.post("/api/keys", body | {"variable": "PATH"}).status == 400
        short = server.post("/api/keys", body | {"key": "two words"})
        assert short.status == 400
        assert "two words" not in short.body.decode()
        assert server.post("/api/keys", b"{").status == 400
        proxied = server.post("/api/keys", body, X_Forwarded_For="192.0.2.7")
        assert (proxied.status, proxied.json["error"]["code"]) == (403, "not_on_this_connection")
        assert server.post("/api/starter", {}, X_Forwarded_For="192.0.2.7").status == 403
        assert server.get("/api/starter").json["state"] == "idle"
        assert server.post("/api/plan", {"model": "locked"}).json["problem"] is not None

    digest = hashlib.sha256(b"mx-a-client").hexdigest()
    with serving(
        tmp_path / "two", configuration(upstream, f'[serve.keys.me]\nsha256 = "{digest}"\n')
    ) as server:
        server.key = "mx-a-client"
        assert server.post("/api/keys", body).status == 403


class _Open:
    """A service without clients' keys."""

    class authenticator:  # noqa: N801
        is_key_required = False


@pytest.mark.parametrize(
    ("scheme", "server", "client", "taken"),
    [
        ("http", "127.0.0.1", "127.0.0.1", True),
        ("http", "::1", "::1", True),
        ("https", "192.0.2.1", "192.0.2.7", True),
        ("http", "192.0.2.1", "192.0.2.7", False),
        ("http", "192.0.2.1", "192.0.2.1", False),
    ],
)
def test_a_key_goes_over_loopback_or_tls_only(scheme, server, client, taken):
    scope = {"scheme": scheme, "server": (server, 8000), "client": (client, 1), "headers": []}
    assert (entry_refusal(_Open, scope) is None) == taken  # type: ignore[arg-type]
