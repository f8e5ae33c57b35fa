"""A PostgreSQL database that keeps everything, for several machines."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import lru_cache, partial
from typing import Any

from mixtura.core.errors import ConfigError, StoreBusyError, StoreError
from mixtura.core.missing_packages import missing_package_text
from mixtura.storage.interfaces import Subject
from mixtura.storage.postgres_schema import MIGRATIONS, SCHEMA
from mixtura.storage.settlements import SettlementQueue
from mixtura.storage.store_address import LOGIN_HINT, display_address
from mixtura.storage.transaction import commit_or_roll_back

try:
    import psycopg
    from psycopg import conninfo, errors
except ImportError:
    raise ConfigError(
        missing_package_text("a store in PostgreSQL", "psycopg", "postgres")
    ) from None

Connection = psycopg.Connection[tuple[Any, ...]]

_CONNECTION_DEFAULTS = {
    "application_name": "mixtura",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "tcp_user_timeout": 10_000,
}
"""Where the address says nothing else: a server that is gone is noticed in seconds, not hours."""
LOOP_STATEMENT_MS = 2_000
"""How long a statement may take that holds up an event loop."""
STOPPED_MS = 60_000
"""After which a process that stopped in the middle of a transaction no longer holds its locks."""
SLOW_FAILURE_SECONDS = 1.0
RETRY_SECONDS = 5.0
"""After a try to connect that failed so slowly, the next one is so much later."""

_SUBJECT_LOCKS = 0x4D495854
_PROCESS_LOCKS = 0x4D495850
"""First numbers of our advisory locks, so that they are no one else's in the same database."""
_SCHEMA_LOCK = 0
_LOCK_NUMBERS = {"spending": 1, "runs": 2, "responses": 3}
_BUSY_ERRORS = (
    errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure,
    errors.QueryCanceled, errors.TooManyConnections, errors.CannotConnectNow,
)  # fmt: skip
_DAMAGE_ERRORS = (errors.DataCorrupted, errors.IndexCorrupted)


