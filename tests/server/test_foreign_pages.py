"""Pages of other sites and names of other hosts: refused, on every route."""

from __future__ import annotations

import json
import re
import socket
from hashlib import sha256
from itertools import product
from urllib.parse import urlsplit

import pytest
from starlette.routing import Route

from mixtura.config.config import load
from mixtura.server.app import make_app
from tests.support.serving import serving, team
from tests.support.upstream import Script, upstream_fixture

BODY = json.dumps(
    {"model": "team", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 20}
).encode()
ROUTES = (
    ("POST", "/v1/chat/completions"), ("POST", "/v1/responses"), ("POST", "/v1/messages"),
    ("POST", "/api/plan"), ("GET", "/v1/models"), ("GET", "/v1/models/team"), ("GET", "/metrics"),
    ("GET", "/healthz"), ("GET", "/readyz"), ("GET", "/openapi.json"), ("GET", "/api/setup"),
    ("GET", "/api/runs"), ("GET", "/api/runs/x"), ("DELETE", "/api/runs/x"),
    ("GET", "/api/runs/x/html"), ("GET", "/app.mjs"), ("HEAD", "/"), ("HEAD", "/api/runs"),
    ("GET", "/"), ("GET", "/nowhere"), ("PUT", "/v1/models"), ("PATCH", "/"),
)  # fmt: skip

FURTHER_ROUTES = (
    ("POST", "/v1/completions"), ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses/input_tokens"), ("GET", "/v1/responses/x"),
    ("DELETE", "/v1/responses/x"), ("GET", "/v1/responses/x/input_items"), ("GET", "/v1/files"),
    ("POST", "/v1/files"), ("GET", "/v1/files/x"), ("DELETE", "/v1/files/x"),
    ("GET", "/v1/files/x/content"), ("GET", "/v1/batches"), ("POST", "/v1/batches"),
    ("GET", "/v1/batches/x"), ("POST", "/v1/batches/x/cancel"), ("POST", "/api/runs"),
    ("GET", "/api/runs/x/events"), ("POST", "/api/runs/x/control"), ("POST", "/api/runs/x/stop"),
    ("GET", "/api/conversations"), ("GET", "/api/conversations/x"),
    ("PATCH", "/api/conversations/x"), ("DELETE", "/api/conversations/x"),
    ("GET", "/api/conversations/x/markdown"), ("GET", "/api/conversations/x/json"),
    ("GET", "/api/start"), ("POST", "/api/keys"), ("GET", "/api/starter"), ("POST", "/api/starter"),
    ("POST", "/api/runs/x/again"), ("POST", "/api/runs/x/agreement"), ("GET", "/api/choices"),
    ("POST", "/api/choices"), ("GET", "/api/choices/x"), ("POST", "/api/mixtures"),
)  # fmt: skip
"""All others that are no file of the page, each tried with some of the headers."""


upstream = upstream_fixture({name: Script("Fine.") for name in ("a", "chief")})


@pytest.fixture(scope="module")
def server(upstream, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("open"), team(upstream, "a", "chief")) as found:
        yield found


@pytest.fixture(scope="module")
def shared(upstream, tmp_path_factory):
    """Two origins may ask."""
    more = '[serve]\ncors = ["https://chat.example", "chrome-extension://abcdef"]'
    with serving(tmp_path_factory.mktemp("cors"), team(upstream, "a", "chief", more=more)) as found:
        yield found


@pytest.fixture(scope="module")
def anyones(upstream, tmp_path_factory):
    """All may ask."""
    more = '[serve]\ncors = ["*"]'
    with serving(tmp_path_factory.mktemp("star"), team(upstream, "a", "chief", more=more)) as found:
        yield found


def raw(server, head: str, body: bytes = b"") -> tuple[int, str]:
    """A request as it is written; the status and all that came back."""
    place = urlsplit(server.url)
    with socket.create_connection((place.hostname, place.port), 30) as line:
        line.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body)
        reply = b""
        while piece := line.recv(65536):
            reply += piece
    return int(reply.split(b" ", 2)[1]), reply.decode("utf-8", "replace")


def asked(server, method: str, path: str, headers: dict[str, str], host: str | None = None):
    body = BODY if method in ("POST", "PUT", "PATCH") else b""
    lines = {"Host": host or urlsplit(server.url).netloc, "Connection": "close"} | headers
    if body:
        lines |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\n" for name, value in lines.items())
    return raw(server, f"{method} {path} HTTP/1.1\n{head}", body)


