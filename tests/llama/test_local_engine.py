"""What a broken file, a hostile template or a crash of llama.cpp does: one call fails, in words."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixtura import (
    ConfigError,
    EmptyAnswerError,
    MixturaError,
    RejectedError,
    Request,
    Sampling,
    TimedOutError,
    Token,
    UnavailableError,
    ask,
)
from mixtura.config.config import load
from mixtura.llama.gguf import read_header
from mixtura.models.llama_cpp import Local
from mixtura.models.wrappers.retry import Retrying
from tests.conftest import run
from tests.support import tiny_gguf
from tests.support.paths import ROOT
from tests.support.serving import serving

LONG = Sampling(temperature=0.0, max_tokens=3000)
"""Two or three seconds of a tiny model's writing."""
SHORT = Sampling(temperature=0.0, max_tokens=4)

DEEP_AT_BOOM = (
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}"
    "{% if 'BOOM' in messages[0].content %}{{ f(1) }}{% endif %}" + tiny_gguf.CHATML
)
ENDLESS_AT_LOOP = (
    "{% if 'LOOP' in messages[0].content %}{% for i in range(100000) %}{% for j in range(100000) %}"
    "{% endfor %}{% endfor %}{% endif %}" + tiny_gguf.CHATML
)


def question(text: str, sampling: Sampling = SHORT) -> Request:
    return Request(ask(text).messages, sampling)


def tiny(path: Path, template: str = tiny_gguf.CHATML, **options) -> Local:
    tiny_gguf.with_template(path, template)
    return Local(path, **{"context": 4096, "threads": 1} | options)


@pytest.fixture
def made(tmp_path):
    """Makes models of the folder; their processes end with the test."""
    models = []

    def make(name: str = "tiny.gguf", template: str = tiny_gguf.CHATML, **options) -> Local:
        models.append(tiny(tmp_path / name, template, **options))
        return models[-1]

    yield make
    for model in models:
        model.close()


