"""A deterministic upstream of two dialects: every answer planned by seed, every send logged.

A process of its own. It prints its port and ends when its standard input closes. The plan of
an answer depends on the seed, the model and the run's number (``run 17:`` in the question)
alone, so that every arm of a comparison meets the same one. Deadlines are absolute: a late
event does not push back the next. Clocks are CLOCK_MONOTONIC, which processes share.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import re
import select
import selectors
import sys
import threading
import time
import tomllib
from array import array
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

PROFILES = tomllib.loads((Path(__file__).parent / "profiles.toml").read_text())
VARIANTS = 509
PIECES = [f" {word}{i}" for i, word in enumerate(["the", "light", "of", "keeper"] * 128)][:VARIANTS]
BATCH = 64 * 1024
"""Bytes written at once where a profile knows no waiting."""

clock = time.monotonic


class Plan(NamedTuple):
    """When the tokens of one answer are due, in seconds after its request came."""

    first: float
    between: float
    tokens: int
    start: int
    stall_at: int
    stall: float

    def due(self, index: int) -> float:
        stalled = self.stall if index >= self.stall_at else 0.0
        return self.first + index * self.between + stalled

    def text(self) -> str:
        return "".join(PIECES[(self.start + i) % VARIANTS] for i in range(self.tokens))


def plan(profile: dict[str, Any], seed: int, model: str, run: str, prompt_tokens: int) -> Plan:
    """
    What will be answered, and when; the same for ever for the same words. *run* says, too,
    how often the model was asked before in it: a second copy is an answer of its own.
    """
    digest = blake2b(f"{seed} {model} {run}".encode(), digest_size=16).digest()
    draw = random.Random(int.from_bytes(digest))
    role = profile.get("aggregator" if "aggregator" in model else "proposer", {})
    first = role.get("ttft", 0.0) * draw.lognormvariate(0, role.get("spread", 0.0))
    if draw.random() < profile.get("late", 0.0):
        first *= profile["late_by"]
    between = profile.get("tpot", 0.0) * draw.lognormvariate(0, profile.get("tpot_spread", 0.0))
    tokens = draw.randint(*profile["tokens"])
    is_proposer = "aggregator" not in model
    stalls = draw.random() < profile.get("stalls", 0.0)
    start = draw.randrange(VARIANTS)
    stall_at = draw.randrange(tokens)
    if is_proposer and draw.random() < profile.get("proposer_stalls", 0.0):
        stalls = True
    if is_proposer and draw.random() < profile.get("slow", 0.0):
        first, between = first * profile["slow_by"], between * profile["slow_by"]
    return Plan(
        first + profile.get("prefill", 0.0) * prompt_tokens,
        between,
        tokens,
        start,
        stall_at if stalls else tokens + 1,
        profile.get("stall", 0.0),
    )


# ---- what the two dialects look like on the wire


def framed(*events: tuple[str, dict[str, Any]]) -> list[bytes]:
    """Each event as one HTTP chunk, which is how servers flush them."""
    blocks: list[bytes] = []
    for name, body in events:
        data = msgspec.json.encode(body)
        named = f"event: {name}\n".encode() if name else b""
        block = named + b"data: " + data + b"\n\n"
        blocks.append(b"%x\r\n%b\r\n" % (len(block), block))
    return blocks


class Dialect:
    """The frames of a model's stream: beginning, one for each piece of text, end."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.begin = self.beginning()
        self.pieces = framed(*(self.piece(text) for text in PIECES))

    def beginning(self) -> list[bytes]:
        raise NotImplementedError

    def piece(self, text: str) -> tuple[str, dict[str, Any]]:
        raise NotImplementedError

    def end(self, prompt: int, tokens: int) -> list[bytes]:
        raise NotImplementedError

    def whole(self, text: str, prompt: int, tokens: int) -> dict[str, Any]:
        raise NotImplementedError


