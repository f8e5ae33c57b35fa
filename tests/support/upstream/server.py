"""A provider on this machine that can fail in every way: HTTP by hand, byte by byte, with a log."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Literal

import pytest

from tests.support.upstream.dialects import VOICES, Json, OpenAIVoice, Tally, Voice, counted, pieces

Play = Callable[["Wire"], Awaitable[None]]
"""What becomes of one request. When it returns before the body's end, the line is cut there."""


@dataclass
class Script:
    """
    What a model says, and which of its calls go wrong.

    *plays* happen to its first calls, in order, None standing for a good answer; *ever* to all
    later ones. *pace*: seconds between words, *delay* before the first. *cached* tokens of the
    prompt are told as such.
    """

    text: str = "All is well."
    plays: Sequence[Play | None] = ()
    ever: Play | None = None
    thoughts: str = ""
    finish: str = "stop"
    tool: tuple[str, str] | None = None
    delay: float = 0.0
    pace: float = 0.0
    cached: int = 0

    def play(self, call: int) -> Play:
        """What becomes of its call number *call*, from 1."""
        chosen = self.plays[call - 1] if call <= len(self.plays) else self.ever
        return chosen or honest


@dataclass
class Record:
    """One request as the upstream saw it. Times are of the monotonic clock."""

    number: int
    model: str
    call: int
    """Which call to this model, from 1."""
    id: str
    """The x-request-id that came with it, else a hash of its body."""
    attempt: int
    """How often this id was asked of this model, from 1."""
    dialect: str
    headers: Mapping[str, str]
    body: Json
    tally: Tally
    arrived: float
    prompt: str
    sends: list[float] = field(default_factory=list)
    """When each piece of the reply was written."""
    reported: tuple[int, int, int, int] | None = None
    """Prompt, completion, cached and reasoning tokens, when the reply told them."""
    status: Literal["open", "whole", "cut", "left"] = "open"
    """Whole: all was sent. Cut: we broke it off. Left: the caller hung up before the end."""
    over: float | None = None
    """When that was."""

    @property
    def billed(self) -> bool:
        """Whether a provider would charge for it: it spoke, or it sent a bill."""
        return self.reported is not None or self.tally.completion > 0


_PHRASES = {status.value: status.phrase for status in HTTPStatus}


class LeftError(Exception):
    """The caller hung up."""


class _CutError(Exception):
    """We broke the line."""


