"""Calls that wait for their turn, are asked twice, or are answered from the cache."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import pytest

from mixtura import (
    CacheHit,
    Charge,
    ConfigError,
    Notice,
    RateLimitedError,
    Sampling,
    Token,
    UnavailableError,
    Usage,
)
from mixtura.core.call_ledger import open_ledger
from mixtura.models.fake import FailedCall, Scripted, echo, failing_model, slow_model
from mixtura.models.wrappers.cache import Cached
from mixtura.models.wrappers.hedge import Hedged
from mixtura.models.wrappers.rate_limit import Limited, RateLimiter, RateLimits
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.sqlite import SqliteStore
from tests.conftest import run
from tests.support.call_models import ASK, Clock


async def at_once(models, request=ASK):
    """Ask all; the most that were inside at the same time."""
    most = 0
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(m.complete(request)) for m in models]
        while not all(t.done() for t in tasks):
            most = max(most, sum(m.inner_model.in_flight for m in models))
            await asyncio.sleep(0.001)
    return most


def test_a_429_lowers_the_calls_at_once_and_answers_raise_them_slowly():
    gate = RateLimiter(RateLimits(concurrency=10))

    async def adapting():
        door = gate.loop_state()
        door.inside = 10
        door.record_rate_limit(None)
        lowered = door.allowed
        door.record_rate_limit(None)  # a second one in the same breath says nothing new
        assert door.allowed == lowered == 7.0
        door.record_success("m")
        assert 7.0 < door.allowed < 7.2
        for _ in range(1000):
            door.record_success("m")
        assert door.allowed == 10.0

    run(adapting())


def test_after_a_429_no_one_goes_in_before_the_upstreams_time():
    clock = Clock()
    gate = RateLimiter(RateLimits(), clock=clock)
    limited = Limited(Scripted("m", [RateLimitedError("429").with_retry_after(0.05), "fine"]), gate)

    async def refused_then_fine():
        with pytest.raises(RateLimitedError):
            await limited.complete(ASK)
        second = asyncio.create_task(limited.complete(ASK))
        await asyncio.sleep(0.01)
        assert len(limited.inner_model.asked) == 1
        clock.now += 0.06
        return await second

    assert run(refused_then_fine()).text == "fine"


async def asked_over_a_minute(model, gate, clock, requests, at_first):
    """All of them are asked: so many at once, the others a minute later."""
    tasks = [asyncio.create_task(Limited(model, gate).complete(one)) for one in requests]
    await asyncio.sleep(0.01)
    assert len(model.asked) == at_first
    clock.now += 61
    gate.loop_state().admit_waiting()
    await asyncio.gather(*tasks)


def test_requests_a_minute_are_counted_over_the_last_minute():
    clock = Clock()
    gate = RateLimiter(RateLimits(requests_per_minute=3), clock=clock)
    model = echo("m")

    run(asked_over_a_minute(model, gate, clock, [ASK] * 5, at_first=3))
    assert len(model.asked) == 5


def test_tokens_a_minute_hold_back_what_would_pass_them_but_never_a_first_call():
    clock = Clock()
    gate = RateLimiter(RateLimits(tokens_per_minute=1000), clock=clock)
    model = echo("m")
    large = replace(ASK, sampling=Sampling(max_tokens=800))

    run(asked_over_a_minute(model, gate, clock, [large] * 2, at_first=1))


def test_one_gpu_serves_one_model_after_another():
    gate, order = RateLimiter(RateLimits(one_model=True)), []

    def said(name):
        def step(request):
            order.append(name)
            return name

        return Scripted(name, [step] * 3, delay=0.005)

    a, b = Limited(said("a"), gate), Limited(said("b"), gate)

    async def mixed():
        await asyncio.gather(*(m.complete(ASK) for m in (a, b, a, b, a, b)))

    run(mixed())
    assert order == ["a"] * 3 + ["b"] * 3


def test_a_call_that_is_cancelled_while_it_waits_takes_no_place():
    gate = RateLimiter(RateLimits(concurrency=1))
    first, second = Limited(slow_model(0.05), gate), Limited(echo(), gate)

    async def left():
        busy = asyncio.create_task(first.complete(ASK))
        await asyncio.sleep(0.005)
        waiting = asyncio.create_task(second.complete(ASK))
        await asyncio.sleep(0.005)
        waiting.cancel()
        await busy
        assert gate.loop_state().inside == 0
        return await second.complete(ASK)

    assert run(left()).text == "Why?"


# ---- hedged


def hedged(first, second, **options):
    return Hedged(first, elsewhere=second, **({"after": 0.02, "share": 1.0} | options))


def test_a_second_copy_answers_when_the_first_token_is_late_and_the_loser_is_called_off():
    late, spare = slow_model(30.0, "slow words", "late"), Scripted("spare", ["quick words"])
    events = []

    answer = run(hedged(late, spare).complete(ASK, events.append))

    assert answer.text == "quick words"
    assert late.in_flight == 0
    assert "".join(e.text for e in events if isinstance(e, Token)) == "quick words"
    assert any(isinstance(e, Notice) for e in events)


def test_a_first_token_in_time_needs_no_copy():
    spare = Scripted("spare", [])

    assert run(hedged(Scripted("quick", ["here"]), spare).complete(ASK)).text == "here"
    assert spare.asked == []


def test_it_looks_at_the_first_token_not_at_the_end():
    long = Scripted("long", ["one two three four five six"], pace=0.015)
    spare = Scripted("spare", ["x"])

    answer = run(hedged(long, spare, after=0.05).complete(ASK))

    assert answer.text.startswith("one two")
    assert spare.asked == []


def test_only_one_copys_tokens_are_reported_though_both_would_speak():
    a = Scripted("a", ["a a a a a a"], delay=0.04, pace=0.005)
    b = Scripted("b", ["b b b b b b"], delay=0.0, pace=0.005)
    events = []

    answer = run(hedged(a, b).complete(ASK, events.append))

    said = "".join(e.text for e in events if isinstance(e, Token))
    assert said == answer.text == "b b b b b b"


def test_a_copy_that_fails_leaves_the_race_to_the_other():
    late = Scripted("late", ["still here"], delay=0.5)
    error = FailedCall(UnavailableError("down"), (Charge("spare", Usage(5, 0), "failed"),))

    answer = run(hedged(late, failing_model(error, "spare")).complete(ASK))

    assert answer.text == "still here"
    assert [(c.model, c.outcome) for c in answer.charges] == [("late", "answer"), ("spare", "lost")]


def test_when_both_copies_fail_the_ledger_has_both_bills():
    def down(name):
        error = FailedCall(UnavailableError(name), (Charge(name, Usage(1, 0), "failed"),))
        return failing_model(error, name, delay=0.03)

    with open_ledger() as ledger, pytest.raises(UnavailableError):
        run(hedged(down("a"), down("b")).complete(ASK))
    assert {c.model for c in ledger.charges} == {"a", "b"}


def test_at_most_the_stated_share_of_calls_gets_a_copy():
    late = Scripted("late", ["x"] * 100, delay=0.004)
    racing = Hedged(late, elsewhere=Scripted("spare", ["y"] * 100), after=0.001, share=0.1)

    async def many():
        for _ in range(60):
            await racing.complete(ASK)

    run(many())
    assert racing.calls == 60
    assert 1 <= racing.copies <= 6


def test_late_is_learned_from_the_first_tokens_seen():
    racing = Hedged(echo(), after=None)
    assert racing.hedge_delay() is None
    for i in range(100):
        racing._seen.append(i / 100)
    assert racing.hedge_delay() == pytest.approx(0.95, abs=0.011)


def test_leaving_a_race_leaves_no_copy_running():
    a, b = slow_model(30.0, name="a"), slow_model(30.0, name="b")

    async def left():
        task = asyncio.create_task(hedged(a, b).complete(ASK))
        await asyncio.sleep(0.05)
        assert (a.in_flight, b.in_flight) == (1, 1)
        task.cancel()
        await asyncio.wait([task])

    run(left())
    assert (a.in_flight, b.in_flight) == (0, 0)


# ---- cached


def test_the_same_request_is_paid_for_once_and_says_so(store):
    model = Scripted("m", ["once"])
    kept = Cached(model, AnswerCache(store), identity="m at home")
    events = []

    first = run(kept.complete(ASK))
    again = run(kept.complete(ASK, events.append))

    assert (again.text, again.usage) == (first.text, Usage())
    assert len(model.asked) == 1
    assert isinstance(events[0], CacheHit)
    assert (events[0].charges, events[0].seconds > 0) == (first.charges, True)
    assert isinstance(events[1], Token)


def test_another_draw_another_sampling_another_model_is_another_request(store):
    model = Scripted("m", [str(i) for i in range(9)])
    answers = AnswerCache(store)

    def asked(identity="m", **change):
        kept = Cached(model, answers, identity=identity)
        return run(kept.complete(replace(ASK, **change))).text

    texts = [
        asked(), asked(draw=1), asked(sampling=Sampling(temperature=0.5)), asked(identity="n"),
        asked(tools=({"a": 1},)), asked(),
    ]  # fmt: skip
    assert texts == ["0", "1", "2", "3", "4", "0"]


def test_a_failure_is_never_kept(store):
    model = Scripted("m", [UnavailableError("down"), "up"])
    kept = Cached(model, AnswerCache(store), identity="m")

    with pytest.raises(UnavailableError):
        run(kept.complete(ASK))
    assert run(kept.complete(ASK)).text == "up"


def test_answers_grow_old_and_the_longest_unused_make_room(stores):
    clock = Clock()
    store = stores.open(clock=clock)
    answers = AnswerCache(store, age=100, size=25)

    answers.put("a", b"0123456789")
    clock.now += 1
    answers.put("b", b"0123456789")
    clock.now += 1
    assert answers.get("a")
    clock.now += 1
    answers.put("c", b"0123456789")
    assert [answers.get(k) is not None for k in "abc"] == [True, False, True]
    clock.now += 101
    assert answers.get("a") is None


WRITER = """
import sys
from pathlib import Path
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.open_store import open_store
from mixtura.storage.store_address import parse_store_address
answers = AnswerCache(open_store(parse_store_address(sys.argv[1], Path())))
for i in range(400):
    answers.put(f"{sys.argv[2]}-{i}", b"x" * 100)
    answers.get(f"{sys.argv[3]}-{i}")