def port(server) -> int:
    return urlsplit(server.url).port


def foreign(server):
    own = port(server)
    origins = (
        "https://evil.example", "http://evil.example", "null", "file://", "http://127.0.0.1",
        f"http://127.0.0.1:{own + 1}", f"http://localhost:{own}", f"https://127.0.0.1:{own}.evil",
        f"http://127.0.0.1:{own}@evil.example", f"http://user@127.0.0.1:{own}", "http://[::1]",
        f"http://127.0.0.1:{own}/", f" http://127.0.0.1:{own}x", "chrome-extension://other",
        f"http://127.0.0.1.:{own}", f"http://127.0.0.1:{own}, http://evil.example", "",
        "https://chat.example.evil.example", "HTTPS://CHAT.EXAMPLE", "https://chat.example:444",
    )  # fmt: skip
    for origin in origins:
        yield {"Origin": origin}
        yield {"Origin": origin, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    for site in ("cross-site", "same-site", "Cross-Site", "same-origin, cross-site", "strange", ""):
        yield {"Sec-Fetch-Site": site}
        yield {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        yield {"Sec-Fetch-Site": site, "Origin": f"http://127.0.0.1:{own}"}


def test_a_page_of_another_site_gets_nothing_from_any_route(server, upstream):
    before = len(upstream.records)
    every = [*foreign(server)]
    tried = [*product(ROUTES, every), *product(FURTHER_ROUTES, every[::5])]
    for (method, path), headers in tried:
        status, reply = asked(server, method, path, headers)
        assert status == 403, (method, path, headers, reply)
        assert method == "HEAD" or "foreign_page" in reply or "permission_error" in reply
        assert "access-control-allow-origin" not in reply.lower()
    assert len(upstream.records) == before


def test_no_page_of_another_site_enters_a_key_even_where_it_may_ask(anyones, shared):
    for server, origin in ((anyones, "http://evil.example"), (shared, "https://chat.example")):
        for path in ("/api/keys", "/api/starter", "/api/mixtures"):
            status, reply = asked(server, "POST", path, {"Origin": origin})
            assert status == 403, reply
            assert "only from this server's own page" in reply


def test_every_route_of_the_server_is_tried_here(tmp_path):
    (tmp_path / "mixtura.toml").write_text("")
    config = load(
        str(tmp_path / "mixtura.toml"), environ={"XDG_STATE_HOME": str(tmp_path)},
        folder=tmp_path, home=tmp_path,
    )  # fmt: skip
    tried = {*ROUTES, *FURTHER_ROUTES}
    untried = []
    for route in make_app(config, host="127.0.0.1").routes:
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            if "{" not in route.path and method == "GET" and "." in route.path:
                continue  # the page's files
            form = re.compile(re.sub(r"\{[^}]*\}", "[^/]+", route.path))
            if not any(m == method and form.fullmatch(path) for m, path in tried):
                untried.append((method, route.path))
    assert untried == []


def test_a_page_of_this_server_and_whatever_is_no_browser_go_on_as_before(server):
    own = f"127.0.0.1:{port(server)}"
    for headers in (
        {}, {"Origin": f"http://{own}"}, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Mode": "cors"},
        {"Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
    ):  # fmt: skip
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/api/setup"), ("GET", "/")):
            assert asked(server, method, path, headers)[0] == 200, headers
    for name in ("localhost", "LOCALHOST", "[::1]"):
        host = f"{name}:{port(server)}"
        page = {"Origin": f"http://{host.lower()}"}
        assert asked(server, "GET", "/api/setup", page, host)[0] == 200


def test_behind_a_proxy_with_tls_the_page_at_its_own_name_may_ask(upstream, tmp_path):
    more = '[serve]\nhosts = ["mix.example"]'
    with serving(tmp_path, team(upstream, "a", "chief", more=more)) as server:
        for origin, host, status in (
            ("https://mix.example", "mix.example", 200),
            ("https://mix.example", "mix.example:443", 200),
            ("https://mix.example:8443", "mix.example:8443", 200),
            ("https://mix.example:8443", "mix.example", 403),
            ("http://mix.example", f"mix.example:{port(server)}", 403),
            ("https://other.example", "mix.example", 403),
        ):
            assert asked(server, "GET", "/api/setup", {"Origin": origin}, host)[0] == status


def test_a_link_on_another_site_opens_the_page_and_nothing_else(server):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    opened = link | {"Sec-Fetch-Dest": "document", "Sec-Fetch-User": "?1"}
    for path in ("/", "/?from=elsewhere"):
        assert asked(server, "GET", path, opened)[0] == 200
    for dest in ("iframe", "embed", "object", "frame"):
        assert asked(server, "GET", "/", link | {"Sec-Fetch-Dest": dest})[0] == 403
    assert asked(server, "GET", "/", opened | {"Origin": "https://evil.example"})[0] == 403
    assert asked(server, "POST", "/", opened)[0] == 403
    for method, path in ROUTES:
        if path != "/":
            assert asked(server, method, path, opened)[0] == 403, path


def test_pages_of_configured_origins_may_ask_and_no_others(shared):
    for origin in ("https://chat.example", "chrome-extension://abcdef"):
        for site in ("cross-site", "same-site", None):
            headers = {"Origin": origin} | ({"Sec-Fetch-Site": site} if site else {})
            for method, path in (("POST", "/v1/messages"), ("GET", "/v1/models")):
                status, reply = asked(shared, method, path, headers)
                assert status == 200
                assert f"access-control-allow-origin: {origin}" in reply.lower()
    for (method, path), headers in product(ROUTES[:8], foreign(shared)):
        assert asked(shared, method, path, headers)[0] == 403, headers


def test_a_preflight_is_answered_as_cors_says(shared, server, anyones):
    def preflight(where, origin):
        wanted = {"Origin": origin, "Access-Control-Request-Method": "POST",
                  "Access-Control-Request-Headers": "content-type"}  # fmt: skip
        headers = wanted | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        status, reply = asked(where, "OPTIONS", "/v1/chat/completions", headers)
        return status, "access-control-allow-origin" in reply.lower()

    assert preflight(shared, "https://chat.example") == (200, True)
    assert preflight(shared, "https://evil.example") == (400, False)
    assert preflight(server, "https://evil.example") == (405, False)
    assert preflight(anyones, "https://evil.example") == (200, True)


def test_a_star_lets_every_page_ask(anyones):
    for origin in ("https://evil.example", "null", "http://localhost:3000"):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
        for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
            status, reply = asked(anyones, method, path, headers)
            assert (status, "access-control-allow-origin: *" in reply.lower()) == (200, True)


# ---- hosts

WRONG_HOSTS = (
    ("127.0.0.1:evil.com", 400), ("127.0.0.1:80evil", 400), ("127.0.0.1:123456", 400),
    ("127.0.0.1:99999", 400), ("127.0.0.1:-1", 400), ("127.0.0.1:80:80", 400), ("", 400),
    ("user@127.0.0.1", 400), ("127.0.0.1@evil.com", 400), ("user:pw@localhost", 400),
    ("localhost/", 400), ("localhost/@evil.com", 400), ("http://localhost", 400),
    ("localhost, evil.com", 400), ("localhost evil.com", 400), ("localhost#", 400),
    ("::1", 400), ("[::1", 400), ("[::1]evil", 400), ("[::1].evil.com", 400), ("[::1%25lo]", 400),
    ("[evil.com]", 400), ("[::1]:x", 400), ("[:::1]", 400), ("local\u00e9host", 400),
    ("127.0.0.1\\@evil.com", 400), ("%6cocalhost", 400), (":80", 400),
    ("evil.com", 421), ("localhost.", 421), ("127.0.0.1.", 421), ("localhost.evil.com", 421),
    ("127.0.0.1.evil.com", 421), ("evil.com:6498", 421), ("127.1", 421), ("2130706433", 421),
    ("0x7f.0.0.1", 421), ("[::2]", 421), ("[::ffff:127.0.0.1]", 421), ("0.0.0.0", 421),
)  # fmt: skip
TARGETS = (
    ("http://evil.com/v1/models", "localhost", 421),
    ("https://evil.com/v1/models", "localhost", 421),
    ("HTTP://EVIL.COM/v1/models", "localhost", 421),
    ("http://localhost.evil.com/v1/models", "localhost", 421),
    ("http://user@localhost/v1/models", "localhost", 400),
    ("http://localhost@evil.com/v1/models", "localhost", 400),
    ("http://localhost:evil/v1/models", "localhost", 400),
    ("http://127.0.0.1/v1/models", "localhost", 400),
    ("http://localhost:1/v1/models", "localhost", 400),
    ("http://localhost/v1/models", "evil.com", 421),
    ("ftp://localhost/v1/models", "localhost", 400),
    ("http:///v1/models", "localhost", 400),
    ("http://localhost/v1/models", "localhost", 200),
    ("http://LocalHost/v1/models?x=1", "LOCALHOST", 200),
    ("http://[::1]:5/v1/models", "[0:0:0:0:0:0:0:1]:5", 200),
)


@pytest.mark.parametrize(("host", "status"), WRONG_HOSTS)
def test_a_host_header_that_names_no_host_or_another_is_refused(host, status, server):
    for path in ("/v1/models", "/", "/healthz"):
        head = f"GET {path} HTTP/1.1\nHost: {host}\nConnection: close\n"
        assert raw(server, head)[0] == status


@pytest.mark.parametrize(("target", "host", "status"), TARGETS)
def test_the_host_of_a_whole_url_in_the_request_line_counts_too(target, host, status, server):
    head = f"GET {target} HTTP/1.1\nHost: {host}\nConnection: close\n"
    assert raw(server, head)[0] == status


def test_no_host_two_hosts_and_tunnels_are_refused(server):
    own = f"127.0.0.1:{port(server)}"
    for line, status in (
        ("GET /v1/models HTTP/1.1\n", 400),
        (f"GET /v1/models HTTP/1.1\nHost: {own}\nHost: {own}\n", 400),
        (f"GET /v1/models HTTP/1.1\nHost: {own}\nhost: evil.com\n", 400),
        (f"CONNECT evil.com:443 HTTP/1.1\nHost: {own}\n", 400),
        (f"GET evil.com/v1/models HTTP/1.1\nHost: {own}\n", 400),
        (f"GET //evil.com/v1/models HTTP/1.1\nHost: {own}\n", 404),
    ):
        assert raw(server, f"{line}Connection: close\n")[0] == status, line


def test_where_any_name_will_do_it_is_still_one_host(upstream, tmp_path):
    more = f'[serve.keys.k]\nsha256 = "{sha256(b"k").hexdigest()}"'
    with serving(tmp_path, team(upstream, "a", "chief", more=more), "--host", "0.0.0.0") as server:
        server.url = server.url.replace("0.0.0.0", "127.0.0.1")
        for target, host, status in (
            ("/v1/models", "whatever.example", 200), ("/v1/models", "whatever.example:x", 400),
            ("http://one.example/v1/models", "two.example", 400),
            ("http://one.example/v1/models", "one.example", 200),
        ):  # fmt: skip
            head = f"GET {target} HTTP/1.1\nHost: {host}\nAuthorization: Bearer k\n"
            assert raw(server, f"{head}Connection: close\n")[0] == status
        page = {"Origin": "https://evil.example", "Authorization": "Bearer k"}
        assert asked(server, "GET", "/v1/models", page)[0] == 403


def test_a_websocket_is_never_opened(server):
    own = f"127.0.0.1:{port(server)}"
    upgrade = (
        "Upgrade: websocket\nConnection: Upgrade, close\nSec-WebSocket-Version: 13\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\n"
    )
    for path in ("/", "/v1/chat/completions", "/api/runs"):
        for origin, status in ((f"http://{own}", (200, 405)), ("https://evil.example", (403,))):
            head = f"GET {path} HTTP/1.1\nHost: {own}\nOrigin: {origin}\n{upgrade}"
            assert raw(server, head)[0] in status


def test_readyz_tells_a_key_only_of_a_default_that_it_may_use(tmp_path):
    def table(name, models):
        return f'[serve.keys.{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\n{models}\n'

    configuration = (
        'default = "big"\n[models.big]\nprovider = "openai"\nmodel = "gpt-5.4"\n'
        '[models.small]\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "x"\n'
        + table("owner", "")
        + table("friend", 'models = ["small"]')
    )
    with serving(tmp_path, configuration) as server:
        for who, told in (("owner", True), ("friend", False), (None, False)):
            server.key = who
            answer = server.get("/readyz")
            assert answer.status == 503
            assert ("OPENAI_API_KEY" in answer.body.decode()) is told
