"""`mixtura serve` as a process of its own, on a free port, for tests."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.forked_program import MixturaProcess

READY = re.compile(r"http://\S+:\d+")


@dataclass
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Served:
    """A server under way."""

    url: str
    process: subprocess.Popen[str]
    key: str | None = None
    ready: str = field(default="")
    closed_with_it: ExitStack = field(default_factory=ExitStack)
    """What else ends with the server: the clients that a test has made for it."""

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"

    def get(self, path: str, **headers: str) -> Answer:
        return self._sent(urllib.request.Request(self.url + path, headers=headers))

    def post(self, path: str, body: Any, *, method: str = "POST", **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        request = urllib.request.Request(self.url + path, data, named, method=method)
        return self._sent(request)

    def chat(self, question: str = "Why?", model: str = "default", **more: Any) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": question}], **more}
        return self.post("/v1/chat/completions", body)

    def _sent(self, request: urllib.request.Request) -> Answer:
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as reply:
                return Answer(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def ended(self, number: int = signal.SIGTERM, *, within: float = 20) -> int:
        """Ask it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(within)


@contextmanager
def serving(
    folder: Path, configuration: str, *options: str, environ: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Start it in *folder* with *configuration*; it has ended when the block has."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mixtura.toml").write_text(configuration, encoding="utf-8")
    env = {k: v for k, v in os.environ.items() if not k.upper().endswith("_KEY")}
    env |= {"XDG_STATE_HOME": str(folder / "state"), "NO_PROXY": "*", "OLLAMA_HOST": "127.0.0.1:9"}
    words = ["serve", "--port", "0", *options]
    with (folder / "log").open("w") as log:
        process = MixturaProcess(
            words, cwd=folder, env=env | dict(environ or {}), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = READY.search(line)
        assert found, f"it did not begin: {line!r} {(folder / 'log').read_text()}"
        served = Served(found[0], process, ready=line)
        with served.closed_with_it:
            yield served
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout:
            process.stdout.close()


def team(upstream: Any, *names: str, more: str = "") -> str:
    """A configuration: models of *names* at a provider on loopback, and a mixture of them all."""
    models = "\n".join(
        f'[models.{name}]\nbase_url = "{upstream.base_url("openai")}"\nmodel = "{name}"\n'
        f"retries = 0\nprice = {{ input = 1.0, output = 2.0 }}\n"
        for name in names
    )
    proposers = ", ".join(f'"{name}"' for name in names[:-1])
    return (
        f'default = "team"\ncache = {{ use = false }}\n{models}\n'
        f'[mixtures.team]\nlayers = [[{proposers}]]\naggregator = "{names[-1]}"\n{more}\n'
    )
