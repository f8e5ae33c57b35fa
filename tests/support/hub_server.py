"""A Hugging Face hub on this machine with one model, which answers as it is told to."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from mixtura.catalog import local_models
from mixtura.catalog.local_models import HubSource

NAME = "qwen2.5-0.5b"
MODEL = local_models.known_models()[NAME]
COMMIT = "c" * 40


@dataclass
class Shelf:
    """What the loopback hub has and how it behaves."""

    content: bytes = b"GGUF" + bytes(range(256)) * 64
    sent: bytes | None = None
    cuts: list[int] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    stall: threading.Event | None = None
    seen: Counter[str] = field(default_factory=Counter)
    ranges: list[str] = field(default_factory=list)
    tokens: dict[str, set[str | None]] = field(default_factory=lambda: {"hub": set(), "cdn": set()})
    endpoint: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    def do_HEAD(self) -> None:
        shelf = self.server.shelf
        shelf.seen["HEAD"] += 1
        shelf.tokens["hub"].add(self.headers["Authorization"])
        source = MODEL.source
        assert isinstance(source, HubSource)
        if shelf.refusal:
            status, code = shelf.refusal
            self.answer(status, {"X-Error-Code": code} if code else {})
        elif self.path == f"/{source.repo}/resolve/{source.revision}/{source.file}":
            # Another host name makes it another origin, as the hub's CDN is.
            blob = f"http://localhost:{self.server.server_port}/cdn/{shelf.sha256}"
            about = {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{shelf.sha256}"',
                "X-Linked-Size": str(len(shelf.content)),
                "Location": blob,
            }
            self.answer(302, about)
        else:
            self.answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})

    def do_GET(self) -> None:
        shelf = self.server.shelf
        if not self.path.startswith("/cdn/"):  # the client is curious about more than models
            self.answer(404, {})
            return
        shelf.seen["GET"] += 1
        shelf.tokens["cdn"].add(self.headers["Authorization"])
        asked = self.headers["Range"]
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        shelf.ranges.append(asked or "all")
        body = (shelf.content if shelf.sent is None else shelf.sent)[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        if asked:
            end = start + len(body)
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{end}")
        self.end_headers()
        if shelf.cuts:
            self.wfile.write(body[: shelf.cuts.pop(0)])
            self.close_connection = True
        elif shelf.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            shelf.stall.wait(20)
            self.close_connection = True
        else:
            self.wfile.write(body)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


class HubServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.shelf = shelf


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    server = HubServer(shelf)
    shelf.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield shelf
    if shelf.stall:
        shelf.stall.set()
    server.shutdown()
    thread.join()
    server.server_close()
