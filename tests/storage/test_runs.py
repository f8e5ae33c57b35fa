"""Runs: recorded, kept in SQLite, found again; and what is never kept."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from mixtura import Mixture, ask
from mixtura.config.config import load
from mixtura.core.errors import BudgetExceededError, ModelError, UnavailableError
from mixtura.core.events import Token
from mixtura.core.types import ImagePart, Message, Request, TextPart
from mixtura.engine.streaming import Recorder
from mixtura.models.fake import Scripted, echo, failing_model
from mixtura.models.replay import Replay
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.run_record import (
    add_text_comparison,
    build_run_record,
    collect_secret_values,
    last_layer_proposals,
    redact_record,
    restore_trace,
    run_outcome,
)
from mixtura.storage.runs import RunStore
from mixtura.storage.sqlite import MIGRATIONS, SqliteStore
from mixtura.terminal import answer_notes, trace_summary
from tests.conftest import run
from tests.support.recorded_runs import KEY, SEA, SKY


def free(_model, _usage):
    return 0.0


def traced(model, request):
    """The trace of a run, and what it raised."""
    recorder = Recorder()
    error = None
    try:
        run(model.complete(request, recorder))
    except (ModelError, BudgetExceededError) as raised:
        error = raised
    return recorder.build_trace(), error


def recorded(model=None, request=None, *, named="20261123-00000000", started=1795400000.0):
    """A recorded run of a small team, or of *model*."""
    team = Mixture.of([Scripted("a", [SKY]), Scripted("b", [SEA])], Scripted("chief", [SKY]))
    request = request or ask("Why is the sky blue?")
    trace, error = traced(model or team, request)
    state, said = run_outcome(trace, error)
    kept = build_run_record(
        trace, free, id=named, started=started, via="ask", state=state, error=said, request=request
    )
    return add_text_comparison(kept)


@pytest.fixture
def store(stores):
    return stores.open(clock=lambda: 1795400100.0)


@pytest.fixture
def book(store):
    return RunStore(store)


# ---------------------------------------------------------------- the record


def test_a_record_has_the_trace_and_who_said_what():
    whole = recorded()

    assert (whole["id"], whole["via"], whole["state"]) == ("20261123-00000000", "ask", "answered")
    assert whole["started"] == "2026-11-23T02:13:20.000Z"
    assert whole["model"] == "mixture"
    assert "".join(s["text"] for s in whole["sentences"]) == whole["answer"] == SKY
    assert [s["from"][0] for s in whole["sentences"]] == [{"call": 0, "score": 1.0}] * 2
    first, second, chief = whole["calls"]
    assert first["similarity"] == chief["similarity"] == {"levenshtein": 1.0, "tfidf": 1.0}
    assert 0 < second["similarity"]["levenshtein"] < 0.5
    assert 0 < second["similarity"]["tfidf"] < 1
    json.dumps(whole)


class BreaksOff:
    """A model whose stream ends without a word about why."""

    name = "broken"

    async def complete(self, request, emit=None):
        if emit:
            emit(Token(SKY))
        raise UnavailableError("cut off", model=self.name)


def test_a_proposer_that_failed_keeps_its_number_and_is_no_source():
    team = Mixture.of([BreaksOff(), Scripted("b", [SKY])], Scripted("c", [SKY]))
    whole = recorded(team)

    assert [(row["text"], row["error"]) for row in last_layer_proposals(whole)] == [
        (SKY, "cut off"),
        (SKY, None),
    ]
    assert {source["call"] for s in whole["sentences"] for source in s["from"]} == {1}
    assert whole["state"] == "degraded"


def test_only_the_last_layers_proposals_are_sources():
    rows = [[Scripted("a", [SKY]), Scripted("b", [SKY])], [Scripted("c", [SEA])]]
    inner = Mixture.of(rows[1], Scripted("d", [SKY]))
    whole = recorded(Mixture.of(rows[0], inner))

    assert len(last_layer_proposals(whole)) == 2
    assert {source["call"] for s in whole["sentences"] for source in s["from"]} == {0, 1}
    assert "similarity" not in whole["calls"][2], "a mixture's own row has its members' below it"
    assert [row["similarity"]["levenshtein"] < 1 for row in whole["calls"][2]["calls"]] == [
        True,
        False,
    ]


def test_a_run_without_an_answer_has_its_reason_and_no_sources():
    whole = recorded(Mixture.of([failing_model(UnavailableError("it is down"))], echo()))

    assert whole["state"] == "failed"
    assert "it is down" in whole["error"]
    assert whole["answer"] is None
    assert "sentences" not in whole
    assert whole["model"] == "mixture"


def test_a_run_that_was_refused_before_it_began_still_says_what_was_asked():
    trace = Recorder().build_trace()
    state, said = run_outcome(trace, BudgetExceededError("the day's money is spent"))
    whole = build_run_record(
        trace, free, id="x", started=0, via="serve", state=state, error=said,
        request=ask("Why?"), model="team",
    )  # fmt: skip

    assert (whole["state"], whole["error"]) == ("stopped", "the day's money is spent")
    assert whole["request"] == {"model": "team", "messages": [{"role": "user", "content": "Why?"}]}
    assert run_outcome(trace, None) == ("stopped", "interrupted")


def test_a_record_read_back_gives_the_same_table_and_notes():
    bad = failing_model(UnavailableError("it is down"), "bad")
    inner = Mixture.of([Scripted("in", [SEA])], Scripted("out", [SEA]), name="inner")
    team = Mixture.of([bad, inner, Scripted("a", [SKY])], Scripted("chief", [SKY]), name="team")
    trace, error = traced(team, ask("Why?"))
    prices = {"in": 0.1, "out": 0.02, "a": 0.003, "chief": 0.0004}

    def pricer(model, _usage):
        return prices.get(model)

    state, said = run_outcome(trace, error)
    whole = build_run_record(trace, pricer, id="x", started=0, via="ask", state=state, error=said)

    again, prices_then = restore_trace(json.loads(json.dumps(whole)))

    assert drawn(trace_summary(again, prices_then, 100)) == drawn(trace_summary(trace, pricer, 100))
    assert answer_notes(again) == answer_notes(trace)
    assert "$0.1234" in drawn(trace_summary(again, prices_then, 100))


@pytest.mark.parametrize(
    ("named", "family"),
    [
        ("OutOfTimeError", BudgetExceededError),
        ("DeadlineExceededError", BudgetExceededError),
        ("BudgetExceededError", BudgetExceededError),
        ("RestingError", ModelError),
        ("NoRoomError", ModelError),
        ("SomethingOfLaterError", ModelError),
    ],
)
def test_a_record_with_an_error_s_former_name_is_read_as_its_family(named, family):
    failed = failing_model(UnavailableError("it is down"), "bad")
    trace, error = traced(Mixture.of([failed, Scripted("a", [SKY])], echo()), ask("Why?"))
    state, said = run_outcome(trace, error)
    whole = build_run_record(trace, free, id="x", started=0, via="ask", state=state, error=said)
    row = next(row for row in whole["calls"] if row["error"])
    assert row["error_type"] == "UnavailableError"

    again, _ = restore_trace(
        json.loads(json.dumps(whole)) | {"calls": [row | {"error_type": named}]}
    )

    (call,) = again.calls
    assert type(call.error) is family
    assert str(call.error) == row["error"]


def test_a_record_of_a_run_that_was_left_gives_the_same_table():
    recorder = Recorder()

    async def leave():
        import asyncio

        team = Mixture.of([Scripted("a", [SKY], pace=0.01), Scripted("b", [SEA])], echo())
        task = asyncio.create_task(team.complete(ask("Why?"), recorder))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])

    run(leave())
    trace = recorder.build_trace()
    whole = build_run_record(
        trace, free, id="x", started=0, via="chat", state="stopped", error="interrupted"
    )
    again, pricer = restore_trace(whole)

    assert drawn(trace_summary(again, pricer, 100)) == drawn(trace_summary(trace, free, 100))
    assert "not done" in drawn(trace_summary(again, pricer, 100))


def drawn(table):
    with (console := Console(width=100, color_system=None)).capture() as captured:
        console.print(table)
    return captured.get()


def test_a_recorded_run_can_be_replayed():
    whole = recorded()
    again = run(Replay.from_json("a", whole).complete(ask("Why is the sky blue?")))

    assert again.text == SKY


# ---------------------------------------------------------------- never kept


def test_no_key_is_in_a_record_wherever_it_was_said(store):
    pieces = ["the key is sk-very", "-secret-0123", "456789, is it not?"]
    said = Scripted("a", ["".join(pieces)])
    whole = recorded(Mixture.of([said], echo("chief")), ask(f"Is {KEY} my key?"))
    whole["calls"][0]["pieces"] = pieces
    whole["calls"][1]["error"] = f"HTTP 401: Incorrect API key provided: {KEY}."
    book = RunStore(store, hidden={KEY})

    assert book.save_run(whole)
    kept = json.dumps(book.get_run("last"))

    assert KEY not in kept
    assert "sk-very" not in kept
    assert "Incorrect API key provided: ***." in kept
    assert book.list_runs()[0]["question"] == "Is *** my key?"
    assert KEY in whole["request"]["messages"][0]["content"], "the caller's own is untouched"


def test_the_keys_of_the_environment_and_of_headers_are_known(tmp_path):
    (tmp_path / "mixtura.toml").write_text(
        '[models.m]\nbase_url = "http://127.0.0.1:1/v1"\nmodel = "m"\napi_key_env = "HOUSE"\n'
        'headers = { Authorization = "Bearer of-good-news-1", "X-Team" = "the blue team" }\n'
    )
    environ = {
        "HOUSE": "hush-hush",
        "OPENAI_API_KEY": KEY,
        "CI_TOKEN": "t0k3n!",
        "PATH": "/x/y/zzz",
    }
    config = load(None, environ=environ, folder=tmp_path, home=tmp_path)

    bearer = {"Bearer of-good-news-1", "of-good-news-1"}
    assert config.registry.known_secrets() == {KEY, "hush-hush", "t0k3n!"} | bearer


@pytest.mark.parametrize("placeholder", ["", "none", "ollama", "EMPTY", "x-1"])
def test_what_stands_where_no_key_is_needed_hides_no_word(placeholder):
    assert collect_secret_values({"A_KEY": placeholder}, (), ()) == set()


def test_pictures_and_sounds_are_cut_to_a_stub():
    data = base64.b64encode(bytes(3000)).decode()
    parts = (TextPart("What is this?"), ImagePart(f"data:image/png;base64,{data}"))
    whole = recorded(echo("m"), Request((Message("user", parts),)))
    sound = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}

    safe = redact_record([whole, sound])

    assert data not in json.dumps(safe)
    assert "data:image/png;base64,[3,000 bytes, not kept]" in json.dumps(safe)
    assert safe[1]["input_audio"] == {"data": "[3,000 bytes, not kept]", "format": "wav"}
    assert restore_trace(safe[0])[0].request.messages[0].text == "What is this?"


def test_half_a_character_does_not_lose_a_run(book):
    whole = build_run_record(
        Recorder().build_trace(), free, id="x", started=1795400000, via="ask", state="stopped",
        request=ask("half \ud83d of it"), model="m",
    )  # fmt: skip

    assert book.save_run(whole)
    assert book.list_runs()[0]["question"] == "half ? of it"


# ---------------------------------------------------------------- the book


def many(book, count, question="Why?"):
    """*count* runs, a second apart; their ids, the oldest first."""
    base = recorded()
    ids = []
    for i in range(count):
        base |= {"id": f"20261123-{i:08d}", "started": f"2026-11-23T02:13:{i:02d}.000Z"}
        base["request"]["messages"][0]["content"] = f"{question} {i}"
        assert book.save_run(base)
        ids.append(base["id"])
    return ids


def test_a_run_comes_back_as_it_was_kept(book):
    whole = recorded()
    assert book.save_run(whole)

    assert book.get_run(whole["id"]) == json.loads(json.dumps(whole))
    assert book.list_runs() == [
        {
            "id": whole["id"],
            "started": whole["started"],
            "model": "mixture",
            "question": "Why is the sky blue?",
            "state": "answered",
            "seconds": pytest.approx(whole["seconds"]),
            "cost_usd": 0.0,
            "calls": 3,
            "tokens": whole["usage"]["total_tokens"],
            "via": "ask",
        }
    ]


def test_the_newest_come_first_and_the_rest_page_by_page(book):
    ids = many(book, 7)

    assert [row["id"] for row in book.list_runs(3)] == ids[:3:-1]
    assert [row["id"] for row in book.list_runs(3, before=ids[4])] == ids[3:0:-1]
    assert [row["id"] for row in book.list_runs(3, before=ids[0])] == []
    book.delete_run(ids[4])
    assert [row["id"] for row in book.list_runs(2, before=ids[4])] == [ids[3], ids[2]]


def test_a_search_finds_all_its_words_in_any_case_and_script(book):
    for i, asked in enumerate(["Größe und Gewicht", "ÜBER die Größe", "100% _of_ it", "天空"]):
        assert book.save_run(recorded(request=ask(asked), named=f"20261123-0000000{i}"))

    def found(query):
        return [row["question"] for row in book.list_runs(query=query)]

    assert found("GRÖSSE über") == ["ÜBER die Größe"]
    assert found("größe") == ["ÜBER die Größe", "Größe und Gewicht"]
    assert found("%") == found("_of_ 100%") == ["100% _of_ it"]
    assert found("天") == ["天空"]
    assert found("") == found(None)
    assert len(found("mixture")) == 4


def test_a_run_is_found_by_its_id_its_beginning_its_end_or_as_the_last(book):
    ids = many(book, 3)
    assert book.save_run(recorded(named="20261122-7k3q9dxa", started=1795300000))

    assert book.find_run_ids("20261123-00000001") == [ids[1]]
    assert book.find_run_ids("20261122") == book.find_run_ids("7k3q") == ["20261122-7k3q9dxa"]
    assert book.find_run_ids("last") == [ids[-1]]
    assert book.find_run_ids("20261123") == ids[::-1]
    assert book.find_run_ids("9dxa") == book.find_run_ids("%") == book.find_run_ids("") == []
    assert book.get_run("7k")["id"] == "20261122-7k3q9dxa"
    assert book.get_run("20261123") is None


def test_ids_are_different_and_sort_by_time(tmp_path):
    moments = iter(1795400000 + i * 0.1 for i in range(2000))
    book = RunStore(SqliteStore(tmp_path / "s", clock=lambda: next(moments)))
    ids = [book.new_run_id() for _ in range(2000)]

    assert ids == sorted(set(ids))
    assert ids[0].startswith("20261123-")
    assert {len(made) for made in ids} == {17}
    assert not (tmp_path / "s").exists()


def test_what_is_too_old_goes_when_the_next_one_comes(store):
    book = RunStore(store, days=1)
    assert book.save_run(recorded(named="old", started=store.current_time() - 2 * 86400))
    assert book.list_runs() == []
    assert book.save_run(recorded(named="new", started=store.current_time()))

    assert [row["id"] for row in book.list_runs()] == ["new"]


def test_the_oldest_go_when_there_are_too_many(store):
    wide = RunStore(store)
    ids = many(wide, 10)
    with store.transaction() as db:
        (size,) = db.fetch_one("SELECT max(length(body)) FROM runs")
    narrow = RunStore(store, megabytes=4.5 * size / 1024**2)

    assert narrow.save_run(recorded(named="20261123-99999999", started=store.current_time()))

    assert [row["id"] for row in narrow.list_runs()] == ["20261123-99999999", *ids[:6:-1]]


def test_one_that_is_larger_than_all_that_is_kept_drives_nothing_out(store):
    many(RunStore(store), 2)
    told = []
    book = RunStore(store, megabytes=0.003)
    book.notice = told.append
    noise = base64.b64encode(random.Random(1).randbytes(9000)).decode()

    assert not book.save_run(recorded(request=ask(noise), named="large"))
    assert len(book.list_runs()) == 2
    assert "larger" in told[0]


def test_nothing_is_kept_and_no_file_made_where_that_is_off(tmp_path):
    book = RunStore(SqliteStore(tmp_path / "s"), keep=False)

    assert not book.save_run(recorded())
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_locked_loses_the_run_and_says_so_once(stores):
    store = stores.open(lock_timeout=0.05)
    store.check_usable()
    told = []
    book = RunStore(store)
    book.notice = told.append

    with stores.locked():
        assert [book.save_run(recorded()) for _ in range(2)] == [False, False]

    assert len(told) == 1
    assert "is in use elsewhere" in told[0]
    assert book.save_run(recorded())


@pytest.mark.parametrize("broken", ["not a database " * 99, None])
def test_a_store_that_cannot_be_used_loses_the_run_and_nothing_else(broken, tmp_path):
    path = tmp_path / "s"
    path.write_text(broken) if broken else path.mkdir()
    told = []
    book = RunStore(SqliteStore(path))
    book.notice = told.append

    assert not book.save_run(recorded())
    assert "cannot be used" in told[0]


def test_what_was_deleted_is_gone_from_the_file(tmp_path):
    store = SqliteStore(tmp_path / "s")
    book = RunStore(store)
    assert book.save_run(recorded(request=ask("Where is the elephant?")))
    assert book.delete_run(book.list_runs()[0]["id"])
    assert not book.delete_run("20261123-00000000")
    store.close()

    assert b"elephant" not in b"".join(p.read_bytes() for p in store.path.parent.iterdir())


def test_the_file_is_for_its_owners_eyes_only(tmp_path):
    store = SqliteStore(tmp_path / "s")
    assert RunStore(store).save_run(recorded())
    store.close()

    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_file_of_an_older_version_gains_the_runs_and_keeps_the_rest(tmp_path):
    path = tmp_path / "s"
    old = sqlite3.connect(path)
    old.executescript(MIGRATIONS[0])
    old.execute("PRAGMA user_version = 1")
    old.execute("INSERT INTO answers VALUES ('k', x'aa', 1795400000, 1795400000)")
    old.commit()
    old.close()
    store = SqliteStore(path, clock=lambda: 1795400001.0)

    assert AnswerCache(store).get("k") == b"\xaa"
    assert RunStore(store).save_run(recorded())
    assert len(RunStore(store).list_runs()) == 1


KEEPER = """
import json, sys
from pathlib import Path
from mixtura.storage.runs import RunStore
from mixtura.storage.open_store import open_store
from mixtura.storage.store_address import parse_store_address
book = RunStore(open_store(parse_store_address(sys.argv[1], Path())))
whole = json.loads(sys.stdin.read())
for i in range(40):
    new = {"id": f"{sys.argv[2]}{i:02d}", "started": "2100-01-01T00:00:00.000Z"}
    assert book.save_run(whole | new)
"""


def test_two_processes_keep_their_runs_in_one_store(stores):
    path, whole = stores.address, json.dumps(recorded()).encode()
    keepers = [
        subprocess.Popen([sys.executable, "-c", KEEPER, path, name], stdin=subprocess.PIPE)
        for name in "pq"
    ]
    for keeper in keepers:
        keeper.stdin.write(whole)
        keeper.stdin.close()

    assert [keeper.wait(60) for keeper in keepers] == [0, 0]
    assert len(RunStore(stores.open()).list_runs(100)) == 80


def test_threads_keep_their_runs_in_one_book(book):
    whole = recorded()

    def keep(name):
        for i in range(25):
            assert book.save_run(whole | {"id": f"{name}{i:02d}"})
            assert book.get_run(f"{name}{i:02d}")

    threads = [threading.Thread(target=keep, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(book.list_runs(200)) == 100
