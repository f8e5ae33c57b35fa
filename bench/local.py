"""Tokens per second of a local model: one alone and three at once, ours against llama.cpp's own."""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from pathlib import Path

import msgspec

from mixtura import Request, Sampling, ask
from mixtura.models import local
from mixtura.models.local import Local

TOKENS, REPEATS = 128, 5
QUESTION = ask("Tell a long story about a lighthouse.")


def directly(path: Path, at_once: int, turn: int) -> float:
    """llama.cpp's own streaming call from threads, as its documentation shows it."""
    engine = local._engine_of(path, local.CONTEXT, local._cores())

    def one(seed: int) -> None:
        body = {
            "messages": [{"role": "user", "content": QUESTION.messages[0].text}],
            "max_tokens": TOKENS, "seed": seed, "temperature": 0.7, "stream": True,
            "ignore_eos": True,
        }  # fmt: skip
        engine.server.handle_chat_completions(msgspec.json.encode(body), lambda _: False)

    threads = [threading.Thread(target=one, args=(turn * 10 + i,)) for i in range(at_once)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return at_once * TOKENS / (time.perf_counter() - started)


async def ours(model: Local, at_once: int, turn: int) -> float:
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(
                model.complete(
                    Request(
                        QUESTION.messages,
                        Sampling(temperature=0.7, max_tokens=TOKENS, seed=turn * 10 + i),
                    )
                )
            )
            for i in range(at_once)
        ]
    wrote = sum(task.result().usage.completion_tokens for task in tasks)
    return wrote / (time.perf_counter() - started)


def main() -> None:
    path = Path(sys.argv[1])
    model = Local(path)
    asyncio.run(model.load())
    directly(path, 1, 0)
    for at_once in (1, 3):
        rows = [
            (asyncio.run(ours(model, at_once, turn)), directly(path, at_once, turn))
            for turn in range(1, REPEATS + 1)
        ]
        mine, plain = (statistics.median(column) for column in zip(*rows, strict=True))
        ratio = statistics.median(a / b for a, b in rows)
        print(
            f"{at_once} at once: Mixtura {mine:.1f} tokens/s, llama.cpp called directly"
            f" {plain:.1f}, ratio {ratio:.2f} (medians of {REPEATS} pairs)"
        )


if __name__ == "__main__":
    main()
