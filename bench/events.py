"""CPU of one streamed event: our two adapters against the SDKs, in one run.

``flood`` sends without waiting, so that the network delivers many events at once; ``paced``
sends 50 tokens a second on each of many streams, so that each event wakes the event loop. What
that takes for any client of asyncio's transports is measured too: ``bare`` reads the bytes and
looks at none of them. Ours may take less: it hears many connections at once, and reads a draft,
whose pieces no one waits for, a few at a time: an answer and a draft are told apart here.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"

from anthropic import AsyncAnthropic
from fake import PROFILES
from harness import ENGINE_CORE, Upstream, Watch, load_average, machine, pin, upstream
from openai import AsyncOpenAI
from rich.console import Console
from rich.table import Table

from mixtura import Sampling, ask
from mixtura.core.events import Event, Token
from mixtura.models.anthropic import Anthropic
from mixtura.models.openai import OpenAI

AT_ONCE = {"flood": 2, "paced": 40}
DIALECTS = {
    "chat completions": ("openai", "ours"),
    "chat completions, a draft": ("openai", "ours, a draft"),
    "messages": ("anthropic", "ours (messages)"),
    "messages, a draft": ("anthropic", "ours (messages), a draft"),
}
LEAST = 10.0
MOST = 8192
Stream = Callable[[str], Awaitable[int]]
"""From a question to the number of events that brought text."""


def openai_sdk(fake: Upstream) -> Stream:
    client = AsyncOpenAI(base_url=fake.url("openai"), api_key="none", max_retries=0)

    async def stream(question: str) -> int:
        chunks = await client.chat.completions.create(
            model="proposer",
            messages=[{"role": "user", "content": question}],
            stream=True,
            stream_options={"include_usage": True},
        )
        pieces = [
            text
            async for chunk in chunks
            if chunk.choices and (text := chunk.choices[0].delta.content)
        ]
        return len(pieces)

    return stream


def anthropic_sdk(fake: Upstream) -> Stream:
    url = fake.url("anthropic").removesuffix("/v1")
    client = AsyncAnthropic(base_url=url, api_key="none", max_retries=0)

    async def stream(question: str) -> int:
        events = await client.messages.create(
            model="proposer",
            max_tokens=MOST,
            messages=[{"role": "user", "content": question}],
            stream=True,
        )
        pieces = [
            event.delta.text
            async for event in events
            if event.type == "content_block_delta" and event.delta.type == "text_delta"
        ]
        return len(pieces)

    return stream


def ours(model: OpenAI | Anthropic, *, draft: bool = False) -> Stream:
    async def stream(question: str) -> int:
        pieces: list[str] = []

        def emit(event: Event) -> None:
            if type(event) is Token:
                pieces.append(event.text)

        request = replace(ask(question, sampling=Sampling(max_tokens=MOST)), draft=draft)
        await model.complete(request, emit)
        return "".join(pieces).count(" ")  # each of the fake's words has one before it

    return stream


class _Bare(asyncio.Protocol):
    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n0\r\n\r\n") or data == b"0\r\n\r\n":
            self.ended.set_result(None)


def bare(fake: Upstream) -> Stream:
    """Not a client: what the event loop and the system take to hand over the bytes."""
    idle: list[tuple[asyncio.BaseTransport, _Bare]] = []
    head = "POST /bare/v1/chat/completions HTTP/1.1\r\nContent-Length: {}\r\n\r\n{}"

    async def stream(question: str) -> int:
        loop = asyncio.get_running_loop()
        line = idle.pop() if idle else await loop.create_connection(_Bare, "127.0.0.1", fake.port)
        transport, protocol = line
        protocol.ended = loop.create_future()
        body = json.dumps({"model": "proposer", "stream": True, "question": question})
        transport.write(head.format(len(body), body).encode())
        await protocol.ended
        idle.append(line)
        return -1

    return stream


async def measured(fake: Upstream, repeats: int) -> dict[str, dict[str, list[float]]]:
    """CPU microseconds an event, by profile and client; the clients in a seeded random order."""
    clients: dict[str, Stream] = {
        "openai": openai_sdk(fake),
        "ours": ours(OpenAI("proposer", fake.url("ours"))),
        "ours, a draft": ours(OpenAI("proposer", fake.url("ours")), draft=True),
        "anthropic": anthropic_sdk(fake),
        "ours (messages)": ours(Anthropic("proposer", fake.url("messages"))),
        "ours (messages), a draft": ours(Anthropic("proposer", fake.url("messages")), draft=True),
        "bare": bare(fake),
    }
    draw = random.Random(1)
    fake.profile("hello", 1)
    for stream in clients.values():
        await asyncio.gather(*(stream(f"run {i}: hello") for i in range(max(AT_ONCE.values()))))
    gc.collect()
    gc.freeze()
    found: dict[str, dict[str, list[float]]] = {}
    for profile, at_once in AT_ONCE.items():
        fake.profile(profile, 1)
        found[profile] = {name: [] for name in clients}
        tokens = PROFILES[profile]["tokens"][0]
        for _ in range(repeats):
            for name in draw.sample(list(clients), len(clients)):
                gc.collect()
                before = time.process_time()
                counts = await asyncio.gather(
                    *(clients[name](f"run {i}: go") for i in range(at_once))
                )
                used = time.process_time() - before
                came = name == "bare" or counts == [tokens] * at_once
                assert came, f"{name}: {counts} of {tokens} each"
                found[profile][name].append(used / (tokens * at_once) * 1e6)
                fake.log()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    print(f"{machine()}; {repeats} repeats\n", flush=True)
    pinned = pin(ENGINE_CORE)
    with upstream(pinned=pinned) as fake:
        watch = Watch(fake)
        found = asyncio.run(measured(fake, repeats))
        shares = watch.shares()
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    for head in ("", "SDK µs an event", "ours", "times less", "each repeat", "bare"):
        table.add_column(head, justify="left" if not head else "right")
    said: dict[str, object] = {}
    for profile, times in found.items():
        for dialect, (sdk, mine) in DIALECTS.items():
            theirs, our, least = (statistics.median(times[n]) for n in (sdk, mine, "bare"))
            each = [a / b for a, b in zip(times[sdk], times[mine], strict=True)]
            table.add_row(
                f"{profile}, {dialect}", f"{theirs:.0f}", f"{our:.1f}",
                f"{statistics.median(each):.1f}", f"{min(each):.1f} to {max(each):.1f}",
                f"{least:.1f}",
            )  # fmt: skip
            key = f"{profile}_{sdk}" + ("_draft" if mine.endswith("draft") else "")
            said[f"{key}_sdk_us"] = round(theirs, 1)
            said[f"{key}_ours_us"] = round(our, 2)
            said[f"{key}_bare_us"] = round(least, 2)
            said[f"{key}_ratio"] = round(statistics.median(each), 2)
    Console(width=100, highlight=False).print(table)
    print()
    for key, value in said.items():
        if key.endswith("_ratio") and value < LEAST:
            print(f"missed: {key} {value} < {LEAST:g}")
    print(json.dumps({**said, "noise": {"load_average": load_average(), **shares}}))


if __name__ == "__main__":
    main()
