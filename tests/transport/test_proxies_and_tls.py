"""Proxies and TLS over every transport, and servers that are not there."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl

import pytest

from mixtura.core.errors import RejectedError, TimedOutError, UnavailableError
from tests.conftest import run
from tests.support import byte_server as wire
from tests.support.tls import over_tls, speaking_tls, tunnel

pytestmark = pytest.mark.usefixtures("each_transport")


def test_plain_requests_name_their_server_to_the_proxy(alone):
    async def ask() -> wire.Server:
        async with wire.serving(wire.answering(wire.sized(b"through"))) as proxy:
            alone.setenv("http_proxy", f"http://us%40er:pass@{proxy.host}")
            alone.setenv("no_proxy", "elsewhere.example")
            assert (await wire.got("http://nowhere.example/v1?a=b")).body == b"through"
            return proxy

    ((first, headers, _),) = run(ask()).requests
    assert first == "POST http://nowhere.example/v1?a=b HTTP/1.1"
    assert headers["host"] == "nowhere.example"
    login = base64.b64encode(b"us@er:pass").decode().lower()
    assert headers["proxy-authorization"] == f"basic {login}"


def test_plain_requests_go_through_a_proxy_that_speaks_tls(alone, certificate):
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    async def ask() -> wire.Server:
        async with wire.serving(
            wire.answering(wire.sized(b"through")), tls=speaking_tls(certificate)
        ) as proxy:
            alone.setenv("http_proxy", f"https://localhost:{proxy.host.rpartition(':')[2]}")
            for _ in range(2):
                assert (await wire.got("http://nowhere.example/v1")).body == b"through"
            return proxy

    assert run(ask()).requests[0][0] == "POST http://nowhere.example/v1 HTTP/1.1"


@pytest.mark.parametrize("spared", ["127.0.0.1", "*", "localhost,127.0.0.1"])
def test_servers_that_the_environment_spares_are_reached_without_the_proxy(spared, alone):
    alone.setenv("http_proxy", "http://127.0.0.1:9")
    alone.setenv("no_proxy", spared)

    (answer,), server = wire.asked(wire.answering(wire.sized(b"x")))

    assert answer.body == b"x"
    assert server.requests[0][0].startswith("POST /v1")


def test_a_netrc_is_nobodys_business(alone, tmp_path):
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password mine\n")
    netrc.chmod(0o600)
    alone.setenv("HOME", str(tmp_path))
    alone.setenv("NETRC", str(netrc))

    _, server = wire.asked(wire.answering(wire.sized(b"x")))

    assert "authorization" not in server.requests[0][1]


def test_a_plain_request_loads_no_certificates(alone):
    def load_certificates() -> ssl.SSLContext:
        raise AssertionError("certificates are loaded for a connection without TLS")

    alone.setattr(ssl, "create_default_context", load_certificates)

    async def ask() -> wire.Got:
        async with wire.serving(wire.answering(wire.sized(b"plain"))) as server:
            return await wire.got(f"http://{server.host}/v1")

    assert run(ask()).body == b"plain"


def test_tls_with_a_trusted_certificate_works_like_any_other_line(alone, certificate):
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    async def ask() -> tuple[list[wire.Got], wire.Server]:
        async with wire.serving(
            wire.answering(
                wire.STREAM,
                *(wire.chunk(b"%d " % i) for i in range(40)),
                wire.chunk(b"[DONE]"),
                wire.END,
            ),
            tls=speaking_tls(certificate),
        ) as server:
            return [await wire.got(over_tls(server), frame=frame) for frame in (None, 0.01)], server

    answers, server = run(ask())
    assert [a.body for a in answers] == [b" ".join(b"%d" % i for i in range(40)) + b" [DONE]"] * 2
    assert len(server.peers) == 1


@pytest.mark.parametrize(("trusted", "host"), [(False, "localhost"), (True, "127.0.0.1")])
def test_a_certificate_of_somebody_else_ends_the_call(trusted, host, alone, certificate):
    if trusted:
        alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))

    async def ask() -> None:
        async with wire.serving(
            wire.answering(wire.sized(b"x")), tls=speaking_tls(certificate)
        ) as server:
            with pytest.raises(UnavailableError, match="certificate is not trusted"):
                await wire.got(over_tls(server, host))
            assert not server.requests
            await asyncio.sleep(0.05)  # the server's half of the handshake ends, too

    run(ask())


def test_tls_goes_through_a_tunnel_and_the_proxy_sees_nothing_of_it(alone, certificate):
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    seen: list[str] = []

    async def ask() -> wire.Server:
        async with (
            wire.serving(
                wire.answering(wire.sized(b"secret")), tls=speaking_tls(certificate)
            ) as server,
            wire.serving(tunnel(lambda: server.host, seen)) as proxy,
        ):
            alone.setenv("https_proxy", f"http://user:pass@{proxy.host}")
            for _ in range(2):
                answer = await wire.got(over_tls(server), headers={"Authorization": "Bearer key"})
                assert answer.body == b"secret"
            return server

    server = run(ask())
    assert len(server.requests) == 2
    (connect,) = seen
    port = server.host.split(":")[1]
    assert connect.startswith(f"CONNECT localhost:{port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in connect
    assert "Bearer" not in connect
    assert "proxy-authorization" not in server.requests[0][1]


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (b"HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n", RejectedError, "HTTP 407"),
        (b"HTTP/1.1 502 No\r\n\r\nwhat", UnavailableError, "HTTP 502"),
        (b"", UnavailableError, "closed it"),
    ],
)
def test_a_proxy_that_refuses_is_named_as_the_one_who_did(reply, error, said, alone):
    async def ask() -> None:
        async with wire.serving(wire.answering(reply, close=True)) as proxy:
            alone.setenv("https_proxy", f"http://{proxy.host}")
            with pytest.raises(error, match=said):
                await wire.got("https://nowhere.example/v1")

    run(ask())


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])  # the second may be two addresses
def test_a_server_that_is_not_there_is_named_with_the_systems_reason(name):
    async def ask() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            host = f"{name}:{taken.getsockname()[1]}"
        with pytest.raises(UnavailableError) as error:
            await wire.got(f"http://{host}/v1")
        assert str(error.value) == f"no connection to {host} (Connection refused)"

    run(ask())


def test_a_server_that_does_not_take_the_call_is_not_waited_for():
    async def ask() -> None:
        async with wire.serving(lambda peer: peer.left()) as server:
            transport = wire.TRANSPORT.get()
            with pytest.raises(TimedOutError, match=r"no connection within 0.05 s"):
                await transport.send_request("GET", over_tls(server), {}, b"", connect=0.05)

    run(ask())


def test_a_server_that_speaks_no_tls_is_told_in_the_words_of_tls(alone):
    async def plain(peer: wire.Peer) -> None:
        await peer.send(b"SSH-2.0-nothing of yours\r\n")
        await peer.left()

    async def ask() -> str:
        async with wire.serving(plain) as server:
            with pytest.raises(UnavailableError) as error:
                await wire.got(over_tls(server))
            return str(error.value)

    assert re.search(
        r"no connection to localhost:\d+ \(TLS: the server does not use it", run(ask())
    )
