"""How long ``/healthz`` takes while the server has something large: ``python bench/health.py``.

One request after the other that might stop everyone else; beside it a process asks for the
server's health all the time. Each row says how long the slowest of those took (milliseconds), how
long the request itself took (seconds) and by how much the server grew (megabytes). The last line
is one JSON object; ``--quick`` takes a tenth of the sizes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["NO_PROXY"] = "*"

from tests.support.serving import serving, team
from tests.support.upstream import Script, running

TARGET_MS = 100.0
QUICK = "--quick" in sys.argv
FACTOR = 0.1 if QUICK else 1.0


def asked(host: str, port: int, done, results) -> None:
    """Ask for health until *done*; the slowest answer."""
    slowest, count = 0.0, 0
    line = HTTPConnection(host, port, timeout=60)
    while not done.is_set():
        began = time.perf_counter()
        line.request("GET", "/healthz")
        line.getresponse().read()
        slowest = max(slowest, time.perf_counter() - began)
        count += 1
        time.sleep(0.005)
    results.put((slowest, count))


@contextmanager
def watched(place, row):
    context = multiprocessing.get_context("spawn")
    done, results = context.Event(), context.Queue()
    process = context.Process(target=asked, args=(place.hostname, place.port, done, results))
    process.start()
    time.sleep(0.7)
    began = time.perf_counter()
    try:
        yield
    finally:
        row["seconds"] = round(time.perf_counter() - began, 2)
        time.sleep(0.3)
        done.set()
        slowest, row["asked"] = results.get(timeout=60)
        row["health_ms"] = round(slowest * 1000, 1)
        process.join()


def memory(process: int) -> float:
    """Megabytes that a process has now."""
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1024**2


def posted(place, path: str, body) -> int:
    line = HTTPConnection(place.hostname, place.port, timeout=600)
    line.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = line.getresponse()
    reply.read()
    return reply.status


def tool_calls(number: int) -> dict:
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
        for i in range(number)
    ]
    results = [{"role": "tool", "tool_call_id": f"c{i}", "content": "found"} for i in range(number)]
    first = {"role": "user", "content": "Look."}
    return [first, {"role": "assistant", "content": None, "tool_calls": calls}, *results]


def items(number: int) -> list:
    rows = [{"role": "user", "content": "Look."}]
    call = {"type": "function_call", "name": "look", "arguments": "{}"}
    rows += [call | {"call_id": f"c{i}"} for i in range(number)]
    output = {"type": "function_call_output", "output": "found"}
    return rows + [output | {"call_id": f"c{i}"} for i in range(number)]


def blocks(number: int) -> list:
    uses = [{"type": "tool_use", "id": f"c{i}", "name": "look", "input": {}} for i in range(number)]
    results = [
        {"type": "tool_result", "tool_use_id": f"c{i}", "content": "found"} for i in range(number)
    ]
    return [
        {"role": "user", "content": "Look."}, {"role": "assistant", "content": uses},
        {"role": "user", "content": results},
    ]  # fmt: skip


def talk(number: int) -> list:
    rows = [
        {"role": ("user", "assistant")[i % 2], "content": f"This is what was said as number {i}."}
        for i in range(number)
    ]
    return [*rows, {"role": "user", "content": "And now?"}]


def larger_than_allowed(place) -> int:
    """A body of 200 MB, sent to its end or until the server hangs up."""
    size = 200 * 1024**2
    with socket.create_connection((place.hostname, place.port)) as line:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        )
        line.sendall(head.encode())
        with suppress(OSError):
            for _ in range(size // 65536):
                line.sendall(b" " * 65536)
        return int(line.recv(65536).split()[1])


def kept_run(folder: Path) -> None:
    """A run of 34 MB, put into the store, as the page asks for it."""
    import asyncio

    from mixtura import Mixture, ask
    from mixtura.engine.streaming import Recorder
    from mixtura.models.fake import Scripted
    from mixtura.storage.run_record import build_run_record
    from mixtura.storage.runs import RunStore
    from mixtura.storage.sqlite import SqliteStore

    said = "It is so, and here is why. " * int(110_000 * FACTOR)
    mixture = Mixture.of([Scripted("a", [said]), Scripted("b", [said])], Scripted("c", [said]))
    recorder = Recorder()
    asyncio.run(mixture.complete(ask("Why?"), recorder))
    book = RunStore(SqliteStore(next(folder.rglob("mixtura.sqlite"))), megabytes=2048)
    whole = build_run_record(
        recorder.build_trace(), lambda *_: 0.0, id="20260101-aaaaaaaa", started=time.time(),
        via="ask", state="answered",
    )  # fmt: skip
    assert book.save_run(whole)
    print(f"  (a run of {len(json.dumps(whole)) / 1e6:.0f} MB)", file=sys.stderr)
    book.close()


def kept_response(place, number: int) -> str:
    """The id of a stored response that was made from so many items."""
    line = HTTPConnection(place.hostname, place.port, timeout=600)
    body = {"model": "default", "input": talk(number)}
    line.request("POST", "/v1/responses", json.dumps(body), {"Content-Type": "application/json"})
    name = json.loads(line.getresponse().read())["id"]
    end = time.monotonic() + 120
    while got(place, f"/v1/responses/{name}") != 200 and time.monotonic() < end:
        time.sleep(0.2)  # it is being written
    return name


def got(place, path: str) -> int:
    line = HTTPConnection(place.hostname, place.port, timeout=600)
    line.request("GET", path)
    reply = line.getresponse()
    reply.read()
    return reply.status


async def endless(wire) -> None:
    await wire.head()
    word = wire.voice.word("on and on ") * 200
    while True:
        await wire.send(word)


def main() -> None:
    number = int(20_000 * FACTOR)
    many = int(100_000 * FACTOR)
    rows = []
    chat, responses, messages = "/v1/chat/completions", "/v1/responses", "/v1/messages"
    with running() as upstream, tempfile.TemporaryDirectory() as folder:
        said = {name: Script("Because of scattering.") for name in ("a", "b", "chief")}
        upstream.scripts = said | {"endless": Script(ever=endless)}
        more = (
            f'\n[models.endless]\nbase_url = "{upstream.base_url("openai")}"\nmodel = "endless"\n'
            "largest_megabytes = 16\n"
        )
        with serving(Path(folder), team(upstream, "a", "b", "chief") + more) as server:
            place = urlsplit(server.url)
            assert posted(place, chat, {"model": "default", "messages": talk(0)}) == 200
            body = {"model": "default"}
            attacks = {
                f"{number:,} tool calls, chat": lambda: posted(
                    place, chat, body | {"messages": tool_calls(number)}
                ),
                f"{number:,} tool calls, responses": lambda: posted(
                    place, responses, body | {"input": items(number)}
                ),
                f"{number:,} tool calls, messages": lambda: posted(
                    place, messages, body | {"max_tokens": 100, "messages": blocks(number)}
                ),
                f"{many:,} messages": lambda: posted(place, chat, body | {"messages": talk(many)}),
                "one message of 30 MB": lambda: posted(
                    place,
                    chat,
                    body | {"messages": [{"role": "user", "content": "word " * int(6e6 * FACTOR)}]},
                ),
                "a body of 200 MB": lambda: larger_than_allowed(place),
                "a stream without end": lambda: posted(
                    place, chat, {"model": "endless", "messages": talk(0)}
                ),
                "a kept run of 34 MB": lambda: got(place, "/api/runs/20260101-aaaaaaaa"),
                "the same as a file": lambda: got(place, "/api/runs/20260101-aaaaaaaa/html"),
                "the list of runs": lambda: got(place, "/api/runs?limit=200"),
            }
            name = kept_response(place, many)
            attacks[f"a stored response, {many:,} items"] = lambda: posted(
                place, responses, body | {"input": "And?", "previous_response_id": name}
            )
            kept_run(Path(folder))
            for what, attack in attacks.items():
                row = {"what": what}
                before = memory(server.process.pid)
                with watched(place, row):
                    row["status"] = attack()
                row["grew_mb"] = round(memory(server.process.pid) - before, 1)
                rows.append(row)
                print(
                    f"{what:36} {row['status']} health {row['health_ms']:8.1f} ms"
                    f" request {row['seconds']:6.2f} s  grew {row['grew_mb']:7.1f} MB",
                    flush=True,
                )
    slowest = max(row["health_ms"] for row in rows)
    print(json.dumps({"health_ms_max": slowest, "target_ms": TARGET_MS, "rows": rows}))


if __name__ == "__main__":
    main()
