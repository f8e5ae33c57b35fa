"""The way of one chat request through the modules: how many stays, in how many, turning back.

Serves a mixture of two hosted proposers and an aggregator in this process, over an upstream on
loopback, and follows the second unstreamed chat request (the first one builds the models), from
the ASGI application until the first proposer's request is written to its socket: the sequence of
modules in which a function is called.

A room is a module. A stay is an unbroken sequence of calls in one room. A turn back is a step to a
room that was left before and that stands on a higher floor than the one it comes from; a module
stands one floor above the highest that it imports. Not counted: values (the folder ``core``, or
what it is made of in an older tree), properties, constructors, and the second proposer.

``chain`` is the same for the calls that wait for each other at that moment, the outermost first:
what one reads to get from the one end to the other.

``--source DIR`` measures another tree (its ``src``), alike; ``--steps`` prints every stay.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

VALUES = {"types", "errors", "events", "model", "roles", "text", "similarity"}
"""Modules of version 0.1 that lie in ``core`` today."""
WRITE = "socket.send"
"""How the call that writes a request is noted."""
PIECE = {"choices": [{"index": 0, "delta": {"content": "42"}, "finish_reason": "stop"}]}


class Upstream(BaseHTTPRequestHandler):
    """Answers every chat completion with 42."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(PIECE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        return


def make_app(folder: Path, url: str) -> Any:
    """The server of the tree that is measured, as an ASGI application."""
    models = "".join(f'[models.{m}]\nbase_url = "{url}"\nmodel = "{m}"\n' for m in "abc")
    team = '[mixtures.team]\nlayers = [["a", "b"]]\naggregator = "c"\n'
    (folder / "mixtura.toml").write_text(f"cache = {{ use = false }}\n{models}{team}")
    try:
        from mixtura.config.config import load
    except ImportError:  # version 0.1
        from mixtura.config import load
    from mixtura.server.app import make_app as make

    environ = {"XDG_STATE_HOME": str(folder)}
    return make(load(None, environ=environ, folder=folder, home=folder), host="127.0.0.1")


async def ask(app: Any) -> None:
    """One chat request, answered whole."""
    question = {"model": "team", "messages": [{"role": "user", "content": "6 x 7?"}]}
    body = json.dumps(question).encode()
    parts = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return parts.pop() if parts else await asyncio.get_running_loop().create_future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    length = str(len(body)).encode()
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/v1/chat/completions", "raw_path": b"/v1/chat/completions",
        "query_string": b"", "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80), "headers": [*headers, (b"content-length", length)],
    }  # fmt: skip
    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise SystemExit(f"no answer: {sent}")


class Call(NamedTuple):
    """A call in the package."""

    module: str
    function: str
    task: str | None
    chain: tuple[str, ...]
    """The modules of the calls that wait for it in its task, its own last."""


async def trace(app: Any, root: Path) -> list[Call]:
    """Each call in the package while a request is answered."""
    await ask(app)
    properties = {
        getattr(member.fget, "__code__", None)
        for module in [m for n, m in sys.modules.items() if n.startswith("mixtura")]
        for kind in vars(module).values()
        if isinstance(kind, type)
        for member in vars(kind).values()
        if isinstance(member, property)
    }
    begun: dict[int, Any] = {}  # keeps the frames, so that no id comes twice
    calls: list[Call] = []
    prefix = f"{root}{os.sep}"

    def modules(frame: Any) -> Iterator[str]:
        while frame is not None:
            if frame.f_code.co_filename.startswith(prefix):
                yield frame.f_code.co_filename.removeprefix(prefix)[:-3]
            frame = frame.f_back

    def is_write(event: str, called: Any) -> bool:
        if event != "c_call" or getattr(called, "__name__", "") != "send":
            return False
        to = getattr(called, "__self__", None)
        return isinstance(to, socket.socket) and to.family == socket.AF_INET  # no wake-up

    def note(frame: Any, event: str, called: Any) -> None:
        if is_write(event, called) and (chain := tuple(modules(frame))[::-1]):
            task = asyncio.current_task()
            calls.append(Call(chain[-1], WRITE, task.get_name() if task else None, chain))
            return
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(prefix) or id(frame) in begun:
            return  # a coroutine that goes on is no new call
        begun[id(frame)] = frame
        if code in properties or code.co_name == "__init__" or code.co_name.startswith("<"):
            return
        task = asyncio.current_task()
        chain = tuple(modules(frame))[::-1]
        calls.append(Call(chain[-1], code.co_name, task.get_name() if task else None, chain))

    sys.setprofile(note)
    await ask(app)
    sys.setprofile(None)
    return calls


def way_out(calls: list[Call]) -> tuple[list[Call], list[str]]:
    """The first call of each stay until the first proposer's request is written; the chain."""
    main = calls[0].task
    end = next(n for n, c in enumerate(calls) if c.function == WRITE and c.task not in (main, None))
    asking = calls[end].task
    begin = next(n for n, call in enumerate(calls) if call.task == asking)
    starter = next(call for call in reversed(calls[:begin]) if call.task == main)
    way = [call for call in calls[:end] if call.task in (main, asking) and counts(call.module)]
    chain = [module for module in (*starter.chain, *calls[end].chain) if counts(module)]
    stays = [call for n, call in enumerate(way) if not n or way[n - 1].module != call.module]
    return stays, [module for n, module in enumerate(chain) if not n or chain[n - 1] != module]


def counts(module: str) -> bool:
    return not module.startswith("core/") and module not in VALUES


def floors(root: Path) -> dict[str, int]:
    """The floor of each module: one above the highest that it imports; 1 for the ground."""
    modules = {str(p.relative_to(root))[:-3]: p for p in root.rglob("*.py")}
    imported: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = [n for n in ast.parse(path.read_text()).body if isinstance(n, ast.ImportFrom)]
        dotted = [(n.module or "", alias.name) for n in found for alias in n.names]
        paths = [
            where.removeprefix("mixtura").removeprefix(".").replace(".", "/")
            for module, alias in dotted
            if module.split(".")[0] == "mixtura"
            for where in (f"{module}.{alias}", module)
        ]
        imported[name] = {p for p in paths if p in modules and p != name}

    @cache
    def floor(name: str) -> int:
        return 1 + max((floor(other) for other in imported[name]), default=0)

    return {name: floor(name) for name in modules}


def count(rooms: list[str], floor: dict[str, int]) -> dict[str, int]:
    steps = list(pairwise(rooms))
    back = sum(to in rooms[:at] and floor[to] > floor[of] for at, (of, to) in enumerate(steps))
    return {"stays": len(rooms), "rooms": len(set(rooms)), "turns_back": back}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = Path(__file__).parent.parent / "src"
    parser.add_argument("--source", type=Path, default=source, help="the src of a tree")
    parser.add_argument("--steps", action="store_true", help="print every stay")
    given = parser.parse_args()
    sys.path.insert(0, str(given.source.resolve()))
    import mixtura

    root = Path(mixtura.__file__).parent
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        app = make_app(Path(folder), f"http://127.0.0.1:{upstream.server_port}/v1")
        stays, chain = way_out(asyncio.run(trace(app, root)))
    upstream.shutdown()
    if given.steps:
        for number, call in enumerate(stays, 1):
            print(f"{number:3} {call.module}: {call.function}")
        print("chain:", " > ".join(chain))
    floor = floors(root)
    print(
        json.dumps(count([call.module for call in stays], floor) | {"chain": count(chain, floor)})
    )


if __name__ == "__main__":
    main()
