"""Headers that lie and templates that lie in wait: each call ends in words, the parent goes on."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from mixtura import MixturaError, Request, Sampling, ask
from mixtura.models.llama_cpp import Local
from mixtura.models.wrappers.retry import Retrying
from tests.conftest import run
from tests.llama.test_local_engine import question, told, tried
from tests.support import odd_gguf, tiny_gguf


def test_a_sample_of_odd_headers_fails_its_calls_in_words_and_nothing_else(tmp_path):
    every = list(odd_gguf.odd_files())
    ends = run(tried(every[::37], tmp_path, limit=60))

    assert sum(end == "ConfigError" for _, end in ends) > 5
    told("odd files", ends)


def test_a_file_with_further_values_in_its_header_is_sound(tmp_path):
    """So that what is wrong with the others is what is said of them."""
    path = tmp_path / "m.gguf"
    path.write_bytes(odd_gguf.with_pairs(odd_gguf.one_pair("x.y", tiny_gguf.U32, bytes(4))))
    model = Local(path, context=512, threads=1)
    try:
        assert run(model.complete(question("hello"))).text
    finally:
        model.close()


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_odd_headers_leave_the_parent_alive(tmp_path, seed):
    ends = run(tried(odd_gguf.odd_files(seed), tmp_path, limit=60))

    assert len(ends) > 400
    told("odd files", ends)


@pytest.mark.soak
def test_every_odd_chat_template_leaves_the_parent_alive(tmp_path):
    texts = odd_gguf.odd_templates()
    cases = [(text[:60], tiny_gguf.model(tiny_gguf.metadata(text))) for text in texts]
    ends = run(tried(cases, tmp_path, limit=15))

    assert len(ends) >= 40
    told("odd templates", ends)


# ---- killed at any moment


async def killed_again_and_again(one: Local, other: Local, kills: int) -> Counter[str]:
    """Kill one model's process while it answers three; how their calls ended, and the other's."""
    draw, ends = random.Random(kills), Counter[str]()
    endless = Sampling(temperature=0.0, max_tokens=400)

    async def end_of(model: Local, name: str) -> str:
        try:
            async with asyncio.timeout(120):
                answer = await model.complete(Request(ask(name).messages, endless))
        except MixturaError as error:
            said = str(error)
            assert said.isprintable(), said
            assert 0 < len(said) < 1000, said
            assert "Errno" not in said, said
            return type(error).__name__
        assert answer.usage.completion_tokens > 0
        return "answered"

    await other.load()
    for number in range(kills):
        if number % 4:  # while it answers; else while it may still start
            await Retrying(one, attempts=9).complete(question("hello"))
        calls = [asyncio.create_task(end_of(one, f"{number} {i}")) for i in range(3)]
        beside = asyncio.create_task(end_of(other, f"{number}"))
        await asyncio.sleep(draw.uniform(0, 0.3))
        if (pid := one._get_engine().pid) is not None:
            os.kill(pid, signal.SIGKILL)
            ends["killed"] += 1
        ends.update(await asyncio.gather(*calls))
        assert await beside == "answered"
        # A reader of its own, so that what is left behind would show.
        ends["processes"] = max(ends["processes"], len(child_pids()))
    return ends


def child_pids() -> list[str]:
    tasks = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return [pid for one in tasks for pid in one.read_text().split()]


def check_kills(folder: Path, kills: int) -> None:
    before = len(child_pids())
    models = [
        Local(tiny_gguf.written(folder / f"{name}.gguf"), context=4096, threads=1)
        for name in ("one", "other")
    ]
    try:
        ends = run(killed_again_and_again(models[0], models[1], kills))
        assert run(Retrying(models[0], attempts=9).complete(question("hello"))).text
    finally:
        for model in models:
            model.close()
    print(f"{kills} rounds: {dict(ends)}")
    processes = ends.pop("processes")
    assert processes <= before + 2, "processes are left behind"
    assert ends.pop("killed") > kills // 2
    assert set(ends) <= {"answered", "UnavailableError"}, ends
    assert ends.total() == 3 * kills


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_a_process_that_is_killed_at_any_moment_fails_its_own_calls_in_words(tmp_path):
    check_kills(tmp_path, 6)


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_two_hundred_kills_at_any_moment_fail_their_own_calls_in_words(tmp_path):
    check_kills(tmp_path, 200)
