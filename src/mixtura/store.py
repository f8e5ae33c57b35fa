"""SQLite: cached answers, what was spent, runs, responses. Processes may share one file."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mixtura.errors import StoreBusyError, StoreError
from mixtura.owners import Owners
from mixtura.quantities import LEDGER_MOST, ledger_dollars, ledger_tokens

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
)
"""Each step brings a file from its number to the next; never edited, only added to."""

DAY = 86400.0
CACHE_PATIENCE = 0.25
"""Seconds that a cached answer is worth waiting for."""


class Settled(NamedTuple):
    """A hold that is over, and what of it was spent."""

    hold: int
    purse: str
    day: str
    dollars: float
    tokens: int


class Store:
    """
    One SQLite file. Opened at the first use; every method is one short transaction.

    Threads may share it. *patience*: seconds to wait for whoever else writes to the file.
    """

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, patience: float = 30.0
    ) -> None:
        self._path = path
        self._clock = clock
        self._patience = patience
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self.owed: deque[Settled] = deque()
        """What could not be written yet; the next hold or settlement writes it."""
        self._later = threading.Lock()
        self._paying = False
        self.owners = Owners(path)
        """The processes that use it, and which of them are alive."""

    @property
    def path(self) -> Path:
        return self._path

    def now(self) -> float:
        return self._clock()

    def check(self) -> None:
        """Open it now rather than in the middle of a run. Raises StoreError."""
        with self._lock:
            self._open(self._patience)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self.owners.close()

    @contextmanager
    def transaction(
        self, patience: float | None = None
    ) -> Generator[sqlite3.Connection, None, None]:
        """
        A write transaction, begun at once so that it never fails half-way for a lock.

        *patience*: seconds to wait for others, threads of this process too; with 0 an event
        loop may call it. Raises StoreError; StoreBusyError where waiting longer may help.
        """
        patience = self._patience if patience is None else patience
        until = time.monotonic() + patience
        if not self._lock.acquire(timeout=patience):
            raise self._problem("it is locked by another thread", busy=True)
        try:
            left = max(until - time.monotonic(), 0.0)
            connection = self._open(left)
            connection.execute(f"PRAGMA busy_timeout = {int(left * 1000)}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended it already
                    connection.execute("ROLLBACK")
                raise
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter: of SQLite's own words
            raise self._problem(error, busy=is_lock(error)) from None
        finally:
            self._lock.release()

    @contextmanager
    def settled(self, patience: float | None = None) -> Generator[sqlite3.Connection, None, None]:
        """A transaction in which everything that was owed is written first."""
        paid: list[Settled] = []
        try:
            with self.transaction(patience) as db:
                while self.owed:
                    paid.append(self.owed.popleft())
                    _settle(db, paid[-1])
                yield db
        except BaseException:
            self.owed.extendleft(reversed(paid))
            raise

    def settle_later(self) -> None:
        """Write what is owed as soon as the lock is free, in a thread that a process waits for."""
        with self._later:
            if not self._paying:
                self._paying = True
                threading.Thread(target=self._pay, name="mixtura-settles").start()

    def _pay(self) -> None:
        while True:
            try:
                with self.settled():
                    pass
            except StoreError:  # the next hold tries again; until then it counts as held
                with self._later:
                    self._paying = False
                return
            with self._later:
                if not self.owed:
                    self._paying = False
                    return

    def _problem(self, error: object, *, busy: bool) -> StoreError:
        if busy:
            return StoreBusyError(f"the store {self._path} is in use elsewhere: {error}")
        if is_damage(error):
            return self._unusable(error)
        return StoreError(f"the store {self._path} cannot be written: {error}")

    def _unusable(self, error: object) -> StoreError:
        said = "it is damaged: " if is_damage(error) else ""
        error = "its text is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        return StoreError(
            f"the store {self._path} cannot be used ({said}{error}): move it away or"
            " choose another with `store` in the configuration"
        )

    def _open(self, patience: float) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        connection: sqlite3.Connection | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not self._path.exists():
                self._path.touch(mode=0o600)  # it has what people asked
            connection = sqlite3.connect(
                self._path, timeout=patience, isolation_level=None, check_same_thread=False
            )
            connection.text_factory = _text
            _write_ahead(connection, patience)
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute("PRAGMA secure_delete=ON")
            self._migrate(connection)
        except (OSError, sqlite3.Error, StoreError, UnicodeDecodeError) as error:
            if connection is not None:
                connection.close()
            if isinstance(error, StoreError):
                raise
            if is_lock(error):
                raise self._problem(error, busy=True) from None
            raise self._unusable(error) from None
        self._connection = connection
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if connection.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),):
            return
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            connection.execute("ROLLBACK")
            raise StoreError(f"the store {self._path} was written by a newer Mixtura")
        for step in MIGRATIONS[version:]:
            for statement in step.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")


def is_lock(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_damage(error: object) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, UnicodeDecodeError) or code in (
        sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
    )  # fmt: skip


def _text(data: bytes) -> str:
    """A text of the file, also where it is damaged."""
    return data.decode("utf-8", "replace")


def _write_ahead(connection: sqlite3.Connection, patience: float) -> None:
    """Switch to WAL: SQLite does not wait for a lock there, so two that open at once must."""
    until = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not is_lock(error) or time.monotonic() >= until:
                raise
            time.sleep(0.02)
        else:
            return


class AnswerCache:
    """
    Answers by key. *age*: seconds that one is good for; *size*: bytes kept in all, the
    longest unused go first.

    Where the store is locked it is as if nothing were kept. Where it cannot be used at all
    the first call raises StoreError, so that someone is told, and those after it do not.
    """

    def __init__(self, store: Store, *, age: float = 30 * DAY, size: int = 256 * 1024**2) -> None:
        self._store = store
        self._age = age
        self._size = size
        self._told = False

    def get(self, key: str) -> bytes | None:
        with self._once():
            return self._get(key)
        return None

    def put(self, key: str, body: bytes) -> None:
        """Keep it, if that can be done."""
        with self._once():
            self._put(key, body)

    @contextmanager
    def _once(self) -> Generator[None, None, None]:
        try:
            yield
        except StoreBusyError:
            pass
        except StoreError:
            if not self._told:
                self._told = True
                raise

    def _get(self, key: str) -> bytes | None:
        now = self._store.now()
        with self._store.transaction(CACHE_PATIENCE) as db:
            row = db.execute("SELECT body, written FROM answers WHERE key = ?", (key,)).fetchone()
            if row is None or row[1] < now - self._age:
                return None
            db.execute("UPDATE answers SET used = ? WHERE key = ?", (now, key))
            return row[0]

    def _put(self, key: str, body: bytes) -> None:
        now = self._store.now()
        with self._store.transaction(CACHE_PATIENCE) as db:
            db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", (key, body, now, now))
            db.execute("DELETE FROM answers WHERE written < ?", (now - self._age,))
            self._trim(db)

    def _trim(self, db: sqlite3.Connection) -> None:
        (size,) = db.execute("SELECT coalesce(sum(length(body)), 0) FROM answers").fetchone()
        while size > self._size:
            row = db.execute(
                "SELECT key, length(body) FROM answers ORDER BY used LIMIT 1"
            ).fetchone()
            db.execute("DELETE FROM answers WHERE key = ?", (row[0],))
            size -= row[1]


@dataclass(frozen=True, slots=True)
class DayBook:
    """
    What one purse (the whole machine's, a key's) has spent and holds today, in the store.

    What a process held that died is given back, less what its finished calls had cost; where
    no one can see whether it died, it counts until its day is over. ``hold``, ``note`` and
    ``settle`` never wait, so an event loop may call them.
    """

    store: Store
    purse: str

    def hold(
        self, dollars: float, tokens: int, most: float | None, most_tokens: int | None
    ) -> int | None:
        """
        Set aside, if that stays within the caps; the hold's number, or None.

        Raises StoreError; StoreBusyError when it should be tried again in a moment.
        """
        try:
            return self._hold(dollars, tokens, most, most_tokens)
        except StoreError as error:
            raise type(error)(f"{error}; a cap for the day needs it") from None

    def _hold(
        self, dollars: float, tokens: int, most: float | None, most_tokens: int | None
    ) -> int | None:
        day = self._day()
        dollars, tokens = ledger_dollars(dollars), ledger_tokens(tokens)
        with self.store.settled(0.0) as db:
            db.execute("DELETE FROM held WHERE day < date(?, '-2 days')", (day,))
            self._give_back_of_the_dead(db)
            used, used_tokens = self._used(db, day)
            over = most is not None and used + dollars > most + 1e-12
            if over or (most_tokens is not None and used_tokens + tokens > most_tokens):
                return None
            row = (self.purse, day, dollars, tokens, self.store.owners.mine())
            cursor = db.execute(
                "INSERT INTO held (purse, day, dollars, tokens, owner) VALUES (?, ?, ?, ?, ?)", row
            )
            return cursor.lastrowid

    def note(self, hold: int, dollars: float, tokens: int) -> None:
        """What of a hold is spent by now: it stays spent if this process dies."""
        with suppress(StoreError), self.store.settled(0.0) as db:
            db.execute(
                "UPDATE held SET spent = ?, spent_tokens = ? WHERE id = ?", (dollars, tokens, hold)
            )

    def settle(self, hold: int, dollars: float, tokens: int) -> None:
        """
        What was held was spent in this part. What cannot be written now is written later,
        and counts as held until then.
        """
        dollars, tokens = ledger_dollars(dollars), ledger_tokens(tokens)
        self.store.owed.append(Settled(hold, self.purse, self._day(), dollars, tokens))
        try:
            with self.store.settled(0.0):
                pass
        except StoreBusyError:
            self.store.settle_later()
        except StoreError:
            pass  # it is owed: the next hold writes it or is refused

    def used(self) -> tuple[float, int]:
        """Dollars and tokens spent and held today."""
        with self.store.settled() as db:
            self._give_back_of_the_dead(db)
            return self._used(db, self._day())

    def _give_back_of_the_dead(self, db: sqlite3.Connection) -> None:
        mine = self.store.owners.mine()
        owners = db.execute("SELECT DISTINCT owner FROM held WHERE owner NOT IN ('', ?)", (mine,))
        for (owner,) in owners.fetchall():
            if self.store.owners.alive(owner):
                continue
            rows = "SELECT id, purse, day, spent, spent_tokens FROM held WHERE owner = ?"
            for row in db.execute(rows, (owner,)).fetchall():
                _settle(db, Settled(*row))

    def _used(self, db: sqlite3.Connection, day: str) -> tuple[float, int]:
        rows = [
            db.execute(
                f"SELECT total(dollars), total(tokens) FROM {table}"  # noqa: S608
                " WHERE purse = ? AND day = ?",
                (self.purse, day),
            ).fetchone()
            for table in ("spent", "held")
        ]
        return sum(row[0] for row in rows), int(sum(row[1] for row in rows))

    def _day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.store.now()))


def _settle(db: sqlite3.Connection, over: Settled) -> None:
    """What was spent counts for the day on which it was set aside: there is room for it."""
    held = db.execute("SELECT day FROM held WHERE id = ?", (over.hold,)).fetchone()
    db.execute("DELETE FROM held WHERE id = ?", (over.hold,))
    db.execute(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (purse, day) DO UPDATE"
        " SET dollars = dollars + excluded.dollars, tokens = min(tokens, ?) + excluded.tokens",
        (over.purse, held[0] if held else over.day, over.dollars, over.tokens, LEDGER_MOST),
    )
