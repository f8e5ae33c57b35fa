"""A store in PostgreSQL: chosen in the file, shared over the net, told in words when it fails."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys

import pytest

from mixtura import ask
from mixtura.billing.spending_caps import retry_while_busy
from mixtura.config.config import load
from mixtura.core.errors import ConfigError, StoreError
from mixtura.storage.answer_cache import AnswerCache
from mixtura.storage.postgres import PostgresStore
from mixtura.storage.postgres_schema import MIGRATIONS
from mixtura.storage.run_record import build_started_record
from mixtura.storage.runs import RunStore
from mixtura.storage.spending import DailySpendLedger
from tests.conftest import run
from tests.support import command_line
from tests.support.command_line import ANSWER, nobody
from tests.support.serving import serving
from tests.support.stores import wait_until_settled

desk = command_line.desk
PASSWORD = "very-hush-hush-1"
CAPS = "[budget]\nday_usd = 1.0\n"


@pytest.fixture
def address(postgres):
    with postgres.empty_database() as empty:
        yield empty


@pytest.fixture
def opened(address):
    """Two stores of one database, as two machines have them."""
    pair = [PostgresStore(address) for _ in range(2)]
    for store in pair:
        store.check_usable()
    yield pair
    for store in pair:
        store.close()


def choose(desk, address, more=""):
    """The desk's configuration with the store at that address."""
    file = desk.folder / "mixtura.toml"
    file.write_text(f"store = {json.dumps(address)}\n{file.read_text()}{more}")


