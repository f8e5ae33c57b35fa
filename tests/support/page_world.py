"""The page in a real browser before a real server, with models on loopback that wait for a test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.page_visit import Visit, chromium
from tests.support.serving import Served, serving
from tests.support.upstream import Script, Upstream, Wire, running

FIRST = "Air scatters blue light far more than red light. The sun is far away."
SECOND = "Short waves are scattered by the smallest parts of the air."
ANSWER = (
    "Air scatters blue light far more than red light. Short waves are scattered by the smallest"
    " parts of the air. Nobody else ever said this sentence here."
)


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running() as up:
        up.scripts = {
            "ann": Script(FIRST),
            "ben": Script(SECOND),
            "cleo": Script("Cleo agrees with everybody."),
            "chief": Script(ANSWER),
        }
        yield up


def configured(upstream: Upstream, more: str = "") -> str:
    tables = [
        f'[models.{name}]\nbase_url = "{upstream.base_url()}"\nmodel = "{name}"\n'
        f"retries = {int(name == 'shaky')}\nprice = {{ input = 1.0, output = 2.0 }}\n"
        for name in ("ann", "ben", "cleo", "chief", "shaky", "lost", "mallory")
    ]
    return (
        'default = "team"\ncache = { use = false }\n'
        + "".join(tables)
        + '[mixtures.team]\nlayers = [["ann", "ben"]]\naggregator = "chief"\n'
        + '[mixtures.deep]\nlayers = [["ann", "ben"], ["ann", "cleo"]]\naggregator = "chief"\n'
        + '[mixtures.torn]\nlayers = [["ann", "shaky", "lost"]]\naggregator = "chief"\n'
        + '[mixtures.doomed]\nlayers = [["lost"]]\naggregator = "chief"\n'
        + '[mixtures.trap]\nlayers = [["mallory", "ann"]]\naggregator = "mallory"\n'
        + more
    )


@pytest.fixture
def served(upstream, tmp_path) -> Iterator[Served]:
    with serving(tmp_path / "served", configured(upstream)) as server:
        yield server


@pytest.fixture
def visit(browser, served) -> Iterator[Callable[..., Visit]]:
    """Open windows on the page; each was quiet when the test ends."""
    opened: list[Visit] = []

    def visiting(**window: Any) -> Visit:
        opened.append(Visit(browser, served.url, **window))
        return opened[-1]

    yield visiting
    for one in opened:
        one.was_quiet()
        one.close()


class Gate:
    """A play that says some words and the rest when it is let."""

    def __init__(self, words: int = 3) -> None:
        self._words = words
        self._open = threading.Event()

    def let(self) -> None:
        self._open.set()

    async def __call__(self, wire: Wire) -> None:
        await wire.head()
        await wire.send(wire.voice.opening())
        await wire.say(*wire.words[: self._words])
        while not self._open.is_set():
            await wire.pause(0.01)
        await wire.say(*wire.words[self._words :])
        await wire.finish()
        await wire.end()


async def refuses(wire: Wire) -> None:
    error = {"message": "no such key", "type": "invalid_request_error", "code": "invalid_api_key"}
    await wire.reply(401, {"error": error})
