"""One request, one upstream, one damaged file never stops the others."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mixtura import Message, Mixture, Request, ask
from mixtura.core.errors import MalformedError, TimedOutError
from mixtura.core.similarity import split_sentences
from mixtura.core.types import Completion, ProviderData, ToolCall
from mixtura.engine.proposal_cache import ProposalCache
from mixtura.engine.provider_data_cache import ProviderDataCache
from mixtura.engine.streaming import Recorder
from mixtura.models.fake import Scripted, echo
from mixtura.models.openai import OpenAI
from mixtura.models.wrappers.retry import Retrying
from mixtura.protocols.thoughts.parser import ThinkTagParser
from mixtura.storage.run_record import build_run_record, build_started_record
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.sqlite import SqliteStore
from mixtura.storage.write_queue import StoreWriter
from mixtura.transport.client import CallTimeouts
from tests.support.forked_program import NOT_FORKED, MixturaProcess
from tests.support.serving import serving, team
from tests.support.upstream import Script, running

CHAT = {"model": "default", "messages": [{"role": "user", "content": "Why?"}]}


def free(model, usage):
    return 0.0


@pytest.fixture
def upstream():
    with running() as found:
        found.scripts = {name: Script("Because of scattering.") for name in ("a", "b", "chief")}
        yield found


def hosted(upstream, **how):
    return OpenAI("m", upstream.base_url("openai"), **how)


# ---- upstreams without end


async def hangs(wire):
    await wire.hang()


async def talks_for_ever(wire):
    await wire.head()
    while True:
        await wire.say("on and on ")
        await wire.pause(0.02)


@pytest.mark.parametrize("play", [hangs, talks_for_ever])
def test_the_total_clock_is_over_all_attempts_at_a_call(upstream, play):
    upstream.scripts["m"] = Script(ever=play)
    timeouts = CallTimeouts(total=0.4, first_token=10.0, progress=10.0)
    model = Retrying(hosted(upstream, timeouts=timeouts), attempts=3, first_wait=0.01)

    with pytest.raises(TimedOutError, match=r"not finished within 0\.4 s"):
        asyncio.run(model.complete(Request(ask("Why?").messages, draft=True)))

    assert len(upstream.of("m")) == 1


def test_an_attempt_after_another_has_only_what_is_left_of_the_total(upstream):
    async def slow_refusal(wire):
        await wire.pause(0.25)
        await wire.reply(503, {"error": {"message": "busy"}})

    upstream.scripts["m"] = Script(ever=slow_refusal)
    model = Retrying(
        hosted(upstream, timeouts=CallTimeouts(total=0.4)), attempts=9, first_wait=0.01
    )

    with pytest.raises(TimedOutError):
        asyncio.run(model.complete(ask("Why?")))

    assert 1 <= len(upstream.of("m")) <= 2  # each with a time of its own would be nine


async def streams(wire, piece, **how):
    await wire.head(**how)
    while True:
        await wire.send(piece)


def flood(piece, **how):
    async def play(wire):
        await streams(wire, piece(wire) if callable(piece) else piece, **how)

    return play


async def packed(wire):
    await wire.head(headers={"Content-Encoding": "gzip"})
    pack = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    while True:
        await wire.send(pack.compress(b": nothing\n\n" * 100_000) + pack.flush(zlib.Z_SYNC_FLUSH))


ENDLESS = {
    "words": flood(lambda wire: wire.voice.word("on and on ") * 50),
    "reasoning": flood(lambda wire: wire.voice.thought("hm and hm ") * 50),
    "white space": flood(lambda wire: wire.voice.word(" ") * 50),
    "comments": flood(b": still here\n\n" * 500),
    "comments in one block": flood(b": still here\n" * 500),
    "one line": flood(b"x" * 8192),
    "arguments of a tool": flood(
        b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","function":'
        b'{"name":"f","arguments":"1234567890"}}]}}]}\n\n' * 20
    ),
    "a whole body": flood(b" " * 8192, kind="application/json"),
    "packed comments": packed,
}


@pytest.mark.parametrize("play", ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_ends_as_a_named_error(upstream, play):
    upstream.scripts["m"] = Script(ever=play)

    with pytest.raises(MalformedError, match="more than"):
        asyncio.run(hosted(upstream, largest=1_000_000).complete(ask("Why?")))


def test_a_refusal_without_end_is_still_that_refusal(upstream):
    upstream.scripts["m"] = Script(ever=flood(b"no and no ", status=404, kind="text/plain"))

    with pytest.raises(Exception, match="HTTP 404: no and no"):
        asyncio.run(hosted(upstream).complete(ask("Why?")))


def test_white_space_before_an_answer_is_looked_at_once():
    split = ThinkTagParser()
    pieces = [" "] * 200_000  # looked at from its start for each piece, this took hours
    said = [split.feed(piece) for piece in [*pieces, "<thi", "nk>so</think>yes"]]
    assert said[-1] == ("so", "yes")


@pytest.mark.parametrize("text", ["!" * 200_000, "a. " * 100_000, "x\n" + "---\n" * 100_000])
def test_a_text_that_is_hard_to_cut_is_cut_in_one_pass(text):
    assert "".join(split_sentences(text)) == text


# ---- requests that are large


def test_the_loop_goes_round_while_a_long_conversation_is_made_ready(upstream):
    said = [Message(("user", "assistant")[i % 2], f"number {i}") for i in range(40_000)]
    request = Request((*said, Message("user", "And now?")))
    team_ = Mixture(
        layers=(),
        aggregator=Mixture.of([echo("x")], hosted(upstream)).aggregator,
        turns=ProposalCache(),
    )
    rounds = 0

    async def count():
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def watched():
        beside = asyncio.create_task(count())
        answer = await team_.complete(request)
        beside.cancel()
        return answer

    upstream.scripts["m"] = Script("Yes.")
    upstream_free = rounds
    assert asyncio.run(watched()).text == "Yes."
    assert rounds - upstream_free > 100


def calls_in(api, number):
    if api == "responses":
        made = [
            {"type": "function_call", "call_id": f"c{i}", "name": "look", "arguments": "{}"}
            for i in range(number)
        ]
        brought = [
            {"type": "function_call_output", "call_id": f"c{i}", "output": "found"}
            for i in range(number)
        ]
        return {"input": [{"role": "user", "content": "Look."}, *made, *brought]}
    if api == "messages":
        made = [
            {"type": "tool_use", "id": f"c{i}", "name": "look", "input": {}} for i in range(number)
        ]
        brought = [
            {"type": "tool_result", "tool_use_id": f"c{i}", "content": "found"}
            for i in range(number)
        ]
        rows = [("user", "Look."), ("assistant", made), ("user", brought)]
        return {"max_tokens": 9, "messages": [{"role": r, "content": c} for r, c in rows]}
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for i in range(number)
    ]
    brought = [{"role": "tool", "tool_call_id": f"c{i}", "content": "found"} for i in range(number)]
    first = {"role": "user", "content": "Look."}
    return {"messages": [first, {"role": "assistant", "tool_calls": made}, *brought]}


@pytest.mark.parametrize("path", ["chat/completions", "responses", "messages"])
def test_twenty_thousand_tool_calls_are_answered_in_every_api(upstream, tmp_path, path):
    with serving(tmp_path, team(upstream, "a", "b", "chief")) as server:
        body = {"model": "default"} | calls_in(path, 20_000)
        assert server.post(f"/v1/{path}", body).status == 200
        told = upstream.of("a")[-1].body["messages"]
    assert json.dumps(told).count("look returned") == 20_000


def test_a_body_that_is_too_large_is_refused_before_it_comes_and_the_line_is_closed(
    upstream, tmp_path
):
    with serving(tmp_path, team(upstream, "a", "b", "chief")) as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as line:
            line.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type:"
                f" application/json\r\nContent-Length: {200 * 1024**2}\r\n\r\n{{".encode()
            )
            came = b""
            while piece := line.recv(65536):
                came += piece
    assert came.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in came.lower()
    assert b"request_too_large" in came


def test_a_body_that_grows_too_large_is_refused_though_it_told_no_length(upstream, tmp_path):
    small = team(upstream, "a", "b", "chief") + "\n[serve]\nlargest_megabytes = 1\n"
    with serving(tmp_path, small) as server:
        place = urlsplit(server.url)
        with socket.create_connection((place.hostname, place.port), timeout=20) as line:
            line.sendall(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type:"
                " application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            )
            for _ in range(40):
                line.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            came = b""
            while piece := line.recv(65536):
                came += piece
    assert came.startswith(b"HTTP/1.1 413 ")


# ---- the store


DAMAGES = {
    "no database": lambda data: b"\xff\xfenothing that SQLite knows" * 500,
    "cut off": lambda data: data[: len(data) // 2],
    "garbage inside": lambda data: data[:4096] + b"\xff\xc3\x28" * 1400 + data[8296:],
    "garbage in the schema": lambda data: data[:200] + b"\xff" * 3800 + data[4000:],
}


def kept(path, *ids):
    book = RunStore(SqliteStore(path))
    for number, id in enumerate(ids):  # noqa: A001
        recorder = Recorder()
        asyncio.run(
            Mixture.of([echo("a")], Scripted("b", ["Yes."])).complete(ask("Why?"), recorder)
        )
        whole = build_run_record(
            recorder.build_trace(),
            free,
            id=id,
            started=time.time() - number,
            via="ask",
            state="answered",
        )
        assert book.save_run(whole)
    book.close()


def command(folder, *words, **how):
    env = {k: v for k, v in os.environ.items() if not k.endswith("_KEY")}
    env |= {"XDG_STATE_HOME": str(folder / "state"), "NO_PROXY": "*", "OLLAMA_HOST": "127.0.0.1:9"}
    return MixturaProcess(
        words, cwd=folder, env=env, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how,
    )  # fmt: skip


def code(folder, *words):
    process = command(folder, *words)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_store_is_told_in_words_and_answers_are_given(upstream, tmp_path, damage):
    (tmp_path / "mixtura.toml").write_text(team(upstream, "a", "b", "chief"))
    path = tmp_path / "state" / "mixtura" / "mixtura.sqlite"
    kept(path, *(f"20260101-aaaaaa{i:02}" for i in range(20)))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    path.write_bytes(damage(path.read_bytes()))

    for words in (["runs"], ["runs", "--json"], ["show", "last"], ["show", "20260101-aaaaaa03"]):
        out, err = (process := command(tmp_path, *words)).communicate(timeout=60)
        assert "Traceback" not in err + out
        assert process.returncode == 0 or "store" in err or "run" in err
    out, err = (process := command(tmp_path, "ask", "--no-cache", "Why?")).communicate(timeout=60)
    assert (process.returncode, "scattering" in out, "Traceback" in err) == (0, True, False)
    with serving(tmp_path, team(upstream, "a", "b", "chief")) as server:
        assert server.chat().status == 200
        listed = server.get("/api/runs")
        assert listed.status == 200 or "store" in listed.json["error"]["message"]
        assert server.chat().status == 200
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "body", [b"nothing", zlib.compress(b'{"id": '), zlib.compress(b"[]"), zlib.compress(b"\xff"), 7]
)
def test_one_damaged_run_hides_no_other(tmp_path, body):
    path = tmp_path / "state" / "mixtura" / "mixtura.sqlite"
    kept(path, "20260101-aaaaaaaa", "20260101-bbbbbbbb")
    with closing(sqlite3.connect(path)) as db, db:
        wrong = (body, b"\xff\xfe", "20260101-aaaaaaaa")
        db.execute("UPDATE runs SET body = ?, question = CAST(? AS TEXT) WHERE id = ?", wrong)
    db.close()

    out, _ = (process := command(tmp_path, "runs", "--json")).communicate(timeout=60)
    assert process.returncode == 0
    assert [run["id"] for run in json.loads(out)["runs"]] == [
        "20260101-aaaaaaaa", "20260101-bbbbbbbb",
    ]  # fmt: skip
    assert code(tmp_path, "show", "bbbbbbbb") == 0
    _, err = (process := command(tmp_path, "show", "aaaaaaaa")).communicate(timeout=60)
    assert process.returncode == 2
    assert "the run 20260101-aaaaaaaa" in err
    assert "is damaged" in err
    assert code(tmp_path, "runs", "--delete", "aaaaaaaa") == 0


def test_a_run_that_was_killed_is_unfinished_and_its_money_is_free_again(upstream, tmp_path):
    upstream.scripts["chief"] = Script(ever=hangs)
    caps = "\n[budget]\nday_tokens = 40000\n"
    (tmp_path / "mixtura.toml").write_text(team(upstream, "a", "b", "chief") + caps)
    asking = command(tmp_path, "ask", "--no-cache", "Why is the sky blue?")
    until = time.monotonic() + 30
    while not upstream.of("chief") and time.monotonic() < until:
        time.sleep(0.02)
    (running_,) = json.loads(command(tmp_path, "runs", "--json").communicate()[0])["runs"]
    asking.send_signal(signal.SIGKILL)
    asking.communicate()

    (run,) = json.loads(command(tmp_path, "runs", "--json").communicate()[0])["runs"]
    assert (running_["state"], run["state"]) == ("running", "unfinished")
    assert run["question"] == "Why is the sky blue?"
    assert code(tmp_path, "show", "last") == 0
    upstream.scripts["chief"] = Script("Because.")
    again = command(tmp_path, "ask", "--no-cache", "Why is the sky blue?")
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    book = DailySpendLedger(SqliteStore(tmp_path / "state" / "mixtura" / "mixtura.sqlite"), "day")
    assert book.used_today()[1] == sum(
        upstream.ledger().numbers[:2]
    )  # what is known to be spent is


def test_what_a_living_process_holds_is_never_given_back(stores):
    mine, other = (DailySpendLedger(stores.open(), "day") for _ in range(2))
    for book in (mine, other):
        book.store.check_usable()
    assert mine.reserve(7.0, 1, 10.0, None)
    assert other.reserve(7.0, 1, 10.0, None) is None
    mine.store.close()  # as a process that ends does
    ends = time.monotonic() + 20  # PostgreSQL's process for it ends a moment later
    while not (held := other.reserve(7.0, 1, 10.0, None)) and time.monotonic() < ends:
        time.sleep(0.05)
    assert held


# ---- what waits to be written


def trace():
    recorder = Recorder()
    asyncio.run(Mixture.of([echo("a")], Scripted("b", ["Yes."])).complete(ask("Why?"), recorder))
    return recorder.build_trace()


def test_runs_that_wait_are_bounded_in_number_and_bytes_and_what_is_dropped_is_counted(tmp_path):
    holding, let_go = threading.Event(), threading.Event()

    def made(id):  # noqa: A002
        def make():
            holding.set()
            assert let_go.wait(20)
            return build_run_record(
                done, free, id=id, started=time.time(), via="serve", state="answered"
            )

        return make

    done = trace()
    book = RunStore(SqliteStore(tmp_path / "s.sqlite"))
    writer = StoreWriter(book, most_records=10, most_bytes=1000, pause=0.0)
    assert writer.queue_finish("20260101-00000000", 0, made("20260101-00000000"))
    assert holding.wait(20)
    taken = [
        writer.queue_finish(f"20260101-{i:08}", 150, made(f"20260101-{i:08}"))
        for i in range(1, 101)
    ]
    assert (sum(taken), writer.dropped["queue_full"]) == (6, 94)
    assert writer.bytes <= 1000
    let_go.set()
    writer.close()
    assert (writer.written, writer.waiting_count, writer.bytes, len(book.list_runs(200))) == (
        7,
        0,
        0,
        7,
    )
    book.close()


def test_requests_that_only_wait_to_be_told_as_begun_are_bounded_in_bytes_too(tmp_path):
    """The store is slow, and their runs are over: they were kept, 500 of any size."""
    holding, let_go = threading.Event(), threading.Event()

    def make():
        holding.set()
        assert let_go.wait(60)
        return build_started_record(ask("Why?"), free, id=name, started=0, via="serve", model="m")

    name = "20260101-00000000"
    book = RunStore(SqliteStore(tmp_path / "s.sqlite"))
    writer = StoreWriter(book, most_bytes=1000, pause=0.0)
    writer.queue_start(name, 100, make)
    assert holding.wait(60)
    for _ in range(300):
        writer.queue_start(name, 300, make)
    assert writer.waiting_count == 4
    assert writer.bytes == 1000
    let_go.set()
    writer.close()
    assert (writer.bytes, writer.dropped["queue_full"]) == (0, 0)
    book.close()


def test_runs_that_come_together_are_one_transaction(tmp_path):
    path = tmp_path / "s.sqlite"
    store = SqliteStore(path)
    book, done = RunStore(store), trace()
    commits = []
    with store.transaction() as db:
        db._connection.set_trace_callback(
            lambda said: commits.append(said) if said == "COMMIT" else None
        )
    commits.clear()
    writer = StoreWriter(book, pause=30.0)
    writer._last = time.monotonic()
    for i in range(50):
        name = f"20260101-{i:08}"
        writer.queue_start(
            name,
            0,
            lambda n=name: build_started_record(
                ask("Why?"), free, id=n, started=0, via="serve", model="m"
            ),
        )
        writer.queue_finish(
            name, 0,
            lambda n=name: build_run_record(
                done, free, id=n, started=time.time(), via="serve", state="answered"
            ),
        )  # fmt: skip
    writer.close()
    assert writer.written == 50
    assert len(commits) <= 2
    book.close()


def test_a_store_that_takes_nothing_stops_no_answer_and_metrics_count_what_was_lost(
    upstream, tmp_path
):
    (tmp_path / "state").write_text("a file, where a folder should be")
    config = team(upstream, "a", "b", "chief")
    with serving(tmp_path, config) as server:
        assert [server.chat().status for _ in range(3)] == [200] * 3
        until = time.monotonic() + 20
        lost = 'mixtura_runs_dropped_total{reason="store"} 3.0'
        while lost not in (told := server.get("/metrics").body.decode()):
            assert time.monotonic() < until, told
            time.sleep(0.05)
    assert (tmp_path / "log").read_text().count("this run is not kept") == 1


# ---- what clients name


def test_models_that_clients_name_are_not_kept_for_ever(tmp_path):
    from mixtura.config.config import load

    environ = {"OPENAI_API_KEY": "none-at-all", "XDG_STATE_HOME": str(tmp_path)}
    config = load(None, environ=environ, folder=tmp_path)
    for i in range(1500):
        config.build_mixture(config.mixture_spec(f"openai/m{i}>openai/m{i}"))
    assert len(config.builder.built_models) <= 1000
    assert len(config.builder.built_mixtures) <= 1000


def test_proposals_that_wait_for_a_tools_result_are_bounded_in_letters():
    turns = ProposalCache(letters=1000)
    for i in range(100):
        turns.put(str(i), [Completion(Message("assistant", "x" * 300), "m")])
    assert sum(turns.get(str(i)) is not None for i in range(100)) == 3


@pytest.mark.soak
def test_recording_five_thousand_streamed_mixtures_keeps_memory_flat(upstream, tmp_path):
    def megabytes():
        return (
            int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096 / 1024**2
        )

    def some(number):
        for _ in range(number):
            assert server.chat(stream=True).status == 200
        server.get("/api/runs")

    with serving(tmp_path, team(upstream, "a", "b", "chief"), environ=NOT_FORKED) as server:
        some(2500)  # every buffer has grown to its size
        before = megabytes()
        some(5000)
        grew = megabytes() - before
        print(f"5,000 streamed mixtures with runs kept: {grew:+.2f} MB")
    assert grew <= 1.0


def test_what_is_remembered_of_turns_stays_within_its_bound_however_long_ids_are():
    memory = ProviderDataCache(most_bytes=1_000_000)
    asked_for = ask("Where?")
    tracemalloc.start()
    for number in range(30):
        call = ToolCall(f"{number}" + "x" * 1_000_000, "look", "{}")
        data = ProviderData("somewhere", {"reasoning_content": "hm"})
        memory.remember_answer(
            "me", asked_for, Message("assistant", "", (call,), provider_data=data)
        )
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert grown < 3_000_000


def test_a_long_conversation_is_looked_through_once_for_what_is_remembered():
    memory = ProviderDataCache()
    call = ToolCall("c", "look", "{}")
    data = ProviderData("somewhere", {"reasoning_content": "hm"})
    memory.remember_answer(
        "me", ask("Where?"), Message("assistant", "", (call,), provider_data=data)
    )

    class Counted(tuple):
        copied = 0

        def __getitem__(self, place):
            found = super().__getitem__(place)
            if isinstance(place, slice):
                Counted.copied += len(found)
            return found

    talk = Counted(Message(("user", "assistant")[i % 2], "x") for i in range(4000))
    memory.restore_request("me", Request(talk))

    assert Counted.copied == 0
