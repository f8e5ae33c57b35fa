"""Certificates that nobody has signed, servers that speak TLS with them, a proxy before them."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.byte_server import Peer, Play, Server


def make_certificate(folder: Path, name: str, *more: str) -> Path:
    """A certificate for *name*, and its key, as ``cert.pem`` and ``key.pem`` in *folder*."""
    if not (openssl := shutil.which("openssl")):
        pytest.fail("this test wants the openssl command: apt-get install openssl")
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [
            openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
            "-days", "2", "-keyout", folder / "key.pem", "-out", folder / "cert.pem",
            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", *(more or ("-nodes",)),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


def speaking_tls(folder: Path, *, asks_for: Path | None = None) -> ssl.SSLContext:
    """A server's side of TLS; *asks_for*: the folder of the one certificate that it lets in."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    if asks_for is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(asks_for / "cert.pem")
    return context


def over_tls(server: Server, host: str = "localhost") -> str:
    return f"https://{host}:{server.host.split(':')[1]}/v1"


def tunnel(to: Callable[[], str], seen: list[str]) -> Play:
    """A proxy that connects and hands bytes on, both ways."""

    async def play(peer: Peer) -> None:
        seen.append((await peer.reader.readuntil(b"\r\n\r\n")).decode())
        host, port = to().split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await peer.send(b"HTTP/1.1 200 Connection established\r\nVia: us\r\n\r\n")

        async def carried(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(65536):
                    sink.write(data)
            sink.close()

        try:
            await asyncio.gather(carried(peer.reader, writer), carried(reader, peer.writer))
        finally:
            writer.close()

    return play


@contextmanager
def turning_away(tls: ssl.SSLContext) -> Iterator[str]:
    """The address of a server that turns one client away and says why, as asyncio's does not."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            end = tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
            with end, suppress(OSError):
                with suppress(ssl.SSLError):
                    end.do_handshake()
                socket.socket.shutdown(end, socket.SHUT_WR)
                while socket.socket.recv(end, 65536):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
