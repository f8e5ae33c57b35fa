"""Batches for tests: an upstream whose answers depend on the question alone, rows, a mixture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.support.upstream import Play, Record, Script, Wire, drawn


def steady(
    delay: tuple[float, float] = (0.0, 0.0), faulty: float = 0.0
) -> Callable[[Record], Script]:
    """
    The same answer to the same question, however often it is asked. A share *faulty* of the
    attempts fails.
    """

    def script(record: Record) -> Script:
        dice = drawn(7, record.model, record.id)
        words = " ".join(f"{record.model}.{record.id[:6]}.{i}" for i in range(dice.randint(3, 9)))
        attempt = drawn(7, record.model, record.id, record.attempt)
        wrong: Play | None = attempt.choice(FAULTS) if attempt.random() < faulty else None
        return Script(words, ever=wrong, delay=dice.uniform(*delay))

    return script


async def unavailable(wire: Wire) -> None:
    await wire.reply(503, {"error": {"message": "overloaded", "type": "server_error"}})


async def too_many(wire: Wire) -> None:
    await wire.reply(
        429, {"error": {"message": "slow down", "type": "rate_limit"}}, {"Retry-After": "0.05"}
    )


async def broken_off(wire: Wire) -> None:
    await wire.head(kind="application/json", length=500)
    await wire.reset()


FAULTS = (unavailable, too_many, broken_off)

PRICE = "price = { input = 1, output = 2 }\n"


def team_toml(base_url: str, *, retries: int = 1, concurrency: int = 8, more: str = "") -> str:
    """A mixture of two layers of models on loopback, called `team`."""
    models = "".join(
        f'[models.{name}]\nbase_url = "{base_url}"\nmodel = "{name}"\nretries = {retries}\n'
        f"{PRICE}limits = {{ concurrency = {concurrency} }}\n{more}"
        for name in ("a", "b", "last")
    )
    return models + '[mixtures.team]\naggregator = "last"\nlayers = [["a", "b"]]\n'


def write_rows(path: Path, count: int, *, equal: int = 0) -> list[str]:
    """So many different rows, and *equal* ones behind them; their names."""
    rows = [{"id": f"r{i}", "prompt": f"Question {i}?"} for i in range(count)]
    rows += [{"id": f"e{i}", "prompt": "The same question?"} for i in range(equal)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [str(row["id"]) for row in rows]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