def refusal(desk):
    """What is said of the configuration when it is read."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ={}, folder=desk.folder, home=desk.folder)
    return str(caught.value)


@pytest.fixture
def guarded(postgres):
    """The address of a database, by the port, whose owner needs a password."""
    name = postgres.new_database().partition("?")[0].rpartition("/")[2]
    postgres.execute("postgres", f"CREATE ROLE keeper_{name} LOGIN PASSWORD '{PASSWORD}'")
    postgres.execute("postgres", f"ALTER DATABASE {name} OWNER TO keeper_{name}")
    return postgres.tcp_address(name, f"keeper_{name}")


# ---- chosen in the file


def test_ask_runs_show_and_serve_of_two_machines_share_one_database(desk, address, tmp_path):
    choose(desk, address, CAPS)
    configuration = (desk.folder / "mixtura.toml").read_text()
    assert desk.run("ask", "Why is the sky blue?").out == ANSWER

    with serving(tmp_path / "other", configuration) as server:
        assert server.chat("Why is the sea blue?", "team").status == 200
        answer = server.post("/v1/responses", {"model": "team", "input": "And why red?"})
        again = server.get(f"/v1/responses/{answer.json['id']}")
        assert (again.status, again.json["id"]) == (200, answer.json["id"])
        listed = server.get("/api/runs").json["runs"]

    assert [row["via"] for row in listed] == ["serve", "serve", "ask"]
    assert [row["id"] for row in desk.run("runs", "--json").json["runs"]] == [
        row["id"] for row in listed
    ]
    assert desk.run("show", "last", "--json").json["state"] == "answered"
    assert not list(tmp_path.rglob("*.sqlite"))
    store = PostgresStore(address)
    spent, _ = DailySpendLedger(store, "day").used_today()
    assert spent > 0
    store.close()


def test_the_password_comes_from_the_environment_and_is_never_shown(desk, guarded):
    choose(desk, guarded, CAPS)
    asked = desk.run("ask", "Why?", env={"PGPASSWORD": PASSWORD})
    assert (asked.code, asked.out) == (0, ANSWER)
    complaint = desk.run("runs", env={"PGPASSWORD": "not-this-one-1"}).complaint
    assert "PGPASSWORD" in complaint
    assert "not-this-one-1" not in complaint
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text().replace("@", f":{PASSWORD}@", 1))
    complaint = desk.run("runs").complaint
    assert "an address must not hold a password" in complaint
    assert PASSWORD not in complaint


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://me:{PASSWORD}@db.example/mixtura",
        f"postgresql://me%3A{PASSWORD}@db.example/mixtura",
        f"postgres://me:{PASSWORD}/@db.example/mixtura",
        f"postgresql://db.example/mixtura?user=me&password={PASSWORD}",
        f"postgresql://db.example/mixtura?passw%6Frd={PASSWORD}",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(desk, address):
    refused = "mixtura.toml:1: store: an address must not hold a password"
    assert_refused(desk, address, refused, "PGPASSWORD")


def assert_refused(desk, address, *words):
    choose(desk, address)
    complaint = refusal(desk)
    assert all(word in complaint for word in words), complaint
    assert PASSWORD not in complaint


@pytest.mark.parametrize("address", ["mysql://me@db.example/x", f"redis://:{PASSWORD}@db.example"])
def test_the_address_of_another_database_is_refused_with_what_would_be_right(desk, address):
    refused = "is not a database that Mixtura can use"
    assert_refused(desk, address, refused, "postgresql://host/database")


def test_an_address_that_libpq_cannot_read_is_told(desk):
    choose(desk, "postgresql://db.example/mixtura?colour=blue")
    assert "colour" in refusal(desk)


def test_without_psycopg_the_command_that_installs_it_is_named(desk):
    choose(desk, "postgresql://db.example/mixtura")
    without = "import sys; sys.modules['psycopg'] = None; from mixtura.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", without, "runs"], cwd=desk.folder, env=desk.env,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "-m pip install 'psycopg[binary]<" in done.stderr
    assert "Traceback" not in done.stderr


# ---- it fails


def test_a_server_that_is_not_there_is_told_and_answers_are_given(desk):
    choose(desk, f"postgresql://me@{nobody()}/mixtura")
    complaint = desk.run("runs").complaint
    assert "cannot be used" in complaint
    assert "refused" in complaint

    asked = desk.run("ask", "Why?")
    assert (asked.code, asked.out) == (0, ANSWER)
    assert asked.err.count("this run is not kept") == 1
    file = desk.folder / "mixtura.toml"
    file.write_text(file.read_text() + CAPS)
    assert "a cap for the day needs it" in desk.run("ask", "Why?").complaint


def test_a_server_that_does_not_answer_holds_up_no_event_loop():
    turns = []

    async def beside(store):
        ledger = DailySpendLedger(store, "day")
        task = asyncio.create_task(retry_while_busy(lambda: ledger.reserve(1.0, 1, 10.0, None)))
        while not task.done():
            turns.append(1)
            await asyncio.sleep(0.01)
        with pytest.raises(StoreError, match="a cap for the day needs it"):
            await task

    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        store = PostgresStore(f"postgresql://me@{place}/mixtura?connect_timeout=2")
        run(beside(store))
        assert len(turns) > 20
        with pytest.raises(StoreError, match="cannot be used"):
            RunStore(store).list_runs()
        for _ in range(3):  # a server that was so slow to fail is left alone for a while
            with pytest.raises(StoreError, match="cannot be used"):
                store.check_usable()
        silent.setblocking(False)
        for _ in range(2):
            silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_what_may_not_be_done_in_a_database_is_told(postgres, guarded):
    name = guarded.rpartition("/")[2]
    postgres.execute("postgres", f"ALTER DATABASE {name} OWNER TO postgres")
    store = PostgresStore(guarded, password=PASSWORD)
    with pytest.raises(StoreError, match="permission denied for database"):
        store.check_usable()
    # An administrator makes room, and that is enough.
    postgres.execute(name, f"CREATE SCHEMA mixtura AUTHORIZATION keeper_{name}")
    assert DailySpendLedger(store, "day").used_today() == (0.0, 0)
    store.close()


def test_a_database_of_another_encoding_is_told(postgres):
    how = {"TEMPLATE": "template0", "ENCODING": "'LATIN1'", "LOCALE": "'C'"}
    with pytest.raises(StoreError, match="LATIN1; create it with ENCODING 'UTF8'"):
        PostgresStore(postgres.new_database(**how)).check_usable()


def test_a_database_of_a_newer_version_is_not_touched(address, opened):
    with opened[0].transaction() as db:
        db.execute("UPDATE schema_version SET version = ?", (len(MIGRATIONS) + 1,))
    with pytest.raises(StoreError, match="written by a newer Mixtura"):
        PostgresStore(address).check_usable()


# ---- the connection is lost


def cut(postgres, opened, number):
    """The server ends the session of one of two stores."""
    with opened[number].transaction() as db:
        (session,) = db.fetch_one("SELECT pg_backend_pid()")
    postgres.execute("postgres", f"SELECT pg_terminate_backend({session}, 10000)")


def test_a_connection_that_was_cut_is_made_again_and_what_is_reserved_stays_so(postgres, opened):
    mine, other = (DailySpendLedger(store, "day") for store in opened)
    assert mine.reserve(7.0, 1, 10.0, None)
    cut(postgres, opened, 0)

    assert mine.used_today() == (7.0, 1)
    assert other.reserve(7.0, 1, 10.0, None) is None

    cut(postgres, opened, 0)
    hold = run(retry_while_busy(lambda: mine.reserve(1.0, 1, 10.0, None)))
    assert hold is not None
    assert other.used_today() == (8.0, 2)


def test_what_a_process_spent_that_was_taken_for_dead_is_counted_once(postgres, opened):
    mine, other = (DailySpendLedger(store, "day") for store in opened)
    hold = mine.reserve(7.0, 2, 10.0, None)
    mine.record_spend(hold, 2.0, 1)
    cut(postgres, opened, 0)
    assert other.used_today() == (2.0, 1)

    mine.settle(hold, 5.0, 2)
    wait_until_settled()
    assert other.used_today() == (5.0, 2)


# ---- what other databases hold


def test_a_text_with_the_one_character_that_postgresql_has_not_is_kept(stores):
    store = stores.open()
    book = RunStore(store)
    asked = build_started_record(
        ask("zero \0 here"), lambda *_: 0.0, id="20260101-aaaaaaaa", started=store.current_time(),
        via="ask", model="m",
    )  # fmt: skip
    assert book.save_run(asked | {"state": "answered"})
    assert book.get_run("20260101-aaaaaaaa")["request"]["messages"][0]["content"] == "zero \0 here"
    for words in ("zero", "\0zero"):  # no search looks for it
        assert [row["id"] for row in book.list_runs(query=words)] == ["20260101-aaaaaaaa"]
    assert book.find_run_ids("20\0") == []
    AnswerCache(store).put("k\0", b"\0")
    assert AnswerCache(store).get("k\0") == b"\0"


def test_a_database_that_does_not_exist_is_told_by_name(postgres):
    store = PostgresStore(postgres.address("missing"))
    with pytest.raises(StoreError, match='database "missing" does not exist'):
        store.check_usable()
    assert store.name == "postgresql:///missing"
