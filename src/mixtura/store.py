"""SQLite: cached answers, what was spent, recorded runs. Processes may share one file."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mixtura import large_json
from mixtura.errors import ConfigError, MixturaError, StoreBusyError, StoreError
from mixtura.owners import Owners
from mixtura.record import (
    LONGEST_QUESTION,
    Record,
    compared,
    iso,
    leaves,
    moment,
    question,
    recalled,
    tellable,
)

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
            raise self._problem(error, busy=_is_lock(error)) from None
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
        if _is_damage(error):
            return self._unusable(error)
        return StoreError(f"the store {self._path} cannot be written: {error}")

    def _unusable(self, error: object) -> StoreError:
        said = "it is damaged: " if _is_damage(error) else ""
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
            if _is_lock(error):
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


def _is_lock(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _is_damage(error: object) -> bool:
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
            if not _is_lock(error) or time.monotonic() >= until:
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
                f"SELECT coalesce(sum(dollars), 0), coalesce(sum(tokens), 0) FROM {table}"  # noqa: S608
                " WHERE purse = ? AND day = ?",
                (self.purse, day),
            ).fetchone()
            for table in ("spent", "held")
        ]
        return sum(row[0] for row in rows), sum(row[1] for row in rows)

    def _day(self) -> str:
        return time.strftime("%Y-%m-%d", time.gmtime(self.store.now()))


def _settle(db: sqlite3.Connection, over: Settled) -> None:
    """What was spent counts for the day on which it was set aside: there is room for it."""
    held = db.execute("SELECT day FROM held WHERE id = ?", (over.hold,)).fetchone()
    db.execute("DELETE FROM held WHERE id = ?", (over.hold,))
    db.execute(
        "INSERT INTO spent VALUES (?, ?, ?, ?) ON CONFLICT (purse, day) DO UPDATE"
        " SET dollars = dollars + excluded.dollars, tokens = tokens + excluded.tokens",
        (over.purse, held[0] if held else over.day, over.dollars, over.tokens),
    )


# ---- runs

_SIGNS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's 32: in order, and none is taken for another."""
A_MOMENT = 1.0
"""Seconds that the note of a run's beginning is worth waiting for."""
LAST = "last"
"""What a person may call the newest run."""


