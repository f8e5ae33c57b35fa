"""A real HTTP server on this machine that speaks OpenAI's chat completions, and as Ollama does."""

from __future__ import annotations

import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """
    What a model says, and how.

    *pieces* come *pace* seconds apart after *delay*; a *status* other than 200 refuses with
    *error*; *breaks_off* ends the stream without a word about why.
    """

    pieces: tuple[str, ...] = ("Hello.",)
    delay: float = 0.0
    pace: float = 0.0
    status: int = 200
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: int = 10
    completion_tokens: int | None = None
    breaks_off: bool = False
    finish: str = "stop"

    @classmethod
    def text(cls, text: str, **how: Any) -> Answer:
        """A text in pieces of a word each."""
        return cls(tuple(re.findall(r"\S+\s*", text)), **how)

    @classmethod
    def refused(cls, status: int, error: str) -> Answer:
        return cls(status=status, error=error)


Says = Answer | Callable[[Json], Answer]


class Loopback:
    """The server as a test sees it: what its models say, and what they were asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Says] = {}
        self.tags: list[Json] | None = None
        """What `/api/tags` lists; None: this is not an Ollama."""
        self.requests: list[Json] = []
        self.headers: list[Mapping[str, str]] = []
        self.left: list[str] = []
        """Models whose caller hung up before the answer's end."""
        self.answering = threading.Semaphore(0)
        """Released whenever a model has read its request."""
        self.most_at_once = 0
        self._lock = threading.Lock()
        self._open = 0
        self._http = QuietServer(self, _Handler)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def base_url(self) -> str:
        return f"http://{self.host}/v1"

    def asked(self, model: str) -> list[Json]:
        """The requests to one model, in the order they came."""
        return [request for request in self.requests if request["model"] == model]

    def wait_until_asked(self, times: int, seconds: float = 20) -> None:
        for _ in range(times):
            assert self.answering.acquire(timeout=seconds), "nobody asked"

    def wait_until_left(self, models: Sequence[str], seconds: float = 5) -> None:
        end = time.monotonic() + seconds
        while sorted(self.left) != sorted(models) and time.monotonic() < end:
            time.sleep(0.01)
        assert sorted(self.left) == sorted(models)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One more answer under way, for *most_at_once*."""
        with self._lock:
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def run(self) -> None:
        self._http.serve_forever(poll_interval=0.02)

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@contextmanager
def loopback() -> Iterator[Loopback]:
    """A server for the length of a block."""
    server = Loopback()
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@contextmanager
def babble(said: bytes = b"SSH-2.0-nothing of yours\r\n") -> Iterator[str]:
    """A server that speaks no HTTP; gives its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve() -> None:
            with suppress(OSError), server.accept()[0] as caller:
                caller.sendall(said)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def nobody() -> str:
    """The host and port of a server that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"127.0.0.1:{taken.getsockname()[1]}"


class QuietServer(ThreadingHTTPServer):
    """A server of *front*'s on a free port, which says nothing of what goes wrong in it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, front: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.front = front

    def handle_error(self, request: Any, client_address: Any) -> None: ...


class _Handler(BaseHTTPRequestHandler):
    server: QuietServer

    def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002

    def do_GET(self) -> None:
        if self.path == "/api/tags" and self.server.front.tags is not None:
            self._json(200, {"models": self.server.front.tags})
        else:
            self._json(404, {"error": {"message": f"no {self.path} here"}})

    def do_POST(self) -> None:
        front = self.server.front
        request: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        front.headers.append(dict(self.headers.items()))
        front.requests.append(request)
        says = front.answers.get(request["model"], Answer())
        front.answering.release()
        answer = says(request) if callable(says) else says
        try:
            with front.counted():
                self._wait(answer.delay)
                end = self._answer(answer)
            # Uncounted first: who reads the end may ask again before this thread goes on.
            self.wfile.write(end)
        except OSError:
            front.left.append(request["model"])

    def _answer(self, answer: Answer) -> bytes:
        """Write an answer up to its end; give that end."""
        if answer.status != 200:
            return self._head(answer.status, {"error": {"message": answer.error}}, answer.headers)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in answer.pieces:
            self._event({"choices": [{"index": 0, "delta": {"content": piece}}]})
            self._wait(answer.pace)
        if answer.breaks_off:
            return b""
        wrote = answer.completion_tokens
        usage = {
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": len(answer.pieces) if wrote is None else wrote,
        }
        self._event({"choices": [{"index": 0, "delta": {}, "finish_reason": answer.finish}]})
        self._event({"choices": [], "usage": usage})
        return b"data: [DONE]\n\n"

    def _event(self, data: Json) -> None:
        self.wfile.write(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _json(self, status: int, data: Json) -> None:
        self.wfile.write(self._head(status, data, {}))

    def _head(self, status: int, data: Json, headers: Mapping[str, str]) -> bytes:
        """Begin an answer of one piece; give that piece."""
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        return body

    def _wait(self, seconds: float) -> None:
        """Take so long; raises ConnectionError as soon as the caller hangs up."""
        if not seconds:
            return
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionError("the caller hung up")