class Watched:
    """A call under way, which says when its first token has come."""

    def __init__(self, model: Local, request: Request) -> None:
        self.begun = asyncio.Event()
        self.task = asyncio.create_task(model.complete(request, self._hear))

    def _hear(self, event: object) -> None:
        if isinstance(event, Token):
            self.begun.set()

    async def first(self) -> Watched:
        begun = asyncio.create_task(self.begun.wait())
        await asyncio.wait({begun, self.task}, return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
        return self


def pid_of(model: Local) -> int:
    pid = model._get_engine().pid
    assert pid is not None
    return pid


def gone(pid: int, within: float = 20.0) -> bool:
    """Whether a process is no more, or is about to be."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


# ---- files


async def tried(cases, folder: Path, limit: float) -> list[tuple[str, str]]:
    """Each case's name and how its call ended, several under way at once."""
    turns = asyncio.Semaphore(2)

    async def one(number: int, name: str, data: bytes) -> tuple[str, str]:
        path = folder / f"{number}.gguf"
        path.write_bytes(data)
        model = Local(path, context=512, threads=1, load_limit=limit, progress=limit)
        async with turns:
            failed: MixturaError | None = None
            try:
                async with asyncio.timeout(limit * 4):
                    await model.complete(question("hello"))
            except MixturaError as error:
                failed = error
            finally:
                await asyncio.to_thread(model.close)
                path.unlink()
        if failed is None:
            return name, "answered"
        kinds = (ConfigError, UnavailableError, RejectedError, EmptyAnswerError)
        said = str(failed)
        assert isinstance(failed, kinds), f"{name}: {failed!r}"
        assert said.isprintable(), f"{name}: {said!r}"
        assert 0 < len(said) < 1000, f"{name}: {said!r}"
        assert "Traceback" not in said, name
        return name, type(failed).__name__

    return await asyncio.gather(*(one(i, *case) for i, case in enumerate(cases)))


def told(kind: str, ends: list[tuple[str, str]]) -> None:
    kinds = sorted({end for _, end in ends})
    counts = ", ".join(f"{end} {sum(e == end for _, e in ends)}" for end in kinds)
    print(f"{len(ends)} {kind}: the parent alive in all ({counts})")


def test_broken_model_files_fail_their_calls_in_words_and_nothing_else(tmp_path):
    every = list(itertools.islice(tiny_gguf.mutations(), 240))
    ends = run(tried(every[::8], tmp_path, limit=60))

    assert len(ends) == 30
    assert sum(end == "ConfigError" for _, end in ends) > 10
    told("broken files", ends)


def test_hostile_chat_templates_fail_their_calls_in_words_and_nothing_else(tmp_path):
    quick = [t for t in tiny_gguf.HOSTILE if "range(" not in t and "* 1" not in t][::3]
    cases = [(t[:60], tiny_gguf.model(tiny_gguf.metadata(t))) for t in quick]
    ends = run(tried(cases, tmp_path, limit=60))

    assert sum(end == "ConfigError" for _, end in ends) >= 4
    told("hostile templates", ends)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_hundreds_of_broken_model_files_leave_the_parent_alive(tmp_path, seed):
    ends = run(tried(itertools.islice(tiny_gguf.mutations(seed), 350), tmp_path, limit=60))

    assert len(ends) == 350
    told("broken files", ends)


@pytest.mark.soak
def test_every_hostile_chat_template_leaves_the_parent_alive(tmp_path):
    cases = [(t[:60], tiny_gguf.model(tiny_gguf.metadata(t))) for t in tiny_gguf.HOSTILE]
    ends = run(tried(cases, tmp_path, limit=15))

    assert len(ends) >= 30
    told("hostile templates", ends)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (tiny_gguf.model(llama__block_count=(4, 0)), r"'llama.block_count' is '0'"),
        (tiny_gguf.model()[:-4000], r"is cut short: the tensor .* ends at byte .* the file has"),
        (tiny_gguf.model()[:3000], r"is damaged: it ends inside"),
        (b"GGUF\x00\x00\x00\x03" + bytes(100), r"big-endian"),
        (b"PK\x03\x04" + bytes(100), r"not a GGUF file"),
        (tiny_gguf.model(general__architecture=(8, "clip")), r"not a language model"),
        (tiny_gguf.model(tiny_gguf.metadata("{% for %}")), r"chat template in .* is broken"),
        (
            tiny_gguf.model(llama__attention__layer_norm_rms_epsilon=(6, -1.0)),
            r"cannot load .*crashed \(SIGABRT: .*GGML_ASSERT",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_told_as_what_it_is(tmp_path, data, said):
    path = tmp_path / "m.gguf"
    path.write_bytes(data)

    with pytest.raises(ConfigError, match=said):
        run(Local(path).complete(question("hello")))


def test_a_part_of_a_model_whose_other_parts_are_missing_names_them(tmp_path):
    path = tmp_path / "m-00002-of-00003.gguf"
    path.write_bytes(tiny_gguf.model())
    (tmp_path / "m-00001-of-00003.gguf").write_bytes(tiny_gguf.model())

    with pytest.raises(ConfigError, match=r"one of 3 parts .*m-00003-of-00003\.gguf is not"):
        run(Local(path).load())


def test_a_model_file_may_be_a_str_path_in_capitals(tmp_path):
    path = tmp_path / "TINY.GGUF"
    path.write_bytes(tiny_gguf.model())
    model = Local(str(path), context=512, threads=1)
    try:
        assert run(model.complete(question("hello"))).text
        assert model.name == "TINY"
        plan = load(None, environ={}, folder=tmp_path, home=tmp_path).mixture_spec(str(path))
        assert plan
    finally:
        model.close()


SOUND = tiny_gguf.model()


@given(st.data())
@settings(deadline=None, max_examples=150)
def test_the_header_of_any_bytes_is_read_or_refused_in_words(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("header") / "m.gguf"
    broken = bytearray(SOUND[: data.draw(st.integers(0, 6000))])
    for _ in range(data.draw(st.integers(0, 8)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(broken)

    said = str(path)
    try:
        read_header(path).token_texts()
    except ConfigError as error:
        said = str(error)
    assert str(path) in said


def test_a_vocabulary_and_its_control_tokens_can_be_read_without_llama_cpp(tmp_path):
    header = read_header(tiny_gguf.written(tmp_path / "m.gguf"))

    kinds = zip(header.token_texts(), header.token_types(), strict=True)
    assert [token for token, kind in kinds if kind == 3] == tiny_gguf.CONTROL
    assert header.metadata["tokenizer.chat_template"] == tiny_gguf.CHATML


# ---- crashes while others are answered


def test_kill_9_of_one_models_process_ends_its_call_and_no_other(made):
    one, other = made("one.gguf", context=32768), made("other.gguf")
    endless = Sampling(temperature=0.0, max_tokens=30_000)

    async def main():
        await other.load()
        killed = await Watched(one, question("a", endless)).first()
        lives = await Watched(other, question("b", LONG)).first()
        os.kill(pid_of(one), signal.SIGKILL)
        with pytest.raises(UnavailableError, match="ended from outside"):
            await killed.task
        assert (await lives.task).usage.completion_tokens > 10
        return await one.complete(question("a")), await Retrying(one).complete(question("b"))

    assert all(answer.text for answer in run(main()))


def test_a_request_that_crashes_llama_cpp_is_answered_apart_and_then_refused(made):
    """The crash takes what is under way with it once; after that it can hurt no one."""
    model = made(template=DEEP_AT_BOOM)

    async def main():
        with pytest.raises(UnavailableError, match=r"llama\.cpp crashed \(SIGSEGV"):
            await model.complete(question("BOOM"))
        lives = await Watched(model, question("hello", LONG)).first()
        with pytest.raises(RejectedError, match="twice"):
            await model.complete(question("BOOM", Sampling(temperature=0.0, max_tokens=4, seed=9)))
        with pytest.raises(RejectedError, match="twice"):
            await model.complete(question("BOOM"))
        return await lives.task

    assert run(main()).usage.completion_tokens > 10


def test_who_was_answered_beside_a_crash_is_answered_when_asked_again(made):
    model = made(template=DEEP_AT_BOOM, context=32768)
    patient = Retrying(model, attempts=3, first_wait=0.01)

    async def main():
        await model.load()
        # Together they take much longer than the crash.
        beside = [Watched(model, question(f"{i} hello", LONG)) for i in range(7)]
        boom = asyncio.create_task(patient.complete(question("BOOM")))
        for call in beside:
            with pytest.raises(UnavailableError, match="crashed"):
                await call.task
        again = await patient.complete(question("0 hello", LONG))
        with pytest.raises(RejectedError, match="twice"):
            await boom
        return again

    assert run(main()).usage.completion_tokens > 10


def test_a_template_that_does_not_end_is_ended_and_its_neighbour_is_not(made):
    model = made(template=ENDLESS_AT_LOOP, progress=2.0)

    async def main():
        stuck = asyncio.create_task(model.complete(question("LOOP")))
        lives = await Watched(model, question("hello", LONG)).first()
        first = pid_of(model)
        with pytest.raises(TimedOutError, match="no sign of life for 2 s"):
            await stuck
        after = await model.complete(question("hello"))
        assert (await lives.task).usage.completion_tokens > 10
        return first, after

    first, after = run(main())
    assert after.text
    assert pid_of(model) != first
    assert gone(first)


def test_a_call_that_is_left_while_it_is_stuck_takes_no_place_for_ever(made):
    model = made(template=ENDLESS_AT_LOOP, progress=1.0)

    async def main():
        await model.load()
        first = pid_of(model)
        for _ in range(9):  # more than there are places
            with pytest.raises((TimeoutError, TimedOutError)):
                async with asyncio.timeout(0.3):
                    await model.complete(question("LOOP"))
        answer = await model.complete(question("hello"))
        return first, answer

    first, answer = run(main())
    assert answer.text
    assert gone(first)


def test_a_file_that_cannot_be_loaded_is_not_loaded_again_at_once(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf.model(llama__attention__layer_norm_rms_epsilon=(6, -1.0)))
    model = Local(path, context=512, threads=1)

    async def main():
        with pytest.raises(ConfigError, match="crashed"):
            await model.complete(question("hello"))
        for _ in range(3):  # each start that comes to nothing doubles the wait
            with pytest.raises(ConfigError):
                await model.complete(question("hello"))
        with pytest.raises(ConfigError, match=r"crashed.*tried again in \d+ s"):
            await model.complete(question("hello"))
        path.write_bytes(tiny_gguf.model())
        return await model.complete(question("hello"))

    try:
        assert run(main()).text
    finally:
        model.close()


# ---- whose it is


def test_a_request_that_sets_no_limit_ends_at_the_models_own(made):
    answer = run(made(answer_tokens=5).complete(question("Go on.", Sampling(temperature=0.0))))

    assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 5)


def test_one_local_serves_loop_after_loop_and_thread_beside_thread(made):
    model = made()

    answers = [run(model.complete(question("hello"))).text for _ in range(3)]
    first = pid_of(model)
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(run, model.complete(question("hello"))) for _ in range(8)]
        answers += [call.result().text for call in calls]

    assert len(set(answers)) == 1
    assert pid_of(model) == first
    assert threading.active_count() < 20


def test_hundreds_of_calls_at_once_are_all_answered(made):
    model = made()

    async def main():
        return await asyncio.gather(*(model.complete(question("hello")) for _ in range(400)))

    assert len({answer.text for answer in run(main())}) == 1


def test_a_fork_of_the_parent_has_a_process_of_its_own(made):
    model = made()
    run(model.load())
    code = (
        "import asyncio, os, sys\n"
        "from mixtura import ask\n"
        "from mixtura.models.llama_cpp import Local\n"
        "model = Local(sys.argv[1], context=512, threads=1)\n"
        "asyncio.run(model.complete(ask('hello')))\n"
        "first = model._get_engine().pid\n"
        "if not (fork := os.fork()):\n"
        "    asyncio.run(model.complete(ask('hello')))\n"
        "    os._exit(model._get_engine().pid == first)\n"
        "assert os.waitpid(fork, 0)[1] == 0\n"
        "asyncio.run(model.complete(ask('hello')))\n"
        "assert model._get_engine().pid == first\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(model._path)],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_the_process_has_no_key_of_the_environment_and_ctrl_c_is_not_for_it(made, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "canary-of-the-environment")
    monkeypatch.setenv("MY_HEADER", "canary-of-the-environment")
    model = made()
    run(model.load())

    assert b"canary" not in Path(f"/proc/{pid_of(model)}/environ").read_bytes()
    first = pid_of(model)
    os.kill(first, signal.SIGINT)
    assert run(model.complete(question("hello"))).text
    assert pid_of(model) == first
    assert os.getsid(first) != os.getsid(0)


PARENT = """
import asyncio, sys, time
from mixtura.models.llama_cpp import Local
model = Local(sys.argv[1], context=512, threads=1)
async def main():
    task = asyncio.create_task(model.load())
    while model._get_engine().pid is None:
        await asyncio.sleep(0.01)
    if sys.argv[2] != "loading":
        await task
    print(model._get_engine().pid, flush=True)
    if sys.argv[2] != "over":
        await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["idle", "loading", "over"])
def test_the_process_ends_with_its_parent_however_that_ends(tmp_path, how):
    template = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"
    path = tmp_path / "m.gguf"
    tiny_gguf.with_template(path, template if how == "loading" else tiny_gguf.CHATML)
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(path), how], stdout=subprocess.PIPE, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if how != "over":
            os.kill(pid, 0)
            parent.kill()
        parent.wait(60)

    assert gone(pid)


def test_the_server_lives_on_after_broken_files_and_crashes(tmp_path):
    broken = tiny_gguf.model(llama__attention__layer_norm_rms_epsilon=(6, -1.0))
    (tmp_path / "broken.gguf").write_bytes(broken)
    (tmp_path / "zero.gguf").write_bytes(tiny_gguf.model(llama__block_count=(4, 0)))
    tiny_gguf.with_template(tmp_path / "deep.gguf", DEEP_AT_BOOM)
    tiny_gguf.written(tmp_path / "good.gguf")
    names = ("broken", "zero", "deep", "good")
    configuration = "cache = { use = false }\n" + "".join(
        f'[models.{name}]\nmodel = "{name}.gguf"\ncontext = 4096\nthreads = 1\n'
        "timeouts = { load = 60, progress = 60 }\n"
        for name in names
    )
    with serving(tmp_path, configuration) as served:
        body = {
            "model": "good", "stream": True, "temperature": 0, "max_tokens": 3000,
            "messages": [{"role": "user", "content": "hello"}],
        }  # fmt: skip
        request = urllib.request.Request(
            f"{served.base_url}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=120) as stream:
            assert stream.readline().startswith(b"data:")
            answers = [served.chat("hello", model=name, max_tokens=4) for name in names[:2]]
            answers += [served.chat("BOOM", model="deep", max_tokens=4) for _ in range(2)]
            assert b"[DONE]" in stream.read()
        for answer in answers:
            assert answer.status in (400, 502, 503), answer.body
            assert re.search(r"damaged|crashed", answer.json["error"]["message"])
        assert served.chat("hello", model="deep", max_tokens=4, temperature=0).status == 200
        assert served.get("/healthz").status == 200


def test_a_local_models_clocks_can_be_set_and_those_of_hosted_ones_are_refused(tmp_path):
    tiny_gguf.written(tmp_path / "m.gguf")
    file = tmp_path / "mixtura.toml"
    file.write_text('[models.m]\nmodel = "m.gguf"\ntimeouts = { connect = 3 }\n')

    with pytest.raises(ConfigError, match="connect is for hosted models"):
        load(str(file), environ={}, folder=tmp_path, home=tmp_path).model("m")