class RunBook:
    """
    Recorded runs, the newest first.

    *keep*: whether there is anything to keep; *days* and *megabytes*: how long and how much,
    the oldest go first. What is in *hidden* is never written. *notice* is told, once, why
    a run could not be kept; that never stops anyone. Threads may share it.
    """

    def __init__(
        self,
        store: Store,
        *,
        keep: bool = True,
        days: float = 30.0,
        megabytes: float = 512.0,
        hidden: Collection[str] = (),
    ) -> None:
        self.keeps = keep
        self.notice: Callable[[str], None] | None = None
        self._store = store
        self._age = days * DAY
        self._size = int(megabytes * 1024**2)
        self._hidden = hidden
        self._unmeasured = self._size
        """Bytes written since all that is kept was last measured."""

    def new_id(self) -> str:
        """An id for a run that begins now: the day, its time (in 82 ms) and chance; they sort."""
        now = self._store.now()
        day = time.strftime("%Y%m%d", time.gmtime(now))
        chance = int.from_bytes(os.urandom(3)) % 32**4
        number = int(now % DAY / DAY * 32**4) * 32**4 + chance
        return f"{day}-" + "".join(_SIGNS[number >> shift & 31] for shift in range(35, -1, -5))

    def safe(self, record: Mapping[str, Any]) -> Record:
        """The run as it may be written anywhere: no key in it, and stubs for pictures."""
        return tellable(record, self._hidden)

    def keep(self, record: Mapping[str, Any]) -> bool:
        """Keep it, if runs are kept and it can be done; whether it was."""
        packed = self.packed(record) if self.keeps else None
        return packed is not None and self.write([packed])

    def begin(self, record: Mapping[str, Any]) -> None:
        """Note that a run has begun, if that can be done soon: one without an end is unfinished."""
        if self.keeps and (packed := self.packed(record)) is not None:
            with suppress(StoreError):
                self._write([packed], A_MOMENT)

    def packed(self, record: Mapping[str, Any]) -> Packed | None:
        """The run as it is written; None, and that is told, where it is too large."""
        safe = self.safe(record)
        body = zlib.compress(large_json.encode(safe))
        if len(body) > self._size:
            self.tell("it is larger than all that is kept ([runs] megabytes)")
            return None
        return Packed(_row(safe), body)

    def write(self, runs: Sequence[Packed]) -> bool:
        """Write them in one transaction; whether that was done, and if not, it is told."""
        try:
            self._write(runs)
        except ConfigError as error:
            self.tell(str(error))
            return False
        return True

    def list(
        self,
        limit: int = 50,
        before: str | None = None,
        query: str | None = None,
        *,
        who: str | None = None,
    ) -> list[Record]:
        """
        Runs that began before the run *before*, with every word of *query* in their question,
        model or id; those of *who* only, where that is said. Ask for one more to know
        whether there are more.
        """
        conditions, values = ["1"], list[object]()
        if who is not None:
            conditions.append("who = ?")
            values.append(who)
        with self._store.transaction() as db:
            db.create_function("folded", 1, str.casefold, deterministic=True)
            if before is not None:
                row = db.execute("SELECT started FROM runs WHERE id = ?", (before,)).fetchone()
                conditions.append("(started, id) < (?, ?)" if row else "id < ?")
                values += [*(row or ()), before]
            for word in (query or "").casefold().split():
                conditions.append("instr(folded(question || ' ' || model || ' ' || id), ?)")
                values.append(word)
            try:
                rows = db.execute(
                    f"SELECT {_COLUMNS} FROM runs WHERE {' AND '.join(conditions)}"  # noqa: S608
                    " ORDER BY started DESC, id DESC LIMIT ?",
                    (*values, limit),
                ).fetchall()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                rows = _readable(db, limit, who)
        alive = self._store.owners.alive
        return [_listed(row, alive) for row in rows]

    def find(self, name: str, most: int = 5) -> list[str]:
        """The ids that *name* may mean: an id, the beginning of one or of its end, ``last``."""
        if name == LAST:
            return [row["id"] for row in self.list(1)]
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM runs WHERE id = ?", (name,)).fetchone():
                return [name]
            rows = db.execute(
                "SELECT id FROM runs WHERE instr(id, ?) = 1 OR instr(substr(id, 10), ?) = 1"
                " ORDER BY id DESC LIMIT ?",
                (name, name, most),
            ).fetchall()
        return [row[0] for row in rows] if name else []

    def get(self, name: str) -> Record | None:
        """
        The recorded run that *name* means, its texts compared; None where there is none, or
        several.
        """
        found = self.find(name, most=2)
        if len(found) != 1:
            return None
        with self._store.transaction() as db:
            query = "SELECT body, state, owner FROM runs WHERE id = ?"
            row = db.execute(query, found).fetchone()
        if row is None:
            return None
        try:
            run = _unpacked(row[0], found[0])
        except _NOT_A_RUN as error:
            said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise StoreError(
                f"the run {found[0]} in the store {self._store.path} is damaged ({said[:200]}):"
                f" `mixtura runs --delete {found[0]}` removes it"
            ) from None
        if run["state"] == "running" and not self._store.owners.alive(row[2]):
            run |= {"state": "unfinished", "error": UNFINISHED}
        return run

    def delete(self, id: str) -> bool:  # noqa: A002
        """Whether there was one of that id."""
        with self._store.transaction() as db:
            return db.execute("DELETE FROM runs WHERE id = ?", (id,)).rowcount > 0

    def close(self) -> None:
        self._store.close()

    def _write(self, runs: Sequence[Packed], patience: float | None = None) -> None:
        with self._store.transaction(patience) as db:
            owner = self._store.owners.mine()
            for row, body in runs:
                _insert(db, row, body, owner)
            db.execute("DELETE FROM runs WHERE started < ?", (self._store.now() - self._age,))
            # A look at every row: not for each of thousands of runs.
            self._unmeasured += sum(len(body) for _, body in runs)
            if self._unmeasured > self._size // 64:
                _trim(db, self._size)
        self._unmeasured %= self._size // 64 + 1

    def tell(self, problem: str) -> None:
        """Say, once, why a run could not be kept."""
        notice, self.notice = self.notice, None
        if notice:
            notice(f"this run is not kept: {problem}")