class PostgresTransaction:
    """A ``Transaction`` in PostgreSQL."""

    def __init__(self, connection: Connection, store: PostgresStore) -> None:
        self._connection = connection
        self._store = store

    def execute(self, statement: str, values: Sequence[object] = ()) -> int:
        return self._run(statement, values).rowcount

    def execute_many(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with self._store.translate_errors():
            cursor = self._connection.cursor()
            cursor.executemany(_with_psycopg_marks(statement), [_without_nul(row) for row in rows])

    def insert(self, statement: str, values: Sequence[object]) -> int:
        return self.fetch_one(f"{statement} RETURNING id", values)[0]

    def fetch_one(self, query: str, values: Sequence[object] = ()) -> Any:
        return self._run(query, values).fetchone()

    def fetch_all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._run(query, values).fetchall()

    def own_name(self) -> str:
        with self._store.translate_errors():
            return self._store.take_own_name(self._connection)

    def find_dead_processes(self, names: Collection[str]) -> set[str]:
        """Those whose lock no session holds: the server frees it when the process ends."""
        numbers = {int(name): name for name in names if name.isdecimal()}
        if not numbers:
            return set()
        alive = self.fetch_all(
            "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND objsubid = 2 AND classid = ? AND objid::bigint = ANY(?)"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            (_PROCESS_LOCKS, list(numbers)),
        )
        return set(numbers.values()) - {numbers[number] for (number,) in alive}

    def _run(self, statement: str, values: Sequence[object]) -> psycopg.Cursor[tuple[Any, ...]]:
        with self._store.translate_errors():
            return self._connection.execute(_with_psycopg_marks(statement), _without_nul(values))


class PostgresStore:
    """
    One PostgreSQL database, connected to at the first use; its tables are in a schema of their own.

    *address*: ``postgresql://user@host:port/database``, as libpq reads it, with no password in
    it; *password*: None where libpq is to find one (PGPASSWORD, a password file, a service).
    *lock_timeout*: seconds to wait for others. Raises ConfigError for an address that says nothing.
    """

    def __init__(
        self,
        address: str,
        *,
        password: str | None = None,
        clock: Callable[[], float] = time.time,
        lock_timeout: float = 30.0,
    ) -> None:
        self._parameters = _read_address(address, password)
        self._name = display_address(address)
        self._clock = clock
        self._lock_timeout = lock_timeout
        self._connection: Connection | None = None
        self._lock = threading.RLock()
        self._own_number = 0
        self._last_failure: StoreError | None = None
        self._retry_at = 0.0
        self._is_connecting = False
        self.settlements = SettlementQueue(partial(self.transaction, alone="spending"))

    @property
    def name(self) -> str:
        return self._name

    def current_time(self) -> float:
        """Seconds since the epoch, by this machine's clock."""
        return self._clock()

    def check_usable(self) -> None:
        """Connect now rather than in the middle of a run. Raises StoreError."""
        with self._lock:
            self._open_connection()

    def close(self) -> None:
        """Close the connection; the next use opens another. Whoever looks sees this one gone."""
        with self._lock:
            self._drop_connection()
            self._own_number = 0

    @contextmanager
    def transaction(
        self, lock_timeout: float | None = None, *, alone: Subject | None = None
    ) -> Generator[PostgresTransaction, None, None]:
        """
        A transaction; *alone*: a subject that no other transaction has meanwhile.

        *lock_timeout*: seconds to wait; with 0 an event loop may call it: it waits for no
        lock, and connects in a thread. Raises StoreError; StoreBusyError where waiting longer may
        help.
        """
        lock_timeout = self._lock_timeout if lock_timeout is None else lock_timeout
        until = time.monotonic() + lock_timeout
        if not self._lock.acquire(timeout=lock_timeout):
            raise StoreBusyError(f"the store {self._name} is in use by another thread")
        try:
            if lock_timeout <= 0.0:
                self._require_connection()
            connection = self._begin(until, alone, in_loop=lock_timeout <= 0.0)
            with self.translate_errors(), commit_or_roll_back(connection, psycopg.Error):
                yield PostgresTransaction(connection, self)
        finally:
            self._lock.release()

    @contextmanager
    def read_transaction(self) -> Generator[PostgresTransaction, None, None]:
        """
        A transaction that only reads, on a connection of its own. Raises StoreError.
        """
        if self._connection is None:  # the schema is there then; else this would wait for its lock
            self.check_usable()
        with (
            self.translate_errors(),
            closing(psycopg.connect(autocommit=True, **self._parameters)) as connection,
        ):
            connection.execute(f"SET search_path TO {SCHEMA}; BEGIN READ ONLY".encode())
            yield PostgresTransaction(connection, self)

    @contextmanager
    def translate_errors(self) -> Generator[None, None, None]:
        """PostgreSQL's errors are raised as StoreError."""
        try:
            yield
        except psycopg.Error as error:
            raise self._store_error(error) from None

    def take_own_name(self, connection: Connection) -> str:
        """The number of the lock that says that this process is alive: its session holds it."""
        for _ in range(100):
            if self._own_number:
                return str(self._own_number)
            number = random.SystemRandom().randrange(1, 2**31)
            if _try_process_lock(connection, number):
                self._own_number = number
        raise StoreError(f"the store {self._name} cannot be used: no lock of it is free")

    # ---- transactions

    def _begin(self, until: float, alone: Subject | None, *, in_loop: bool) -> Connection:
        """A connection with a transaction begun; one that was lost meanwhile is replaced."""
        for attempt in (1, 2):
            connection = self._open_connection()
            try:
                wait_ms = max(int((until - time.monotonic()) * 1000), 1)  # 0 were for ever
                limit = f"SET LOCAL statement_timeout = {LOOP_STATEMENT_MS};" if in_loop else ""
                lock = f"SELECT pg_advisory_xact_lock({subject_lock(alone)})" if alone else ""
                connection.execute(
                    f"BEGIN; SET LOCAL lock_timeout = {wait_ms}; {limit} {lock}".encode()
                )
            except psycopg.Error as error:
                if not connection.broken:
                    with suppress(psycopg.Error):
                        connection.execute("ROLLBACK")
                    raise self._store_error(error) from None
                self._drop_connection()
                if attempt == 2:
                    raise self._store_error(error) from None
                if in_loop:
                    self._require_connection()
            else:
                return connection
        raise AssertionError

    def _require_connection(self) -> None:
        """Have a thread connect, so that no event loop waits. Raises StoreBusyError meanwhile."""
        if self._connection is not None:
            return
        failure, self._last_failure = self._last_failure, None
        if failure is not None:
            raise failure
        if not self._is_connecting:
            self._is_connecting = True
            threading.Thread(target=self._connect, name="mixtura-connects", daemon=True).start()
        raise StoreBusyError(f"the store {self._name} is being connected to")

    def _connect(self) -> None:
        with self._lock:
            self._is_connecting = False
            try:
                self._open_connection()
            except StoreError as error:
                self._last_failure = error

    # ---- the connection

    def _open_connection(self) -> Connection:
        if self._connection is not None:
            return self._connection
        if self._last_failure is not None and time.monotonic() < self._retry_at:
            raise self._last_failure
        self._last_failure = None
        began = time.monotonic()
        connection: Connection | None = None
        try:
            connection = psycopg.connect(autocommit=True, **self._parameters)
            self._prepare_session(connection)
        except (psycopg.Error, StoreError) as error:
            if connection is not None:
                connection.close()
            failure = error if isinstance(error, StoreError) else self._unusable_error(error)
            if time.monotonic() - began > SLOW_FAILURE_SECONDS:
                self._last_failure = failure
                self._retry_at = time.monotonic() + RETRY_SECONDS
            raise failure from None
        self._connection = connection
        return connection

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _prepare_session(self, connection: Connection) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(
                f"the store {self._name} cannot be used: the database's encoding is {encoding};"
                " create it with ENCODING 'UTF8'"
            )
        connection.execute(
            f"SET search_path TO {SCHEMA};"
            f" SET idle_in_transaction_session_timeout = {STOPPED_MS}".encode()
        )
        self._migrate_schema(connection)
        # A lock is lost with its session, as when the server starts anew: others took this
        # process for dead meanwhile. Under a number that is still taken it gets another name.
        if self._own_number and not _try_process_lock(connection, self._own_number):
            self._own_number = 0

    def _migrate_schema(self, connection: Connection) -> None:
        with connection.transaction():
            connection.execute(
                f"SET LOCAL lock_timeout = {int(self._lock_timeout * 1000) or 1};"
                f" SELECT pg_advisory_xact_lock({_SUBJECT_LOCKS}, {_SCHEMA_LOCK})".encode()
            )
            version = self._read_version(connection)
            if version > len(MIGRATIONS):
                raise StoreError(f"the store {self._name} was written by a newer Mixtura")
            if version == len(MIGRATIONS):
                return
            for step in MIGRATIONS[version:]:
                connection.execute(step.encode())
            connection.execute("UPDATE schema_version SET version = %s", (len(MIGRATIONS),))

    def _read_version(self, connection: Connection) -> int:
        """The number of the schema; 0 for a database that has nothing of ours yet."""
        row = connection.execute("SELECT to_regnamespace(%s), to_regclass(%s)", (
            SCHEMA, f"{SCHEMA}.schema_version",
        )).fetchone()  # fmt: skip
        assert row is not None
        if row[0] is None:  # who may not create it is told; an administrator may have done it
            connection.execute(f"CREATE SCHEMA {SCHEMA}".encode())
        if row[1] is None:
            connection.execute("CREATE TABLE schema_version (version INTEGER NOT NULL)")
            connection.execute("INSERT INTO schema_version VALUES (0)")
        found = connection.execute("SELECT version FROM schema_version").fetchone()
        return found[0] if found else 0

    # ---- errors

    def _store_error(self, error: psycopg.Error) -> StoreError:
        said = _one_line(error)
        if isinstance(error, _BUSY_ERRORS):
            return StoreBusyError(f"the store {self._name} is in use elsewhere: {said}")
        if isinstance(error, _DAMAGE_ERRORS):  # the transaction is over: no row after it is read
            return StoreError(f"the store {self._name} cannot be used (it is damaged: {said})")
        return StoreError(f"the store {self._name} cannot be read or written: {said}")

    def _unusable_error(self, error: psycopg.Error) -> StoreError:
        if isinstance(error, _BUSY_ERRORS):
            return self._store_error(error)
        said = _one_line(error)
        hint = "" if "password" not in said else f"; {LOGIN_HINT}"
        return StoreError(
            f"the store {self._name} cannot be used ({said}): see that the server runs and takes"
            f" the user of `store` in the configuration{hint}"
        )


def _read_address(address: str, password: str | None) -> dict[str, Any]:
    """What psycopg is called with. Raises ConfigError."""
    try:
        given: dict[str, Any] = conninfo.conninfo_to_dict(address)
    except psycopg.Error as error:
        raise ConfigError(f"the store {display_address(address)}: {_one_line(error)}") from None
    if given.keys() & {"password", "sslpassword"}:
        raise ConfigError(f"the store {display_address(address)}: {LOGIN_HINT}")
    if password:
        given["password"] = password
    return _CONNECTION_DEFAULTS | given | {"client_encoding": "UTF8"}


def _try_process_lock(connection: Connection, number: int) -> bool:
    query = "SELECT pg_try_advisory_lock(%s::int, %s::int)"
    return connection.execute(query, (_PROCESS_LOCKS, number)).fetchone() == (True,)


def subject_lock(subject: Subject) -> str:
    """The advisory lock of whoever is alone with a subject."""
    return f"{_SUBJECT_LOCKS}, {_LOCK_NUMBERS[subject]}"


@lru_cache(maxsize=256)
def _with_psycopg_marks(statement: str) -> bytes:
    """``?`` as psycopg has it; no statement has one, or a %, that stands for itself."""
    return statement.replace("%", "%%").replace("?", "%s").encode()


def _without_nul(values: Sequence[object]) -> list[object]:
    """PostgreSQL's texts hold every character but one."""
    return [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values]


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())