class Wire:
    """One request and its reply: what a play has in its hands. Raises LeftError."""

    def __init__(
        self,
        record: Record,
        script: Script,
        voice: Voice,
        inbox: _Inbox,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.record = record
        self.script = script
        self.voice = voice
        self.ended = False
        self.keep = False
        self.words = pieces(script.text)
        self._inbox = inbox
        self._writer = writer
        self._framing: Literal["chunked", "close", "length"] = "close"
        voice.tally.cached = min(script.cached, voice.tally.prompt)

    async def head(
        self,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        kind: str = "text/event-stream",
        length: int | None = None,
        framing: Literal["chunked", "close"] = "chunked",
    ) -> None:
        """Status and headers. A *length* is promised as it is, true or not."""
        self._framing = framing if length is None else "length"
        how = {
            "chunked": {"Transfer-Encoding": "chunked"},
            "close": {"Connection": "close"},
            "length": {"Content-Length": str(length)},
        }[self._framing]
        rows = {"Content-Type": kind, **how, **(headers or {})}
        phrase = _PHRASES.get(status, "Unheard Of")
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{k}: {v}" for k, v in rows.items())]
        await self.raw("\r\n".join([*lines, "", ""]).encode())

    async def raw(self, data: bytes) -> None:
        """Bytes on the socket as they are."""
        if self._inbox.left.is_set():
            raise LeftError
        try:
            self._writer.write(data)
            await self._writer.drain()
        except OSError:
            raise LeftError from None
        self.record.sends.append(time.monotonic())

    async def send(self, data: bytes) -> None:
        """A piece of the body."""
        if self._framing == "chunked" and data:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        await self.raw(data)

    async def say(self, *words: str, index: int = 0) -> None:
        """Words of the answer, an event each, on the upstream's own bill."""
        for word in words:
            await self.send(self.voice.word(word, index))
            self.voice.tally.completion += counted(word)
            if self.script.pace:
                await self.pause(self.script.pace)

    async def think(self, *words: str) -> None:
        """Words that are reasoning: on the bill, not in the answer."""
        for word in words:
            await self.send(self.voice.thought(word))
            self.voice.tally.completion += counted(word)
            self.voice.tally.reasoning += counted(word)
            if self.script.pace:
                await self.pause(self.script.pace)

    async def finish(self, reason: str = "stop", *, usage: bool = True, done: bool = True) -> None:
        """The finish reason, the usage if it was asked for, and the last event."""
        await self.send(self.voice.ending(reason, usage=usage))
        if usage and self.voice.wants_usage:
            self.reported()
        if done:
            await self.send(self.voice.done)

    def reported(self) -> None:
        """Remember that the caller has been told the tokens."""
        prompt, completion, cached, reasoning = self.voice.tally.numbers
        told = 0 if self.voice.name == "llamacpp" else reasoning
        self.record.reported = (prompt, completion, cached, told)

    async def end(self) -> None:
        """The body's proper end."""
        if self._framing == "chunked":
            await self.raw(b"0\r\n\r\n")
        self.ended = True
        self.keep = self._framing != "close"

    async def reply(
        self,
        status: int,
        body: Json | str,
        headers: Mapping[str, str] | None = None,
        *,
        kind: str | None = None,
    ) -> None:
        """A whole reply that is no stream."""
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        guess = "text/html; charset=utf-8" if isinstance(body, str) else "application/json"
        await self.head(status, headers, kind=kind or guess, length=len(data))
        await self.raw(data)
        await self.end()

    async def pause(self, seconds: float) -> None:
        """Be silent for so long."""
        if not seconds:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._inbox.left.wait()
        except TimeoutError:
            return
        raise LeftError

    async def hang(self) -> None:
        """Be silent until the caller hangs up."""
        await self._inbox.left.wait()
        raise LeftError

    async def reset(self) -> None:
        """Break the line as a crashed machine does: RST instead of FIN."""
        await self.pause(0.01)  # what was sent before shall be read before
        sock: socket.socket = self._writer.get_extra_info("socket")
        with suppress(OSError):  # a client that was killed meanwhile has closed the line
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        raise _CutError


async def honest(wire: Wire) -> None:
    """A good answer, streamed or not, as often as `n` asks for it."""
    script, voice = wire.script, wire.voice
    if script.delay:
        await wire.pause(script.delay)
    thoughts = pieces(script.thoughts) if script.thoughts else []
    if not voice.body.get("stream"):
        voice.tally.completion = counted(script.text) + counted(script.thoughts)
        voice.tally.reasoning = counted(script.thoughts)
        wire.reported()
        await wire.reply(200, voice.whole(script.text, script.finish, script.thoughts))
        return
    await wire.head()
    await wire.send(voice.opening())
    await wire.think(*thoughts)
    copies = int(voice.body.get("n") or 1)
    for index in range(copies):
        await wire.say(*([f"[{index}] "] if index else []), *wire.words, index=index)
        if index:
            await wire.send(voice.finish(script.finish, index))
    if script.tool:
        await wire.send(voice.tool(*script.tool))
    await wire.finish(script.finish)
    await wire.end()


# ---------------------------------------------------------------- what a test holds


class Upstream:
    """
    The provider as a test sees it: scripts by model name, and the log of what came and went.

    A model without a script does what *otherwise* says of the request.
    """

    def __init__(self, otherwise: Callable[[Record], Script] | None = None) -> None:
        self.scripts: dict[str, Script] = {}
        self.otherwise = otherwise or seeded(0)
        self.records: list[Record] = []
        self.visits: list[tuple[str, str]] = []
        """Method and path of every request that was none to a model."""
        self.garbage = 0
        """Connections that spoke no HTTP."""
        self.connections = 0
        """Open now."""
        self.bugs: list[BaseException] = []
        self.port = 0
        self._asked: Counter[tuple[str, str]] = Counter()
        self._of: dict[str, list[Record]] = {}

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def base_url(self, dialect: str = "openai", scheme: str = "http") -> str:
        """What an adapter of this dialect is given."""
        prefix = {voice.name: voice.prefix for voice in VOICES}[dialect]
        return f"{scheme}://{self.host}{prefix}/v1"

    def of(self, *models: str) -> list[Record]:
        """The requests to these models, in the order they came."""
        found = [record for model in models for record in self._of.get(model, ())]
        return sorted(found, key=lambda record: record.number)

    def ledger(self, *models: str) -> Tally:
        """What these models (without any: all) read and wrote, by our own count."""
        chosen = self.of(*models) if models else tuple(self.records)
        rows = [record.tally for record in chosen if record.billed]
        return Tally(
            sum(row.prompt for row in rows),
            sum(row.completion for row in rows),
            sum(row.reasoning for row in rows),
            sum(row.cached for row in rows),
        )

    def open(self, *models: str) -> list[Record]:
        """Requests that are still under way."""
        chosen = self.of(*models) if models else list(self.records)
        return [record for record in chosen if record.status == "open"]

    def wait_until_quiet(self, seconds: float = 5.0) -> None:
        """Return when nothing is under way and nobody is connected; AssertionError otherwise."""
        gc.collect()  # what a loop that is over kept open is closed when it is collected
        end = time.monotonic() + seconds
        while (self.open() or self.connections) and time.monotonic() < end:
            time.sleep(0.005)
        assert not self.open(), f"under way after {seconds} s: {self.open()}"
        assert not self.connections, f"{self.connections} connections open after {seconds} s"

    def arrive(self, voice: Voice, headers: Mapping[str, str]) -> Record:
        """Enter a request in the log."""
        body = voice.body
        canonical = json.dumps(body, sort_keys=True).encode()
        id_ = headers.get("x-request-id") or blake2b(canonical, digest_size=8).hexdigest()
        model = str(body.get("model"))
        self._asked[model, id_] += 1
        before = self._of.setdefault(model, [])
        record = Record(
            number=len(self.records) + 1,
            model=model,
            call=len(before) + 1,
            id=id_,
            attempt=self._asked[model, id_],
            dialect=voice.name,
            headers=headers,
            body=body,
            tally=voice.tally,
            arrived=time.monotonic(),
            prompt=voice.prompt,
        )
        self.records.append(record)
        before.append(record)
        return record


@contextmanager
def running(otherwise: Callable[[Record], Script] | None = None) -> Iterator[Upstream]:
    """An upstream for the length of a block, in a thread and an event loop of its own."""
    upstream = Upstream(otherwise)
    ready, server = threading.Event(), _Server(upstream)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(ready)), daemon=True)
    thread.start()
    assert ready.wait(10), "the upstream did not start"
    try:
        yield upstream
    finally:
        server.stop()
        thread.join(10)
    assert not upstream.bugs, f"the upstream itself is wrong: {upstream.bugs!r}"


