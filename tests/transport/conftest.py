"""The transports that the same tests run over, and a world without proxies and with TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mixtura.transport.aiohttp_transport import AiohttpTransport
from mixtura.transport.base import Transport
from mixtura.transport.pool import BUILT_IN, Http1Transport
from tests.support.byte_server import TRANSPORT
from tests.support.tls import make_certificate

TRANSPORTS: dict[str, Callable[[], Transport]] = {
    "built-in": lambda: BUILT_IN,
    "without batches": lambda: Http1Transport(batched_reads=False),
    "aiohttp": AiohttpTransport,
}


@pytest.fixture(params=TRANSPORTS)
def each_transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    """A test that uses this runs once over each: they behave alike."""
    transport = TRANSPORTS[request.param]()
    token = TRANSPORT.set(transport)
    yield transport
    TRANSPORT.reset(token)


@pytest.fixture
def alone(monkeypatch):
    """An environment without proxies of its own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a certificate for «localhost» that nobody has signed, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "localhost")
