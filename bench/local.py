"""
What the child process of a local model costs: tokens a second, time to the first token, CPU.

`python bench/local.py [MODEL.gguf]` (the embedded model by default) asks the same model through
Mixtura, where llama.cpp runs in a process of its own, and through a copy of the way that Mixtura
0.1 called it, inside this process. The two take turns, and which is first changes with every
turn, so that what else the machine does falls on both. The last line is JSON for scripts.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # as the child has it

import msgspec

from mixtura import Request, Sampling, Token, ask
from mixtura.catalog import downloads
from mixtura.config.paths import models_folder
from mixtura.config.plan import EMBEDDED_MODEL
from mixtura.models import llama_cpp
from mixtura.models.llama_cpp import Local
from mixtura.protocols.openai.chunks import decode_chunk
from mixtura.protocols.openai.request import request_json
from mixtura.protocols.openai.stream import ChatStreamAccumulator

TOKENS = 128
QUESTION = "Tell a long story about a lighthouse."


class Run(NamedTuple):
    seconds: float
    first: float
    """Seconds to the first token, the mean of those at once."""
    tokens: int
    cpu: float
    """Processor seconds of this process and the child."""


class InProcess:
    """llama.cpp as Mixtura 0.1 called it: a library in this process, a thread a call."""

    def __init__(self, path: Path) -> None:
        import xllamacpp

        params: Any = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.verbosity = -1
        params.n_parallel = 8
        params.n_ctx = llama_cpp.DEFAULT_CONTEXT_TOKENS
        params.kv_unified = True
        params.n_batch = 256
        params.n_ubatch = 256
        params.cache_ram_mib = 0
        params.cpuparams.n_threads = llama_cpp._available_cores()
        params.cpuparams_batch.n_threads = llama_cpp._available_cores()
        params.api_keys = [secrets.token_hex(32)]
        params.ui = False
        params.endpoint_slots = False
        self._server: Any = xllamacpp.Server(params)
        self._threads = ThreadPoolExecutor(8)

    async def first_token(self, request: Request) -> tuple[float, int]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        more = {
            "stream": True, "stream_options": {"include_usage": True}, "return_progress": True,
        }  # fmt: skip
        body = msgspec.json.encode(
            {"repeat_penalty": llama_cpp.REPEAT_PENALTY} | request_json(request, "m") | more
        )

        def tell(data: bytes | None) -> bool:
            loop.call_soon_threadsafe(pieces.put_nowait, data)
            return False

        def run() -> None:
            self._server.handle_chat_completions(body, tell)
            tell(None)

        self._threads.submit(run)
        so_far, first, started = ChatStreamAccumulator(), 0.0, time.perf_counter()
        while (data := await pieces.get()) is not None:
            so_far.add_chunk(decode_chunk(data))
            fresh = so_far.take_new()
            if fresh and fresh.text and not first:
                first = time.perf_counter() - started
        return first, so_far.build_completion("m", request).usage.completion_tokens


class InChild:
    """Mixtura's own way."""

    def __init__(self, path: Path) -> None:
        self._model = Local(path)
        asyncio.run(self._model.load())

    def cpu(self) -> float:
        pid = self._model._get_engine().pid
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def first_token(self, request: Request) -> tuple[float, int]:
        first, started = 0.0, time.perf_counter()

        def hear(event: object) -> None:
            nonlocal first
            if isinstance(event, Token) and not first:
                first = time.perf_counter() - started

        answer = await self._model.complete(request, hear)
        return first, answer.usage.completion_tokens


def measured(
    one: Callable[[Request], Awaitable[tuple[float, int]]], cpu: Callable[[], float],
    at_once: int, turn: int,
) -> Run:  # fmt: skip
    async def all_of_them() -> list[tuple[float, int]]:
        # A prompt that is new each turn: neither way has read it before.
        requests = [
            Request(
                ask(f"{turn}.{at_once}. {QUESTION}").messages,
                Sampling(temperature=0.7, max_tokens=TOKENS, seed=turn * 10 + i),
            )
            for i in range(at_once)
        ]
        return await asyncio.gather(*(one(request) for request in requests))

    spent, started = cpu(), time.perf_counter()
    ends = asyncio.run(all_of_them())
    seconds = time.perf_counter() - started
    firsts = [first for first, _ in ends]
    return Run(seconds, statistics.mean(firsts), sum(n for _, n in ends), cpu() - spent)


def main() -> None:
    path = (
        Path(sys.argv[1])
        if len(sys.argv) > 1
        else downloads.download_model(EMBEDDED_MODEL, models_folder(os.environ))
    )
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    inside, child = InProcess(path), InChild(path)
    ways = [
        (inside.first_token, time.process_time),
        (child.first_token, lambda: time.process_time() + child.cpu()),
    ]
    figures: dict[str, float] = {}
    for way in ways:
        measured(*way, 1, 0)  # warm
    for at_once in (1, 3):
        rows: list[tuple[Run, Run]] = []
        for turn in range(1, pairs + 1):
            order = (0, 1) if turn % 2 else (1, 0)
            runs = {number: measured(*ways[number], at_once, turn) for number in order}
            rows.append((runs[0], runs[1]))
        speed = statistics.median(
            (c.tokens / c.seconds) / (p.tokens / p.seconds) for p, c in rows
        )  # fmt: skip
        cpu = statistics.median((c.cpu / c.tokens) / (p.cpu / p.tokens) for p, c in rows)
        later = statistics.median(c.first - p.first for p, c in rows) * 1e3
        a, b = (statistics.median(r[i].tokens / r[i].seconds for r in rows) for i in (0, 1))
        firsts = [statistics.median(r[i].first for r in rows) * 1e3 for i in (0, 1)]
        print(
            f"{at_once} at once: {b:.1f} tokens/s in a child, {a:.1f} in this process, ratio"
            f" {speed:.3f}; first token {firsts[1]:.0f} ms and {firsts[0]:.0f} ms, later by"
            f" {later:+.1f} ms; processor time ratio {cpu:.3f} (medians of {pairs} pairs)"
        )
        figures |= {
            f"speed_ratio_{at_once}": round(speed, 4),
            f"first_token_added_ms_{at_once}": round(later, 2),
            f"cpu_ratio_{at_once}": round(cpu, 4),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
