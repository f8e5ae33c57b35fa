"""Every hosted provider, on this machine: a proxy that answers under all of their names.

A program is sent here by `HTTPS_PROXY` and trusts it by `SSL_CERT_FILE`; nothing in it is replaced.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.loopback import QuietServer
from tests.support.paths import ROOT

PROVIDERS = ROOT / "src" / "mixtura" / "presets" / "providers.toml"
ANSWER = "Air scatters blue light more than red light.\n\n\\boxed{4}"


class HostedProviders:
    """The proxy's address, the environment that leads to it, and what was asked through it."""

    def __init__(self, folder: Path) -> None:
        self.providers = tomllib.loads(PROVIDERS.read_text())
        self.answer = ANSWER
        self.asked: list[tuple[str, str]] = []
        """Host and model of each request to a model."""
        self.refused: list[str] = []
        """Addresses that were wanted and are none of a provider's models."""
        addresses = [one["base_url"] for one in self.providers.values() if "base_url" in one]
        hosts = {str(urlsplit(address).hostname) for address in addresses}
        self._certificate = _make_certificate(folder, sorted(hosts))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(self._certificate, folder / "key.pem")
        self.http = QuietServer(self, _Handler)

    @property
    def environment(self) -> dict[str, str]:
        """What leads a program here: without a key of any provider."""
        address = f"http://127.0.0.1:{self.http.server_port}"
        return {
            "HTTPS_PROXY": address, "HTTP_PROXY": address, "NO_PROXY": "127.0.0.1,localhost",
            "SSL_CERT_FILE": str(self._certificate),
        }  # fmt: skip

    @property
    def keys(self) -> dict[str, str]:
        """A key for every provider whose models answer here, in the variable that it goes by."""
        return {
            one["keys"][0]: f"key-of-{name}-0123456789"
            for name, one in self.providers.items()
            if one.get("keys") and one.get("dialect", "openai") == "openai"
        }

    def wrap_connection(self, connection: Any) -> ssl.SSLSocket:
        return self._tls.wrap_socket(connection, server_side=True)


@contextmanager
def hosted_providers(folder: Path) -> Iterator[HostedProviders]:
    """The providers for the length of a block; *folder* keeps their certificate."""
    providers = HostedProviders(folder)
    thread = threading.Thread(target=providers.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield providers
    finally:
        providers.http.shutdown()
        providers.http.server_close()
        thread.join()


def _make_certificate(folder: Path, hosts: list[str]) -> Path:
    if not (openssl := shutil.which("openssl")):
        pytest.fail("this test needs the openssl command: apt-get install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    names = ",".join(f"DNS:{host}" for host in hosts)
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-days", "2", "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
            "-subj", "/CN=providers", "-addext", f"subjectAltName={names}",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder / "cert.pem"


class _Handler(BaseHTTPRequestHandler):
    server: QuietServer

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    def do_CONNECT(self) -> None:
        """A tunnel, whose far end is here as well: the next request comes over TLS."""
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        host = self.path.partition(":")[0]
        secure = self.server.front.wrap_connection(self.connection)
        self.rfile, self.wfile = secure.makefile("rb"), secure.makefile("wb", 0)
        self._host = host
        self.handle_one_request()
        self.close_connection = True
        with suppress(OSError):
            secure.unwrap()
        secure.close()

    def do_GET(self) -> None:
        self.server.front.refused.append(f"{getattr(self, '_host', '')}{self.path}")
        self._reply(404, {"error": {"message": "not found"}})

    do_HEAD = do_GET  # noqa: N815 - http.server's name

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            self.do_GET()
            return
        front = self.server.front
        front.asked.append((self._host, request["model"]))
        usage = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}
        about = {"id": "a", "created": 1, "model": request["model"]}
        if not request.get("stream"):
            message = {"role": "assistant", "content": front.answer}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._reply(
                200, about | {"object": "chat.completion", "choices": [choice], "usage": usage}
            )
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        about["object"] = "chat.completion.chunk"
        for delta, reason in (({"content": front.answer}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            self._event(about | {"choices": [choice]})
        self._event(about | {"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, data: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _reply(self, status: int, data: dict[str, Any]) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