class ChatCompletions(Dialect):
    def chunk(self, delta: dict[str, Any], finish: str | None = None) -> tuple[str, dict[str, Any]]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return "", self._around("chat.completion.chunk", [choice])

    def _around(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": "chatcmpl-CJ5pZ1sQwYbq0K8hX3vTn2mRdLeUa",
            "object": kind,
            "created": 1760000000,
            "model": self.model,
            "service_tier": "default",
            "system_fingerprint": "fp_51db84afab",
            "choices": choices,
            "usage": None,
        }

    def beginning(self) -> list[bytes]:
        return framed(self.chunk({"role": "assistant", "content": "", "refusal": None}))

    def piece(self, text: str) -> tuple[str, dict[str, Any]]:
        return self.chunk({"content": text})

    def _usage(self, prompt: int, tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": prompt,
            "completion_tokens": tokens,
            "total_tokens": prompt + tokens,
        }

    def end(self, prompt: int, tokens: int) -> list[bytes]:
        usage = self._around("chat.completion.chunk", []) | {"usage": self._usage(prompt, tokens)}
        return [*framed(self.chunk({}, "stop"), ("", usage)), b"e\r\ndata: [DONE]\n\n\r\n"]

    def whole(self, text: str, prompt: int, tokens: int) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return self._around("chat.completion", [choice]) | {"usage": self._usage(prompt, tokens)}


class Messages(Dialect):
    def beginning(self) -> list[bytes]:
        message = self.whole("", 1, 1) | {"content": [], "stop_reason": None}
        block = {"type": "text", "text": ""}
        return framed(
            ("message_start", {"type": "message_start", "message": message}),
            (
                "content_block_start",
                {"type": "content_block_start", "index": 0, "content_block": block},
            ),
            ("ping", {"type": "ping"}),
        )

    def piece(self, text: str) -> tuple[str, dict[str, Any]]:
        delta = {"type": "text_delta", "text": text}
        kind = "content_block_delta"
        return kind, {"type": kind, "index": 0, "delta": delta}

    def end(self, prompt: int, tokens: int) -> list[bytes]:
        delta = {"stop_reason": "end_turn", "stop_sequence": None}
        usage = {"input_tokens": prompt, "output_tokens": tokens}
        return framed(
            ("content_block_stop", {"type": "content_block_stop", "index": 0}),
            ("message_delta", {"type": "message_delta", "delta": delta, "usage": usage}),
            ("message_stop", {"type": "message_stop"}),
        )

    def whole(self, text: str, prompt: int, tokens: int) -> dict[str, Any]:
        return {
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": prompt, "output_tokens": tokens},
        }


# ---- one answer under way


class Row(msgspec.Struct, array_like=True):
    """What the log keeps of one request; *sent* are doubles: the moment each token left."""

    arm: str
    run: str
    model: str
    received: float
    prompt_bytes: int
    plan: Plan
    sent: bytes = b""
    aborted: bool = False


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Answer:
    """Sends one planned answer over one connection."""

    def __init__(self, line: Line, row: Row, dialect: Dialect, *, streams: bool) -> None:
        self._line = line
        self._row = row
        self._dialect = dialect
        self._sent = array("d")
        self._index = 0
        self._loop = line.fake.loop
        self._handle: asyncio.Handle | None = None
        if streams:
            line.write(STREAM_HEAD)
        first, between = row.plan.first, row.plan.between
        if streams and not first and not between:
            self._flood()
        elif streams:
            self._next()
        else:
            last = row.received + row.plan.due(row.plan.tokens - 1)
            self._handle = self._loop.call_at(last, self._whole)

    @property
    def prompt_tokens(self) -> int:
        return self._row.prompt_bytes // 4

    def _next(self) -> None:
        when = self._row.received + self._row.plan.due(self._index)
        self._handle = self._loop.call_at(when, self._token)

    def _token(self) -> None:
        self._sent.append(clock())
        plan, dialect, write = self._row.plan, self._dialect, self._line.write
        if not self._index:
            for frame in dialect.begin:
                write(frame)
        write(dialect.pieces[(plan.start + self._index) % VARIANTS])
        self._index += 1
        if self._index < plan.tokens:
            self._next()
            return
        for frame in dialect.end(self.prompt_tokens, plan.tokens):
            write(frame)
        write(b"0\r\n\r\n")
        self._over()

    def _flood(self) -> None:
        plan, dialect = self._row.plan, self._dialect
        pieces = [dialect.pieces[(plan.start + i) % VARIANTS] for i in range(plan.tokens)]
        frames = [*dialect.begin, *pieces, *dialect.end(self.prompt_tokens, plan.tokens)]
        whole = memoryview(b"".join(frames) + b"0\r\n\r\n")
        self._sent.append(clock())
        for start in range(0, len(whole), BATCH):
            self._line.write(whole[start : start + BATCH])
        self._over()

    def _whole(self) -> None:
        self._sent.append(clock())
        plan = self._row.plan
        body = msgspec.json.encode(
            self._dialect.whole(plan.text(), self.prompt_tokens, plan.tokens)
        )
        self._line.write(_plain(body, "application/json"))
        self._over()

    def _over(self) -> None:
        self._handle = None
        self._line.answer = None
        self._row.sent = self._sent.tobytes()
        self._line.fake.rows.append(self._row)

    def abort(self) -> None:
        if self._handle:
            self._handle.cancel()
        self._row.aborted = True
        self._over()