def upstream_fixture(scripts: Mapping[str, Script]) -> Any:
    """The fixture `upstream` of a module: its models answer as *scripts* say."""

    @pytest.fixture(scope="module", name="upstream")
    def start_upstream() -> Iterator[Upstream]:
        with running() as upstream:
            upstream.scripts = dict(scripts)
            yield upstream

    return start_upstream


def drawn(seed: int, *what: object) -> random.Random:
    """The same numbers for the same seed, model and request, on any machine."""
    digest = blake2b(repr((seed, *what)).encode(), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "big"))


def seeded(
    seed: int,
    *,
    plays: Sequence[Play] = (),
    faulty: float = 0.0,
    words: tuple[int, int] = (5, 12),
    delay: tuple[float, float] = (0.0, 0.0),
    pace: tuple[float, float] = (0.0, 0.0),
    thinking: float = 0.0,
    cached: float = 0.0,
) -> Callable[[Record], Script]:
    """
    Answers drawn from the seed, the model and the request: how long, how fast, how wrong.

    A share *faulty* of the calls, each attempt on its own, meets one of *plays*; a share
    *thinking* reasons first; a share *cached* finds half of its prompt in a cache.
    """

    def script(record: Record) -> Script:
        dice = drawn(seed, record.model, record.id, record.attempt)
        said = " ".join(f"{record.model}.{record.id[:4]}.{i}" for i in range(dice.randint(*words)))
        wrong = dice.random() < faulty and plays
        return Script(
            said,
            ever=dice.choice(plays) if wrong else None,
            thoughts="let me think" if dice.random() < thinking else "",
            delay=dice.uniform(*delay),
            pace=dice.uniform(*pace),
            cached=record.tally.prompt // 2 if dice.random() < cached else 0,
        )

    return script


