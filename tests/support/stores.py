"""A store of either kind for a test: opened, locked by someone else, made read-only."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from mixtura.storage.interfaces import Store
from mixtura.storage.open_store import open_store
from mixtura.storage.store_address import parse_store_address
from tests.support.postgres import PostgresServer, running_postgres

LOCK_HOLDER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
"""


class TestStores:
    """Stores of one database, one a process, thread or machine that uses it."""

    __test__ = False

    def __init__(self, address: str) -> None:
        self.address = address
        self._opened: list[Store] = []

    def open(self, **how: Any) -> Store:
        """One more store of the same database; *how*: ``lock_timeout``, ``clock``."""
        store = open_store(parse_store_address(self.address, Path()), **how)
        self._opened.append(store)
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()


class SqliteStores(TestStores):
    kind = "sqlite"
    read_only = "PRAGMA query_only = ON"
    writable = "PRAGMA query_only = OFF"

    @contextmanager
    def locked(self) -> Generator[Callable[[], None], None, None]:
        """Another process holds the lock; what is given lets it go."""
        child = subprocess.Popen(
            [sys.executable, "-c", LOCK_HOLDER, self.address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert child.stdout
        assert child.stdout.readline() == "held\n"

        def free() -> None:
            if child.poll() is None:
                child.communicate("go\n", timeout=20)

        try:
            yield free
        finally:
            free()

    def set_mode(self, store: Any, mode: str) -> None:
        with store._lock:
            store._connection.execute(mode)


class PostgresStores(TestStores):
    kind = "postgresql"
    read_only = "SET default_transaction_read_only = on"
    writable = "SET default_transaction_read_only = off"

    @contextmanager
    def locked(self) -> Generator[Callable[[], None], None, None]:
        """Another session has every table for itself; what is given lets it go."""
        from mixtura.storage.postgres import subject_lock

        connection = psycopg.connect(self.address)
        for subject in ("spending", "runs", "responses"):
            connection.execute(f"SELECT pg_advisory_xact_lock({subject_lock(subject)})".encode())
        for table in ("answers", "held", "spent", "runs", "responses"):
            connection.execute(f"LOCK TABLE mixtura.{table}".encode())
        try:
            yield connection.close
        finally:
            connection.close()

    def set_mode(self, store: Any, mode: str) -> None:
        with store._lock:
            store._connection.execute(mode)


def wait_until_settled() -> None:
    """Every late settlement is done."""
    for thread in threading.enumerate():
        if thread.name == "mixtura-settles":
            thread.join(20)


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer, None, None]:
    """A server of PostgreSQL."""
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Generator[SqliteStores | PostgresStores, None, None]:
    """An empty store of either kind."""
    with ExitStack() as open_things:
        if request.param == "sqlite":
            made: SqliteStores | PostgresStores = SqliteStores(str(tmp_path / "mixtura.sqlite"))
        else:
            server: PostgresServer = request.getfixturevalue("postgres")
            made = PostgresStores(open_things.enter_context(server.empty_database()))
        open_things.callback(made.close)
        yield made