def _plain(body: bytes, kind: str) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


# ---- the server


class Asked(msgspec.Struct):
    model: str = ""
    stream: bool = False


_asked = msgspec.json.Decoder(Asked)
_RUN = re.compile(rb"run (\d+):")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Fake:
    """The plans, the log and the control endpoints."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.rows: list[Row] = []
        self.seed = 1
        self.profile: dict[str, Any] = PROFILES["hello"]
        self.connections: dict[str, int] = {}
        self.asked: dict[tuple[str, str, str], int] = {}
        """How often a model was asked in one run of an arm; emptied with the log."""
        self._dialects: dict[tuple[str, bool], Dialect] = {}

    def dialect(self, model: str, *, messages: bool) -> Dialect:
        key = (model, messages)
        if key not in self._dialects:
            self._dialects[key] = (Messages if messages else ChatCompletions)(model)
        return self._dialects[key]

    def control(self, path: str) -> bytes:
        """``/profile/NAME/SEED`` changes the plans; ``/log`` gives the log and empties it."""
        _, what, *words = path.split("/")
        if what == "profile":
            self.profile, self.seed = PROFILES[words[0]], int(words[1])
            return b""
        log = {
            "rows": self.rows,
            "connections": self.connections,
            "cpu": time.process_time(),
        }
        body = msgspec.msgpack.encode(log)
        self.rows, self.connections, self.asked = [], {}, {}
        gc.collect()  # now, and not while something is measured
        return body


class Line(asyncio.Protocol):
    """One connection: reads requests, has at most one answer under way."""

    def __init__(self, fake: Fake) -> None:
        self.fake = fake
        self.answer: Answer | None = None
        self._buffer = b""
        self._counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.write = transport.write

    def connection_lost(self, _: Exception | None) -> None:
        if self.answer:
            self.answer.abort()

    def data_received(self, data: bytes) -> None:
        now = clock()
        self._buffer += data
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) < size:
            return
        self._buffer = rest[size:]
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if method == b"GET":
            self.write(_plain(self.fake.control(target.decode()), "application/octet-stream"))
        else:
            self._post(target.decode(), rest[:size], now)

    def _post(self, path: str, body: bytes, now: float) -> None:
        asked, found = _asked.decode(body), _RUN.search(body)
        arm = path.split("/")[1]
        if not self._counted:
            self._counted = True
            self.fake.connections[arm] = self.fake.connections.get(arm, 0) + 1
        run = found[1].decode() if found else ""
        key = (arm, run, asked.model)
        before = self.fake.asked[key] = self.fake.asked.get(key, -1) + 1
        repeats = self.fake.profile.get("repeats_answers", False)
        draw = f"{run} again {before}" if before and run and not repeats else run
        planned = plan(self.fake.profile, self.fake.seed, asked.model, draw, len(body) // 4)
        dialect = self.fake.dialect(asked.model, messages=path.endswith("/messages"))
        row = Row(arm, run, asked.model, now, len(body), planned)
        answer = Answer(self, row, dialect, streams=asked.stream)
        if not row.sent:
            self.answer = answer


def precise_loop() -> asyncio.AbstractEventLoop:
    """An event loop whose timers are not rounded up to the next millisecond, where it can."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()

    class Precise(selectors.EpollSelector):
        def select(self, timeout: float | None = None) -> list:
            if timeout is not None and timeout > 0:  # select(2) counts microseconds
                select.select([self.fileno()], [], [], timeout)
                timeout = 0
            return super().select(timeout)

    return asyncio.SelectorEventLoop(Precise())


async def serve() -> None:
    loop = asyncio.get_running_loop()
    fake = Fake(loop)
    server = await loop.create_server(lambda: Line(fake), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    closed = asyncio.Event()

    def watch() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(closed.set)

    threading.Thread(target=watch, daemon=True).start()
    gc.freeze()
    gc.disable()  # the log is emptied often; no pause may be taken for an upstream's
    await closed.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, help="the processor core to stay on")
    core = parser.parse_args().core
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    with asyncio.Runner(loop_factory=precise_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
