"""The SQLite file that keeps everything: its schema, transactions and errors."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mixtura.core.errors import StoreBusyError, StoreDamagedError, StoreError
from mixtura.storage.interfaces import Subject
from mixtura.storage.process_locks import StoreOwners
from mixtura.storage.settlements import SettlementQueue
from mixtura.storage.transaction import commit_or_roll_back

MIGRATIONS = (
    """
    CREATE TABLE answers (
      key TEXT PRIMARY KEY, body BLOB NOT NULL, written REAL NOT NULL, used REAL NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX answers_by_use ON answers (used);
    CREATE TABLE spent (
      purse TEXT NOT NULL, day TEXT NOT NULL, dollars REAL NOT NULL, tokens INTEGER NOT NULL,
      PRIMARY KEY (purse, day)
    ) WITHOUT ROWID;
    CREATE TABLE held (
      id INTEGER PRIMARY KEY, purse TEXT NOT NULL, day TEXT NOT NULL,
      dollars REAL NOT NULL, tokens INTEGER NOT NULL, until REAL NOT NULL
    );
    """,
    """
    CREATE TABLE runs (
      id TEXT PRIMARY KEY, started REAL NOT NULL, via TEXT NOT NULL, model TEXT NOT NULL,
      question TEXT NOT NULL, state TEXT NOT NULL, seconds REAL NOT NULL, cost REAL,
      calls INTEGER NOT NULL, tokens INTEGER NOT NULL, who TEXT NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX runs_by_start ON runs (started, id);
    """,
    """
    DROP TABLE held;
    CREATE TABLE held (
      id INTEGER PRIMARY KEY AUTOINCREMENT, purse TEXT NOT NULL, day TEXT NOT NULL,
      dollars REAL NOT NULL, tokens INTEGER NOT NULL
    );
    """,
    """
    ALTER TABLE held ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    ALTER TABLE held ADD COLUMN spent REAL NOT NULL DEFAULT 0;
    ALTER TABLE held ADD COLUMN spent_tokens INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE runs ADD COLUMN owner TEXT NOT NULL DEFAULT '';
    """,
    """
    CREATE TABLE responses (
      id TEXT PRIMARY KEY, who TEXT NOT NULL, previous TEXT, used REAL NOT NULL,
      size INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX responses_by_use ON responses (used);
    """,
    """
    CREATE TABLE files (
      id TEXT PRIMARY KEY, who TEXT NOT NULL, purpose TEXT NOT NULL, name TEXT NOT NULL,
      created REAL NOT NULL, expires REAL, size INTEGER NOT NULL, whole INTEGER NOT NULL
    );
    CREATE INDEX files_by_owner ON files (who, created, id);
    CREATE TABLE file_parts (
      file TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (file, number)
    );
    CREATE TABLE batches (
      id TEXT PRIMARY KEY, who TEXT NOT NULL, created REAL NOT NULL, status TEXT NOT NULL,
      body TEXT NOT NULL
    );
    CREATE INDEX batches_by_owner ON batches (who, created, id);
    """,
    """
    CREATE TABLE turns (
      run TEXT PRIMARY KEY, conversation TEXT NOT NULL, previous TEXT NOT NULL,
      beside TEXT NOT NULL, words TEXT NOT NULL, glance BLOB NOT NULL
    );
    CREATE INDEX turns_by_conversation ON turns (conversation);
    CREATE TABLE titles (
      conversation TEXT PRIMARY KEY, title TEXT NOT NULL, words TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE choices (
      run TEXT NOT NULL, beside TEXT NOT NULL, who TEXT NOT NULL, chosen REAL NOT NULL,
      mixture TEXT NOT NULL, model TEXT NOT NULL, choice TEXT NOT NULL, body BLOB NOT NULL,
      PRIMARY KEY (run, beside)
    );
    """,
)
"""Each step brings a file from its number to the next; never edited, only added to."""

_PAGES_OF_COMMIT = 16_384
"""Changed pages of a transaction that stay in memory until it is committed: 64 MiB of them. With
SQLite's two, copies go to the folder for temporary files: that disk may be full while ours is not,
and people's texts are not for it."""


class SqliteTransaction:
    """A ``Transaction`` of a SQLite file."""

    def __init__(self, connection: sqlite3.Connection, store: SqliteStore) -> None:
        self._connection = connection
        self._store = store

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        with self._store.translate_errors():
            return self._connection.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with self._store.translate_errors():
            self._connection.executemany(statement, rows)

    def insert(self, statement: str, values: Sequence[object]) -> int:
        with self._store.translate_errors():
            return self._connection.execute(statement, values).lastrowid or 0

    def fetch_one(self, query: str, values: Sequence[object] = ()) -> Any:
        with self._store.translate_errors():
            return self._connection.execute(query, values).fetchone()

    def fetch_all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._store.translate_errors():
            return self._connection.execute(query, values).fetchall()

    def own_name(self) -> str:
        return self._store.owners.own_name()

    def find_dead_processes(self, names: Collection[str]) -> set[str]:
        return {name for name in names if not self._store.owners.is_alive(name)}


class SqliteStore:
    """
    One SQLite file, opened at the first use; threads share the object, processes the file.

    *lock_timeout*: seconds to wait for whoever else writes to the file. *migrations*: its schema;
    *durable*: what is committed survives a loss of power. *called*, *remedy*: what errors call the
    file, and what they advise where it cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        lock_timeout: float = 30.0,
        migrations: Sequence[str] = MIGRATIONS,
        durable: bool = False,
        called: str = "store",
        remedy: str = "move it away or choose another with `store` in the configuration",
    ) -> None:
        self._path = path
        self._migrations = migrations
        self._durable = durable
        self._called = f"the {called} {path}"
        self._remedy = remedy
        self._clock = clock
        self._lock_timeout = lock_timeout
        self._connection: sqlite3.Connection | None = None
        self._finalizer: weakref.finalize[[], SqliteStore] | None = None
        self._busy_timeout: float | None = None
        """Seconds that the connection waits for a lock."""
        self._lock = threading.RLock()
        self.settlements = SettlementQueue(partial(self.transaction, alone="spending"))
        self.owners = StoreOwners(path)
        """The processes that use the file, and which of them are alive."""

    @property
    def path(self) -> Path:
        return self._path

    @property
    def name(self) -> str:
        return str(self._path)

    def current_time(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    def check_usable(self) -> None:
        """Open the file now rather than in the middle of a run. Raises StoreError."""
        with self._lock:
            self._open_connection(self._lock_timeout)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._connection = None
            self.owners.close()

    @contextmanager
    def transaction(
        self,
        lock_timeout: float | None = None,
        *,
        alone: Subject | None = None,  # noqa: ARG002 - the lock of a file is for all subjects
    ) -> Generator[SqliteTransaction, None, None]:
        """
        A write transaction, begun at once so that it never fails half-way for a lock.

        *lock_timeout*: seconds to wait for others, threads of this process too; with 0 an event
        loop may call it. Raises StoreError; StoreBusyError where waiting longer may help.
        """
        lock_timeout = self._lock_timeout if lock_timeout is None else lock_timeout
        until = time.monotonic() + lock_timeout
        if not self._lock.acquire(timeout=lock_timeout):
            raise self._store_error("it is locked by another thread", busy=True)
        try:
            connection = self._waiting_connection(max(until - time.monotonic(), 0.0))
            with self.translate_errors():
                connection.execute("BEGIN IMMEDIATE")
                with commit_or_roll_back(connection, sqlite3.Error):
                    yield SqliteTransaction(connection, self)
        finally:
            self._lock.release()

    def execute_alone(self, statement: str, values: Sequence[object]) -> None:
        """
        One statement as a transaction of its own. SQLite gives Python's lock back for each that it
        runs: with other threads at work, BEGIN and COMMIT cost as much again. Raises StoreError.
        """
        with self._lock:
            connection = self._waiting_connection(self._lock_timeout)
            with self.translate_errors():
                connection.execute(statement, values)

    @contextmanager
    def read_transaction(self) -> Generator[SqliteTransaction, None, None]:
        """
        A transaction that only reads, on a connection of its own: in WAL mode no writer waits for
        it. Raises StoreError.
        """
        if self._connection is None:  # the schema is there then; else this would wait for its lock
            self.check_usable()
        path = f"{self._path.absolute().as_uri()}?mode=rw"  # never a new one where it is gone
        with self.translate_errors(), closing(sqlite3.connect(
            path, uri=True, timeout=self._lock_timeout, isolation_level=None,
            check_same_thread=False,
        )) as connection:  # fmt: skip
            connection.text_factory = _decode_text
            connection.execute("PRAGMA query_only=ON")
            connection.execute("BEGIN")
            yield SqliteTransaction(connection, self)

    @contextmanager
    def translate_errors(self) -> Generator[None, None, None]:
        """SQLite's errors are raised as StoreError."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: in SQLite's own messages
            raise self._store_error(error, busy=is_lock_error(error)) from None

    def _waiting_connection(self, seconds: float) -> sqlite3.Connection:
        """The connection, which waits so long for a lock of another one."""
        seconds = round(seconds, 1)  # nearly always what it was set to before
        connection = self._open_connection(seconds)
        if seconds != self._busy_timeout:
            with self.translate_errors():
                connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
            self._busy_timeout = seconds
        return connection

    def _store_error(self, error: object, *, busy: bool) -> StoreError:
        if busy:
            return StoreBusyError(f"{self._called} is in use elsewhere: {error}")
        if is_corruption_error(error):
            return self._unusable_error(error)
        return StoreError(f"{self._called} cannot be written: {error}")

    def _unusable_error(self, error: object) -> StoreError:
        damaged = is_corruption_error(error)
        said = "it is damaged: " if damaged else ""
        error = "its text is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        return (StoreDamagedError if damaged else StoreError)(
            f"{self._called} cannot be used ({said}{error}): {self._remedy}"
        )

    def _open_connection(self, lock_timeout: float) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        connection: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._path.exists():
                self._path.touch(mode=0o600)  # it holds people's questions
            connection = sqlite3.connect(
                self._path, timeout=lock_timeout, isolation_level=None, check_same_thread=False
            )
            connection.text_factory = _decode_text
            _enable_wal(connection, lock_timeout)
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute(f"PRAGMA cache_spill={_PAGES_OF_COMMIT}")
            self._migrate_schema(connection)
        except (OSError, sqlite3.Error, StoreError, UnicodeDecodeError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError):
                raise
            if is_lock_error(error):
                raise self._store_error(error, busy=True) from None
            raise self._unusable_error(error) from None
        self._connection, self._busy_timeout = connection, None
        # A store that nobody closed is let go with its connection: Python 3.13 warns of one left.
        self._finalizer = weakref.finalize(self, connection.close)
        self._finalizer.atexit = False
        return connection

    def _migrate_schema(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA user_version").fetchone() == (len(self._migrations),):
            return
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(self._migrations):
            connection.execute("ROLLBACK")
            raise StoreError(f"{self._called} was written by a newer Mixtura")
        for step in self._migrations[version:]:
            for statement in _split_statements(step):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(self._migrations)}")
        connection.execute("COMMIT")


def _split_statements(script: str) -> Iterator[str]:
    """The statements of *script*: those in a trigger are a part of one."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():  # the last one may do without its semicolon
        yield statement


def is_lock_error(error: Exception) -> bool:
    """Whether SQLite failed because the file is locked by another connection."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_corruption_error(error: object) -> bool:
    """Whether the file is damaged, or no SQLite file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in (
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
    )  # fmt: skip


def _decode_text(data: bytes) -> str:
    """A text of the file, also where it is damaged."""
    return data.decode("utf-8", "replace")


def _enable_wal(connection: sqlite3.Connection, lock_timeout: float) -> None:
    """Switch to WAL: SQLite does not wait for a lock there, so two that open at once must."""
    until = time.monotonic() + lock_timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not is_lock_error(error) or time.monotonic() >= until:
                raise
            time.sleep(0.02)
        else:
            return