class Packed(NamedTuple):
    """A run as it is written: what lists show of it, and all of it."""

    row: tuple[object, ...]
    body: bytes


def _insert(db: sqlite3.Connection, row: tuple[object, ...], body: bytes, owner: str) -> None:
    """A run in place of what was noted when it began; never the beginning in place of a run."""
    begins = row[_STATE] == "running"
    marks = ", ".join("?" * (len(row) + 2))
    db.execute(
        f"INSERT OR {'IGNORE' if begins else 'REPLACE'} INTO runs VALUES ({marks})",  # noqa: S608
        (*row, body, owner if begins else ""),
    )


def _trim(db: sqlite3.Connection, most: int) -> None:
    """Delete the oldest until there are no more than so many bytes."""
    (size,) = db.execute("SELECT sum(length(body)) FROM runs").fetchone()
    while size is not None and size > most:
        oldest = "SELECT rowid, length(body) FROM runs ORDER BY started, id LIMIT 1"
        (number, length) = db.execute(oldest).fetchone()
        db.execute("DELETE FROM runs WHERE rowid = ?", (number,))
        size -= length


_COLUMNS = "id, started, via, model, question, state, seconds, cost, calls, tokens, owner"
_STATE = 5
"""Where a run's state stands in its row."""
DAMAGED = "(this run is damaged)"
"""Stands for what cannot be read of a run."""
UNFINISHED = "the process that made this run ended before the run did"

_NOT_A_RUN = (
    zlib.error, msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError,
    ValueError, AttributeError, MixturaError,
)  # fmt: skip
"""What reading a body raises that is no run's."""


def _unpacked(body: Any, id: str) -> Record:  # noqa: A002
    run: Record = large_json.decode(zlib.decompress(body))
    if run["id"] != id:
        raise ValueError("it is another run's")
    recalled(run)  # raises where anything is missing or of another form
    moment(run["started"])
    return compared(run)


def _readable(db: sqlite3.Connection, limit: int, who: str | None) -> list[tuple[Any, ...]]:
    """
    The newest runs of a damaged file, one by one, whatever was searched for; of one that cannot
    be read only the id, where no one's own runs are asked for.
    """
    rows: list[tuple[Any, ...]] = []
    ids = db.execute("SELECT id FROM runs INDEXED BY runs_by_start ORDER BY started DESC, id DESC")
    for (id,) in ids:  # noqa: A001
        try:
            query = f"SELECT who, {_COLUMNS} FROM runs WHERE id = ?"  # noqa: S608
            row = db.execute(query, (id,)).fetchone()
        except sqlite3.DatabaseError:
            row = None
        if row and who in (None, row[0]):
            rows.append(row[1:])
        elif not row and who is None:
            rows.append((id,))
        if len(rows) == limit:
            break
    return rows


def _row(run: Record) -> tuple[object, ...]:
    asked = " ".join(question(run).split())
    return (
        run["id"],
        moment(run["started"]).timestamp(),
        run["via"],
        run["model"] or "",
        asked if len(asked) <= LONGEST_QUESTION else f"{asked[: LONGEST_QUESTION - 1]}…",
        run["state"],
        run["seconds"],
        run["cost_usd"],
        sum(1 for _ in leaves(run["calls"])),
        run["usage"]["total_tokens"],
        run.get("who", ""),
    )


def _listed(row: tuple[Any, ...], alive: Callable[[str], bool]) -> Record:
    """A row as lists have it; what is damaged in it hides no other."""
    try:
        id, started, via, model, asked, state, seconds, cost, calls, tokens, owner = row  # noqa: A001
        if state == "running" and not alive(owner):
            state = "unfinished"
        return {
            "id": id + "",
            "started": iso(started),
            "model": model + "",
            "question": asked + "",
            "state": state + "",
            "seconds": seconds + 0.0,
            "cost_usd": None if cost is None else cost + 0.0,
            "calls": calls + 0,
            "tokens": tokens + 0,
            "via": via + "",
        }
    except (TypeError, ValueError, OverflowError, OSError):
        return {
            "id": row[0] if isinstance(row[0], str) else str(row[0]),
            "started": iso(0.0),
            "model": "",
            "question": DAMAGED,
            "state": "damaged",
            "seconds": 0.0,
            "cost_usd": None,
            "calls": 0,
            "tokens": 0,
            "via": "",
        }
