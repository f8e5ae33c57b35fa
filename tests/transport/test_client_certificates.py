"""Certificates with which a client says who it is, over both HTTP clients that know them."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mixtura import AiohttpTransport, ConfigError, Http1Transport, UnavailableError
from tests.conftest import run
from tests.support.byte_server import TRANSPORT, answering, got, serving, sized
from tests.support.tls import make_certificate, over_tls, speaking_tls, tunnel, turning_away

KINDS = [Http1Transport, AiohttpTransport]


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """The folder of a client's certificate and its key."""
    return make_certificate(tmp_path_factory.mktemp("ours"), "client")


@pytest.fixture(autouse=True)
def trusted(alone, certificate):
    """The server is trusted; what a test sets as the transport is forgotten after it."""
    alone.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
    token = TRANSPORT.set(TRANSPORT.get())
    yield alone
    TRANSPORT.reset(token)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_asks_for_a_certificate_is_shown_it(
    kind, together, ours, certificate, tmp_path
):
    file = tmp_path / "both.pem"
    file.write_bytes((ours / "cert.pem").read_bytes() + (ours / "key.pem").read_bytes())
    given = {"client_certificate": ours / "cert.pem", "client_key": str(ours / "key.pem")}
    TRANSPORT.set(kind(client_certificate=file) if together else kind(**given))

    async def ask() -> bytes:
        tls = speaking_tls(certificate, asks_for=ours)
        async with serving(answering(sized(b"you")), tls=tls) as server:
            return (await got(over_tls(server))).body

    assert run(ask()) == b"you"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", KINDS)
def test_without_one_the_error_says_what_the_server_wants(kind, version, ours, certificate):
    TRANSPORT.set(kind())

    tls = speaking_tls(certificate, asks_for=ours)
    tls.maximum_version = version

    with (
        turning_away(tls) as host,
        pytest.raises(UnavailableError, match=r"(requires|need) a client certificate \(.*ALERT"),
    ):
        run(got(f"https://localhost:{host.rpartition(':')[2]}/v1"))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_shown_to_the_server_behind_a_proxy(kind, ours, certificate, trusted):
    TRANSPORT.set(
        kind(client_certificate=ours / "cert.pem", client_key=ours / "key.pem"),
    )

    async def ask() -> bytes:
        tls = speaking_tls(certificate, asks_for=ours)
        async with (
            serving(answering(sized(b"you")), tls=tls) as server,
            serving(tunnel(lambda: server.host, [])) as proxy,
        ):
            trusted.setenv("https_proxy", f"http://{proxy.host}")
            return (await got(over_tls(server))).body

    assert run(ask()) == b"you"


def locked(folder: Path) -> tuple[Path, Path]:
    """A certificate whose key is locked by a passphrase."""
    make_certificate(folder / "locked", "client", "-passout", "pass:s3cret-word")
    return folder / "locked" / "cert.pem", folder / "locked" / "key.pem"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (lambda ours, other: ("nowhere.pem", None), "client_certificate: nowhere.pem cannot be"),
        (lambda ours, other: (ours / "cert.pem", "no.pem"), "client_key: no.pem cannot be read"),
        (lambda ours, other: (ours / "cert.pem", None), "has no certificate with its key"),
        (lambda ours, other: (ours / "cert.pem", other / "key.pem"), "client_key: this is not the"),
        (lambda ours, other: (__file__, __file__), "are not a certificate and a key in PEM form"),
        (lambda ours, other: (None, ours / "key.pem"), "client_key: its certificate is missing"),
        (lambda ours, other: locked(other), "client_key: the key is protected by a passphrase"),
    ],
    ids=["none", "no key", "one file", "mismatch", "no PEM", "key alone", "locked"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_no_certificate_and_key_are_told_in_words(
    kind, files, words, ours, certificate, tmp_path
):
    make_certificate(tmp_path, "other")
    certificate_file, key_file = files(ours, tmp_path)

    with pytest.raises(ConfigError) as error:
        kind(client_certificate=certificate_file, client_key=key_file)

    assert words in str(error.value)