# ---------------------------------------------------------------- HTTP


class _Inbox:
    """What a caller sends, read as it comes, so that it is noticed at once when he leaves."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.left = asyncio.Event()
        self._reader = reader
        self._buffer = bytearray()
        self._news = asyncio.Event()

    async def pump(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self._buffer += data
                self._news.set()
        except OSError:
            pass
        finally:
            self.left.set()
            self._news.set()

    async def until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            await self._more()
        return await self.exactly(self._buffer.index(mark) + len(mark))

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self) -> None:
        if self.left.is_set():
            raise LeftError
        self._news.clear()
        await self._news.wait()


class _Server:
    """Connections, one task each."""

    def __init__(self, front: Upstream) -> None:
        self._front = front
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None

    def stop(self) -> None:
        assert self._loop
        assert self._stopped
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def serve(self, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self._front.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stopped.wait()
        server.close()
        tasks = [task for task in self._tasks if task]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inbox = _Inbox(reader)
        task, pump = asyncio.current_task(), asyncio.create_task(inbox.pump())
        self._tasks.add(task)
        self._front.connections += 1
        try:
            while await self._exchange(inbox, writer):
                pass
        except (LeftError, asyncio.CancelledError):
            pass
        except Exception as bug:  # noqa: BLE001 - told to the test when the server stops
            self._front.bugs.append(bug)
        finally:
            self._front.connections -= 1
            pump.cancel()
            writer.close()
            self._tasks.discard(task)

    async def _exchange(self, inbox: _Inbox, writer: asyncio.StreamWriter) -> bool:
        """Read one request, answer it; true when the connection may serve another."""
        head = await self._head(inbox)
        if head is None:
            return False
        method, path, headers = head
        body = await inbox.exactly(int(headers.get("content-length", "0")))
        for voice in VOICES:
            if method == "POST" and path == f"{voice.prefix}/v1{voice.path}":
                spoken = voice(json.loads(body), Tally(), len(self._front.records) + 1)
                record = self._front.arrive(spoken, headers)
                return await self._answer(spoken, record, inbox, writer)
        self._front.visits.append((method, path))
        await self._visited(path, inbox, writer)
        return True

    async def _head(self, inbox: _Inbox) -> tuple[str, str, dict[str, str]] | None:
        start = await inbox.exactly(4)
        if not start.isalpha() and not start.endswith(b" "):
            self._front.garbage += 1
            return None
        text = (start + await inbox.until(b"\r\n\r\n")).decode("latin-1")
        request, *lines = text.strip().split("\r\n")
        method, path, _ = request.split(" ")
        pairs = (line.split(":", 1) for line in lines)
        path = path.partition("?")[0]  # as a server whose address has a key in its query
        return method, path, {name.strip().lower(): value.strip() for name, value in pairs}

    async def _answer(
        self, voice: Voice, record: Record, inbox: _Inbox, writer: asyncio.StreamWriter
    ) -> bool:
        script = self._front.scripts.get(record.model) or self._front.otherwise(record)
        wire = Wire(record, script, voice, inbox, writer)
        status: Literal["whole", "cut", "left"] = "cut"
        try:
            await script.play(record.call)(wire)
            status = "whole" if wire.ended else "cut"
        except LeftError:
            status = "left"
        except _CutError:
            pass
        finally:
            record.over, record.status = time.monotonic(), status
        return wire.keep

    async def _visited(self, path: str, inbox: _Inbox, writer: asyncio.StreamWriter) -> None:
        models = sorted(self._front.scripts)
        record = Record(0, "", 0, "", 0, "", {}, {}, Tally(), time.monotonic(), "")
        wire = Wire(record, Script(), OpenAIVoice({}, Tally(), 0), inbox, writer)
        if path.endswith("/v1/models"):
            listed = [{"id": name, "object": "model", "owned_by": "tests"} for name in models]
            await wire.reply(200, {"object": "list", "data": listed})
        elif path == "/api/tags":
            await wire.reply(200, {"models": [{"name": name, "model": name} for name in models]})
        else:
            await wire.reply(404, {"error": {"message": f"no {path} here", "type": "not_found"}})