"""


def test_two_processes_share_the_cache(stores):
    store = stores.open()
    pair = [
        subprocess.Popen([sys.executable, "-c", WRITER, stores.address, *names])
        for names in (("p", "q"), ("q", "p"))
    ]
    assert [p.wait(60) for p in pair] == [0, 0]
    assert all(AnswerCache(store).get(f"{n}-{i}") for n in "pq" for i in range(400))


def test_a_killed_writer_leaves_a_store_that_works(tmp_path, store):
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(store.path), "p", "q"])
    while child.poll() is None and not store.path.exists():
        pass
    child.send_signal(signal.SIGKILL)
    child.wait(10)

    answers = AnswerCache(store)
    answers.put("after", b"fine")
    assert answers.get("after") == b"fine"


def test_a_file_that_is_no_store_is_a_clear_error(tmp_path):
    path = tmp_path / "mixtura.sqlite"
    path.write_bytes(b"no database at all, but long enough to look at" * 40)

    with pytest.raises(ConfigError, match="cannot be used"):
        AnswerCache(SqliteStore(path)).get("x")


def test_a_store_of_a_newer_version_is_not_touched(tmp_path):
    path = tmp_path / "s.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(ConfigError, match="newer"):
        AnswerCache(SqliteStore(path)).get("x")
