"""Processes that share one store: caps hold, and whoever is killed leaves no mess."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from mixtura import ask
from mixtura.core.errors import StoreBusyError
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.run_record import build_started_record
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger

BEGIN = """
import asyncio, json, sys
from pathlib import Path
from mixtura.billing.spending_caps import retry_while_busy
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger
from mixtura.storage.open_store import open_store
from mixtura.storage.store_address import parse_store_address
store = open_store(parse_store_address(sys.argv[1], Path()))
ledger = DailySpendLedger(store, "day")
def reserve(*amounts):
    return asyncio.run(retry_while_busy(lambda: ledger.reserve(*amounts)))
"""

SPENDER = """
taken = [hold for hold in (reserve(1.0, 1, 10.0, None) for _ in range(20)) if hold]
for hold in taken[::2]:
    ledger.settle(hold, 1.0, 1)
print(len(taken), flush=True)
sys.stdin.readline()
"""

KILLED = """
hold = reserve(7.0, 1, 10.0, None)
ledger.record_spend(hold, 2.0, 1)
RunStore(store).record_start(json.loads(sys.argv[2]))
print("reserved", flush=True)
sys.stdin.readline()
with store.transaction(alone="runs") as db:
    db.execute("DELETE FROM runs")
    db.execute("INSERT INTO answers (key, body, written, used) VALUES ('k', ?, 4e9, 4e9)", (b"x",))
    print("in the middle", flush=True)
    sys.stdin.readline()
"""


def process(script, *words):
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + script, *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def soon(look):
    """What *look* gives once it gives anything: a server notices a moment later that one died."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            if (found := look()) is not None:
                return found
        except StoreBusyError:
            pass
        time.sleep(0.02)
    raise AssertionError("never")


def test_two_processes_share_the_cap_of_a_day(stores):
    spenders = [process(SPENDER, stores.address) for _ in range(2)]
    taken = [int(spender.stdout.readline()) for spender in spenders]
    assert sum(taken) == 10
    assert DailySpendLedger(stores.open(), "day").used_today() == (10.0, 10)
    for spender in spenders:
        spender.communicate("go\n", timeout=20)


def test_no_one_reserves_while_another_reckons_and_the_rest_of_the_store_goes_on(stores):
    one, two = stores.open(), stores.open(lock_timeout=0.05)
    for store in (one, two):
        store.check_usable()
    ledger = DailySpendLedger(two, "day")
    with one.transaction(alone="spending"):
        with pytest.raises(StoreBusyError, match="is in use elsewhere"):
            ledger.reserve(1.0, 1, 10.0, None)
        if stores.kind == "postgresql":
            assert RunStore(two).list_runs() == []
    assert ledger.reserve(1.0, 1, 10.0, None)


def test_a_process_that_is_killed_leaves_nothing_half_written_and_its_reservation_is_free(stores):
    started = build_started_record(
        ask("Why?"), lambda *_: 0.0, id="20260101-aaaaaaaa", started=time.time(), via="ask",
        model="m",
    )  # fmt: skip
    child = process(KILLED, stores.address, json.dumps(started))
    assert child.stdout.readline() == "reserved\n"
    store = stores.open()
    store.check_usable()
    ledger, book = DailySpendLedger(store, "day"), RunStore(store)
    assert ledger.reserve(7.0, 1, 10.0, None) is None
    assert [run["state"] for run in book.list_runs()] == ["running"]
    child.stdin.write("go\n")
    child.stdin.flush()
    assert child.stdout.readline() == "in the middle\n"

    child.kill()
    child.communicate(timeout=20)

    assert soon(lambda: ledger.reserve(7.0, 1, 10.0, None))
    assert ledger.used_today() == (9.0, 2)
    (run,) = book.list_runs()
    assert (run["state"], run["cost_usd"]) == ("unfinished", None)
    assert book.get_run(run["id"])["cost_usd"] is None
    assert AnswerCache(store).get("k") is None
